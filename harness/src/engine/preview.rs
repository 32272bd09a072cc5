//! What a run would do, without doing it: the plan with the verdicts that need no run, the objects that
//! it would create, and the permissions that it would use. Pure.

use std::collections::BTreeSet;

use jiff::Timestamp;
use schemars::{JsonSchema, Schema};
use serde::Serialize;

use super::{
    Case, CaseKind, RunConfig, finished,
    plan::{Entry, Plan},
    prove, stop,
};
use crate::{
    Result,
    base::{build, schema::schema_of},
    cluster::permission::{Need, Permission},
    diagnosis::Situation,
    facts::{Facts, requirement::ReadyWorkspaceOperator},
    sandbox::{PlannedObject, SandboxConfig, planned_objects},
    verdict::{
        Circumstances, ExpectationState, Level, Outcome, Verdict, decide, event::CaseFinished,
    },
};

/// The version of the format, which docs/reports.md explains.
const SCHEMA: u32 = 1;

/// What stands for the id of a run that does not exist.
const RUN: &str = "ID";

/// What a run would do.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct Preview {
    /// The version of the format.
    #[schemars(extend("const" = SCHEMA))]
    schema: u32,
    /// The best outcome that the run can have: that of a run in which each case passes that would run.
    outcome: Outcome,
    /// The exit code of that outcome, with which the dry run ends too.
    exit_code: u8,
    /// nestcheck's version.
    version: String,
    /// The profile's name.
    profile: String,
    /// Whether only some of the profile's cases are selected.
    is_part: bool,
    /// The image of the pods; left out where no pod would be created.
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<String>,
    /// How often the cases would run.
    iterations: u32,
    /// The cluster, as facts a reader wants at the top of a report: name and value.
    cluster: Vec<(String, String)>,
    /// The cases of the plan, in the order of the plan.
    cases: Vec<PlannedCase>,
    /// What would be created, with `ID` for the id of the run; what one case creates for itself is a
    /// limit.
    objects: Vec<PlannedObject>,
    /// The permissions that the run would use.
    permissions: Vec<PlannedPermission>,
}

/// A case of the plan.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct PlannedCase {
    /// The case's id.
    pub id: String,
    /// The case's name path, `suite::name`.
    pub name: String,
    /// The suite's name.
    pub suite: String,
    /// What the case asserts.
    pub title: String,
    /// How much it weighs.
    pub level: Level,
    /// Whether it would run. Otherwise the fields `verdict` and what that brings say what it comes to.
    pub runs: bool,
    /// The verdict that needs no run.
    #[serde(flatten)]
    pub verdict: Option<Verdict>,
    /// The names of the pods that it looks at; left out where there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pods: Vec<String>,
}

/// A permission that a run would use.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize)]
pub struct PlannedPermission {
    /// Verb and resource, as `kubectl auth can-i` takes them.
    pub permission: String,
    /// What the run would do with it.
    pub why: &'static str,
    /// Whether the run cannot begin without it; otherwise a fact stays unknown.
    pub required: bool,
    /// Whether the user has it.
    pub granted: bool,
}

impl PlannedPermission {
    fn new(permission: &Permission, lacking: &[Permission]) -> Self {
        Self {
            permission: permission.to_string(),
            why: permission.why,
            required: permission.need == Need::Run,
            granted: !lacking.contains(permission),
        }
    }
}

/// Generates the JSON Schema of `nestcheck run --dry-run -o json`.
#[must_use]
pub fn json_schema() -> Schema {
    schema_of::<Preview>("nestcheck: `nestcheck run --dry-run -o json`")
}

impl Preview {
    /// What a run of this plan would do. `needed` are the permissions that it would use, `lacking` those
    /// of them that the user does not have.
    ///
    /// # Errors
    ///
    /// A manifest of a pod template with a document that is not an object.
    pub fn new(
        facts: &Facts,
        plan: &Plan,
        config: &RunConfig,
        needed: &[Permission],
        lacking: &[Permission],
    ) -> Result<Self> {
        let situation = Situation::new(facts, Timestamp::now());
        let foreseen = foresee(facts, plan, config, &situation);
        let entries = plan.entries.iter().zip(&foreseen);
        let cases: Vec<_> = entries.map(|(entry, it)| planned_case(entry, it)).collect();
        let acts = cases.iter().any(|case| case.runs);
        let objects = if acts { objects(plan, config)? } else { Vec::new() };
        let permissions: Vec<_> =
            needed.iter().map(|permission| PlannedPermission::new(permission, lacking)).collect();
        let is_refused = permissions.iter().any(|it| it.required && !it.granted);
        let outcome = if acts && is_refused {
            Outcome::Error
        } else {
            best_outcome(foreseen, config, &situation)
        };
        Ok(Self {
            schema: SCHEMA,
            outcome,
            exit_code: outcome.exit_code(),
            version: build::version().to_owned(),
            profile: plan.profile.clone(),
            is_part: plan.is_part,
            image: objects.iter().find_map(|object| object.image.clone()),
            iterations: config.repeat,
            cluster: facts.summary(),
            cases,
            objects,
            permissions,
        })
    }

