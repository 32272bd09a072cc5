//! The throwaway namespaces of a run, what is in them, and their end.

mod architecture;
mod audit;
mod close;
mod config;
mod create;
mod given;
mod home;
mod identities;
mod lease;
mod ledger;
mod namespaces;
mod nowhere;
mod placement;
mod planned;
pub mod pod_template;
mod pull_secret;
pub mod rbac;
mod scc;
mod secrets;
mod snapshot;
mod sweep;
mod teardown;
mod volumes;
mod workspace_settings;
mod workspaces;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

pub use architecture::{Architectures, Candidates};
pub use audit::{Audit, Change, Comparison, Failed, Leftover};
pub use close::close;
pub use config::{File, SandboxConfig, Timeouts};
use create::Creator;
pub(crate) use create::create_or_find;
pub use home::Home;
use identities::Identities;
pub use identities::{Identity, UNGRANTED_USER, USER};
use k8s_openapi::{api::core::v1::Pod, apimachinery::pkg::apis::meta::v1::OwnerReference};
use kube::{Client, api::DynamicObject};
pub use lease::{LEASE_NAMESPACE, RunRecord, owner, records};
pub use ledger::{Entry, Intent, Intents, Ledger, OpenRun, open_runs};
pub use namespaces::{Grant, Namespaces, PodSecurity};
pub use placement::Placement;
pub use planned::{Creator as ObjectCreator, PlannedObject, planned_objects};
pub use pull_secret::{PULL_SECRET, PullSecret, SecretName};
pub use scc::{AppliedScc, Scc, api_resource as scc_resource};
pub use snapshot::Snapshot;
pub use sweep::{Sweep, SweepResult, sweep};
pub use teardown::{OwnedObject, end_pods, find, teardown};
pub use volumes::ReclaimStatus;
pub use workspace_settings::{PodAuthority, asking_for_devices, nested_settings};
pub use workspaces::{
    CONFIG_ATTRIBUTE, DevWorkspaces, NESTED_CONFIG, SCC_ATTRIBUTE, WORKSPACE_ID_LABEL,
    config_resource, maps_of_workspaces, old_workspace_resource, workspace_resource,
};

use crate::{
    Result,
    cluster::{Cluster, is_forbidden, retry},
    facts::{DeviceRoute, Facts},
    sandbox::pod_template::{PodTemplate, RenderContext},
};

/// The name of the RoleBinding that grants the use of the run's SCC.
pub const GRANT: &str = "workspace-user-scc";

/// The name of the RoleBinding that gives a user the ClusterRole `edit`.
const EDIT: &str = "workspace-user-edit";

/// The label that carries the run's id.
pub const RUN_LABEL: &str = "nestcheck/run";

/// How long the run's RoleBindings and SCC may take to reach the API server's authorizer and
/// admission; after its restart it has to read them all again.
pub const GRANT_DEADLINE: Duration = Duration::from_secs(15);

/// The label of everything that nestcheck creates; its value is [`MANAGER`].
const MANAGED_BY: &str = "app.kubernetes.io/managed-by";

/// Who manages the objects of runs.
const MANAGER: &str = "nestcheck";

/// The labels of everything that a run creates.
#[must_use]
pub fn labels(run: &str) -> BTreeMap<String, String> {
    BTreeMap::from([
        (MANAGED_BY.to_owned(), MANAGER.to_owned()),
        (RUN_LABEL.to_owned(), run.to_owned()),
    ])
}

/// The labels of a report in the cluster, which outlives its run: no sweep finds it.
#[must_use]
pub fn report_labels() -> BTreeMap<String, String> {
    BTreeMap::from([
        (MANAGED_BY.to_owned(), MANAGER.to_owned()),
        ("nestcheck/report".to_owned(), "true".to_owned()),
    ])
}

/// What a run has in the cluster: its namespaces, its identities, its SCC and its workspaces.
pub struct Sandbox {
    config: Arc<SandboxConfig>,
    identities: Identities,
    namespaces: Namespaces,
    workspaces: DevWorkspaces,
    scc: Option<AppliedScc>,
    selinux_level: Option<String>,
    device_route: Option<DeviceRoute>,
    keeps_isolation: bool,
    keys: Vec<(String, String)>,
    /// What owns the Secrets of the run in a given namespace.
    owner: Option<OwnerReference>,
    is_nowhere: bool,
}

