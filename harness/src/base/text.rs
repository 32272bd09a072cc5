//! Text that is safe to show, each step of it once.

use std::borrow::Cow;

/// Takes out terminal sequences, control characters, characters that XML forbids, and characters
/// that make a text read as something it is not. A carriage return ends a line.
#[must_use]
pub fn harmless(text: &str) -> String {
    // Whole sequences: what a lone escape character leaves behind is only noise.
    let text = console::strip_ansi_codes(text);
    let text: Cow<'_, str> = if text.contains('\r') {
        text.replace("\r\n", "\n").replace('\r', "\n").into()
    } else {
        text
    };
    text.chars().filter(|character| is_harmless(*character)).collect()
}

/// Whether a character neither steers a terminal, nor hides from a reader, nor makes a text read as
/// something else, nor breaks XML.
pub(super) fn is_harmless(character: char) -> bool {
    match character {
        '\n' | '\t' => true,
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{fffe}' | '\u{ffff}' => false,
        other => !other.is_control(),
    }
}

/// Bounds a text to `limit` bytes, the notice included: its beginning and its end stay, and the
/// notice between them says how much is left out. The end gets the larger part, since an error's
/// cause mostly stands there.
#[must_use]
pub fn bound(text: &str, limit: usize) -> String {
    /// Room for the notice, with a number of any length.
    const NOTICE: usize = 48;

    if text.len() <= limit {
        return text.to_owned();
    }
    let room = limit.saturating_sub(NOTICE);
    let head = &text[..text.floor_char_boundary(room / 3)];
    let tail = &text[text.ceil_char_boundary(text.len() - (room - room / 3))..];
    let left_out = text.len() - head.len() - tail.len();
    let line_break = if text.contains('\n') { "\n" } else { " " };
    format!("{head}{line_break}… {left_out} bytes left out …{line_break}{tail}")
}

/// Puts a text on one line; error messages of servers may span several.
#[must_use]
pub fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The words of a message without those that `is_left_out` names.
pub(crate) fn without_words(message: &str, is_left_out: impl Fn(&str) -> bool) -> String {
    let words = message.split(|c: char| !c.is_ascii_alphanumeric());
    words.filter(|word| !word.is_empty() && !is_left_out(word)).collect::<Vec<_>>().join(" ")
}

/// Whether a word is the random id of a container, a sandbox or an image.
pub(crate) fn is_random_id(word: &str) -> bool {
    word.len() >= 8 && word.chars().all(|c| c.is_ascii_hexdigit())
}

/// The words of a message without random ids, to compare it with another one.
pub(crate) fn without_random_ids(message: &str) -> String {
    without_words(message, is_random_id)
}

/// The known word that a misspelt one is nearest to; none where it is far from all.
#[must_use]
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let most = (word.chars().count() / 3).max(1);
    let distances = known.into_iter().map(|known| (distance(word, known), known));
    distances.filter(|(distance, _)| *distance <= most).min().map(|(_, known)| known)
}

/// How many letters have to be changed, put in or left out to get from one word to another.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<_> = other.to_ascii_lowercase().chars().collect();
    let mut costs: Vec<usize> = (0..=other.len()).collect();
    for (row, letter) in one.to_ascii_lowercase().chars().enumerate() {
        let mut diagonal = costs[0];
        costs[0] = row + 1;
        for (column, known) in other.iter().enumerate() {
            let replaced = diagonal + usize::from(*known != letter);
            diagonal = costs[column + 1];
            costs[column + 1] = replaced.min(diagonal + 1).min(costs[column] + 1);
        }
    }
    costs[other.len()]
}

/// A truth in words.
#[must_use]
pub fn yes_or_no(value: bool) -> &'static str {
    if value { "yes" } else { "no" }
}

/// The state of a feature gate in words.
#[must_use]
pub fn on_or_off(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_terminals_breaks_xml_or_deceives_is_taken_out() {
        let nasty =
            "\u{1b}[31mred\u{1b}[0m\r\nbell\u{7}nul\0 \u{202e}olleh\u{fffe}\u{9b}2J\ttab\ra";
        assert_eq!(harmless(nasty), "red\nbellnul olleh\ttab\na");
        assert_eq!(harmless("\u{1b}]0;title\u{7}a"), "a");
    }

    #[test]
    fn the_nearest_word_is_found_unless_all_are_far() {
        let known = ["POD-03", "POD-30", "ISO-04", "CMP-02"];
        let found = ["POD-3", "pod03", "ISO04", "CMP-2", "VOL-77", ""].map(|it| nearest(it, known));
        let expected = [Some("POD-03"), Some("POD-03"), Some("ISO-04"), Some("CMP-02"), None, None];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_long_text_keeps_head_and_tail_within_the_limit() {
        let text = format!("first\n{}\nlast", "ä".repeat(1_000_000));
        let short = bound(&text, 8192);
        assert!(short.len() <= 8192, "{}", short.len());
        assert!(short.starts_with("first\n") && short.ends_with("ä\nlast"));
        assert!(short.contains("bytes left out"));
        assert_eq!(bound("short", 5), "short");
    }
}
