//! What a replay has in the place of what a run had: names, addresses, and what commands print.

use std::sync::{PoisonError, RwLock};

use serde_json::Value;

use crate::steps::is_whole;

/// How long a text must be to stand for itself: a shorter one is in others by chance, as a word of
/// letters alone is.
const SHORTEST: usize = 7;

/// Pairs of texts, the run's and the replay's. A lock, because cases that run at once add to them
/// what others ask for.
#[derive(Debug, Default)]
pub(crate) struct Substitutions(RwLock<Vec<(String, String)>>);

impl Substitutions {
    /// Puts `new` in the place of `old` from now on; the last one counts.
    pub(crate) fn put(&self, old: &str, new: &str) {
        let mut pairs = self.0.write().unwrap_or_else(PoisonError::into_inner);
        pairs.retain(|(known, _)| known != old);
        if old != new {
            pairs.push((old.to_owned(), new.to_owned()));
            // What is part of another text comes after it.
            pairs.sort_by_key(|(old, _)| std::cmp::Reverse(old.len()));
        }
    }

    /// Puts what a command printed in the place of what it printed in the run, where that is a word
    /// by which something may be called.
    pub(crate) fn learn(&self, old: &str, new: &str) {
        let is_word = |text: &str| !text.is_empty() && !text.contains(char::is_whitespace);
        let is_unique = old.contains(|it: char| it.is_ascii_digit() || it == '/');
        if old.len() >= SHORTEST && is_unique && is_word(old) && is_word(new) {
            self.put(old, new);
        }
    }

    /// A text with all that is known put in its place. What was put there stays: a replay's address
    /// may have been another pod's in the run.
    pub(crate) fn apply(&self, text: &str) -> String {
        let pairs = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut applied = String::with_capacity(text.len());
        let mut position = 0;
        while let Some(character) = text[position..].chars().next() {
            let fits = |(old, _): &&(String, String)| {
                text[position..].starts_with(old.as_str()) && is_whole(text, position, old)
            };
            if let Some((old, new)) = pairs.iter().find(fits) {
                applied.push_str(new);
                position += old.len();
            } else {
                applied.push(character);
                position += character.len_utf8();
            }
        }
        applied
    }

    /// As [`Self::apply`], for all texts of a document.
    pub(crate) fn apply_to(&self, value: &mut Value) {
        match value {
            Value::String(text) => *text = self.apply(text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.apply_to(item)),
            Value::Object(fields) => fields.values_mut().for_each(|field| self.apply_to(field)),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn addresses_are_put_in_place_once_and_whole() {
        let known = Substitutions::default();
        known.put("10.85.0.3", "10.85.0.14");
        known.put("10.85.0.14", "10.85.0.20");
        let text = "http://10.85.0.3:80/ 10.85.0.35 110.85.0.3 10.85.0.14";
        assert_eq!(known.apply(text), "http://10.85.0.14:80/ 10.85.0.35 110.85.0.3 10.85.0.20");
    }

    #[test]
    fn the_last_and_the_longest_count_and_what_is_no_word_does_not() {
        let known = Substitutions::default();
        for (old, new) in [
            ("/tmp/tmp.x", "/tmp/tmp.y"),
            ("/tmp/tmp.x", "/tmp/tmp.z"),
            ("one two three", "four"),
            ("healthy", "starting"),
            ("short", "shorter"),
        ] {
            known.learn(old, new);
        }
        known.put("nestcheck-abc", "replay");
        known.put("nestcheck-abc-baseline", "base");
        let mut body = json!({"nestcheck-abc": ["nestcheck-abc", 7, "nestcheck-abc-baseline"]});
        known.apply_to(&mut body);
        assert_eq!(body, json!({"nestcheck-abc": ["replay", 7, "base"]}));
        let text = "/tmp/tmp.x one two three healthy short";
        assert_eq!(known.apply(text), "/tmp/tmp.z one two three healthy short");
    }
}