impl Sandbox {
    /// Creates the namespace, the users, the files, and the SCC if there is one; in a given namespace the
    /// files alone.
    ///
    /// # Errors
    ///
    /// What the server refuses. What was created until then is found by its labels: call
    /// [`teardown`] all the same.
    pub async fn create(cluster: &Cluster, facts: &Facts, config: SandboxConfig) -> Result<Self> {
        let config = Arc::new(config);
        let record = record(cluster, &config).await?;
        if let Home::Given { scc, .. } = &config.home {
            let scc = scc.clone();
            return Self::in_given(cluster, facts, config, scc, record).await;
        }
        let creator =
            Creator { admin: cluster.admin().clone(), config: Arc::clone(&config), owner: None };
        let namespace = creator.name();
        creator.namespace(&namespace, PodSecurity::Privileged).await?;
        let (identities, (), (), constrained) = tokio::try_join!(
            Identities::create(cluster, &creator),
            creator.edit(&namespace, &[USER, UNGRANTED_USER]),
            creator.files(&namespace),
            constrain(&creator, &namespace, config.scc.as_ref()),
        )?;
        creator.pull_secret(identities.user(), &namespace).await?;
        let (scc, selinux_level) = constrained.unzip();
        let scc_name = scc.as_ref().map(|scc: &AppliedScc| scc.name.clone());
        let workspaces = DevWorkspaces::new(creator.clone(), facts, scc_name);
        Ok(Self::with(creator, facts, identities, workspaces, (scc, selinux_level)))
    }

    /// The sandbox of these parts, which are there.
    fn with(
        creator: Creator,
        facts: &Facts,
        identities: Identities,
        workspaces: DevWorkspaces,
        (scc, selinux_level): (Option<AppliedScc>, Option<String>),
    ) -> Self {
        let config = Arc::clone(&creator.config);
        let owner = creator.owner.clone();
        let keys = config.own_files().map(|file| (file.key(), file.path.clone())).collect();
        Self {
            namespaces: Namespaces::new(creator, identities.user().clone(), scc.is_some()),
            identities,
            workspaces,
            scc,
            selinux_level,
            device_route: facts.device_route.value().cloned().flatten(),
            keeps_isolation: facts.keeps_isolation(),
            keys,
            owner,
            is_nowhere: false,
            config,
        }
    }

    /// The namespaces.
    #[must_use]
    pub fn namespaces(&self) -> &Namespaces {
        &self.namespaces
    }

    /// The workspaces of the DevWorkspace Operator.
    #[must_use]
    pub fn workspaces(&self) -> &DevWorkspaces {
        &self.workspaces
    }

    /// The namespace of the pods.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.namespaces.main()
    }

    /// The namespace that somebody gave the run, whose user acts in it.
    #[must_use]
    pub fn given(&self) -> Option<&str> {
        self.config.home.given()
    }

    /// The name of an object of the run in the namespace of its pods.
    #[must_use]
    pub fn name_of(&self, name: &str) -> String {
        self.config.name_of(name)
    }

    /// Gives a pod and all that it refers to the names that they have in the namespace of the pods.
    pub(crate) fn adopt(&self, pod: &mut Pod) {
        self.config.home.adopt(&self.config.run, pod);
    }

    /// The run's id.
    #[must_use]
    pub fn run(&self) -> &str {
        &self.config.run
    }

    /// The ordinary user's client: every case acts with it, unless its assertion is about somebody
    /// else.
    #[must_use]
    pub fn user(&self) -> &Client {
        self.identities.user()
    }

    /// The administrator's client.
    #[must_use]
    pub fn admin(&self) -> &Client {
        self.identities.admin()
    }

    /// The client of an identity. The ungranted user's account is created when it is first asked
    /// for.
    ///
    /// # Errors
    ///
    /// What the server refuses.
    pub async fn client(&self, identity: Identity) -> Result<&Client> {
        self.identities.client(identity).await
    }

    /// Where what is created is written down before.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.config.ledger
    }

    /// How long to wait for what depends on the cluster's speed.
    #[must_use]
    pub fn timeouts(&self) -> Timeouts {
        self.config.timeouts
    }

    /// The run's SCC, where pods are admitted by one.
    #[must_use]
    pub fn scc(&self) -> Option<&AppliedScc> {
        self.scc.as_ref()
    }

    /// The SELinux level that OpenShift allocated to the namespace, such as `s0:c26,c20`.
    #[must_use]
    pub fn selinux_level(&self) -> Option<&str> {
        self.selinux_level.as_deref()
    }

    /// Calls the API as an ordinary user. The API server's authorizer and its SCC admission learn
    /// of the run's fresh objects by watches of their own, so a refusal for lack of a right that
    /// was just granted is tried again for a short while; there is nothing that a client could
    /// watch.
    ///
    /// # Errors
    ///
    /// The call's error.
    pub async fn as_granted<T, F, Fut>(&self, operation: F) -> Result<T, kube::Error>
    where
        F: FnMut() -> Fut + Send,
        Fut: Future<Output = Result<T, kube::Error>> + Send,
    {
        let scc = self.scc.as_ref().map(|scc| scc.name.as_str());
        let not_yet = |error: &kube::Error| not_granted_yet(error, scc);
        retry::with_backoff(GRANT_DEADLINE, not_yet, operation).await
    }

    /// The pod of a template in this sandbox.
    ///
    /// # Errors
    ///
    /// A manifest that is not a pod.
    pub fn pod(&self, template: &PodTemplate) -> Result<Pod> {
        Ok(self.finish(template.pod(&self.render())?, template))
    }

    /// As [`Self::pod`], with the probe for this node.
    ///
    /// # Errors
    ///
    /// A manifest that is not a pod.
    pub fn pod_for_node(&self, template: &PodTemplate, node: &str) -> Result<Pod> {
        let mut pod = template.pod(&self.render())?;
        self.config.architectures.suit(&mut pod, node);
        Ok(self.finish(pod, template))
    }

    /// Gives a pod its place in this run.
    fn finish(&self, mut pod: Pod, template: &PodTemplate) -> Pod {
        self.adopt(&mut pod);
        if template.is_optional() {
            // A run that is killed leaves no power behind for longer than it might have taken.
            let seconds =
                i64::try_from(self.config.run_timeout.as_secs()).unwrap_or(i64::MAX).max(1);
            pod.spec.get_or_insert_default().active_deadline_seconds = Some(seconds);
        }
        pod
    }

    /// The objects that a template's pod needs beside it.
    ///
    /// # Errors
    ///
    /// A document of the manifest that is not an object.
    pub fn supporting_objects(&self, template: &PodTemplate) -> Result<Vec<DynamicObject>> {
        let mut objects = template.supporting_objects(&self.render())?;
        for name in objects.iter_mut().filter_map(|object| object.metadata.name.as_mut()) {
            *name = self.name_of(name);
        }
        for object in objects.iter_mut().filter(|it| given::is_secret(it)) {
            object.metadata.owner_references = self.owner.clone().map(|owner| vec![owner]);
        }
        Ok(objects)
    }

    /// How pods ask for devices in this run.
    #[must_use]
    pub fn device_route(&self) -> Option<&DeviceRoute> {
        self.device_route.as_ref()
    }

    /// Whether the API server is known to keep the fields of a pod's isolation: where they are
    /// lost, somebody else did it.
    #[must_use]
    pub(crate) fn keeps_isolation(&self) -> bool {
        self.keeps_isolation
    }

    fn render(&self) -> RenderContext<'_> {
        RenderContext {
            namespace: self.namespace(),
            run: &self.config.run,
            image: &self.config.image,
            device_route: self.device_route.as_ref(),
            files: &self.keys,
            scc: self.scc.as_ref().map(|scc| scc.name.as_str()),
            entry_point: self.config.entry_point,
            placement: &self.config.placement,
        }
    }
}

