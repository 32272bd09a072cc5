//! What is unmet on a cluster, by its facts, and what failed in a run, by its causes.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::Serialize;

use super::access;
use crate::{
    base::text::{bound, one_line},
    facts::{
        CheCluster, DevSpaces, Fact, Facts, FaultyObject, Finding, GLOBAL_CONFIG, PodSettings,
        Rollout, Severity, Switch, WorkspaceConfig,
        requirement::{Decision, DefaultStorageClass, Requirement},
        support::{REMEDY_OF_UNKNOWN, REQUIREMENTS, Support},
    },
    verdict::{Cause, Repair, Verdict, event::CaseFinished},
};

/// The most that is repeated of a text.
const LIMIT: usize = 1000;

/// Something that is unmet or failed.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize)]
pub struct Problem {
    /// What is wrong, on one line.
    pub wrong: String,
    /// Where that was read, on one line.
    pub source: String,
    /// What would help, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The id of the cause in the report; none where a fact says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// The ids of the cases that it explains.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cases: Vec<String>,
    /// What has to change; nothing where only a person can tell.
    #[serde(skip)]
    pub needs: Vec<Need>,
}

/// Something that has to change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Need {
    /// A change that every cluster may need.
    Repair(Repair),
    /// The settings of the operators of workspaces.
    Workspaces(Box<WorkspaceObject>),
}

/// An object of the operators of workspaces, as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WorkspaceObject {
    /// A CheCluster, and the SCC that it names.
    CheCluster(CheCluster),
    /// A `DevWorkspaceOperatorConfig`.
    Config(WorkspaceConfig),
    /// The SCC of this name, which is missing, and the capabilities that workspaces add.
    Scc(String, Vec<String>),
}

impl Need {
    /// Its place among the changes.
    pub(super) fn rank(&self) -> u8 {
        match self {
            Self::Repair(repair) => *repair as u8,
            Self::Workspaces(_) => u8::MAX,
        }
    }

    pub(super) fn is_of_image(&self) -> bool {
        matches!(self, Self::Repair(repair) if super::image::is_of_image(*repair))
    }
}

impl Problem {
    fn new(wrong: &str, source: &str, hint: Option<&str>) -> Self {
        let line = |text: &str| bound(&one_line(text), LIMIT);
        Self {
            wrong: line(wrong),
            source: line(source),
            hint: hint.map(line),
            cause: None,
            cases: Vec::new(),
            needs: Vec::new(),
        }
    }

    fn needing(self, repairs: impl IntoIterator<Item = Repair>) -> Self {
        Self { needs: repairs.into_iter().map(Need::Repair).collect(), ..self }
    }

    pub(super) fn repairs(&self) -> impl Iterator<Item = Repair> {
        self.needs.iter().filter_map(|need| match need {
            Need::Repair(repair) => Some(*repair),
            Need::Workspaces(_) => None,
        })
    }

    pub(super) fn needs(&self, repair: Repair) -> bool {
        self.repairs().any(|needed| needed == repair)
    }
}

/// What failed, broke or was blocked in a run, by its causes. Known issues are left out: somebody
/// knows of them. `source` is the name of the report.
#[must_use]
pub fn of_causes<'a>(
    source: &str,
    causes: &[Cause],
    finished: impl IntoIterator<Item = &'a CaseFinished>,
) -> Vec<Problem> {
    let bad: BTreeSet<_> = finished
        .into_iter()
        .filter(|case| {
            matches!(
                case.verdict,
                Verdict::Fail { .. } | Verdict::Blocked { .. } | Verdict::Error { .. }
            )
        })
        .map(|case| case.id.as_str())
        .collect();
    let of_cause = |cause: &Cause| {
        let ids = cause.cases.iter().filter(|id| bad.contains(id.as_str()));
        let ids: Vec<_> = ids.cloned().collect();
        (!ids.is_empty()).then(|| Problem {
            cause: Some(cause.id.clone()),
            cases: ids,
            ..Problem::new(&cause.wrong, source, cause.fix.as_deref())
                .needing(cause.repairs.iter().copied())
        })
    };
    causes.iter().filter_map(of_cause).collect()
}

/// What is unmet on a cluster. While it is being changed, that alone is said of it.
#[must_use]
pub fn of_facts(facts: &Facts, is_for_somebody: bool) -> Vec<Problem> {
    if let Fact::Known { value: Rollout::InProgress { what }, source } = &facts.rollout {
        let hint = "wait until the cluster is at rest, then ask again";
        return what.iter().map(|what| Problem::new(what, source, Some(hint))).collect();
    }
    let mut problems = of_requirements(facts);
    if problems.iter().any(|problem| problem.needs(Repair::Upgrade)) {
        return problems;
    }
    problems.extend(of_sccs(facts, is_for_somebody));
    problems.extend(of_devspaces(facts));
    if let Decision::Unmet { reason, remedy } = DefaultStorageClass.decide(facts) {
        problems.push(Problem::new(&reason, "StorageClasses", Some(&remedy)));
    }
    problems
}

