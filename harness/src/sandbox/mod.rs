//! The throwaway namespaces of a run, what is in them, and their end.

mod audit;
mod create;
mod lease;
mod ledger;
mod options;
pub mod pod_template;
pub mod rbac;
mod scc;
mod snapshot;
mod sweep;
mod teardown;
mod volumes;
mod workspaces;

use std::{collections::BTreeMap, fmt, time::Duration};

pub use audit::{Audit, Change, Comparison, Failed, Leftover};
use create::Creator;
pub(crate) use create::create_or_find;
use futures::{FutureExt, future::BoxFuture};
use k8s_openapi::api::core::v1::Pod;
use kube::{Client, api::DynamicObject};
pub use lease::{LEASE_NAMESPACE, RunRecord, owner, records};
pub use ledger::{Entry, Intent, Intents, Ledger, open_runs};
pub use options::{File, SandboxOptions, Timeouts};
pub use scc::{AppliedScc, Scc, api_resource as scc_resource};
pub use snapshot::Snapshot;
pub use sweep::{Sweep, SweepResult, sweep};
pub use teardown::{OwnedObject, end_pods, find, teardown};
use tokio::sync::OnceCell;
pub use volumes::ReclaimStatus;
pub use workspaces::{
    CONFIG_ATTRIBUTE, NESTED_CONFIG, SCC_ATTRIBUTE, WORKSPACE_ID_LABEL, asking_for_devices,
    config_resource, maps_of_workspaces, nested_settings, old_workspace_resource,
    workspace_resource,
};

use crate::{
    Result,
    cluster::{Cluster, is_forbidden, retry},
    facts::DeviceRoute,
    sandbox::pod_template::{PodTemplate, RenderContext},
};

/// The name of the ordinary user's service account: it has the rights of ClusterRole `edit` in the
/// run's namespaces, may use the run's SCC there, and has no rights elsewhere.
pub const USER: &str = "workspace-user";

/// The name of a second ordinary user's service account, which may not use the run's SCC.
pub const UNGRANTED_USER: &str = "workspace-stranger";

/// The name of the RoleBinding that grants the use of the run's SCC.
pub const GRANT: &str = "workspace-user-scc";

/// The label that carries the run's id.
pub const RUN_LABEL: &str = "nestcheck/run";

/// How long the run's RoleBindings and SCC may take to reach the API server's authorizer and
/// admission; after its restart it has to read them all again.
pub const GRANT_DEADLINE: Duration = Duration::from_secs(15);

/// The label of everything that nestcheck creates, with its value.
const MANAGED_BY: &str = "app.kubernetes.io/managed-by=nestcheck";

/// The labels of everything that a run creates.
#[must_use]
pub fn labels(run: &str) -> BTreeMap<String, String> {
    BTreeMap::from([
        ("app.kubernetes.io/managed-by".to_owned(), "nestcheck".to_owned()),
        (RUN_LABEL.to_owned(), run.to_owned()),
    ])
}

/// A level of the Pod Security Standards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PodSecurity {
    /// Everything is allowed.
    Privileged,
    /// Known ways to more privilege are refused.
    Baseline,
    /// Only hardened pods are allowed.
    Restricted,
}

impl fmt::Display for PodSecurity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Privileged => "privileged",
            Self::Baseline => "baseline",
            Self::Restricted => "restricted",
        })
    }
}

/// Who acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// The ordinary user that every case acts as unless it says otherwise.
    User,
    /// An ordinary user who may not use the run's SCC.
    Ungranted,
    /// The administrator whose kubeconfig was given.
    Administrator,
}

/// The throwaway namespaces of a run, with an ordinary user in them.
pub struct Sandbox {
    options: SandboxOptions,
    namespace: String,
    cluster: Cluster,
    user: Client,
    ungranted_user: OnceCell<Client>,
    keys: Vec<(String, String)>,
    scc: Option<AppliedScc>,
    selinux_level: Option<String>,
    baseline: OnceCell<String>,
    restricted: OnceCell<String>,
    workspaces: OnceCell<()>,
}

