//! `nestcheck preflight`: what the cluster can do.

use std::fmt::Write;

use harness::{
    Error, Result,
    base::{redact, schema::schema_of},
    cluster::Cluster,
    engine::Profile,
    facts::{
        self, Facts, Finding, Flavour, Severity, State,
        requirement::Decision,
        support::{self, REQUIREMENTS, Reason, Support},
    },
    sandbox::{Candidates, rbac},
    verdict::Outcome,
};
use schemars::{JsonSchema, Schema};
use serde::Serialize;

use super::{
    arguments::{ClusterArguments, OutputFormat, PreflightArguments},
    print, print_text,
};
use crate::fixtures::PROBES;

/// A requirement and what was decided, for programs.
#[derive(JsonSchema, Serialize)]
struct Decided {
    /// The requirement.
    requirement: &'static str,
    /// Whether it is met; null where it could not be read, or only a pod can tell.
    met: Option<bool>,
    /// Why it is not met, or not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// What would meet it.
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
}

/// What the operators of workspaces were told, and what that contradicts, for programs.
#[derive(JsonSchema, Serialize)]
struct ContainerRunReport {
    #[serde(flatten)]
    state: State,
    /// What contradicts what they were told.
    findings: Vec<Finding>,
}

/// All that preflight has to say, for programs.
#[derive(JsonSchema, Serialize)]
struct Preflight<'a> {
    /// The version of the format.
    #[schemars(extend("const" = SCHEMA))]
    schema: u32,
    /// Whether nested containers are supported here, as far as facts can tell.
    supported: bool,
    /// The decision with its reasons.
    support: &'a Support,
    /// The requirements that concern this flavour of cluster.
    requirements: Vec<Decided>,
    /// Facts that contradict each other, a sentence each.
    contradictions: Vec<String>,
    /// The setting of Dev Spaces that lets workspaces run containers, and what contradicts it.
    #[serde(rename = "toggle")]
    container_run: ContainerRunReport,
    /// What nestcheck read about the cluster, each with its source.
    facts: &'a Facts,
}

/// The version of the format, which docs/reports.md explains.
const SCHEMA: u32 = 1;

/// What to do where only a pod can tell.
const REMEDY_OF_UNTRIED: &str =
    "`nestcheck run` tries it (ISO-04); `--devices ROUTE` chooses another way";

/// Generates the JSON Schema of `nestcheck preflight -o json`.
#[must_use]
pub fn json_schema() -> Schema {
    schema_of::<Preflight<'_>>("nestcheck: `nestcheck preflight -o json`")
}

pub(super) async fn execute(arguments: PreflightArguments) -> Result<u8> {
    if let Some(user) = arguments.print_rbac {
        let flavour = flavour_of(arguments.profile, arguments.cluster).await?;
        let objects = match arguments.namespace {
            Some(namespace) => {
                let user = (user != rbac::ACCOUNT).then_some(user);
                rbac::objects_in_namespace(flavour, &namespace, user.as_deref())
            }
            None => rbac::objects(flavour, &user, &arguments.with),
        };
        return print_text(&objects?);
    }
    let cluster = Cluster::connect(&arguments.cluster.into()).await?;
    let mut facts = facts::gather_in(&cluster, arguments.namespace.as_deref()).await?;
    if let Some(chosen) = arguments.devices {
        facts.device_route = chosen.fact(&facts.runtimes());
    }
    let support = Support::of(&facts);
    let supported = support.is_supported();
    let flavour = facts.flavour.value().copied();
    let preflight = Preflight {
        schema: SCHEMA,
        supported,
        support: &support,
        requirements: decide(&facts).into_iter().chain(lack_of_probe(&facts)).collect(),
        contradictions: support::contradictions(&facts),
        container_run: ContainerRunReport {
            state: facts.devspaces.state(),
            findings: facts.devspaces.findings(&support, flavour, &facts.sccs, &facts.runtimes()),
        },
        facts: &facts,
    };
    match arguments.output {
        OutputFormat::Text => print_text(&text(&preflight))?,
        OutputFormat::Json => print(redact::clean_document(&preflight)?.as_bytes())?,
    };
    Ok(if supported { Outcome::Conformant } else { Outcome::Partial }.exit_code())
}

