//! The run as a statement of in-toto about the image, with the predicate of test results, to be signed
//! and attached to the image. The forms are those of <https://github.com/in-toto/attestation>:
//! `spec/v1/statement.md` and `spec/predicates/test-result.md`.

use std::collections::BTreeMap;

use serde::Serialize;

use super::model::Report;
use crate::{
    Error, Result,
    verdict::{Level, Outcome, Verdict, event::CaseFinished},
};

/// What a digest of SHA-256 begins with, in image references.
const SHA256: &str = "sha256:";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Statement<'a> {
    #[serde(rename = "_type")]
    kind: &'static str,
    subject: [Subject<'a>; 1],
    predicate_type: &'static str,
    predicate: Predicate<'a>,
}

#[derive(Serialize)]
struct Subject<'a> {
    name: &'a str,
    digest: Digest<'a>,
}

#[derive(Serialize)]
struct Digest<'a> {
    sha256: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Predicate<'a> {
    result: &'static str,
    configuration: [Configuration<'a>; 1],
    passed_tests: Vec<String>,
    warned_tests: Vec<String>,
    failed_tests: Vec<String>,
}

/// How the tests were run, as a resource descriptor.
#[derive(Serialize)]
struct Configuration<'a> {
    name: &'static str,
    annotations: BTreeMap<&'a str, &'a str>,
}

/// The run as a statement about the image whose digest ran. `PASSED` is a whole conformant run,
/// `WARNED` a partial one or one of selected cases, and `FAILED` every other.
///
/// # Errors
///
/// A log that does not say which image ran: a statement needs its digest.
pub fn in_toto(report: &Report) -> Result<String> {
    let mut image_ids: Vec<_> =
        report.steps.iter().filter_map(|step| step.image_id.as_deref()).collect();
    image_ids.sort_unstable();
    image_ids.dedup();
    if image_ids.len() > 1 {
        let message = format!(
            "more than one image ran, and a statement is about one: {}",
            image_ids.join(", ")
        );
        return Err(Error::usage(message).with_hint("name the image by its digest with `--image`"));
    }
    let image_id = image_ids.first().copied();
    let (name, sha256) = image_id.and_then(digest).ok_or_else(|| {
        Error::usage("the log does not say which image ran, and a statement needs its digest")
            .with_hint("run cases with pods, such as POD-03, against an image of a registry")
    })?;
    let run = report.run.as_ref();
    let name = if name.is_empty() { run.map_or("image", |run| run.image.as_str()) } else { name };
    let (mut passed, mut warned, mut failed) = (Vec::new(), Vec::new(), Vec::new());
    for case in &report.cases {
        let list = match weight(&case.case) {
            Some(Weight::Passed) => &mut passed,
            Some(Weight::Warned) => &mut warned,
            Some(Weight::Failed) => &mut failed,
            None => continue,
        };
        list.push(format!("{} {}", case.case.id, case.case.name));
    }
    let mut annotations: BTreeMap<&str, &str> = BTreeMap::new();
    if let Some(run) = run {
        let facts = run.cluster.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        annotations.extend(facts);
        annotations.extend([
            ("run", run.run.as_str()),
            ("profile", &run.profile),
            ("nestcheck", &run.version),
        ]);
    }
    let statement = Statement {
        kind: "https://in-toto.io/Statement/v1",
        subject: [Subject { name, digest: Digest { sha256 } }],
        predicate_type: "https://in-toto.io/attestation/test-result/v0.1",
        predicate: Predicate {
            result: result(report),
            configuration: [Configuration { name: "nestcheck", annotations }],
            passed_tests: passed,
            warned_tests: warned,
            failed_tests: failed,
        },
    };
    serde_json::to_string_pretty(&statement)
        .map(|text| text + "\n")
        .map_err(|error| Error::infrastructure(format!("can't write JSON: {error}")))
}

fn result(report: &Report) -> &'static str {
    let is_part = report.run.as_ref().is_none_or(|run| run.is_part);
    match report.outcome {
        Some(Outcome::Conformant) if !is_part => "PASSED",
        Some(Outcome::Conformant | Outcome::Partial) => "WARNED",
        _ => "FAILED",
    }
}

enum Weight {
    Passed,
    Warned,
    Failed,
}

/// In which list a case is; none for one that is not applicable.
fn weight(case: &CaseFinished) -> Option<Weight> {
    match (&case.verdict, case.level) {
        (Verdict::NotApplicable { .. }, _) => None,
        (Verdict::Pass, _) => Some(Weight::Passed),
        (Verdict::Blocked { .. } | Verdict::KnownIssue { .. }, _) | (_, Level::Informing) => {
            Some(Weight::Warned)
        }
        (Verdict::Fail { .. } | Verdict::Error { .. } | Verdict::Interrupted, _) => {
            Some(Weight::Failed)
        }
    }
}

/// Repository and digest of an `imageID`, such as `registry.test/a@sha256:…` or `sha256:…`.
fn digest(image_id: &str) -> Option<(&str, &str)> {
    let (name, digest) = image_id.rsplit_once(SHA256)?;
    let is_digest = digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_digest.then(|| (name.trim_end_matches('@'), digest))
}
