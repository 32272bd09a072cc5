//! Text that is safe to print anywhere.
//!
//! Pods write what they like. Before their text reaches a report it loses what could steer a
//! terminal, hide from a reader or break XML, and whatever is longer than a reader reads.

use std::time::Duration;

/// The most a report shows of one command's output, both streams together.
pub(super) const OUTPUT_LIMIT: usize = 8 * 1024;

/// The most a report shows of a message, a reason, a hint.
pub(super) const MESSAGE_LIMIT: usize = 4 * 1024;

/// The most a report shows of what a truth check expected or saw, or of a command line.
pub(super) const LINE_LIMIT: usize = 1024;

/// The most a report shows of a name.
pub(super) const NAME_LIMIT: usize = 256;

/// Cleans and bounds a text that may span lines.
pub(super) fn block(text: &str, limit: usize) -> String {
    bounded(clean(text).trim_end(), limit)
}

/// Cleans and bounds a text, and puts it on one line.
pub(super) fn line(text: &str, limit: usize) -> String {
    bounded(&crate::base::error::one_line(&clean(text)), limit)
}

/// Takes out terminal sequences, control characters and characters that XML forbids.
///
/// Bidirectional overrides go too: they make a text read as something it is not.
fn clean(text: &str) -> String {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let text = console::strip_ansi_codes(&text);
    text.chars().filter(|character| is_harmless(*character)).collect()
}

fn is_harmless(character: char) -> bool {
    match character {
        '\n' | '\t' => true,
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{fffe}' | '\u{ffff}' => false,
        other => !other.is_control(),
    }
}

/// Keeps a text's head and tail, and says how much is left out between them.
///
/// The result, notice included, is no longer than `limit` bytes.
pub(super) fn bounded(text: &str, limit: usize) -> String {
    /// Room for the notice, with a number of any length.
    const NOTICE: usize = 48;

    if text.len() <= limit {
        return text.to_owned();
    }
    let room = limit.saturating_sub(NOTICE);
    // An error's cause mostly is at the end, so the tail gets the larger part.
    let head = &text[..text.floor_char_boundary(room / 3)];
    let tail = &text[text.ceil_char_boundary(text.len() - (room - room / 3))..];
    let left_out = text.len() - head.len() - tail.len();
    let line_break = if text.contains('\n') { "\n" } else { " " };
    format!("{head}{line_break}… {left_out} bytes left out …{line_break}{tail}")
}

/// A number with its noun: `1 case`, `2 cases`.
pub(super) fn counted(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

/// Names, as many as a sentence bears.
pub(super) fn names<'a>(names: impl IntoIterator<Item = &'a str>, most: usize) -> String {
    let names: Vec<&str> = names.into_iter().collect();
    let shown = names[..names.len().min(most)].join(", ");
    match names.len().saturating_sub(most) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// A duration in seconds, to the millisecond: `4.021s`.
pub(super) fn seconds(duration_ms: u64) -> String {
    format!("{:.3}s", Duration::from_millis(duration_ms).as_secs_f64())
}

/// A duration as a reader says it: `0.5 s`, `2 min 13 s`, `1 h 4 min`.
pub(super) fn spoken(duration_ms: u64) -> String {
    let seconds = duration_ms / 1000;
    match seconds {
        0..60 => format!("{}.{} s", seconds, duration_ms % 1000 / 100),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// A command line that a reader can paste into a shell.
pub(super) fn shell(command: &[String]) -> String {
    command.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ")
}

fn quoted(word: &str) -> String {
    let is_plain =
        |character: char| character.is_ascii_alphanumeric() || "_-./:=,@%+".contains(character);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_terminals_breaks_xml_or_deceives_is_taken_out() {
        let nasty = "\u{1b}[31mred\u{1b}[0m\r\nbell\u{7}nul\0 \u{202e}olleh\u{fffe}\u{9b}2J\ttab";
        assert_eq!(block(nasty, 100), "red\nbellnul olleh\ttab");
        assert_eq!(line("a\n  b\r\n\tc\u{1b}]0;title\u{7}", 100), "a b c");
    }

    #[test]
    fn a_long_text_keeps_head_and_tail_within_the_limit() {
        let text = format!("first\n{}\nlast", "ä".repeat(1_000_000));
        let short = block(&text, OUTPUT_LIMIT);
        assert!(short.len() <= OUTPUT_LIMIT, "{}", short.len());
        assert!(short.starts_with("first\n") && short.ends_with("ä\nlast"));
        assert!(short.contains("bytes left out"));
        assert_eq!(bounded("short", 5), "short");
    }

    #[test]
    fn a_command_line_can_be_pasted() {
        let words = ["sh", "-c", "echo 'a b'", ""].map(str::to_owned);
        assert_eq!(shell(&words), r"sh -c 'echo '\''a b'\''' ''");
    }

    #[test]
    fn durations_and_counts_read_well() {
        assert_eq!(
            [spoken(512), spoken(133_000), spoken(3_840_000)],
            ["0.5 s", "2 min 13 s", "1 h 4 min"]
        );
        assert_eq!([counted(1, "case"), counted(0, "case")], ["1 case", "0 cases"]);
        assert_eq!(names(["a", "b", "c"], 2), "a, b and 1 more");
    }
}