/// Writes the run down, in the ledger and in the cluster, before anything else is created.
async fn record(cluster: &Cluster, config: &SandboxConfig) -> Result<Option<OwnerReference>> {
    let (run, ledger) = (&config.run, &config.ledger);
    let entry = Entry::Run {
        run: run.clone(),
        server: cluster.server(),
        with_scc: config.scc.is_some(),
        namespace: config.home.given().map(str::to_owned),
    };
    ledger.write(entry).await?;
    let namespace = config.home.lease_namespace();
    ledger.intend("Lease", Some(namespace), &namespace_of(run)).await?;
    let lease = lease::lease(run, namespace, config.run_timeout, &config.intents());
    lease::record(cluster.admin(), &lease).await
}

/// Applies the SCC, grants its use, and waits until the namespace is ready for SCC admission.
/// Returns the SCC and the namespace's SELinux level.
async fn constrain(
    creator: &Creator,
    namespace: &str,
    scc: Option<&Scc>,
) -> Result<Option<(AppliedScc, String)>> {
    let Some(scc) = scc else { return Ok(None) };
    let (applied, level) =
        tokio::try_join!(creator.scc(scc), creator.await_allocations(namespace))?;
    // A binding to a role that does not exist yet would need the right to bind anything.
    creator.grant(namespace, &[USER]).await?;
    Ok(Some((applied, level)))
}

/// The name of a run's namespace, and of its objects outside of namespaces.
#[must_use]
pub fn namespace_of(run: &str) -> String {
    format!("nestcheck-{run}")
}

/// Whether a namespace is one of a run's.
fn is_of_run(namespace: &str, run: &str) -> bool {
    let rest = namespace.strip_prefix(&namespace_of(run));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

/// Whether the server does not know the run's RoleBindings or SCC yet. The authorizer's refusal
/// names the verb and the resource, SCC admission's the SCC; other refusals read otherwise.
fn not_granted_yet(error: &kube::Error, scc: Option<&str>) -> Option<Duration> {
    let text = error.to_string();
    let unknown_scc = scc.is_some_and(|name| {
        text.contains(&format!("provider \"{name}\": Forbidden: not usable"))
            || (text.contains("not found") && text.contains(&format!("scc/{name}")))
    });
    let unknown = text.contains("cannot create resource") || unknown_scc;
    (is_forbidden(error) && unknown).then_some(Duration::ZERO)
}
