//! A run from a connection to an outcome: what the command and `cargo test` have in common.

mod architecture;

use std::{fs, path::PathBuf};

use futures::Stream;
use harness::{
    Error, Result,
    cluster::{Cluster, permission::Permission},
    engine::{
        self, Case, Profile, RunConfig,
        plan::{Entry, Plan, Proofs, Selection},
        preview::Preview,
    },
    facts::{self, Facts, Flavour, requirement::ReadyWorkspaceOperator},
    sandbox::{self, Home, PullSecret, Scc, rbac},
    verdict::{Outcome, event::Event},
};
use oci_spec::distribution::Reference;

/// Which SCC a run tests, where pods are admitted by them.
#[derive(Clone, Debug)]
pub enum SccSource {
    /// The one of a file.
    File(PathBuf),
    /// One that the cluster has, by its name.
    Cluster(String),
}

impl SccSource {
    /// Understands a file's path, and `cluster:NAME`.
    ///
    /// # Errors
    ///
    /// No name after `cluster:`.
    pub fn parse(text: &str) -> std::result::Result<Self, String> {
        match text.strip_prefix("cluster:") {
            Some("") => Err("the name of an SCC is missing after `cluster:`".to_owned()),
            Some(name) => Ok(Self::Cluster(name.to_owned())),
            None => Ok(Self::File(text.into())),
        }
    }

    /// Reads what can be read without a cluster.
    ///
    /// # Errors
    ///
    /// A file that cannot be read, or has no SCC in it.
    pub fn read(self) -> Result<ChosenScc> {
        let file = match self {
            Self::Cluster(name) => return Ok(ChosenScc::Cluster(name)),
            Self::File(file) => file,
        };
        let name = file.display().to_string();
        let text = fs::read_to_string(&file).map_err(|error| {
            Error::usage(format!("failed to read `{name}`: {error}"))
                .with_hint("give a readable file with `--scc FILE`")
        })?;
        Scc::parse(&name, &text).map(ChosenScc::Given)
    }
}

