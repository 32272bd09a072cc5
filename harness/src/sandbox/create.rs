//! Creates the objects of a run, all with its labels.

use std::{sync::Arc, time::Duration};

use k8s_openapi::{
    ByteString,
    api::{
        authentication::v1::{TokenRequest, TokenRequestSpec},
        core::v1::{ConfigMap, Namespace, ServiceAccount},
        rbac::v1::{ClusterRole, PolicyRule, RoleBinding, RoleRef, Subject},
    },
    apimachinery::pkg::apis::meta::v1::OwnerReference,
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{DynamicObject, ListParams, ObjectMeta, PostParams},
    runtime::wait::Condition,
};
use serde::{Serialize, de::DeserializeOwned};

use super::{
    GRANT_DEADLINE, PULL_SECRET, PodSecurity, RUN_LABEL, SandboxConfig,
    home::is_name_of,
    is_of_run, labels, lease, not_granted_yet,
    scc::{self, AppliedScc, Scc},
};
use crate::{
    Error, Result,
    cluster::{NotSeen, call, is_forbidden, retry, status_code, watch_until},
};

/// How long a user's token is good for at least: what the API gives where nothing is asked for
/// (kubernetes `pkg/apis/authentication/v1/defaults.go`). The least that it grants is ten minutes.
const TOKEN_LIFETIME: Duration = Duration::from_secs(3600);

/// The most that may be asked for, in seconds (`pkg/apis/authentication/validation`).
const TOKEN_LIMIT: u64 = 1 << 32;

/// How long the cluster-policy-controller and the service account controller may take to get a
/// namespace ready.
const NAMESPACE_DEADLINE: Duration = Duration::from_secs(30);

/// Tells OpenShift's label syncer to leave a namespace's Pod Security labels alone
/// (cluster-policy-controller, `pkg/psalabelsyncer`).
const LABEL_SYNC: &str = "security.openshift.io/scc.podSecurityLabelSync";

/// The annotation with a namespace's SELinux level (cluster-policy-controller,
/// `pkg/security/controller`).
pub(super) const MCS: &str = "openshift.io/sa.scc.mcs";

/// What SCC admission needs to know of a namespace (the same).
const ALLOCATIONS: [&str; 3] =
    ["openshift.io/sa.scc.uid-range", "openshift.io/sa.scc.supplemental-groups", MCS];

/// The group of the API that roles belong to.
const RBAC: &str = "rbac.authorization.k8s.io";

/// Creates the objects of a run.
#[derive(Clone)]
pub(super) struct Creator {
    pub(super) admin: Client,
    pub(super) config: Arc<SandboxConfig>,
    /// What owns the Secrets of the run in a given namespace: its record, so that they end with it.
    pub(super) owner: Option<OwnerReference>,
}

