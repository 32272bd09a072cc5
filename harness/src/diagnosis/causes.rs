//! What the cases of a run that did not pass have in common: each cause once. Pure.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use super::{Symptom, diagnose, missing_image::image_of};
use crate::{
    base::text::{bound, is_random_id, one_line},
    verdict::{Attribution, Cause, Level, Place, SignatureId, Verdict, event::CaseFinished},
};

/// The most of a message that a cause repeats as evidence.
const EXCERPT: usize = 300;

/// The most that a cause says of what is wrong: enough for several requirements that are not met.
const WRONG: usize = 800;

/// What is wrong where a run ended before a case did.
const CUT_SHORT: &str = "the run ended before the case did";

/// The length of the names that Kubernetes generates, and their letters (apimachinery,
/// `pkg/util/rand`).
const GENERATED: usize = 5;
const LETTERS_OF_GENERATED: &str = "bcdfghjklmnpqrstvwxz2456789";

/// The prefixes of names whose rest is generated.
const PREFIXES_OF_GENERATED: [&str; 2] = ["nestcheck-", "tmp."];

/// Finds the causes for which cases did not pass, the one that explains most core cases first, then
/// the one that explains most cases, and last what the options of the run are the reason for. Each of these cases has one cause; what passed or is not
/// applicable has none.
///
/// A case that ran several times may be among them several times. Then it has each of its causes; that it
/// was not run at another time explains nothing.
///
/// Failures of the same signature have one cause if the same is wrong. Other failures have one cause
/// if their messages differ only in numbers, ids, times, addresses and generated names.
#[must_use]
pub fn causes<'a>(cases: impl IntoIterator<Item = &'a CaseFinished>) -> Vec<Cause> {
    let mut cases: Vec<_> = cases.into_iter().collect();
    cases.sort_by(|a, b| a.id.cmp(&b.id));
    let found = cases.into_iter().filter_map(|case| Some((case, attribution(&case.verdict)?)));
    let found: Vec<_> = found.collect();
    let own = found.iter().filter(|(_, cause)| cause.place != Place::Nestcheck);
    let own: BTreeSet<_> = own.map(|(case, _)| case.id.as_str()).collect();
    let mut groups: BTreeMap<(String, String), Cause> = BTreeMap::new();
    for (case, Attribution { signature, wrong, place, fix, repairs }) in &found {
        if *place == Place::Nestcheck && own.contains(case.id.as_str()) {
            continue;
        }
        let name = signature.map_or_else(String::new, |id| id.to_string());
        let cause = groups.entry((name, key(*signature, wrong))).or_insert_with(|| Cause {
            id: String::new(),
            signature: *signature,
            wrong: excerpt(wrong, WRONG),
            place: *place,
            evidence: excerpt(case.verdict.message().unwrap_or(CUT_SHORT), EXCERPT),
            fix: None,
            repairs: Vec::new(),
            cases: Vec::new(),
            core: 0,
        });
        if cause.place == Place::Unknown {
            cause.place = *place;
        }
        cause.fix = cause.fix.take().or(fix.clone().filter(|fix| !fix.is_empty()));
        for repair in repairs {
            if !cause.repairs.contains(repair) {
                cause.repairs.push(*repair);
            }
        }
        if cause.cases.last() != Some(&case.id) {
            cause.core += usize::from(case.level == Level::Core);
            cause.cases.push(case.id.clone());
        }
    }
    let mut found = named(groups);
    found.sort_by(|a, b| order(a).cmp(&order(b)));
    found
}

/// Gives each cause its id.
fn named(groups: BTreeMap<(String, String), Cause>) -> Vec<Cause> {
    let mut named: BTreeMap<String, usize> = BTreeMap::new();
    for (name, _) in groups.keys() {
        *named.entry(name.clone()).or_default() += 1;
    }
    let causes = groups.into_iter().map(|((name, wrong), cause)| {
        let hash = hash(&wrong);
        let id = match named.get(&name) {
            _ if name.is_empty() => format!("C-{hash:08x}"),
            Some(1) => name,
            _ => format!("{name}-{hash:08x}"),
        };
        Cause { id, ..cause }
    });
    causes.collect()
}

/// Whether a cause is that of a verdict.
#[must_use]
pub fn is_cause_of(cause: &Cause, verdict: &Verdict) -> bool {
    attribution(verdict).is_some_and(|it| {
        it.signature == cause.signature
            && key(it.signature, &excerpt(&it.wrong, WRONG)) == key(cause.signature, &cause.wrong)
    })
}

/// The cause of a verdict among those of its case; the first where none is known to be.
pub fn cause_among<'a>(
    causes: impl IntoIterator<Item = &'a Cause>,
    verdict: Option<&Verdict>,
) -> Option<&'a Cause> {
    let causes: Vec<_> = causes.into_iter().collect();
    // Most cases have one.
    if let [only] = causes[..] {
        return Some(only);
    }
    let is_own = |cause: &&&Cause| verdict.is_some_and(|verdict| is_cause_of(cause, verdict));
    causes.iter().find(is_own).or(causes.first()).copied()
}

/// What is a choice of whoever runs nestcheck, such as `--fail-fast`, explains nothing about the cluster.
fn order(cause: &Cause) -> (bool, Reverse<usize>, Reverse<usize>, &str) {
    let is_choice = cause.place == Place::Nestcheck;
    (is_choice, Reverse(cause.core), Reverse(cause.cases.len()), &cause.id)
}

