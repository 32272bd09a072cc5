//! What a run needs beside its namespace: users, and on OpenShift an SCC and who may use it.

use std::{collections::BTreeMap, time::Duration};

use harness::{
    cluster::{Cluster, status_code},
    sandbox::{GRANT, UNGRANTED_USER, USER, scc_resource, workspace_resource},
};
use k8s_openapi::api::{
    authentication::v1::{TokenRequest, TokenRequestSpec},
    core::v1::{Namespace, ServiceAccount},
    rbac::v1::{ClusterRole, RoleBinding},
};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, DynamicObject, ListParams, PostParams},
    runtime::wait::await_condition,
};
use tokio::sync::OnceCell;

use crate::{Result, calls::Who, cluster::Flavour, objects};

/// How long a change of rights may take to reach the API server's authorizer and admission.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is waited before a refused request is tried again.
const PAUSE: Duration = Duration::from_millis(10);

/// The users of a namespace and the namespaces beside it.
pub(crate) struct Grounds {
    cluster: Cluster,
    flavour: Flavour,
    home: String,
    user: Client,
    stranger: OnceCell<Client>,
    others: BTreeMap<String, (bool, OnceCell<()>)>,
}

impl Grounds {
    /// Prepares a namespace that exists. `others` are the suffixes of namespaces beside it, and
    /// whether the user may use the SCC there.
    pub(crate) async fn prepare(
        cluster: &Cluster,
        flavour: Flavour,
        home: &str,
        others: &BTreeMap<String, bool>,
    ) -> Result<Self> {
        let admin = cluster.admin();
        let constrain = async {
            if flavour == Flavour::Kubernetes {
                return Ok(());
            }
            let sccs: Api<DynamicObject> = Api::all_with(admin.clone(), &scc_resource());
            let roles: Api<ClusterRole> = Api::all(admin.clone());
            let (params, scc) = (PostParams::default(), objects::scc(home)?);
            let role = objects::use_of(home);
            let made = async {
                tokio::try_join!(sccs.create(&params, &scc), roles.create(&params, &role))?;
                Ok(())
            };
            tokio::try_join!(made, allocated(admin, home))?;
            bind(admin, home, GRANT, home, home).await
        };
        let (user, (), ()) = tokio::try_join!(
            user(cluster, home, USER),
            bind(admin, home, "workspace-user-edit", "edit", home),
            constrain
        )?;
        let others = others.iter();
        Ok(Self {
            cluster: cluster.clone(),
            flavour,
            home: home.to_owned(),
            user,
            stranger: OnceCell::new(),
            others: others.map(|(s, granted)| (s.clone(), (*granted, OnceCell::new()))).collect(),
        })
    }

    /// Somebody's client; the stranger is made when it is first asked for.
    pub(crate) async fn client(&self, who: Who) -> Result<&Client> {
        match who {
            Who::Administrator => Ok(self.cluster.admin()),
            Who::User => Ok(&self.user),
            Who::Ungranted => {
                let make = || user(&self.cluster, &self.home, UNGRANTED_USER);
                self.stranger.get_or_try_init(make).await
            }
        }
    }

    /// The namespace with a suffix, which is made when it is first asked for.
    pub(crate) async fn namespace(&self, suffix: &str) -> Result<String> {
        let name = self.name(suffix);
        if let Some((granted, made)) = self.others.get(suffix) {
            made.get_or_try_init(|| self.make(&name, suffix, *granted)).await?;
        }
        Ok(name)
    }

    fn name(&self, suffix: &str) -> String {
        if suffix.is_empty() { self.home.clone() } else { format!("{}-{suffix}", self.home) }
    }

    async fn make(&self, name: &str, suffix: &str, granted: bool) -> Result<()> {
        let admin = self.cluster.admin();
        let level = if matches!(suffix, "baseline" | "restricted") { suffix } else { "privileged" };
        let namespaces: Api<Namespace> = Api::all(admin.clone());
        namespaces.create(&PostParams::default(), &objects::namespace(name, level)).await?;
        tokio::try_join!(
            account(admin, name, USER),
            bind(admin, name, "workspace-user-edit", "edit", &self.home),
            async {
                if self.flavour == Flavour::Kubernetes {
                    return Ok(());
                }
                allocated(admin, name).await?;
                if granted {
                    bind(admin, name, GRANT, &self.home, &self.home).await?;
                }
                Ok(())
            }
        )?;
        Ok(())
    }

    /// The names of all namespaces that were made.
    pub(crate) fn namespaces(&self) -> Vec<String> {
        let made = self.others.iter().filter(|(_, (_, made))| made.initialized());
        std::iter::once(self.home.clone()).chain(made.map(|(s, _)| self.name(s))).collect()
    }