impl Creator {
    pub(super) fn metadata(&self, name: &str) -> ObjectMeta {
        ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some(labels(&self.config.run)),
            ..ObjectMeta::default()
        }
    }

    /// The name of the run's main namespace, and of its objects outside of namespaces.
    pub(super) fn name(&self) -> String {
        self.config.home.namespace(&self.config.run)
    }

    pub(super) fn namespace_object(&self, name: &str, level: PodSecurity) -> Namespace {
        let mut metadata = self.metadata(name);
        let labels = metadata.labels.get_or_insert_default();
        labels.extend(labels_of_level(level));
        labels.insert(LABEL_SYNC.to_owned(), "false".to_owned());
        Namespace { metadata, ..Namespace::default() }
    }

    pub(super) async fn namespace(&self, name: &str, level: PodSecurity) -> Result<()> {
        let namespace = self.namespace_object(name, level);
        let api: Api<Namespace> = Api::all(self.admin.clone());
        self.create(&api, &namespace, &format!("create namespace `{name}`")).await.map(drop)
    }

    /// Waits until SCC admission knows all that it needs of a namespace: pods that come earlier
    /// are refused or hang. Returns the namespace's MCS level.
    pub(super) async fn await_allocations(&self, namespace: &str) -> Result<String> {
        let namespaces: Api<Namespace> = Api::all(self.admin.clone());
        let accounts: Api<ServiceAccount> = Api::namespaced(self.admin.clone(), namespace);
        let allocated = |object: Option<&Namespace>| {
            object.is_some_and(|object| {
                ALLOCATIONS.iter().all(|name| object.annotations().contains_key(*name))
            })
        };
        let exists = |object: Option<&ServiceAccount>| object.is_some();
        let (object, _) = tokio::try_join!(
            watch_new(&namespaces, namespace, allocated, "its `openshift.io/sa.scc` annotations"),
            watch_new(&accounts, "default", exists, "its default service account"),
        )?;
        let level = object.and_then(|object| object.annotations().get(MCS).cloned());
        Ok(level.unwrap_or_default())
    }

    /// A token for a service account, which is good until the run is over.
    pub(super) async fn token(&self, namespace: &str, account: &str) -> Result<String> {
        let api: Api<ServiceAccount> = Api::namespaced(self.admin.clone(), namespace);
        let request = token_request(self.config.run_timeout);
        let params = PostParams::default();
        let granted = call("request a token for the user", || {
            api.create_token_request(account, &params, &request)
        });
        granted.await?.status.and_then(|status| status.token).ok_or_else(|| {
            Error::infrastructure("failed to request a token for the user: the answer has none")
        })
    }

    pub(super) async fn account(&self, namespace: &str, account: &str) -> Result<()> {
        let object = ServiceAccount {
            metadata: self.metadata(account),
            automount_service_account_token: Some(false),
            ..ServiceAccount::default()
        };
        let api = Api::namespaced(self.admin.clone(), namespace);
        self.create(&api, &object, "create the user's service account").await.map(drop)
    }

    /// Lets users of the run's main namespace act in a namespace.
    pub(super) async fn edit(&self, namespace: &str, accounts: &[&str]) -> Result<()> {
        let what = "bind the user to ClusterRole `edit`";
        self.binding(namespace, super::EDIT, "edit", accounts, what).await
    }

    /// Lets users of the run's main namespace use the run's SCC in a namespace.
    pub(super) async fn grant(&self, namespace: &str, accounts: &[&str]) -> Result<()> {
        let what = "bind the user to the use of the SCC";
        self.binding(namespace, super::GRANT, &self.name(), accounts, what).await
    }

    async fn binding(
        &self,
        namespace: &str,
        name: &str,
        role: &str,
        accounts: &[&str],
        what: &str,
    ) -> Result<()> {
        // The users of the run's main namespace act in its other namespaces too, and pods there
        // run as an account of the same name.
        let mut namespaces = vec![self.name()];
        if namespace != self.name() {
            namespaces.push(namespace.to_owned());
        }
        let subject = |account: &&str| {
            let account = (*account).to_owned();
            namespaces.iter().map(move |namespace| Subject {
                kind: "ServiceAccount".to_owned(),
                name: account.clone(),
                namespace: Some(namespace.clone()),
                ..Subject::default()
            })
        };
        let binding = RoleBinding {
            metadata: self.metadata(name),
            role_ref: RoleRef {
                api_group: Some(RBAC.to_owned()),
                kind: "ClusterRole".to_owned(),
                name: role.to_owned(),
            },
            subjects: Some(accounts.iter().flat_map(subject).collect()),
        };
        let api = Api::namespaced(self.admin.clone(), namespace);
        self.create(&api, &binding, what).await.map(drop)
    }

    /// Copies the pull secret into a namespace of the run, as its user: ClusterRole `edit` allows it, so
    /// that the administrator needs no permission about Secrets.
    pub(super) async fn pull_secret(&self, user: &Client, namespace: &str) -> Result<()> {
        let Some(secret) = &self.config.placement.pull_secret else { return Ok(()) };
        let name = self.config.name_of(PULL_SECRET);
        let owner_references = self.owner.clone().map(|owner| vec![owner]);
        let secret = secret.object(ObjectMeta { owner_references, ..self.metadata(&name) });
        self.config.ledger.intend("Secret", Some(namespace), &name).await?;
        let api = Api::namespaced(user.clone(), namespace);
        call("create the pull secret", || {
            let not_yet = |error: &kube::Error| not_granted_yet(error, None);
            retry::with_backoff(GRANT_DEADLINE, not_yet, || create_or_find(&api, &secret))
        })
        .await
        .map(drop)
    }

    /// Creates the files of pods, a `ConfigMap` for each architecture: two probes do not fit into one.
    pub(super) async fn files(&self, namespace: &str) -> Result<()> {
        let api = Api::namespaced(self.admin.clone(), namespace);
        for (name, files) in self.config.maps() {
            let data = files.iter().map(|file| (file.key(), ByteString(file.content.clone())));
            let map = ConfigMap {
                metadata: self.metadata(&self.config.name_of(&name)),
                binary_data: Some(data.collect()),
                ..ConfigMap::default()
            };
            self.create(&api, &map, "create the ConfigMap of the probe").await?;
        }
        Ok(())
    }

    /// Applies the run's SCC and the role to use it, and compares what the server stored.
    pub(super) async fn scc(&self, scc: &Scc) -> Result<AppliedScc> {
        let name = self.name();
        let object = scc.object(&name, &self.config.run);
        let sccs: Api<DynamicObject> = Api::all_with(self.admin.clone(), &scc::api_resource());
        let roles: Api<ClusterRole> = Api::all(self.admin.clone());
        let role = ClusterRole {
            metadata: self.metadata(&name),
            rules: Some(vec![PolicyRule {
                api_groups: Some(vec!["security.openshift.io".to_owned()]),
                resources: Some(vec!["securitycontextconstraints".to_owned()]),
                resource_names: Some(vec![name.clone()]),
                verbs: vec!["use".to_owned()],
                ..PolicyRule::default()
            }]),
            ..ClusterRole::default()
        };
        let create_scc = format!("create SCC `{name}`");
        let create_role = format!("create ClusterRole `{name}`");
        let (stored, _) = tokio::try_join!(
            self.create_kind(scc::KIND, &sccs, &object, &create_scc),
            self.create(&roles, &role, &create_role),
        )?;
        Ok(AppliedScc { differences: scc.differences(&stored.data), name })
    }

    /// Creates an object that the ledger knows of by then.
    async fn create<K>(&self, api: &Api<K>, object: &K, what: &str) -> Result<K>
    where
        K: Resource + Clone + std::fmt::Debug + Serialize + DeserializeOwned + Send + Sync,
        K::DynamicType: Default,
    {
        let kind = K::kind(&K::DynamicType::default()).into_owned();
        self.create_kind(&kind, api, object, what).await
    }

    async fn create_kind<K>(&self, kind: &str, api: &Api<K>, object: &K, what: &str) -> Result<K>
    where
        K: Resource + Clone + std::fmt::Debug + Serialize + DeserializeOwned + Send + Sync,
    {
        self.config.ledger.intend(kind, api.namespace(), &object.name_any()).await?;
        tracing::debug!(
            kind,
            namespace = api.namespace(),
            name = object.name_any(),
            "creates what the ledger knows of"
        );
        create(api, object, what).await
    }
}

