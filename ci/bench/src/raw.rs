//! The least that can be done with a cluster: plain API calls, and nothing that looks at answers.

use std::{collections::BTreeMap, process::Stdio};

use futures::{StreamExt, TryStreamExt, future::try_join_all};
use harness::{cluster::Cluster, sandbox::USER};
use k8s_openapi::{
    NamespaceResourceScope,
    api::core::v1::{ConfigMap, Namespace, PersistentVolumeClaim, Pod},
    apimachinery::pkg::apis::meta::v1::Status,
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{AttachParams, DeleteParams, ListParams, PostParams, WatchEvent, WatchParams},
};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::{Result, cluster::Flavour, grounds::Grounds, objects};

/// The way of a command into a pod.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Route {
    /// As nestcheck's: API server, kubelet, runtime.
    Api,
    /// Below all of them: `crun exec` in the namespaces of the node with this process.
    Node(u32),
}

/// A namespace in which things are done raw.
#[derive(Clone)]
pub(crate) struct Raw {
    admin: Client,
    namespace: String,
    route: Route,
}

impl Raw {
    /// Creates the namespace with what every pod needs.
    pub(crate) async fn create(cluster: &Cluster, name: &str, route: Route) -> Result<Self> {
        let raw = Self::begin(cluster, name, route).await?;
        let (accounts, params, account) =
            (raw.api(), PostParams::default(), objects::account(USER));
        tokio::try_join!(raw.files(), async {
            accounts.create(&params, &account).await?;
            Ok(())
        })?;
        Ok(raw)
    }

    /// As [`Self::create`], with all that a whole run needs; `others` as in [`Grounds::prepare`].
    pub(crate) async fn create_whole(
        cluster: &Cluster,
        flavour: Flavour,
        name: &str,
        route: Route,
        others: &BTreeMap<String, bool>,
    ) -> Result<(Self, Grounds)> {
        let raw = Self::begin(cluster, name, route).await?;
        let grounds = Grounds::prepare(cluster, flavour, name, others);
        let ((), grounds) = tokio::try_join!(raw.files(), grounds)?;
        Ok((raw, grounds))
    }

    async fn begin(cluster: &Cluster, name: &str, route: Route) -> Result<Self> {
        let admin = cluster.admin().clone();
        let namespaces: Api<Namespace> = Api::all(admin.clone());
        let namespace = objects::namespace(name, "privileged");
        namespaces.create(&PostParams::default(), &namespace).await?;
        Ok(Self { admin, namespace: name.to_owned(), route })
    }

    async fn files(&self) -> Result<()> {
        let maps: Api<ConfigMap> = Api::namespaced(self.admin.clone(), &self.namespace);
        maps.create(&PostParams::default(), &objects::files()).await?;
        Ok(())
    }

    fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.admin.clone(), &self.namespace)
    }

    /// Creates a pod and waits until it is ready.
    pub(crate) async fn pod(&self, pod: &Pod) -> Result<Pod> {
        let created = self.api().create(&PostParams::default(), pod).await?;
        pod_until(&self.admin, created, is_ready).await
    }

    /// Runs a command in a pod's first container, as the administrator.
    pub(crate) async fn exec(&self, pod: &Pod, arguments: &[String]) -> Result<Ended> {
        self.exec_as(&self.admin, pod, None, arguments).await
    }

    /// Runs a command in a container of a pod, the first one where none is named.
    pub(crate) async fn exec_as(
        &self,
        client: &Client,
        pod: &Pod,
        container: Option<&str>,
        arguments: &[String],
    ) -> Result<Ended> {
        let containers = pod.spec.as_ref().map(|spec| spec.containers.as_slice());
        let first = containers.and_then(<[_]>::first).map(|first| first.name.as_str());
        let container = container.or(first).ok_or("the pod has no container")?;
        match self.route {
            Route::Api => exec_by_api(client, pod, container, arguments).await,
            Route::Node(process) => exec_on_node(process, pod, container, arguments).await,
        }
    }

    /// Deletes all of it and waits until it is gone.
    pub(crate) async fn delete(&self) -> Result<()> {
        self.end(&self.namespace).await
    }

    /// As [`Self::delete`], with what there is beside it.
    pub(crate) async fn delete_whole(&self, grounds: &Grounds) -> Result<()> {
        let namespaces = grounds.namespaces();
        let ends = try_join_all(namespaces.iter().map(|namespace| self.end(namespace)));
        tokio::try_join!(ends, grounds.delete(), grounds.end_workspaces())?;
        Ok(())
    }

    async fn end(&self, namespace: &str) -> Result<()> {
        let namespaces: Api<Namespace> = Api::all(self.admin.clone());
        let pods: Api<Pod> = Api::namespaced(self.admin.clone(), namespace);
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(self.admin.clone(), namespace);
        let params = DeleteParams::default();
        let all = ListParams::default();
        let (deleted, _, _) = tokio::try_join!(
            namespaces.delete(namespace, &params),
            pods.delete_collection(&params, &all),
            claims.delete_collection(&params, &all)
        )?;
        let version = deleted
            .left()
            .and_then(|namespace| namespace.resource_version())
            .ok_or("the namespace was gone at once")?;
        let params = WatchParams::default().fields(&format!("metadata.name={namespace}"));
        let mut changes = namespaces.watch(&params, &version).await?.boxed();
        while let Some(change) = changes.try_next().await? {
            if let WatchEvent::Deleted(_) = change {
                return Ok(());
            }
        }
        Err(format!("the watch of namespace `{namespace}` ended").into())
    }
}

