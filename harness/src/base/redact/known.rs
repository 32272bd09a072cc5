//! Secrets that this process was given or has asked for.
//!
//! One set for the whole process, which nothing but [`super::clean`] reads: a token that was learnt
//! in one place must not be shown by any other, such as a log line of a library.

use std::{
    borrow::Cow,
    collections::BTreeSet,
    sync::{PoisonError, RwLock},
};

use super::patterns::REDACTED;

/// The shortest text that is taken for a secret: a shorter one occurs in places that have nothing
/// to do with it, and to take it out there would say what it is.
const SHORTEST: usize = 8;

static SECRETS: RwLock<BTreeSet<String>> = RwLock::new(BTreeSet::new());

/// From now on this text is shown nowhere. One of less than 8 bytes is not looked for.
pub fn keep_secret(secret: &str) {
    let secret = secret.trim();
    if secret.len() >= SHORTEST {
        let mut secrets = SECRETS.write().unwrap_or_else(PoisonError::into_inner);
        secrets.insert(secret.to_owned());
    }
}

pub(super) fn without(text: &str) -> Cow<'_, str> {
    let secrets = SECRETS.read().unwrap_or_else(PoisonError::into_inner);
    let mut text = Cow::Borrowed(text);
    // The longest first, lest a part of one leaves the rest of another behind.
    let mut secrets: Vec<&String> = secrets.iter().collect();
    secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    for secret in secrets {
        if text.contains(secret.as_str()) {
            text = Cow::Owned(text.replace(secret.as_str(), REDACTED));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_learnt_is_taken_out_wherever_it_is() {
        keep_secret("plain words of a secret\n");
        keep_secret("plain words of a secret, and more");
        keep_secret("short");
        let text = "so: plain words of a secret! plain words of a secret, and more; short";
        assert_eq!(without(text), "so: [redacted]! [redacted]; short");
    }
}
