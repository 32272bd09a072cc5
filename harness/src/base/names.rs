//! Names of objects, as the API server checks them (apimachinery, `pkg/util/validation`).

/// Whether a text can be the name of most objects: a subdomain of RFC 1123, which is labels with periods
/// between them.
#[must_use]
pub fn is_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(has_form_of_label)
}

/// Whether a text can be the name of a namespace: a label of RFC 1123.
#[must_use]
pub fn is_label(text: &str) -> bool {
    text.len() <= 63 && has_form_of_label(text)
}

fn has_form_of_label(text: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    text.starts_with(is_plain)
        && text.ends_with(is_plain)
        && text.chars().all(|c| c == '-' || is_plain(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subdomain_is_labels_with_periods_between_them() {
        for good in ["devspaces", "eclipse-che", "a.b-c.1", "1"] {
            assert!(is_subdomain(good), "{good}");
        }
        for bad in ["", "A", "a b", "a\nkind: Pod", "-a", "a-", "a..b", "$(x)", "a/b", "é"] {
            assert!(!is_subdomain(bad), "{bad:?}");
        }
        assert!(is_subdomain(&"a".repeat(253)) && !is_subdomain(&"a".repeat(254)));
    }

    #[test]
    fn a_label_is_shorter_and_has_no_period() {
        for good in ["team-a", "my-space1", &"a".repeat(63)] {
            assert!(is_label(good), "{good}");
        }
        for bad in ["", "A", "-a", "a-", "a.b", "a b", "a\n", &"a".repeat(64)] {
            assert!(!is_label(bad), "{bad:?}");
        }
    }
}
