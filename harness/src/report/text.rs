//! The length and the form of texts in reports.

use std::time::Duration;

use crate::{
    base::text::{bound, one_line},
    engine::Profile,
    verdict::event::RunStarted,
};

/// The most a report shows of one command's output, both streams together.
pub(super) const OUTPUT_LIMIT: usize = 8 * 1024;

/// The most a report shows of a message, a reason, a hint.
pub(super) const MESSAGE_LIMIT: usize = 4 * 1024;

/// The most a report shows of what a truth check expected or saw, or of a command line.
pub(super) const LINE_LIMIT: usize = 1024;

/// The most a report shows of a name.
pub(super) const NAME_LIMIT: usize = 256;

/// Whether the facts at the top of a report are about the machine of nestcheck itself, and not about a
/// cluster.
pub(super) fn is_inside(run: &RunStarted) -> bool {
    run.profile == Profile::Inside.name()
}

/// Bounds a text that may span lines.
pub(super) fn block(text: &str, limit: usize) -> String {
    bound(text.trim_end(), limit)
}

/// Bounds a text, and puts it on one line.
pub(super) fn line(text: &str, limit: usize) -> String {
    bound(&one_line(text), limit)
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
