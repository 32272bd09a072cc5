//! The throwaway namespaces of a run, what is in them, and their end.

use std::{collections::BTreeMap, time::Duration};

use futures::{StreamExt, stream};
use k8s_openapi::{
    ByteString,
    api::{
        authentication::v1::{TokenRequest, TokenRequestSpec},
        core::v1::{ConfigMap, Namespace, Pod, ServiceAccount},
        rbac::v1::{RoleBinding, RoleRef, Subject},
    },
};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, ListParams, ObjectMeta, PostParams, Preconditions},
    runtime::wait::{await_condition, conditions},
};

use crate::{
    Error, Result,
    cluster::{Cluster, call, is_forbidden, status_code},
    facts::DeviceRoute,
    retry,
    shape::{FILES_VOLUME, Setting, Shape},
};

/// The name of the ordinary user's service account: it has the rights of ClusterRole `edit` in the
/// run's namespace and none elsewhere.
pub const USER: &str = "workspace-user";

/// The label that carries the run's id.
pub const RUN_LABEL: &str = "nestcheck/run";

/// How long the user's token is good for: the shortest that the API grants.
const TOKEN_SECONDS: i64 = 3600;

/// How long the run's RoleBinding may take to reach the API server's authorizer.
const GRANT_DEADLINE: Duration = Duration::from_secs(5);

/// How long the end of a namespace may take. The namespace controller alone waits 5 s before it
/// begins (kubernetes `pkg/controller/namespace`, `namespaceDeletionGracePeriod`).
const TEARDOWN_DEADLINE: Duration = Duration::from_secs(120);

/// The labels of everything that a run creates.
#[must_use]
pub fn labels(run: &str) -> BTreeMap<String, String> {
    BTreeMap::from([
        ("app.kubernetes.io/managed-by".to_owned(), "nestcheck".to_owned()),
        (RUN_LABEL.to_owned(), run.to_owned()),
    ])
}

/// A file that every pod of a run can read.
#[derive(Clone, Debug)]
pub struct File {
    /// Its path below /nestcheck.
    pub path: String,
    /// Its content.
    pub content: Vec<u8>,
}

impl File {
    /// The key in the ConfigMap: keys can't have slashes.
    fn key(&self) -> String {
        self.path.replace('/', "__")
    }
}

/// What a sandbox is made with.
#[derive(Clone, Debug)]
pub struct SandboxOptions {
    /// The run's id.
    pub run: String,
    /// The image of the pods.
    pub image: String,
    /// How pods get devices here.
    pub device_route: Option<DeviceRoute>,
    /// The files of every pod, the probe among them.
    pub files: Vec<File>,
}

/// The throwaway namespace of a run, with an ordinary user in it.
pub struct Sandbox {
    options: SandboxOptions,
    namespace: String,
    admin: Client,
    user: Client,
    keys: Vec<(String, String)>,
}

impl Sandbox {
    /// Creates the namespace, the user and the files.
    ///
    /// # Errors
    ///
    /// What the server refuses. What was created until then is found by its labels: call
    /// [`teardown`] all the same.
    pub async fn create(cluster: &Cluster, options: SandboxOptions) -> Result<Self> {
        let namespace = namespace_of(&options.run);
        let admin = cluster.admin().clone();
        let creator = Creator { admin: &admin, run: &options.run };
        creator.namespace(&namespace, "privileged").await?;
        let (token, (), ()) = tokio::try_join!(
            creator.user(&namespace),
            creator.binding(&namespace),
            creator.files(&namespace, &options.files),
        )?;
        let user = cluster.as_token(token)?;
        let keys = options.files.iter().map(|file| (file.key(), file.path.clone())).collect();
        Ok(Self { options, namespace, admin, user, keys })
    }

    /// Asks by a dry run whether the caller may create the namespace at all. Without that right
    /// a run can only fail, and could not even see that it left nothing behind.
    ///
    /// # Errors
    ///
    /// What the server refuses.
    pub async fn rehearse(cluster: &Cluster, options: &SandboxOptions) -> Result<()> {
        let namespace = namespace_of(&options.run);
        let creator = Creator { admin: cluster.admin(), run: &options.run };
        let object = creator.namespace_object(&namespace, "privileged");
        let api: Api<Namespace> = Api::all(cluster.admin().clone());
        let params = PostParams { dry_run: true, field_manager: Some("nestcheck".to_owned()) };
        let what = format!("create namespace `{namespace}`");
        call(&what, || api.create(&params, &object)).await.map(drop)
    }

    /// The namespace of the pods.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The ordinary user's client: every case acts with it.
    #[must_use]
    pub fn user(&self) -> &Client {
        &self.user
    }