impl Sandbox {
    /// Creates the namespace, the users, the files, and the SCC if there is one.
    ///
    /// # Errors
    ///
    /// What the server refuses. What was created until then is found by its labels: call
    /// [`teardown`] all the same.
    pub async fn create(cluster: &Cluster, options: SandboxOptions) -> Result<Self> {
        let namespace = namespace_of(&options.run);
        let ledger = &options.ledger;
        let (run, run_timeout) = (&options.run, options.run_timeout);
        let creator = Creator { admin: cluster.admin(), run, run_timeout, ledger };
        ledger
            .write(Entry::Run {
                run: options.run.clone(),
                server: cluster.server(),
                with_scc: options.scc.is_some(),
            })
            .await?;
        ledger.intend("Lease", Some(LEASE_NAMESPACE), &namespace).await?;
        let lease = lease::lease(&options.run, options.run_timeout, &options.intents());
        lease::record(cluster.admin(), &lease).await?;
        creator.namespace(&namespace, PodSecurity::Privileged).await?;
        let (token, (), (), constrained) = tokio::try_join!(
            account_with_token(&creator, &namespace, USER),
            creator.edit(&namespace, &[USER, UNGRANTED_USER]),
            creator.files(&namespace, &options.files),
            constrain(&creator, &namespace, options.scc.as_ref()),
        )?;
        let user = cluster.as_token(token)?;
        let keys = options.files.iter().map(|file| (file.key(), file.path.clone())).collect();
        let (scc, selinux_level) = constrained.unzip();
        let (baseline, restricted) = (OnceCell::new(), OnceCell::new());
        Ok(Self {
            options,
            namespace,
            cluster: cluster.clone(),
            user,
            ungranted_user: OnceCell::new(),
            keys,
            scc,
            selinux_level,
            baseline,
            restricted,
            workspaces: OnceCell::new(),
        })
    }

    /// The namespace of the pods.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The run's id.
    #[must_use]
    pub fn run(&self) -> &str {
        &self.options.run
    }

    /// The ordinary user's client: every case acts with it, unless its assertion is about somebody
    /// else.
    #[must_use]
    pub fn user(&self) -> &Client {
        &self.user
    }

    /// The administrator's client.
    #[must_use]
    pub fn admin(&self) -> &Client {
        self.cluster.admin()
    }

    /// Somebody's client. The stranger's account is made when it is first asked for.
    ///
    /// # Errors
    ///
    /// What the server refuses.
    pub async fn client(&self, identity: Identity) -> Result<&Client> {
        match identity {
            Identity::User => Ok(&self.user),
            Identity::Administrator => Ok(self.cluster.admin()),
            Identity::Ungranted => {
                let create = || async {
                    let token =
                        account_with_token(&self.creator(), &self.namespace, UNGRANTED_USER)
                            .await?;
                    self.cluster.as_token(token)
                };
                self.ungranted_user.get_or_try_init(create).await
            }
        }
    }

