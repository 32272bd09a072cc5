//! `nestcheck preflight`: what the cluster can do.

use std::fmt::Write;

use harness::{
    Error, Result,
    cluster::Cluster,
    facts::{self, Facts},
    outcome::Outcome,
    requirement::{Decision, Requirement},
};
use serde::Serialize;

use super::{
    arguments::{OutputFormat, PreflightArguments},
    print,
};

/// What is decided about the cluster, in the order in which it is told.
const REQUIREMENTS: [(&str, Requirement); 3] = [
    ("user namespaces for pods", Requirement::UserNamespaces),
    ("unmasked /proc", Requirement::UnmaskedProc),
    ("/dev/fuse and /dev/net/tun for pods", Requirement::Devices),
];

/// A requirement and what was decided, for programs.
#[derive(Serialize)]
struct Decided {
    requirement: &'static str,
    /// None where it could not be read.
    met: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
}

/// All that preflight has to say, for programs.
#[derive(Serialize)]
struct Preflight<'a> {
    schema: u32,
    supported: bool,
    requirements: Vec<Decided>,
    facts: &'a Facts,
}

pub(super) async fn execute(arguments: PreflightArguments) -> Result<u8> {
    let cluster = Cluster::connect(&arguments.cluster.into()).await?;
    let facts = facts::gather(&cluster).await?;
    let decided = decide(&facts);
    let supported = decided.iter().all(|decided| decided.met == Some(true));
    let text = match arguments.output {
        OutputFormat::Text => text(&facts, &decided, supported),
        OutputFormat::Json => {
            json(&Preflight { schema: 1, supported, requirements: decided, facts: &facts })?
        }
    };
    print(text.as_bytes())?;
    Ok(if supported { Outcome::Conformant } else { Outcome::Partial }.exit_code())
}

/// What to do where nothing can be said.
const REMEDY_OF_UNKNOWN: &str =
    "use a kubeconfig whose user may read it, or let `nestcheck run` try it in pods";

fn decide(facts: &Facts) -> Vec<Decided> {
    REQUIREMENTS
        .iter()
        .map(|(name, requirement)| match requirement.decide(facts) {
            Decision::Met => {
                let reason = requirement.unknown(facts);
                let met = reason.is_none().then_some(true);
                let remedy = reason.is_some().then(|| REMEDY_OF_UNKNOWN.to_owned());
                Decided { requirement: name, met, reason, remedy }
            }
            Decision::Unmet { reason, remedy } => Decided {
                requirement: name,
                met: Some(false),
                reason: Some(reason),
                remedy: Some(remedy),
            },
        })
        .collect()
}

fn text(facts: &Facts, decided: &[Decided], supported: bool) -> String {
    let mut text = String::new();
    // Writing to a string can't fail.
    for (name, value) in facts.summary() {
        let _ = writeln!(text, "{name:18} {value}");
    }
    text.push('\n');
    for decided in decided {
        let mark = match decided.met {
            Some(true) => "yes",
            Some(false) => "no",
            None => "?",
        };
        let _ = writeln!(text, "{mark:4} {}", decided.requirement);
        if let (Some(reason), Some(remedy)) = (&decided.reason, &decided.remedy) {
            let _ = writeln!(text, "     {reason}\n     hint: {remedy}");
        }
    }
    let verdict = if supported {
        "supported, as far as reading can tell; `nestcheck run` proves it"
    } else if decided.iter().any(|decided| decided.met == Some(false)) {
        "unsupported: nested containers can't work here as it is"
    } else {
        "not known: too little could be read to say whether nested containers can work here"
    };
    let _ = writeln!(text, "\n{verdict}");
    text
}

fn json(preflight: &Preflight<'_>) -> Result<String> {
    serde_json::to_string_pretty(preflight)
        .map(|text| text + "\n")
        .map_err(|error| Error::infrastructure(format!("failed to write JSON: {error}")))
}