/// Asks for a token that no case outlives: with one that ends before the run does, whatever comes
/// later would be refused, as if the user were nobody.
fn token_request(run_timeout: Duration) -> TokenRequest {
    let seconds = (run_timeout + lease::MARGIN).max(TOKEN_LIFETIME).as_secs().min(TOKEN_LIMIT);
    TokenRequest {
        spec: Some(TokenRequestSpec {
            expiration_seconds: i64::try_from(seconds).ok(),
            ..TokenRequestSpec::default()
        }),
        ..TokenRequest::default()
    }
}

/// Creates an object with the labels of a run. Where the answer got lost and the object is there
/// when it is created again, it is taken for what was created: no other run has its label.
pub(super) async fn create<K>(api: &Api<K>, object: &K, what: &str) -> Result<K>
where
    K: Resource + Clone + std::fmt::Debug + Serialize + DeserializeOwned + Send + Sync,
{
    call(what, || create_or_find(api, object)).await
}

/// Creates an object, or finds the one that an earlier try created whose answer got lost.
///
/// # Errors
///
/// What the server refuses; that the name is taken, where the object is not of the same run.
pub(crate) async fn create_or_find<K>(api: &Api<K>, object: &K) -> Result<K, kube::Error>
where
    K: Resource + Clone + std::fmt::Debug + Serialize + DeserializeOwned + Send + Sync,
{
    let params = PostParams { dry_run: false, field_manager: Some("nestcheck".to_owned()) };
    let run = object.labels().get(RUN_LABEL);
    match api.create(&params, object).await {
        Err(error) if status_code(&error) == Some(409) => {
            let there = match api.get(&object.name_any()).await {
                // Nobody else creates objects of such a name in the run's own namespaces, nor of the
                // run's own names elsewhere, so the right to read them is not asked for.
                Err(error) if is_forbidden(&error) && is_named_for(api, object, run) => {
                    return Ok(object.clone());
                }
                // Outside of namespaces a run may list what carries its label.
                Err(error) if is_forbidden(&error) && run.is_some() => {
                    let label = format!("{RUN_LABEL}={}", run.map_or("", String::as_str));
                    let mine = api.list(&ListParams::default().labels(&label)).await?;
                    let name = object.name_any();
                    mine.items.into_iter().find(|found| found.name_any() == name).ok_or(error)?
                }
                there => there?,
            };
            let is_ours = run.is_some() && there.labels().get(RUN_LABEL) == run;
            if is_ours { Ok(there) } else { Err(error) }
        }
        answer => answer,
    }
}