    fn creator(&self) -> Creator<'_> {
        Creator {
            admin: self.cluster.admin(),
            run: &self.options.run,
            run_timeout: self.options.run_timeout,
            ledger: &self.options.ledger,
        }
    }

    /// Where what is created is written down before.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.options.ledger
    }

    /// How long to wait for what depends on the cluster's speed.
    #[must_use]
    pub fn timeouts(&self) -> Timeouts {
        self.options.timeouts
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
        let mut pod = template.pod(&self.render())?;
        if template.is_optional() {
            // A run that is killed leaves no power behind for longer than it might have taken.
            let seconds =
                i64::try_from(self.options.run_timeout.as_secs()).unwrap_or(i64::MAX).max(1);
            pod.spec.get_or_insert_default().active_deadline_seconds = Some(seconds);
        }
        Ok(pod)
    }

    /// The objects that a template's pod needs beside it.
    ///
    /// # Errors
    ///
    /// A document of the manifest that is not an object.
    pub fn supporting_objects(&self, template: &PodTemplate) -> Result<Vec<DynamicObject>> {
        template.supporting_objects(&self.render())
    }

    /// How pods ask for devices in this run.
    #[must_use]
    pub fn device_route(&self) -> Option<&DeviceRoute> {
        self.options.device_route.as_ref()
    }

    fn render(&self) -> RenderContext<'_> {
        RenderContext {
            namespace: &self.namespace,
            run: &self.options.run,
            image: &self.options.image,
            device_route: self.options.device_route.as_ref(),
            files: &self.keys,
            scc: self.scc.as_ref().map(|scc| scc.name.as_str()),
        }
    }

    /// A second namespace that enforces a Pod Security level, in which the user has the same
    /// rights. Cases that ask for the same level share it.
    ///
    /// # Errors
    ///
    /// What the server refuses.
    pub async fn namespace_enforcing(&self, level: PodSecurity) -> Result<String> {
        let cell = match level {
            PodSecurity::Privileged => return Ok(self.namespace.clone()),
            PodSecurity::Baseline => &self.baseline,
            PodSecurity::Restricted => &self.restricted,
        };
        let create = || self.create_namespace(level.to_string(), level, Grant::UseScc);
        cell.get_or_try_init(create).await.cloned()
    }

    /// A namespace of one case's own, in which anything is allowed. `grant` tells whether the user
    /// may use the run's SCC there.
    ///
    /// # Errors
    ///
    /// What the server refuses.
    pub async fn namespace_for(&self, case: &str, grant: Grant) -> Result<String> {
        self.create_namespace(case.to_ascii_lowercase(), PodSecurity::Privileged, grant).await
    }

    /// On the heap: it is a part of every case's future.
    fn create_namespace(
        &self,
        suffix: String,
        level: PodSecurity,
        grant: Grant,
    ) -> BoxFuture<'_, Result<String>> {
        self.created_namespace(suffix, level, grant).boxed()
    }

    async fn created_namespace(
        &self,
        suffix: String,
        level: PodSecurity,
        grant: Grant,
    ) -> Result<String> {
        let namespace = format!("{}-{suffix}", self.namespace);
        let creator = self.creator();
        creator.namespace(&namespace, level).await?;
        tokio::try_join!(
            creator.account(&namespace, USER),
            creator.edit(&namespace, &[USER, UNGRANTED_USER]),
            async {
                if self.scc.is_none() {
                    return Ok(());
                }
                creator.await_allocations(&namespace).await?;
                match grant {
                    Grant::UseScc => creator.grant(&namespace, &[USER]).await,
                    Grant::Nothing => Ok(()),
                }
            },
        )?;
        Ok(namespace)
    }
}

/// Deletes everything of a run, looks at what is left, and strikes the run from the ledger if that
/// is nothing.
///
/// # Errors
///
/// What could not be removed. The run stays in the ledger then, for `nestcheck sweep`.
pub async fn close(admin: &Client, options: &SandboxOptions) -> Result<Audit> {
    let (run, intents) = (&options.run, options.intents());
    teardown(admin, run, &intents, options.timeouts).await?;
    // What was in flight when the run was cut off may have been stored after the list was made.
    let mut left = find(admin, run, &intents).await?;
    if left.iter().any(|found| found.is_recorded) {
        teardown(admin, run, &intents, options.timeouts).await?;
        left = find(admin, run, &intents).await?;
    }
    let looked_for = teardown::KINDS.into_iter().filter(|kind| intents.has(kind)).collect();
    let mut audit = Audit::of(run, options.ledger.intended(), looked_for, &left);
    if audit.kinds.contains(volumes::PVC) {
        let limit = options.timeouts.teardown;
        audit.volumes = Some(volumes::await_reclaimed(admin, run, limit).await);
    }
    if left.iter().any(|found| found.is_recorded) {
        return Ok(audit);
    }
    if let Some(record) = lease::record_of(admin, run).await? {
        lease::forget(admin, &record).await?;
    }
    if let Err(error) = options.ledger.write(Entry::Closed { run: run.clone() }).await {
        // Everything is gone; that the ledger does not say so only makes a sweep find nothing.
        tracing::warn!(%error, "the end of the run is not in the ledger");
    }
    Ok(audit)
}

/// What a user may do in a namespace besides what `edit` allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grant {
    /// Use the run's SCC.
    UseScc,
    /// No more.
    Nothing,
}

async fn account_with_token(
    creator: &Creator<'_>,
    namespace: &str,
    account: &str,
) -> Result<String> {
    creator.account(namespace, account).await?;
    creator.token(namespace, account).await
}

/// Applies the SCC, grants its use, and waits until the namespace is ready for SCC admission.
/// Returns the SCC and the namespace's SELinux level.
async fn constrain(
    creator: &Creator<'_>,
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
