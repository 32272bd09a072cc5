//! What may become part of an event: text from pods and servers is untrusted.

/// The most that an event keeps of one stream of a command, in bytes.
pub const STREAM_LIMIT: usize = 16 * 1024;

/// Makes bytes from a pod fit for an event: valid UTF-8 without control characters, bounded to
/// `limit` bytes with the middle left out, and without bearer tokens.
#[must_use]
pub fn clean(bytes: &[u8], limit: usize) -> String {
    let text: String = String::from_utf8_lossy(bytes)
        .chars()
        .filter(|character| !character.is_control() || matches!(character, '\n' | '\t'))
        .collect();
    bound(&without_tokens(&text), limit)
}

/// Bounds a text to about `limit` bytes: its beginning and its end stay, and a line between them
/// says how much was left out.
#[must_use]
pub fn bound(text: &str, limit: usize) -> String {
    if text.len() <= limit {
        return text.to_owned();
    }
    let head = text.floor_char_boundary(limit / 2);
    let tail = text.ceil_char_boundary(text.len() - limit / 2);
    format!("{}\n… {} bytes left out …\n{}", &text[..head], tail - head, &text[tail..])
}

/// Replaces JSON web tokens (RFC 7519: three base64url parts, the first begins `eyJ`).
fn without_tokens(text: &str) -> String {
    let is_token_character =
        |character: char| character.is_ascii_alphanumeric() || matches!(character, '-' | '_' | '.');
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("eyJ") {
        let candidate = &rest[start..];
        let end =
            candidate.find(|character| !is_token_character(character)).unwrap_or(candidate.len());
        clean.push_str(&rest[..start]);
        let token = &candidate[..end];
        clean.push_str(if token.matches('.').count() == 2 { "[redacted token]" } else { token });
        rest = &candidate[end..];
    }
    clean.push_str(rest);
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_and_escapes_lose_their_power() {
        assert_eq!(clean(b"a\x1b[31mred\x00\r\nb\xff", 100), "a[31mred\nb\u{fffd}");
    }

    #[test]
    fn a_long_text_keeps_both_ends_and_says_what_is_missing() {
        let text = format!("begin{}end", "é".repeat(50_000));
        let bounded = clean(text.as_bytes(), 1000);
        assert!(bounded.starts_with("begin") && bounded.ends_with("end"));
        assert!(bounded.len() < 1100 && bounded.contains("bytes left out"));
    }

    #[test]
    fn a_token_is_redacted_and_what_only_looks_like_one_is_kept() {
        let text =
            clean(b"Authorization: Bearer eyJhbGciOi.eyJzdWIiOi.c2lnbmF0dXJl next eyJx", 200);
        assert_eq!(text, "Authorization: Bearer [redacted token] next eyJx");
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_made_fit(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..2000)) {
            let text = clean(&bytes, 64);
            proptest::prop_assert!(!text.chars().any(|c| c.is_control() && c != '\n' && c != '\t'));
        }
    }
}