/// Whether an object is in a namespace that a run made, or has a name that only a run gives.
fn is_named_for<K: Resource>(api: &Api<K>, object: &K, run: Option<&String>) -> bool {
    let (Some(namespace), Some(run)) = (api.namespace(), run) else { return false };
    is_of_run(namespace, run) || is_name_of(run, &object.name_any())
}

/// Watches an object of a new namespace until a condition holds.
async fn watch_new<K>(
    api: &Api<K>,
    name: &str,
    holds: impl Condition<K> + Send + Sync,
    what: &str,
) -> Result<Option<K>>
where
    K: Resource + Clone + DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    watch_until(api, name, holds, NAMESPACE_DEADLINE).await.map_err(|not_seen| match not_seen {
        NotSeen::Broken(message) => {
            Error::infrastructure(format!("failed to watch a new namespace: {message}"))
        }
        NotSeen::Late => Error::infrastructure(format!(
            "a new namespace has not got {what} within {} s",
            NAMESPACE_DEADLINE.as_secs()
        ))
        .with_hint(
            "see the logs of the cluster-policy-controller and of the kube-controller-manager",
        ),
    })
}

/// The labels by which a namespace enforces a level of Pod Security, in the version of the API
/// server. Without the version it would be the one of the cluster's own configuration, and what a
/// level asks for depends on it.
fn labels_of_level(level: PodSecurity) -> impl Iterator<Item = (String, String)> {
    ["enforce", "audit", "warn"].into_iter().flat_map(move |mode| {
        let label = format!("pod-security.kubernetes.io/{mode}");
        let version = (format!("{label}-version"), "latest".to_owned());
        [(label, level.to_string()), version]
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_level_is_that_of_the_api_servers_version_whatever_the_cluster_pins() {
        let labels: BTreeMap<_, _> = labels_of_level(PodSecurity::Baseline).collect();

        for mode in ["enforce", "audit", "warn"] {
            let label = format!("pod-security.kubernetes.io/{mode}");
            assert_eq!(labels[&label], "baseline");
            assert_eq!(labels[&format!("{label}-version")], "latest");
        }
    }

    #[test]
    fn a_users_token_outlives_the_run() {
        let seconds = |run_timeout| {
            let spec = token_request(run_timeout).spec.expect("it has one");
            spec.expiration_seconds.expect("it says how long")
        };
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        assert_eq!(seconds(minutes(30)), 3600);
        assert!(seconds(minutes(60)) > 3600, "the run's last calls come at its end");
        assert!(seconds(minutes(180)) > 180 * 60);
        assert_eq!(seconds(Duration::from_secs(1 << 40)), 1 << 32, "more is refused");
    }
}
