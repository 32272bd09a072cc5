//! The least that can be done with a cluster: plain API calls that do not check the answers.

use std::{
    process::Stdio,
    time::{Duration, Instant},
};

use futures::{StreamExt, TryStreamExt, future::try_join_all};
use harness::{cluster::Cluster, sandbox::USER};
use k8s_openapi::{
    api::core::v1::{ConfigMap, Namespace, PersistentVolumeClaim, Pod, ServiceAccount},
    apimachinery::pkg::apis::meta::v1::Status,
};
use kube::{
    Api, Client, ResourceExt,
    api::{AttachParams, DeleteParams, ListParams, PostParams, WatchEvent, WatchParams},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    time::timeout,
};

use crate::{Result, objects};

/// How long the cluster may take for a pod, a command, or the end of a namespace.
const DEADLINE: Duration = Duration::from_secs(120);

/// The way of a command into a pod.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Route {
    /// As nestcheck's: API server, kubelet, runtime.
    Api,
    /// Below all of them: `crun exec` in the namespaces of the node with this process.
    Node(u32),
}

/// A namespace with what every pod needs.
pub(crate) struct Raw {
    admin: Client,
    namespace: String,
    route: Route,
}

/// The simplest workload: a namespace, a pod, one command in it, and all gone again. Returns the
/// seconds.
pub(crate) async fn simplest(cluster: &Cluster, namespace: &str) -> Result<f64> {
    let started = Instant::now();
    let raw = Raw::create(cluster, namespace, Route::Api).await?;
    let facts = async {
        let pod = raw.pod(&objects::pod(&suites::fixtures::NESTED_POD)?).await?;
        raw.exec(&pod, &["/nestcheck/probe", "facts"]).await
    };
    let exit = facts.await;
    raw.delete().await?;
    match exit? {
        0 => Ok(started.elapsed().as_secs_f64()),
        exit => Err(format!("the probe exited with {exit}").into()),
    }
}

impl Raw {
    /// Creates the namespace, the service account and the files.
    pub(crate) async fn create(cluster: &Cluster, name: &str, route: Route) -> Result<Self> {
        let admin = cluster.admin().clone();
        let params = PostParams::default();
        Api::<Namespace>::all(admin.clone()).create(&params, &objects::namespace(name)).await?;
        let accounts: Api<ServiceAccount> = Api::namespaced(admin.clone(), name);
        let maps: Api<ConfigMap> = Api::namespaced(admin.clone(), name);
        let (account, files) = (objects::account(USER), objects::files());
        tokio::try_join!(accounts.create(&params, &account), maps.create(&params, &files))?;
        Ok(Self { admin, namespace: name.to_owned(), route })
    }

    /// Creates a pod and waits until it is ready.
    pub(crate) async fn pod(&self, pod: &Pod) -> Result<Pod> {
        let api: Api<Pod> = Api::namespaced(self.admin.clone(), &self.namespace);
        let created = api.create(&PostParams::default(), pod).await?;
        timeout(DEADLINE, until_ready(&api, &created)).await?
    }

    /// Runs a command in a pod's first container and returns its exit code.
    pub(crate) async fn exec(&self, pod: &Pod, command: &[&str]) -> Result<i32> {
        let run = async {
            match self.route {
                Route::Api => exec_by_api(&self.admin, pod, command).await,
                Route::Node(process) => exec_on_node(process, pod, command).await,
            }
        };
        timeout(DEADLINE, run).await?
    }

    /// Deletes the namespace and waits until it is gone.
    pub(crate) async fn delete(&self) -> Result<()> {
        delete(&self.admin, &[&self.namespace]).await
    }
}

/// Deletes namespaces with their pods and waits until they are gone.
pub(crate) async fn delete(admin: &Client, namespaces: &[&str]) -> Result<()> {
    let ends = namespaces.iter().map(|namespace| delete_one(admin, namespace));
    timeout(DEADLINE, try_join_all(ends)).await??;
    Ok(())
}

async fn delete_one(admin: &Client, namespace: &str) -> Result<()> {
    let namespaces: Api<Namespace> = Api::all(admin.clone());
    let pods: Api<Pod> = Api::namespaced(admin.clone(), namespace);
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(admin.clone(), namespace);
    let (params, all) = (DeleteParams::default(), ListParams::default());
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

async fn until_ready(api: &Api<Pod>, created: &Pod) -> Result<Pod> {
    let name = created.name_any();
    let params = WatchParams::default().fields(&format!("metadata.name={name}"));
    let version = created.resource_version().unwrap_or_default();
    let mut changes = api.watch(&params, &version).await?.boxed();
    while let Some(change) = changes.try_next().await? {
        if let WatchEvent::Modified(pod) = change
            && is_ready(&pod)
        {
            return Ok(pod);
        }
    }
    Err(format!("the watch of pod `{name}` ended").into())
}

pub(crate) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|conditions| {
        conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
    })
}

async fn exec_by_api(client: &Client, pod: &Pod, command: &[&str]) -> Result<i32> {
    let params = AttachParams::default().stdin(false).stdout(true).stderr(true);
    let api: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace().unwrap_or_default());
    let mut process = api.exec(&pod.name_any(), command.iter().copied(), &params).await?;
    let status = process.take_status().ok_or("no status stream")?;
    let (stdout, stderr) = (process.stdout(), process.stderr());
    let (stdout, stderr, status) = tokio::join!(drain(stdout), drain(stderr), status);
    stdout.and(stderr)?;
    exit_code(&status.ok_or("the stream ended without a status")?)
}

async fn drain(stream: Option<impl AsyncRead + Unpin>) -> std::io::Result<()> {
    match stream {
        Some(mut stream) => stream.read_to_end(&mut Vec::new()).await.map(drop),
        None => Ok(()),
    }
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

async fn exec_on_node(process: u32, pod: &Pod, arguments: &[&str]) -> Result<i32> {
    let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
    let id = statuses
        .and_then(|statuses| statuses.first()?.container_id.as_deref()?.split_once("://"))
        .ok_or("the pod has no container id")?;
    let target = process.to_string();
    let mut command = tokio::process::Command::new("nsenter");
    command
        .args(["--target", &target, "--mount", "--pid", "--net", "--uts", "--ipc"])
        .args(["crun", "--root", "/run/containerd/runc/k8s.io", "exec", id.1])
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = command.output().await?;
    Ok(output.status.code().unwrap_or(-1))
}
