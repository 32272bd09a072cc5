//! The paths of pods in arguments, replaced by those of this machine.

use std::path::PathBuf;

/// A directory of pods, and what takes its place here.
#[derive(Debug)]
pub(super) struct Replacement {
    /// The directory, as commands name it.
    pub(super) of_pods: String,
    /// The directory here.
    pub(super) here: PathBuf,
}

/// The text with each path below one of these directories replaced. A name that only contains such
/// a path, as `localhost/nestcheck/image` does, stays, and so does a path inside of a container, which
/// follows a colon.
pub(super) fn replace(text: &str, replacements: &[Replacement]) -> String {
    let mut text = text.to_owned();
    for Replacement { of_pods, here } in replacements {
        let mut replaced = String::with_capacity(text.len());
        let mut rest = text.as_str();
        while let Some(at) = rest.find(of_pods.as_str()) {
            let (before, after) = (&rest[..at], &rest[at + of_pods.len()..]);
            let previous = before.chars().next_back().or_else(|| replaced.chars().next_back());
            replaced.push_str(before);
            if begins_path(previous) && ends_name(after.chars().next()) {
                replaced.push_str(&here.to_string_lossy());
            } else {
                replaced.push_str(of_pods);
            }
            rest = after;
        }
        replaced.push_str(rest);
        text = replaced;
    }
    text
}

/// Whether a path may begin after this character.
fn begins_path(previous: Option<char>) -> bool {
    previous.is_none_or(|it| it.is_whitespace() || "\"'=(<>|&;,".contains(it))
}

/// Whether the name of a directory is over before this character.
fn ends_name(next: Option<char>) -> bool {
    next.is_none_or(|it| !(it.is_alphanumeric() || "-_.".contains(it)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn replaced(text: &str) -> String {
        let of = |of_pods: &str, here: &str| Replacement {
            of_pods: of_pods.to_owned(),
            here: PathBuf::from(here),
        };
        replace(text, &[of("/nestcheck", "/tmp/n/files"), of("/home/user/store", "/s")])
    }

    #[test]
    fn paths_of_pods_are_replaced_wherever_they_begin() {
        for (text, expected) in [
            ("/nestcheck/probe", "/tmp/n/files/probe"),
            ("cp \"$1\"/* /nestcheck/probe x", "cp \"$1\"/* /tmp/n/files/probe x"),
            ("--file=/nestcheck/a", "--file=/tmp/n/files/a"),
            ("until /nestcheck/a && '/nestcheck/b'", "until /tmp/n/files/a && '/tmp/n/files/b'"),
            ("--root=/home/user/store/nestcheck-pod-01a/root", "--root=/s/nestcheck-pod-01a/root"),
            ("/home/user/store", "/s"),
        ] {
            assert_eq!(replaced(text), expected);
        }
    }

    #[test]
    fn names_that_contain_such_a_path_stay() {
        for text in [
            "localhost/nestcheck/scratch",
            "127.0.0.1:18140/nestcheck/pod-04",
            "/nestcheck-x",
            "/nestcheckers/a",
            "--volume=a:/nestcheck/a",
            "\"$directory/nestcheck/a\"",
            "/srv/nestcheck/a",
        ] {
            assert_eq!(replaced(text), text);
        }
    }

    proptest! {
        #[test]
        fn a_text_without_such_a_path_stays_as_it_is(text in "[a-z /\"'=:$\\n-]{0,40}") {
            prop_assume!(!text.contains("/nestcheck") && !text.contains("/home/user/store"));
            prop_assert_eq!(replaced(&text), text);
        }
    }
}