    /// Calls the API as the ordinary user. The API server's authorizer learns of the run's fresh
    /// RoleBinding by a watch of its own, so a refusal for lack of rights is tried again for a
    /// short while; there is nothing that a client could watch.
    ///
    /// # Errors
    ///
    /// The call's error.
    pub async fn as_granted<T, F, Fut>(&self, operation: F) -> Result<T, kube::Error>
    where
        F: FnMut() -> Fut + Send,
        Fut: Future<Output = Result<T, kube::Error>> + Send,
    {
        retry::with_backoff(GRANT_DEADLINE, not_granted_yet, operation).await
    }

    /// The pod of a shape in this sandbox.
    ///
    /// # Errors
    ///
    /// A manifest that is not a pod.
    pub fn pod(&self, shape: &Shape) -> Result<Pod> {
        shape.pod(&Setting {
            namespace: &self.namespace,
            run: &self.options.run,
            image: &self.options.image,
            device_route: self.options.device_route.as_ref(),
            files: &self.keys,
        })
    }

    /// Creates a second namespace that enforces a Pod Security level, with the same user.
    ///
    /// # Errors
    ///
    /// What the server refuses.
    pub async fn namespace_enforcing(&self, level: &str) -> Result<String> {
        let namespace = format!("{}-{level}", self.namespace);
        let creator = Creator { admin: &self.admin, run: &self.options.run };
        creator.namespace(&namespace, level).await?;
        tokio::try_join!(creator.account(&namespace), creator.binding(&namespace))?;
        Ok(namespace)
    }
}

/// The name of a run's namespace.
fn namespace_of(run: &str) -> String {
    format!("nestcheck-{run}")
}

/// Whether the authorizer does not know the user's RoleBinding yet. Its refusal names the verb
/// and the resource; refusals by admission read otherwise.
fn not_granted_yet(error: &kube::Error) -> Option<Duration> {
    let unknown = is_forbidden(error) && error.to_string().contains("cannot create resource");
    unknown.then_some(Duration::ZERO)
}

/// Creates the objects of a run, all with its labels.
struct Creator<'a> {
    admin: &'a Client,
    run: &'a str,
}

impl Creator<'_> {
    fn metadata(&self, name: &str) -> ObjectMeta {
        ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some(labels(self.run)),
            ..ObjectMeta::default()
        }
    }

    fn namespace_object(&self, name: &str, level: &str) -> Namespace {
        let mut metadata = self.metadata(name);
        let labels = metadata.labels.get_or_insert_default();
        for mode in ["enforce", "audit", "warn"] {
            labels.insert(format!("pod-security.kubernetes.io/{mode}"), level.to_owned());
        }
        Namespace { metadata, ..Namespace::default() }
    }

    async fn namespace(&self, name: &str, level: &str) -> Result<()> {
        let namespace = self.namespace_object(name, level);
        let api: Api<Namespace> = Api::all(self.admin.clone());
        self.create(&api, &namespace, &format!("create namespace `{name}`")).await
    }

    /// The ordinary user: a service account, and a token for it.
    async fn user(&self, namespace: &str) -> Result<String> {
        self.account(namespace).await?;
        let api: Api<ServiceAccount> = Api::namespaced(self.admin.clone(), namespace);
        let request = TokenRequest {
            spec: Some(TokenRequestSpec {
                expiration_seconds: Some(TOKEN_SECONDS),
                ..TokenRequestSpec::default()
            }),
            ..TokenRequest::default()
        };
        let params = PostParams::default();
        let granted = call("request a token for the user", || {
            api.create_token_request(USER, &params, &request)
        });
        granted.await?.status.and_then(|status| status.token).ok_or_else(|| {
            Error::infrastructure("failed to request a token for the user: the answer has none")
        })
    }

    async fn account(&self, namespace: &str) -> Result<()> {
        let account = ServiceAccount {
            metadata: self.metadata(USER),
            automount_service_account_token: Some(false),
            ..ServiceAccount::default()
        };
        let api = Api::namespaced(self.admin.clone(), namespace);
        self.create(&api, &account, "create the user's service account").await
    }

    async fn binding(&self, namespace: &str) -> Result<()> {
        let binding = RoleBinding {
            metadata: self.metadata("workspace-user-edit"),
            role_ref: RoleRef {
                api_group: Some("rbac.authorization.k8s.io".to_owned()),
                kind: "ClusterRole".to_owned(),
                name: "edit".to_owned(),
            },
            subjects: Some(vec![Subject {
                kind: "ServiceAccount".to_owned(),
                name: USER.to_owned(),
                // The user of the run's main namespace acts in its other namespaces too.
                namespace: Some(format!("nestcheck-{}", self.run)),
                ..Subject::default()
            }]),
        };
        let api = Api::namespaced(self.admin.clone(), namespace);
        self.create(&api, &binding, "bind the user to ClusterRole `edit`").await
    }

    async fn files(&self, namespace: &str, files: &[File]) -> Result<()> {
        let data = files.iter().map(|file| (file.key(), ByteString(file.content.clone())));
        let map = ConfigMap {
            metadata: self.metadata(FILES_VOLUME),
            binary_data: Some(data.collect()),
            ..ConfigMap::default()
        };
        let api = Api::namespaced(self.admin.clone(), namespace);
        self.create(&api, &map, "create the ConfigMap of the probe").await
    }

    async fn create<K>(&self, api: &Api<K>, object: &K, what: &str) -> Result<()>
    where
        K: Clone + std::fmt::Debug + serde::Serialize + serde::de::DeserializeOwned + Sync,
    {
        let params = PostParams { dry_run: false, field_manager: Some("nestcheck".to_owned()) };
        call(what, || api.create(&params, object)).await.map(drop)
    }
}