/// What kind of cluster the rights are for: the profile's, or else what the cluster is.
async fn flavour_of(profile: Option<Profile>, cluster: ClusterArguments) -> Result<Flavour> {
    match profile {
        Some(Profile::OpenShift | Profile::AsConfigured) => Ok(Flavour::OpenShift),
        Some(Profile::MicroShift) => Ok(Flavour::MicroShift),
        Some(Profile::Kubernetes) => Ok(Flavour::Kubernetes),
        Some(Profile::Smoke | Profile::Inside) | None => {
            let facts = facts::gather(&Cluster::connect(&cluster.into()).await?).await?;
            facts.flavour.value().copied().ok_or_else(|| {
                Error::infrastructure("failed to find out what kind of cluster it is")
                    .with_hint("say it with `--profile openshift`, `microshift` or `kubernetes`")
            })
        }
    }
}

/// Decides what the facts say something about: a cluster without SCCs need not hear of
/// them.
fn decide(facts: &Facts) -> Vec<Decided> {
    let applicable = REQUIREMENTS.iter().filter(|(_, requirement)| requirement.concerns(facts));
    applicable
        .map(|(name, requirement)| match requirement.decide(facts) {
            Decision::Met => {
                let unknown = requirement.unknown(facts).map(|it| (it, support::REMEDY_OF_UNKNOWN));
                let open = unknown
                    .or_else(|| requirement.to_be_tried(facts).map(|it| (it, REMEDY_OF_UNTRIED)));
                let met = open.is_none().then_some(true);
                let (reason, remedy) = open.unzip();
                Decided { requirement: name, met, reason, remedy: remedy.map(str::to_owned) }
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

/// What no setting of the cluster changes: no node has an architecture with a probe.
fn lack_of_probe(facts: &Facts) -> Option<Decided> {
    let probes = PROBES.iter().map(|probe| probe.architecture).collect();
    let candidates = Candidates { nodes: &facts.nodes, selected: None, probes };
    candidates.choose().err().map(|error| Decided {
        requirement: "a probe for the nodes",
        met: Some(false),
        reason: Some(error.to_string()),
        remedy: error.hint().map(str::to_owned),
    })
}

fn text(preflight: &Preflight<'_>) -> String {
    let mut text = String::new();
    // Writing to a string can't fail.
    for (name, value) in preflight.facts.summary() {
        let _ = writeln!(text, "{name:18} {value}");
    }
    text.push('\n');
    // Often one thing helps against several.
    let mut reported: Vec<&str> = Vec::new();
    for decided in &preflight.requirements {
        let mark = match decided.met {
            Some(true) => "yes",
            Some(false) => "no",
            None => "?",
        };
        let _ = writeln!(text, "{mark:4} {}", decided.requirement);
        if let (Some(reason), Some(remedy)) = (&decided.reason, &decided.remedy) {
            let _ = writeln!(text, "     {reason}");
            if !reported.contains(&remedy.as_str()) {
                let _ = writeln!(text, "     hint: {remedy}");
                reported.push(remedy);
            }
        }
    }
    for contradiction in &preflight.contradictions {
        let _ = writeln!(
            text,
            "!    {contradiction}\n     hint: find out which of the two is wrong; what the cluster \
             does counts most here"
        );
    }
    for Finding { severity, finding, remedy, .. } in &preflight.container_run.findings {
        let mark = if *severity == Severity::Note { "" } else { "!" };
        let _ = writeln!(text, "{mark:4} {severity}: {finding}\n     hint: {remedy}");
    }
    let _ = writeln!(text, "\n{}", sentence(preflight.support));
    if let Support::Inconclusive { reasons, rollout: true } = preflight.support {
        for Reason { reason, .. } in reasons {
            let _ = writeln!(text, "     {reason}");
        }
        if let Some(Reason { remedy, .. }) = reasons.first() {
            let _ = writeln!(text, "     hint: {remedy}");
        }
    }
    text
}

fn sentence(support: &Support) -> String {
    match support {
        Support::Supported => {
            "supported, as far as reading can tell; `nestcheck run` proves it".to_owned()
        }
        Support::SupportedNotUpgradable { why } => format!(
            "supported, as far as reading can tell, but not upgradable: {why}; `nestcheck run` \
             proves it"
        ),
        Support::Unsupported { .. } => {
            "unsupported: nested containers can't work here as it is".to_owned()
        }
        Support::Inconclusive { rollout: true, .. } => {
            "inconclusive: the cluster is being changed, so what was read holds for now only"
                .to_owned()
        }
        Support::Inconclusive { .. } => "not known: too little could be read to say whether \
                                         nested containers can work here"
            .to_owned(),
    }
}