    /// The best outcome that the run can have.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// The profile's name.
    #[must_use]
    pub fn profile(&self) -> &str {
        &self.profile
    }

    /// How often the cases would run.
    #[must_use]
    pub fn iterations(&self) -> u32 {
        self.iterations
    }

    /// The cluster, as facts a reader wants at the top.
    #[must_use]
    pub fn cluster(&self) -> &[(String, String)] {
        &self.cluster
    }

    /// The cases, in the order of the plan.
    #[must_use]
    pub fn cases(&self) -> &[PlannedCase] {
        &self.cases
    }

    /// What would be created.
    #[must_use]
    pub fn objects(&self) -> &[PlannedObject] {
        &self.objects
    }

    /// The permissions that the run would use.
    #[must_use]
    pub fn permissions(&self) -> &[PlannedPermission] {
        &self.permissions
    }
}

/// A case as it would end if it passed where it would run, and whether it would run.
struct Foreseen {
    case: CaseFinished,
    runs: bool,
    /// Whether it acts in the cluster.
    is_live: bool,
}

/// Each case with the verdict that it has before anything runs, by the rules of a run.
fn foresee(facts: &Facts, plan: &Plan, config: &RunConfig, situation: &Situation) -> Vec<Foreseen> {
    let decide = |entry: &Entry| {
        let verdict = verdict(entry, facts);
        let runs = verdict.is_none();
        let mut case = finished(&entry.case, verdict.unwrap_or(Verdict::Pass), 0);
        if !runs {
            case.verdict = config.expectations.decide(situation, &case);
        }
        Foreseen { case, runs, is_live: matches!(entry.case.kind, CaseKind::Live(_)) }
    };
    let mut foreseen: Vec<_> = plan.entries.iter().map(decide).collect();
    let first = foreseen.iter().find(|it| !it.runs && stop::is_failure(&it.case));
    let stops = first.filter(|_| config.fail_fast).map(|it| stop::not_run(&it.case.id));
    if let Some(verdict) = stops {
        for it in foreseen.iter_mut().filter(|it| it.runs) {
            (it.case.verdict, it.runs) = (verdict.clone(), false);
        }
    }
    foreseen
}

/// The verdict that a case has without a run, if it has one.
fn verdict(entry: &Entry, facts: &Facts) -> Option<Verdict> {
    let result = entry.evaluate(facts)?;
    if result.verdict != Verdict::Pass {
        return Some(result.verdict);
    }
    let broken = result.checks.iter().filter(|check| !check.holds);
    let broken: BTreeSet<_> = broken.map(|check| check.name.clone()).collect();
    Some(prove((!result.checks.is_empty()).then_some(&broken)))
}

/// A case for whoever reads the dry run.
fn planned_case(entry: &Entry, foreseen: &Foreseen) -> PlannedCase {
    let Foreseen { case, runs, .. } = foreseen;
    let pods = entry.case.pods.iter().filter(|_| *runs).map(|template| template.name.to_owned());
    PlannedCase {
        id: case.id.clone(),
        name: case.name.clone(),
        suite: case.suite.clone(),
        title: case.title.clone(),
        level: case.level,
        runs: *runs,
        verdict: (!runs).then(|| case.verdict.clone()),
        pods: pods.collect(),
    }
}

fn objects(plan: &Plan, config: &RunConfig) -> Result<Vec<PlannedObject>> {
    let config = SandboxConfig { run: RUN.to_owned(), ..config.sandbox.clone() };
    let with_workspaces = plan.live().any(Case::needs::<ReadyWorkspaceOperator>);
    planned_objects(&config, &plan.templates(), with_workspaces)
}

/// The outcome if each case passes that would run.
fn best_outcome(foreseen: Vec<Foreseen>, config: &RunConfig, situation: &Situation) -> Outcome {
    let acts = foreseen.iter().any(|it| it.runs && it.is_live);
    let finished: Vec<_> = foreseen.into_iter().map(|it| it.case).collect();
    // An entry whose case would run may still be of use, but one that has expired is not.
    let mut expectations = config.expectations.report(situation, &finished, false);
    expectations.entries.retain(|entry| entry.state == ExpectationState::Expired);
    let circumstances = Circumstances {
        only_evaluated: !acts,
        expectations_fail: expectations.fails_run(),
        ..Circumstances::default()
    };
    decide(finished.iter().map(|case| (case.level, &case.verdict)), circumstances)
}

#[cfg(test)]
mod tests;