/// Deletes every namespace of a run and waits until they are gone.
///
/// They are found by the run's label, so that one whose creation was cut off is found too.
///
/// # Errors
///
/// A namespace that is still there at the deadline, with what the server says keeps it.
pub async fn teardown(admin: &Client, run: &str) -> Result<()> {
    let api: Api<Namespace> = Api::all(admin.clone());
    let mine = ListParams::default().labels(&format!("{RUN_LABEL}={run}"));
    let namespaces = call("list the run's namespaces", || api.list(&mine)).await?;
    let ends: Vec<Result<()>> = stream::iter(namespaces.items)
        .map(|namespace| end(admin, namespace))
        .buffer_unordered(4)
        .collect()
        .await;
    ends.into_iter().collect()
}

async fn end(admin: &Client, namespace: Namespace) -> Result<()> {
    let name = namespace.name_any();
    let uid = namespace.uid().unwrap_or_default();
    let api: Api<Namespace> = Api::all(admin.clone());
    let pods: Api<Pod> = Api::namespaced(admin.clone(), &name);
    let by_uid = DeleteParams::default()
        .preconditions(Preconditions { uid: Some(uid.clone()), resource_version: None });
    // The namespace controller waits 5 s before it deletes anything; the pods end meanwhile.
    let (deleted, emptied) = tokio::join!(
        call("delete the namespace", || async {
            match api.delete(&name, &by_uid).await {
                Err(error) if status_code(&error) == Some(404) => Ok(()),
                other => other.map(drop),
            }
        }),
        call("delete the pods", || async {
            pods.delete_collection(&DeleteParams::default(), &ListParams::default()).await.map(drop)
        }),
    );
    deleted?;
    if let Err(error) = emptied {
        // The namespace controller deletes what is left; it only takes longer.
        tracing::debug!(%error, "the pods were not deleted before their namespace");
    }
    // `await_condition` ends with the first error of its watch; a broken connection is no leak.
    let gone = retry::with_backoff(
        TEARDOWN_DEADLINE,
        |_: &kube::runtime::wait::Error| Some(Duration::ZERO),
        || await_condition(api.clone(), &name, conditions::is_deleted(&uid)),
    );
    match tokio::time::timeout(TEARDOWN_DEADLINE, gone).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(Error::infrastructure(format!(
            "failed to watch the end of namespace `{name}`: {error}"
        ))),
        Err(_elapsed) => {
            let rest = call("read what keeps the namespace", || api.get_opt(&name)).await?;
            Err(Error::infrastructure(format!(
                "namespace `{name}` is still there after {} s: {}",
                TEARDOWN_DEADLINE.as_secs(),
                rest.map_or_else(String::new, |namespace| what_keeps(&namespace))
            ))
            .with_hint(format!(
                "see what holds its content back, then `kubectl delete namespace -l {RUN_LABEL}={}`",
                run_of(&namespace)
            )))
        }
    }
}

fn run_of(namespace: &Namespace) -> String {
    namespace.labels().get(RUN_LABEL).cloned().unwrap_or_default()
}

/// What the namespace controller says is still in the way.
fn what_keeps(namespace: &Namespace) -> String {
    let status = namespace.status.clone().unwrap_or_default();
    let messages = status
        .conditions
        .unwrap_or_default()
        .into_iter()
        .filter(|condition| condition.status == "True")
        .filter_map(|condition| condition.message);
    messages.collect::<Vec<_>>().join("; ")
}