/// Waits until a pod that was created is as it should be.
pub(crate) async fn pod_until(
    client: &Client,
    created: Pod,
    is_done: impl Fn(&Pod) -> bool,
) -> Result<Pod> {
    let (name, namespace) = (created.name_any(), created.namespace().unwrap_or_default());
    let api: Api<Pod> = Api::namespaced(client.clone(), &namespace);
    let params = WatchParams::default().fields(&format!("metadata.name={name}"));
    let version = created.resource_version().unwrap_or_default();
    let mut changes = api.watch(&params, &version).await?.boxed();
    while let Some(change) = changes.try_next().await? {
        if let WatchEvent::Modified(pod) = change
            && is_done(&pod)
        {
            return Ok(pod);
        }
    }
    Err(format!("the watch of pod `{name}` ended").into())
}

/// What a command came to.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    pub(crate) exit: i32,
    /// What it wrote to standard output, without white space at its ends.
    pub(crate) told: String,
}

async fn exec_by_api(
    client: &Client,
    pod: &Pod,
    container: &str,
    arguments: &[String],
) -> Result<Ended> {
    let params = AttachParams {
        container: Some(container.to_owned()),
        stdin: false,
        stdout: true,
        stderr: true,
        ..AttachParams::default()
    };
    let namespace = pod.namespace().unwrap_or_default();
    let api: Api<Pod> = Api::namespaced(client.clone(), &namespace);
    let mut process = api.exec(&pod.name_any(), arguments, &params).await?;
    let status = process.take_status().ok_or("no status stream")?;
    let (stdout, stderr) = (process.stdout(), process.stderr());
    let (stdout, stderr, status) = tokio::join!(drain(stdout), drain(stderr), status);
    stderr?;
    let exit = exit_code(&status.ok_or("the stream ended without a status")?)?;
    Ok(Ended { exit, told: text_of(&stdout?) })
}

fn text_of(output: &[u8]) -> String {
    String::from_utf8_lossy(output).trim().to_owned()
}

pub(crate) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|conditions| {
        conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
    })
}

async fn drain(stream: Option<impl AsyncRead + Unpin>) -> std::io::Result<Vec<u8>> {
    let mut read = Vec::new();
    if let Some(mut stream) = stream {
        stream.read_to_end(&mut read).await?;
    }
    Ok(read)
}

/// The exit code is in a cause of the status (`pkg/kubelet`, remotecommand protocol v4).
fn exit_code(status: &Status) -> Result<i32> {
    if status.status.as_deref() == Some("Success") {
        return Ok(0);
    }
    let causes = status.details.as_ref().and_then(|details| details.causes.as_ref());
    let code = causes
        .and_then(|causes| causes.iter().find(|c| c.reason.as_deref() == Some("ExitCode")))
        .and_then(|cause| cause.message.as_ref());
    let code = code.ok_or_else(|| status.message.clone().unwrap_or_default())?;
    Ok(code.parse()?)
}

async fn exec_on_node(
    process: u32,
    pod: &Pod,
    container: &str,
    arguments: &[String],
) -> Result<Ended> {
    let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
    let id = statuses
        .and_then(|statuses| statuses.iter().find(|status| status.name == container))
        .and_then(|status| status.container_id.as_deref()?.split_once("://"))
        .ok_or("the pod has no container id")?;
    let target = process.to_string();
    let mut command = tokio::process::Command::new("nsenter");
    command
        .args(["--target", &target, "--mount", "--pid", "--net", "--uts", "--ipc"])
        .args(["crun", "--root", "/run/containerd/runc/k8s.io", "exec", id.1])
        .args(arguments)
        .stdin(Stdio::null());
    let output = command.output().await?;
    Ok(Ended { exit: output.status.code().unwrap_or(-1), told: text_of(&output.stdout) })
}
