//! The tests as the contract lists them.

use std::collections::BTreeMap;

use clap::Args;
use harness::{
    engine::{Case, Profile},
    facts::Flavour,
    verdict::Level,
};
use serde::Serialize;
use serde_json::{Map, Value};

use super::names::{Frozen, name};
use crate::fixtures::PROBES;

/// What openshift-tests says about the cluster; it gives no kubeconfig with it. An argument that is
/// not given excludes nothing.
#[derive(Debug, Default, Args)]
pub(super) struct Environment {
    /// The topology, such as ha or microshift
    #[arg(long)]
    topology: Option<String>,
    /// The processors' architecture, such as amd64
    #[arg(long)]
    architecture: Option<String>,
    /// The version, as MAJOR.MINOR
    #[arg(long)]
    version: Option<String>,
    /// The platform; every test runs on every platform
    #[arg(long)]
    platform: Option<String>,
    /// The network; every test runs with every network
    #[arg(long)]
    network: Option<String>,
    /// The network's stack; every test runs with every stack
    #[arg(long)]
    network_stack: Option<String>,
    /// The upgrade before the test; every test runs after every upgrade
    #[arg(long)]
    upgrade: Option<String>,
    /// The kind of installation; every test runs on every kind
    #[arg(long)]
    installer: Option<String>,
    /// Whether the cluster reaches the Internet; no test needs it
    #[arg(long)]
    external_connectivity: Option<String>,
    /// Configurations that differ from the default; no test needs one
    #[arg(long)]
    config: Vec<String>,
    /// Optional capabilities; no test needs one
    #[arg(long)]
    optional_capability: Vec<String>,
    /// Facts, as NAME=VALUE; no test needs one
    #[arg(long)]
    fact: Vec<String>,
    /// API groups; the tests look themselves
    #[arg(long)]
    api_group: Vec<String>,
    /// Feature gates; the tests look themselves: newer releases do not list those that are locked on
    #[arg(long)]
    feature_gate: Vec<String>,
}

impl Environment {
    /// The kinds of cluster that fit.
    fn flavours(&self) -> &'static [Flavour] {
        match self.topology.as_deref() {
            None => &[Flavour::OpenShift, Flavour::MicroShift],
            Some("microshift") => &[Flavour::MicroShift],
            Some(_) => &[Flavour::OpenShift],
        }
    }

    /// Whether a case can run there: there is a probe for the nodes. 4.18 and older cannot run nested containers; the facts of a
    /// cluster, which `run-test` reads, decide about the others.
    fn has(&self, case: &Case) -> bool {
        let has_probe = |name: &str| PROBES.iter().any(|probe| probe.architecture == name);
        let is_built = self.architecture.as_deref().is_none_or(has_probe);
        let is_new_enough = self.version.as_deref().is_none_or(|it| !is_too_old(it));
        is_built
            && is_new_enough
            && self.flavours().iter().any(|flavour| Profile::of(*flavour).has(case))
    }
}

/// Whether a version, as `MAJOR.MINOR`, is older than 4.19. One that cannot be read is not.
fn is_too_old(version: &str) -> bool {
    let mut numbers = version.split('.').map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) < (4, 19),
        _ => false,
    }
}

/// A test.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Spec {
    pub(super) name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    original_name: Option<String>,
    /// A set, which Go writes as an object.
    labels: Map<String, Value>,
    tags: BTreeMap<&'static str, String>,
    resources: Resources,
    source: &'static str,
    pub(super) lifecycle: Lifecycle,
    environment_selector: EnvironmentSelector,
}

#[derive(Debug, Serialize)]
struct Empty {}

#[derive(Debug, Serialize)]
struct Resources {
    isolation: Empty,
    duration: String,
}

#[derive(Debug, Serialize)]
struct EnvironmentSelector {
    include: String,
}

/// Whether a failure fails the job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Lifecycle {
    Blocking,
    Informing,
}

impl Lifecycle {
    pub(super) fn of(level: Level) -> Self {
        match level {
            Level::Core | Level::Extended => Self::Blocking,
            Level::Informing => Self::Informing,
        }
    }
}

/// The tests that fit, by suite and id.
pub(super) fn specs(environment: &Environment) -> Vec<Spec> {
    let mut cases = crate::cases();
    cases.retain(|case| environment.has(case));
    cases.sort_by_key(|case| (case.suite, case.id));
    let frozen = Frozen::committed();
    cases.iter().map(|case| spec(case, &frozen)).collect()
}

/// The cases that can run on OpenShift or MicroShift.
pub(super) fn cases() -> Vec<Case> {
    let anywhere = Environment::default();
    crate::cases().into_iter().filter(|case| anywhere.has(case)).collect()
}

/// Whether a case is in the profile `smoke`.
pub(super) fn is_smoke(case: &Case) -> bool {
    Profile::Smoke.has(case)
}

fn spec(case: &Case, frozen: &Frozen) -> Spec {
    let labels = [case.suite, case.level.name()].into_iter();
    let labels = labels.chain(is_smoke(case).then_some("smoke"));
    Spec {
        name: name(case),
        original_name: frozen.original_name(case).map(str::to_owned),
        labels: labels.map(|label| (label.to_owned(), Value::Object(Map::new()))).collect(),
        tags: BTreeMap::from([("id", case.id.to_owned()), ("title", case.title.to_owned())]),
        resources: Resources {
            isolation: Empty {},
            duration: format!("{}s", case.expected.as_secs()),
        },
        source: "nestcheck",
        lifecycle: Lifecycle::of(case.level),
        environment_selector: EnvironmentSelector { include: selector(case) },
    }
}

/// Where a case can run, as a CEL expression.
fn selector(case: &Case) -> String {
    let names: Vec<_> = PROBES.iter().map(|it| format!("\"{}\"", it.architecture)).collect();
    let architecture = format!("architecture in [{}]", names.join(", "));
    let is_in = |flavour| Profile::of(flavour).has(case);
    match (is_in(Flavour::OpenShift), is_in(Flavour::MicroShift)) {
        (true, false) => format!("{architecture} && topology != \"microshift\""),
        (false, true) => format!("{architecture} && topology == \"microshift\""),
        _ => architecture,
    }
}

#[cfg(test)]
mod tests {
    use harness::facts::own_architecture;

    use super::*;

    fn listed(environment: &Environment) -> Vec<String> {
        specs(environment).into_iter().map(|spec| spec.name).collect()
    }

    #[test]
    fn a_cluster_gets_the_tests_that_can_run_on_it() {
        let some = |text: &str| Some(text.to_owned());
        let all = listed(&Environment::default());
        assert!(all.len() > 150, "{} tests", all.len());
        assert!(all.iter().all(|name| !name.contains("[Disruptive]")));
        let microshift = Environment { topology: some("microshift"), ..Environment::default() };
        let microshift = listed(&microshift);
        assert!(microshift.iter().any(|name| name.contains(" POD-03 ")));
        assert!(microshift.iter().all(|name| !name.contains(" WS-")), "{microshift:?}");
        for (version, is_empty) in [("4.18", true), ("4.19", false), ("5.0", false), ("x", false)] {
            let environment = Environment { version: some(version), ..Environment::default() };
            assert_eq!(listed(&environment).is_empty(), is_empty, "{version}");
        }
        for (architecture, is_empty) in [(own_architecture(), false), ("riscv64", true)] {
            let environment =
                Environment { architecture: some(architecture), ..Environment::default() };
            assert_eq!(listed(&environment).is_empty(), is_empty, "{architecture}");
        }
    }

    #[test]
    fn names_are_unique() {
        let mut names = listed(&Environment::default());
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