fn of_requirements(facts: &Facts) -> Vec<Problem> {
    let mut problems: Vec<Problem> = Vec::new();
    let concern = |requirement: &&dyn Requirement| requirement.concerns(facts);
    for requirement in REQUIREMENTS.iter().map(|(_, requirement)| *requirement).filter(concern) {
        let described = requirement.describe();
        match (requirement.decide(facts), requirement.unknown(facts)) {
            (Decision::Unmet { reason, remedy }, _) => {
                let problem = Problem::new(&reason, &described, Some(&remedy));
                problems.push(problem.needing(requirement.repairs(facts)));
            }
            // One refusal may hide several facts.
            (Decision::Met, Some(unknown))
                if !problems.iter().any(|problem| problem.wrong == one_line(&unknown)) =>
            {
                problems.push(Problem::new(&unknown, &described, Some(REMEDY_OF_UNKNOWN)));
            }
            (Decision::Met, _) => {}
        }
    }
    problems
}

/// Whether users have an SCC for nested containers. Whether somebody may use it was not read.
fn of_sccs(facts: &Facts, is_for_somebody: bool) -> Option<Problem> {
    let (Some(true), Fact::Known { value: sccs, source }) = (facts.scc_schema.value(), &facts.sccs)
    else {
        return None;
    };
    let problem = match (access::fitting_scc(sccs), is_for_somebody) {
        (Some(_), false) => return None,
        (Some(name), true) => Problem::new(
            &format!(
                "the user needs a role to use the SCC `{name}`; whether one does was not read"
            ),
            source,
            None,
        ),
        (None, _) => Problem::new(
            "no SCC of the cluster lets pods of ordinary users have nested containers",
            source,
            Some("create one like `nested-container`, which OpenShift 4.20 ships"),
        ),
    };
    Some(problem.needing([Repair::Scc]))
}

fn of_devspaces(facts: &Facts) -> Vec<Problem> {
    let support = Support::of(facts);
    let flavour = facts.flavour.value().copied();
    let findings = facts.devspaces.findings(&support, flavour, &facts.sccs, &facts.runtimes());
    let is_wrong = |finding: &Finding| {
        finding.severity != Severity::Note || finding.object == Some(FaultyObject::Nothing)
    };
    let problem = |finding: Finding| {
        let source = "settings of the operators of workspaces";
        let needs = finding.object.as_ref().and_then(|it| object(&facts.devspaces, it));
        Problem {
            needs: needs.map(|it| Need::Workspaces(Box::new(it))).into_iter().collect(),
            ..Problem::new(&finding.finding, source, Some(&finding.remedy))
        }
    };
    findings.into_iter().filter(is_wrong).map(problem).collect()
}

fn object(devspaces: &DevSpaces, faulty: &FaultyObject) -> Option<WorkspaceObject> {
    let che = devspaces.che.value().map(Vec::as_slice).unwrap_or_default();
    let configs = devspaces.configs.value().map(Vec::as_slice).unwrap_or_default();
    match faulty {
        FaultyObject::CheCluster(name) => che
            .iter()
            .find(|it| it.namespace == name.namespace && it.name == name.name)
            .map(|it| WorkspaceObject::CheCluster(it.clone())),
        FaultyObject::Config(name) => configs
            .iter()
            .find(|it| it.namespace == name.namespace && it.name == name.name)
            .map(|it| WorkspaceObject::Config(it.clone())),
        FaultyObject::Scc(name) => {
            let run = che.iter().find_map(|it| match &it.run {
                Switch::On(run) if run.scc.as_ref() == Some(name) => Some(run),
                _ => None,
            })?;
            Some(WorkspaceObject::Scc(name.clone(), run.pods.capabilities.clone()))
        }
        FaultyObject::Nothing => match (che.first(), devspaces.operator.value()) {
            (Some(it), _) => Some(WorkspaceObject::CheCluster(it.clone())),
            (None, Some(operator)) => Some(WorkspaceObject::Config(
                // The operator takes this one for every workspace.
                global_config(configs, &operator.namespace),
            )),
            (None, None) => None,
        },
    }
}

/// The configuration that the operator takes for every workspace, as it is or as it would be made.
fn global_config(configs: &[WorkspaceConfig], namespace: &str) -> WorkspaceConfig {
    let is_global = |it: &&WorkspaceConfig| it.name == GLOBAL_CONFIG && it.namespace == namespace;
    configs.iter().find(is_global).cloned().unwrap_or_else(|| WorkspaceConfig {
        namespace: namespace.to_owned(),
        name: GLOBAL_CONFIG.to_owned(),
        host_users: None,
        pods: PodSettings::default(),
    })
}