/// A cause by its id: a signature, the hash of what is wrong, or both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CauseKey {
    signature: Option<SignatureId>,
    /// None for each cause of the signature.
    hash: Option<u32>,
}

impl CauseKey {
    /// Understands the id of a cause as reports print it; none where no cause can have it.
    pub(super) fn parse(id: &str) -> Option<Self> {
        let (name, hash) = match id.split_once('-') {
            None => (id, None),
            Some((name, hash)) => {
                let is_hash = hash.len() == 8 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
                (name, Some(u32::from_str_radix(hash, 16).ok().filter(|_| is_hash)?))
            }
        };
        match (name, hash) {
            ("C", Some(_)) => Some(Self { signature: None, hash }),
            _ => Some(Self { signature: Some(SignatureId::parse(name)?), hash }),
        }
    }

    /// Whether this is the cause, or one of the causes of the signature.
    pub(super) fn includes(self, cause: &Attribution) -> bool {
        self.signature == cause.signature
            && self
                .hash
                .is_none_or(|expected| expected == hash(&key(cause.signature, &cause.wrong)))
    }
}

/// The id that only the cause of this verdict has, such as `F02-0123abcd`. Reports print `F02` where a
/// run has only one cause of the signature, which in a file of expectations stands for all of them.
#[must_use]
pub fn exact_cause(verdict: &Verdict) -> Option<String> {
    let Attribution { signature, wrong, .. } = attribution(verdict)?;
    let name = signature.map_or_else(|| "C".to_owned(), |id| id.to_string());
    Some(format!("{name}-{:08x}", hash(&key(signature, &wrong))))
}

/// What is known of why a case did not pass; none where it did, or says nothing of this cluster.
pub(super) fn attribution(verdict: &Verdict) -> Option<Attribution> {
    let of = |wrong: &str, fix: Option<&String>| Attribution {
        wrong: wrong.to_owned(),
        fix: fix.cloned(),
        ..Attribution::default()
    };
    Some(match verdict {
        Verdict::Pass | Verdict::NotApplicable { .. } => return None,
        Verdict::Fail { cause: Some(cause), .. }
        | Verdict::Blocked { cause: Some(cause), .. }
        | Verdict::KnownIssue { cause: Some(cause), .. } => Attribution::clone(cause),
        Verdict::Fail { message, hint, cause: None } => of(message, hint.as_ref()),
        Verdict::Blocked { reason, remedy, cause: None } => of(reason, Some(remedy)),
        Verdict::KnownIssue { signature, message, cause: None, .. } => {
            Attribution { signature: Some(*signature), ..of(message, None) }
        }
        Verdict::Error { message } => {
            let known = diagnose(Symptom::Error(message), None);
            known.map_or_else(|| of(message, None), |known| of_error(known.into(), message))
        }
        Verdict::Interrupted => of(CUT_SHORT, None),
    })
}

/// The cause of an error; which image is missing is part of it.
fn of_error(cause: Attribution, message: &str) -> Attribution {
    match image_of(message).filter(|_| cause.signature == Some(SignatureId::F55)) {
        Some(image) => Attribution { wrong: format!("{}: `{image}`", cause.wrong), ..cause },
        None => cause,
    }
}

/// What makes causes of a signature one. Images that differ in the number of their tag are two.
fn key(signature: Option<SignatureId>, wrong: &str) -> String {
    if signature == Some(SignatureId::F55) { one_line(wrong) } else { normalised(wrong) }
}

fn excerpt(text: &str, limit: usize) -> String {
    bound(&one_line(text), limit)
}

/// A message without what differs each time: numbers, ids, uids, times, addresses, generated names.
fn normalised(message: &str) -> String {
    let mut text = String::with_capacity(message.len());
    let mut rest = message;
    while let Some(first) = rest.chars().next() {
        let length = rest.find(|c: char| !c.is_alphanumeric()).unwrap_or(rest.len());
        if length == 0 {
            text.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        }
        let (word, after) = rest.split_at(length);
        if varies(word, &text) {
            // Numbers with only signs between them are one: an address, a time, a range.
            let signs = |c: char| matches!(c, '.' | ':' | ',' | '-' | '/' | '_');
            let before = text.trim_end_matches(signs);
            if before.ends_with('#') {
                text.truncate(before.len());
            } else {
                text.push('#');
            }
        } else {
            text.push_str(word);
        }
        rest = after;
    }
    one_line(&text)
}

/// Whether a word of a message is another one each time.
fn varies(word: &str, before: &str) -> bool {
    let is_generated = before.ends_with('-')
        && word.len() == GENERATED
        && word.chars().all(|c| LETTERS_OF_GENERATED.contains(c));
    let is_rest = PREFIXES_OF_GENERATED.iter().any(|prefix| before.ends_with(prefix));
    is_random_id(word) || is_generated || is_rest || word.chars().any(|c| c.is_ascii_digit())
}

/// FNV-1a, which is the same in each version and on each machine.
fn hash(text: &str) -> u32 {
    let step = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    text.bytes().fold(0x811c_9dc5, step)
}

#[cfg(test)]
mod tests;