    /// Deletes the workspaces, before which their namespace does not end; their kind may not be
    /// served.
    pub(crate) async fn end_workspaces(&self) -> Result<()> {
        if self.flavour == Flavour::OpenShift {
            let workspaces = self.workspaces(Who::Administrator).await?;
            let (params, all) = (DeleteParams::default(), ListParams::default());
            match workspaces.delete_collection(&params, &all).await {
                Err(error) if status_code(&error) != Some(404) => return Err(error.into()),
                _ => {}
            }
        }
        Ok(())
    }

    /// The workspaces of the main namespace, to somebody.
    pub(crate) async fn workspaces(&self, who: Who) -> Result<Api<DynamicObject>> {
        let client = self.client(who).await?.clone();
        Ok(Api::namespaced_with(client, &self.home, &workspace_resource()))
    }

    /// Deletes what is in no namespace.
    pub(crate) async fn delete(&self) -> Result<()> {
        if self.flavour == Flavour::Kubernetes {
            return Ok(());
        }
        let admin = self.cluster.admin();
        let sccs: Api<DynamicObject> = Api::all_with(admin.clone(), &scc_resource());
        let roles: Api<ClusterRole> = Api::all(admin.clone());
        let params = DeleteParams::default();
        tokio::try_join!(sccs.delete(&self.home, &params), roles.delete(&self.home, &params))?;
        Ok(())
    }
}

/// Repeats a request while it is refused for a right in the namespace `home` that is too new to be
/// known.
pub(crate) async fn granted<T, F>(home: &str, request: impl Fn() -> F) -> kube::Result<T>
where
    F: Future<Output = kube::Result<T>>,
{
    until(request, |answer| !answer.as_ref().is_err_and(|error| is_too_new(home, error))).await
}

/// Whether a refusal names a missing right that the replay gave. A refusal for another reason is
/// final: to repeat it would make the replay slow, and its run look fast beside it.
fn is_too_new(home: &str, error: &kube::Error) -> bool {
    let text = error.to_string();
    let unknown_scc = text.contains(&format!("provider \"{home}\": Forbidden: not usable"))
        || (text.contains("not found") && text.contains(&format!("scc/{home}")));
    status_code(error) == Some(403) && (text.contains("cannot create resource") || unknown_scc)
}

/// Repeats a request until its answer fits, but not for ever.
pub(crate) async fn until<T, F>(request: impl Fn() -> F, fits: impl Fn(&T) -> bool) -> T
where
    F: Future<Output = T>,
{
    let begin = tokio::time::Instant::now();
    loop {
        let answer = request().await;
        if fits(&answer) || begin.elapsed() > PATIENCE {
            return answer;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn account(admin: &Client, namespace: &str, name: &str) -> Result<()> {
    let accounts: Api<ServiceAccount> = Api::namespaced(admin.clone(), namespace);
    accounts.create(&PostParams::default(), &objects::account(name)).await?;
    Ok(())
}

/// Makes a user and returns its client.
async fn user(cluster: &Cluster, namespace: &str, name: &str) -> Result<Client> {
    let admin = cluster.admin();
    account(admin, namespace, name).await?;
    let spec = TokenRequestSpec { expiration_seconds: Some(3600), ..TokenRequestSpec::default() };
    let request = TokenRequest { spec: Some(spec), ..TokenRequest::default() };
    let accounts: Api<ServiceAccount> = Api::namespaced(admin.clone(), namespace);
    let answer = accounts.create_token_request(name, &PostParams::default(), &request).await?;
    let token = answer.status.and_then(|status| status.token).ok_or("no token")?;
    Ok(cluster.as_token(token)?)
}

async fn bind(admin: &Client, namespace: &str, name: &str, role: &str, home: &str) -> Result<()> {
    let accounts: &[&str] = if name == GRANT { &[USER] } else { &[USER, UNGRANTED_USER] };
    let bindings: Api<RoleBinding> = Api::namespaced(admin.clone(), namespace);
    let binding = objects::binding(name, role, home, accounts);
    bindings.create(&PostParams::default(), &binding).await?;
    Ok(())
}

/// Waits until SCC admission knows all that it needs of a namespace.
async fn allocated(admin: &Client, namespace: &str) -> Result<()> {
    let namespaces: Api<Namespace> = Api::all(admin.clone());
    let accounts: Api<ServiceAccount> = Api::namespaced(admin.clone(), namespace);
    let has_ranges = |object: Option<&Namespace>| {
        let ranges = ["uid-range", "supplemental-groups", "mcs"];
        object.is_some_and(|object| {
            let known = object.annotations();
            ranges.iter().all(|range| known.contains_key(&format!("openshift.io/sa.scc.{range}")))
        })
    };
    tokio::try_join!(
        await_condition(namespaces, namespace, has_ranges),
        await_condition(accounts, "default", |account: Option<&ServiceAccount>| account.is_some())
    )?;
    Ok(())
}