/// An SCC that a run tests instead of its own.
#[derive(Clone, Debug)]
pub enum ChosenScc {
    /// This one.
    Given(Scc),
    /// The one of this name in the cluster.
    Cluster(String),
}

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
        scc: Option<ChosenScc>,
    ) -> Result<Self> {
        let session = Box::pin(Self::plan(cluster, cases, selection, config, scc)).await?;
        if session.acts() {
            match session.given() {
                Some(given) => rbac::review_in(&session.cluster, &session.needed(), given).await?,
                None => {
                    rbac::review(&session.cluster, &session.needed(), &session.namespace()).await?;
                }
            }
        }
        Ok(session)
    }

    /// As [`Self::prepare`], without asking what the caller may do.
    ///
    /// # Errors
    ///
    /// A cluster that can't be reached, or does not let the caller in.
    pub async fn plan(
        cluster: Cluster,
        cases: &[Case],
        selection: Selection,
        config: RunConfig,
        scc: Option<ChosenScc>,
    ) -> Result<Self> {
        let mut config = config;
        let given = config.sandbox.home.given().map(str::to_owned);
        let mut facts = facts::gather_in(&cluster, given.as_deref()).await?;
        if let Some(chosen) = config.devices.clone() {
            facts.device_route = chosen.fact(&facts.runtimes());
        }
        check_placement(&cluster, &mut facts, &mut config).await?;
        let architectures = architecture::choose(&facts, &config)?;
        let profile = selection.profile.unwrap_or_else(|| Profile::of_cluster(&facts));
        let is_as_configured = profile == Profile::AsConfigured;
        if is_as_configured {
            has_sccs(&facts)?;
        }
        let scc = match &given {
            Some(namespace) => {
                enter_namespace(&cluster, namespace, &facts, profile, scc, &mut config).await?;
                None
            }
            None => scc,
        };
        let scc = if is_as_configured { take_cluster_settings(&mut facts, scc)? } else { scc };
        config.sandbox.scc = if given.is_some() { None } else { scc_for(&facts, scc)? };
        let mut proofs = proofs_of_nodes(&config, &facts, &selection)?;
        architecture::settle(&mut proofs.picked, &architectures);
        architecture::enter(architectures, &mut facts, &mut config);
        let picked = Selection { profile: Some(profile), ..selection }.pick(cases);
        // Against the registry, not `cases`: under `cargo test` these are picked already.
        let whole: Vec<_> = crate::cases().into_iter().filter(|case| profile.has(case)).collect();
        // The profile `smoke` is a sample: it is never the whole.
        let count = whole.len() + proofs.count;
        let is_part = picked.len() + proofs.picked.len() < count || profile == Profile::Smoke;
        let mut entries = Entry::all(picked, &facts, config.tries_blocked);
        entries.extend(proofs.picked);
        let plan = Plan::of_entries(entries, &facts)
            .of_profile(profile.name(), is_part)
            .of_proofs(proofs.of_all_shards);
        let plan = if profile == Profile::Smoke { plan } else { plan.of_cases(count) };
        let plan = if config.node_access { plan } else { plan.without_node_access() };
        let plan =
            if is_as_configured { plan.without_what_must_fail(&whole, &facts) } else { plan };
        let plan = match &given {
            Some(namespace) => plan.in_given_namespace(namespace),
            None => plan,
        };
        config.sandbox.secrets = plan.secrets()?;
        choose_image(&cluster, &facts, &plan, &mut config)?;
        Ok(Self { cluster, facts, plan, config })
    }

    /// Whether a case runs: only then something is written to the cluster.
    fn acts(&self) -> bool {
        self.plan.runnable().next().is_some()
    }

    /// The namespace that somebody gave the run.
    pub(crate) fn given(&self) -> Option<&str> {
        self.config.sandbox.home.given()
    }

    /// The namespace of the pods of the run.
    fn namespace(&self) -> String {
        self.config.sandbox.home.namespace(&self.config.sandbox.run)
    }

    /// The permissions that the run uses.
    fn needed(&self) -> Vec<Permission> {
        if self.given().is_some() {
            return rbac::permissions_in_namespace();
        }
        let makes_workspaces = self.plan.live().any(Case::needs::<ReadyWorkspaceOperator>);
        let flavour = self.facts.flavour.value().copied().unwrap_or(Flavour::Kubernetes);
        rbac::of_run_with(flavour, makes_workspaces)
    }

    /// What the run would do. It asks which permissions the caller lacks, and writes nothing.
    ///
    /// # Errors
    ///
    /// A server that does not answer.
    pub async fn preview(&self) -> Result<Preview> {
        let needed = if self.acts() { self.needed() } else { Vec::new() };
        let lacking = if needed.is_empty() {
            Vec::new()
        } else {
            rbac::lacking(&self.cluster, &needed, &self.namespace()).await?
        };
        Preview::new(&self.facts, &self.plan, &self.config, &needed, &lacking)
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

/// The proofs of nodes that are asked for.
fn proofs_of_nodes(config: &RunConfig, facts: &Facts, selection: &Selection) -> Result<Proofs> {
    match &config.every_node {
        Some(every_node) => {
            every_node.proofs(&crate::cases(), facts, selection, config.tries_blocked)
        }
        None => Ok(Proofs::default()),
    }
}

/// Checks what a person decided about the pods while nothing is written, and fetches the pull secret.
/// From then on the facts are about the nodes to which the pods can go.
async fn check_placement(
    cluster: &Cluster,
    facts: &mut Facts,
    config: &mut RunConfig,
) -> Result<()> {
    let placement = &mut config.sandbox.placement;
    placement.choose_nodes(facts)?;
    placement.check_priority_class(cluster.admin()).await?;
    if let Some(name) = &config.pull_secret {
        placement.pull_secret = Some(PullSecret::read(cluster.admin(), name).await?);
    }
    Ok(())
}

/// Makes sure that a run can be in a namespace that somebody gave it, and chooses the SCC of the cluster
/// that its pods ask for.
async fn enter_namespace(
    cluster: &Cluster,
    namespace: &str,
    facts: &Facts,
    profile: Profile,
    chosen: Option<ChosenScc>,
    config: &mut RunConfig,
) -> Result<()> {
    if profile == Profile::AsConfigured {
        let message = "a run with the cluster's own settings needs an administrator";
        return Err(Error::usage(message).with_hint("leave `--namespace` or the profile out"));
    }
    // The records of runs with an administrator are there, which decide about other namespaces.
    if namespace == sandbox::LEASE_NAMESPACE {
        let message = format!("a run in namespace `{namespace}` could not be swept");
        return Err(Error::usage(message).with_hint("give another namespace"));
    }
    let scc = match (facts.flavour.value(), chosen) {
        (Some(Flavour::Kubernetes) | None, chosen) => {
            scc_for(facts, chosen)?;
            None
        }
        (_, Some(ChosenScc::Cluster(name))) => Some(name),
        (Some(Flavour::OpenShift), None) => Some(rbac::SHIPPED_SCC.to_owned()),
        (_, None) => {
            return Err(Error::usage("this cluster ships no SCC for nested containers")
                .with_hint("name one that the user may use with `--scc cluster:NAME`"));
        }
        (_, Some(ChosenScc::Given(_))) => {
            return Err(Error::usage("a run in a given namespace creates no SCC")
                .with_hint("name one of the cluster with `--scc cluster:NAME`"));
        }
    };
    rbac::check_namespace(cluster, namespace, scc.as_deref()).await?;
    config.sandbox.home = Home::Given { namespace: namespace.to_owned(), scc };
    Ok(())
}

/// Lets a run take the settings of the cluster's own workspaces, and returns the SCC to test: the one
/// that a person chose, or else the one that the settings name. One that does not exist is for a case
/// to report.
fn take_cluster_settings(
    facts: &mut Facts,
    chosen: Option<ChosenScc>,
) -> Result<Option<ChosenScc>> {
    let mut settings = facts.devspaces.find_cluster_settings()?;
    let scc = if chosen.is_some() {
        (settings.is_of_che, settings.scc) = (false, None);
        chosen
    } else {
        let is_missing = |name: &str| facts.sccs.value().is_some_and(|it| !it.contains_key(name));
        settings.scc.clone().filter(|name| !is_missing(name)).map(ChosenScc::Cluster)
    };
    facts.devspaces.cluster_settings = Some(settings);
    Ok(scc)
}

/// Refuses a run with the cluster's own settings where there are no SCCs, which are half of them.
fn has_sccs(facts: &Facts) -> Result<()> {
    match facts.flavour.value() {
        Some(Flavour::OpenShift) | None => Ok(()),
        Some(flavour) => {
            Err(Error::usage(format!("`--as-configured` is for OpenShift, and this is {flavour}"))
                .with_hint("run without it: the run configures workspaces itself"))
        }
    }
}

/// Decides which image the pods of a run have: the one that a person chose, or that of the cluster's
/// own workspaces, or that which the kubeconfig names. A run that creates nothing needs none.
fn choose_image(
    cluster: &Cluster,
    facts: &Facts,
    plan: &Plan,
    config: &mut RunConfig,
) -> Result<()> {
    let settings = facts.devspaces.cluster_settings.as_ref();
    let of_workspaces = settings.and_then(|settings| settings.image.as_deref());
    let (image, origin) = match (&config.image, of_workspaces, cluster.image()) {
        (Some(image), ..) => (image.clone(), "`--image`"),
        (None, Some(image), _) => (image.to_owned(), "the cluster's workspaces"),
        (None, None, Some(image)) => (image.to_owned(), "the kubeconfig"),
        (None, None, None) if plan.live().next().is_none() => return Ok(()),
        (None, None, None) => {
            return Err(Error::usage("no workspace image is named").with_hint(
                "name the image that your workspaces use with `--image REF`, or build one from \
                 `fixtures/images/workspace` of nestcheck's source",
            ));
        }
    };
    if let Err(error) = image.parse::<Reference>() {
        let message = format!("the image `{image}` of {origin} is not an image reference: {error}");
        return Err(Error::usage(message).with_hint("name another one with `--image REF`"));
    }
    config.sandbox.image = image;
    Ok(())
}

/// The SCC of the run, where pods are admitted by one.
fn scc_for(facts: &Facts, chosen: Option<ChosenScc>) -> Result<Option<Scc>> {
    match (facts.flavour.value(), chosen) {
        (Some(Flavour::OpenShift | Flavour::MicroShift), None) => {
            let crate::fixtures::SccText { file, text } = crate::fixtures::NESTED_PODMAN;
            Scc::parse(file, text).map(Some)
        }
        (Some(Flavour::Kubernetes), Some(_)) => {
            Err(Error::usage("this cluster admits no pods by SCCs")
                .with_hint("leave `--scc` out, or choose a cluster of OpenShift or MicroShift"))
        }
        (_, None) => Ok(None),
        (_, Some(ChosenScc::Given(scc))) => Ok(Some(scc)),
        (_, Some(ChosenScc::Cluster(name))) => scc_of_cluster(facts, &name).map(Some),
    }
}

/// What an SCC of the cluster says, whose copy the run applies.
fn scc_of_cluster(facts: &Facts, name: &str) -> Result<Scc> {
    let sccs = facts.sccs.value().ok_or_else(|| {
        Error::infrastructure("the SCCs of this cluster could not be read")
            .with_hint("see `nestcheck preflight`, or give a file with `--scc FILE`")
    })?;
    let object = sccs.get(name).cloned().ok_or_else(|| {
        let known: Vec<_> = sccs.keys().map(String::as_str).collect();
        Error::usage(format!("this cluster has no SCC `{name}`"))
            .with_hint(format!("it has {}", known.join(", ")))
    })?;
    Scc::of_object(&format!("cluster:{name}"), object)
}
