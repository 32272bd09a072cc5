//! What may become part of an event, a report, a log or a message: text from pods and servers is
//! untrusted, and what opens a door must not leave this process at all.
//!
//! Three nets lie behind each other. [`Redacted`] is the type of what an event holds, so a text
//! that was not cleaned can't get into one. [`clean`] takes out what was [learnt to be
//! secret](keep_secret) in this process, such as the kubeconfig's token, wherever it turns up. And
//! it takes out what looks like a secret by its form, whoever it belongs to.

mod known;
mod patterns;

use std::{borrow::Cow, ops::Deref};

pub use known::keep_secret;
use serde::{Deserialize, Deserializer, Serialize};

use super::text;

/// The most that an event keeps of one stream of a command, in bytes.
pub const STREAM_LIMIT: usize = 16 * 1024;

/// The most that an event keeps of one argument of a command, in bytes.
const ARGUMENT_LIMIT: usize = 4096;

/// The most that any other text of an event has, in bytes.
const TEXT_LIMIT: usize = 64 * 1024;

/// Makes bytes from a pod fit for an event: valid UTF-8 without terminal sequences and control
/// characters, bounded to
/// `limit` bytes with the middle left out, and without secrets.
#[must_use]
pub fn clean(bytes: &[u8], limit: usize) -> String {
    let text = String::from_utf8_lossy(bytes);
    let text = text::harmless(&text);
    // Before it is bounded: half a secret would not be known for one.
    text::bound(&without_secrets(&text), limit)
}

/// Makes a text fit to be shown, however long it is.
#[must_use]
pub fn clean_text(text: &str) -> String {
    clean(text.as_bytes(), usize::MAX)
}

/// Makes the texts of a JSON document fit to be shown.
pub fn clean_json(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::String(text) => *text = clean_text(text),
        serde_json::Value::Array(items) => items.iter_mut().for_each(clean_json),
        serde_json::Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    // By itself the value would not be known for a secret.
                    serde_json::Value::String(text) if patterns::names_secret(name) => {
                        patterns::REDACTED.clone_into(text);
                    }
                    other => clean_json(other),
                }
            }
        }
        serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::Number(_) => {}
    }
}

/// Writes a document as JSON for programs that print it, with texts that are fit to be shown.
///
/// # Errors
///
/// None in practice: the document is written as JSON.
pub fn clean_document(document: &impl Serialize) -> crate::Result<String> {
    let text = serde_json::to_value(document).and_then(|mut document| {
        clean_json(&mut document);
        serde_json::to_string_pretty(&document)
    });
    text.map(|text| text + "\n")
        .map_err(|error| crate::Error::infrastructure(format!("failed to write JSON: {error}")))
}

/// Makes the arguments of a command fit for an event. What follows an option such as `--password`
/// is a secret whatever it looks like.
#[must_use]
pub fn clean_arguments(arguments: &[String], limit: usize) -> Vec<String> {
    let mut arguments = arguments.to_vec();
    each_argument(&mut arguments, &mut |kind, text| *text = kind.clean(text, limit));
    arguments
}

/// Calls `change` with each argument of a command, and says which are secrets.
pub fn each_argument(arguments: &mut [String], change: &mut dyn FnMut(TextKind, &mut String)) {
    let mut kind = TextKind::Argument;
    for argument in arguments {
        let names_secret = argument.strip_prefix("--").is_some_and(patterns::names_secret);
        let next = if names_secret { TextKind::Secret } else { TextKind::Argument };
        change(std::mem::replace(&mut kind, next), argument);
    }
}

fn without_secrets(text: &str) -> Cow<'_, str> {
    match known::without(text) {
        Cow::Borrowed(text) => patterns::without(text),
        Cow::Owned(text) => Cow::Owned(patterns::without(&text).into_owned()),
    }
}

/// How a text of an event is to be read, which decides how much of it a report shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextKind {
    /// A name: one short line.
    Name,
    /// One line.
    Line,
    /// A message, which may span lines.
    Block,
    /// An argument of a command.
    Argument,
    /// An argument that follows an option such as `--password`.
    Secret,
    /// What a command wrote.
    Stream,
}

impl TextKind {
    /// The most that an event keeps of a text, in bytes.
    fn limit(self) -> usize {
        match self {
            Self::Name | Self::Line | Self::Block => TEXT_LIMIT,
            Self::Argument | Self::Secret => ARGUMENT_LIMIT,
            Self::Stream => STREAM_LIMIT,
        }
    }

    fn clean(self, text: &str, limit: usize) -> String {
        match self {
            Self::Secret => patterns::REDACTED.to_owned(),
            _ => clean(text.as_bytes(), limit),
        }
    }
}

/// What consists of texts, each of which can be replaced.
pub trait Texts {
    /// Calls `change` with each text.
    fn each(&mut self, change: &mut dyn FnMut(TextKind, &mut String));
}

/// Something whose every text was [cleaned](clean). It can't be made, nor read back, in another way
/// than by cleaning it, and it can't be changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Redacted<T>(T);

impl<T: Texts> From<T> for Redacted<T> {
    fn from(mut value: T) -> Self {
        value.each(&mut |kind, text| *text = kind.clean(text, kind.limit()));
        Self(value)
    }
}

impl<T> Redacted<T> {
    /// The value, to be changed.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> Deref for Redacted<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<'de, T: Texts + Deserialize<'de>> Deserialize<'de> for Redacted<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(deserializer).map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_and_escapes_lose_their_power() {
        assert_eq!(clean(b"a\x1b[31mred\x1b]0;x\x07\x00\r\nb\xff", 100), "ared\nb\u{fffd}");
        assert_eq!(clean_text("\u{202e}olleh\u{2069}\u{ffff}\u{9b}2J"), "olleh");
    }

    #[test]
    fn a_long_text_keeps_both_ends_and_says_what_is_missing() {
        let text = format!("begin{}end", "é".repeat(50_000));
        let bounded = clean(text.as_bytes(), 1000);
        assert!(bounded.starts_with("begin") && bounded.ends_with("end"));
        assert!(bounded.len() <= 1000 && bounded.contains("bytes left out"));
    }

    #[test]
    fn what_follows_a_secret_option_is_redacted() {
        let arguments = ["podman", "login", "--password", "canary", "host", "--token=canary"];
        let cleaned = clean_arguments(&arguments.map(str::to_owned), 100);
        let expected =
            ["podman", "login", "--password", "[redacted]", "host", "--token=[redacted]"];
        assert_eq!(cleaned, expected);
    }

    #[test]
    fn a_document_stays_one_without_its_secrets() {
        let mut document = serde_json::json!({
            "token": "canary", "list": ["password=canary"], "deep": {"say": "Bearer canary-1234"},
            "number": 1, "kept": "text",
        });
        clean_json(&mut document);
        let text = document.to_string();
        assert!(!text.contains("canary") && text.contains("\"kept\":\"text\""), "{text}");
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_made_fit(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..2000)) {
            let text = clean(&bytes, 64);
            proptest::prop_assert!(text.chars().all(text::is_harmless) && text.len() <= 64);
        }

        #[test]
        fn cleaning_twice_changes_nothing_more(text in "(password|token|Bearer|[a-z:=@\"' \\\\\n]|eyJ|\\PC){0,40}") {
            let once = clean_text(&text);
            proptest::prop_assert_eq!(clean_text(&once), once);
        }
    }
}
