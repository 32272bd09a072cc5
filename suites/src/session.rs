//! A run from a connection to an outcome: what the command and `cargo test` have in common.

use std::time::Duration;

use futures::Stream;
use harness::{
    Error, Result,
    cluster::Cluster,
    engine::{
        self, Case, Keep, Profile, RunOptions,
        evidence::Collector,
        plan::{Plan, Selection},
    },
    facts::{self, ChosenRoute, Facts, Flavour, requirement::ReadyWorkspaceOperator},
    sandbox::{self, File, Ledger, SandboxOptions, Scc, Timeouts, rbac},
    verdict::{Outcome, event::Event},
};

/// How a session is run.
#[derive(Clone, Debug)]
pub struct SessionOptions {
    /// The image of the pods.
    pub image: String,
    /// How many cases run at once.
    pub jobs: usize,
    /// How long the run may take.
    pub deadline: Duration,
    /// How long to wait for what depends on the cluster's speed.
    pub timeouts: Timeouts,
    /// Whether what the run created stays for a look.
    pub keep: Keep,
    /// Whether cases whose requirements are unmet run all the same.
    pub runs_blocked: bool,
    /// How pods ask for devices, where a person chose it; otherwise as was read.
    pub devices: Option<ChosenRoute>,
    /// Whether the node may be looked at from outside of pods.
    pub node_access: bool,
    /// What collects the evidence of cases that fail.
    pub diagnostics: Collector,
    /// Where what is created is written down before.
    pub ledger: Ledger,
    /// The SCC that pods are admitted by; none for nestcheck's own.
    pub scc: Option<Scc>,
    /// The files of every pod, the probe among them.
    pub files: Vec<File>,
}

/// A plan that is ready to run against a cluster. Nothing was written yet.
pub struct Session {
    cluster: Cluster,
    facts: Facts,
    plan: Plan,
    options: RunOptions,
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
        options: SessionOptions,
    ) -> Result<Self> {
        let mut facts = facts::gather(&cluster).await?;
        if let Some(chosen) = options.devices {
            facts.device_route = chosen.fact(&facts.runtimes());
        }
        let profile = selection.profile.unwrap_or_else(|| profile_of(&facts));
        let selection = Selection { profile: Some(profile), ..selection };
        let scc = scc_for(&facts, options.scc)?;
        let picked = selection.pick(cases);
        // Against the registry, not `cases`: under `cargo test` these are picked already.
        let whole = crate::cases().iter().filter(|case| profile.has(case)).count();
        let is_part = picked.len() < whole;
        let plan = Plan::new(picked, &facts, options.runs_blocked);
        let plan = if options.node_access { plan } else { plan.without_node_access() };
        let options = RunOptions {
            profile: profile.name().to_owned(),
            is_part,
            jobs: options.jobs,
            deadline: options.deadline,
            keep: options.keep,
            diagnostics: options.diagnostics,
            sandbox: SandboxOptions {
                run: run_id(),
                image: options.image,
                device_route: facts.device_route.value().cloned().flatten(),
                files: options.files,
                scc,
                operator: facts.devspaces.operator.value().cloned(),
                run_timeout: options.deadline,
                ledger: options.ledger,
                timeouts: options.timeouts,
            },
        };
        if plan.runnable().next().is_some() {
            let namespace = sandbox::namespace_of(&options.sandbox.run);
            let makes_workspaces = plan.live().any(Case::needs::<ReadyWorkspaceOperator>);
            let needed = rbac::of_run_with(flavour_of(&facts), makes_workspaces);
            rbac::review(&cluster, &needed, &namespace).await?;
        }
        Ok(Self { cluster, facts, plan, options })
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
        let Self { cluster, facts, plan, options } = self;
        engine::run(&cluster, facts, plan, options, signals, observe).await
    }
}

/// The cluster's own profile; Kubernetes where the flavour could not be read.
fn profile_of(facts: &Facts) -> Profile {
    Profile::of(flavour_of(facts))
}

fn flavour_of(facts: &Facts) -> Flavour {
    facts.flavour.value().copied().unwrap_or(Flavour::Kubernetes)
}

/// The SCC of the run, where pods are admitted by one.
fn scc_for(facts: &Facts, given: Option<Scc>) -> Result<Option<Scc>> {
    match (facts.flavour.value(), given) {
        (Some(Flavour::OpenShift | Flavour::MicroShift), None) => {
            let fixtures::SccText { file, text } = fixtures::NESTED_PODMAN;
            Scc::parse(file, text).map(Some)
        }
        (Some(Flavour::Kubernetes), Some(_)) => {
            Err(Error::usage("this cluster admits no pods by SCCs")
                .with_hint("leave `--scc` out, or choose a cluster of OpenShift or MicroShift"))
        }
        (_, given) => Ok(given),
    }
}

/// A new id for a run: eight characters that are good in the names of Kubernetes objects.
fn run_id() -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    (0..8).map(|_| char::from(ALPHABET[fastrand::usize(..ALPHABET.len())])).collect()
}
