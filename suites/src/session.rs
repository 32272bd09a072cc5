//! A run from a connection to an outcome: what the command and `cargo test` have in common.

use futures::Stream;
use harness::{
    Error, Result,
    cluster::Cluster,
    engine::{
        self, Case, Profile, RunConfig,
        plan::{Plan, Selection},
    },
    facts::{self, Facts, Flavour, requirement::ReadyWorkspaceOperator},
    sandbox::{self, Scc, rbac},
    verdict::{Outcome, event::Event},
};

/// A plan that is ready to run against a cluster. Nothing was written yet.
pub struct Session {
    cluster: Cluster,
    facts: Facts,
    plan: Plan,
    config: RunConfig,
}

impl Session {
    /// Reads the cluster's facts, makes the plan, and asks whether the caller may begin it.
    ///
    /// # Errors
    ///
    /// A cluster that can't be reached, does not let the caller in, or does not give it the rights
    /// that a run needs.
    pub async fn prepare(
        cluster: Cluster,
        cases: &[Case],
        selection: Selection,
        config: RunConfig,
    ) -> Result<Self> {
        let mut config = config;
        let mut facts = facts::gather(&cluster).await?;
        if let Some(chosen) = config.devices.clone() {
            facts.device_route = chosen.fact(&facts.runtimes());
        }
        config.sandbox.scc = scc_for(&facts, config.sandbox.scc)?;
        let profile = selection.profile.unwrap_or_else(|| Profile::of_cluster(&facts));
        let picked = Selection { profile: Some(profile), ..selection }.pick(cases);
        // Against the registry, not `cases`: under `cargo test` these are picked already.
        let whole = crate::cases().iter().filter(|case| profile.has(case)).count();
        let is_part = picked.len() < whole;
        let plan = Plan::new(picked, &facts, config.tries_blocked);
        let plan = plan.of_profile(profile.name(), is_part);
        let plan = if config.node_access { plan } else { plan.without_node_access() };
        if plan.runnable().next().is_some() {
            let makes_workspaces = plan.live().any(Case::needs::<ReadyWorkspaceOperator>);
            let flavour = facts.flavour.value().copied().unwrap_or(Flavour::Kubernetes);
            let needed = rbac::of_run_with(flavour, makes_workspaces);
            rbac::review(&cluster, &needed, &sandbox::namespace_of(&config.sandbox.run)).await?;
        }
        Ok(Self { cluster, facts, plan, config })
    }

    /// Whether a case is in the plan: of those that were given, the profile takes its own.
    #[must_use]
    pub fn plans(&self, case: &Case) -> bool {
        self.plan.entries.iter().any(|entry| entry.case.id == case.id)
    }

    /// Runs the plan; see [`engine::run`].
    pub async fn run(
        self,
        signals: impl Stream<Item = u8> + Unpin,
        observe: impl FnMut(&Event),
    ) -> Outcome {
        let Self { cluster, facts, plan, config } = self;
        engine::run(&cluster, facts, plan, config, signals, observe).await
    }
}

/// The SCC of the run, where pods are admitted by one.
fn scc_for(facts: &Facts, given: Option<Scc>) -> Result<Option<Scc>> {
    match (facts.flavour.value(), given) {
        (Some(Flavour::OpenShift | Flavour::MicroShift), None) => {
            let crate::fixtures::SccText { file, text } = crate::fixtures::NESTED_PODMAN;
            Scc::parse(file, text).map(Some)
        }
        (Some(Flavour::Kubernetes), Some(_)) => {
            Err(Error::usage("this cluster admits no pods by SCCs")
                .with_hint("leave `--scc` out, or choose a cluster of OpenShift or MicroShift"))
        }
        (_, given) => Ok(given),
    }
}
