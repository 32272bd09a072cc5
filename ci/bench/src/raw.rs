//! The least that can be done with a cluster: plain API calls, and nothing that looks at answers.

use std::process::Stdio;

use futures::{StreamExt, TryStreamExt, future::try_join_all};
use harness::{cluster::Cluster, sandbox::USER};
use k8s_openapi::{
    NamespaceResourceScope,
    api::core::v1::{ConfigMap, Namespace, Pod},
    apimachinery::pkg::apis::meta::v1::Status,
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{AttachParams, DeleteParams, ListParams, PostParams, WatchEvent, WatchParams},
};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::{
    Result,
    calls::Calls,
    grounds::{Grounds, granted},
    objects,
};

/// The way of a command into a pod.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Route {
    /// As nestcheck's: API server, kubelet, runtime.
    Api,
    /// Below all of them: `crun exec` in the namespaces of the node with this process.
    Node(u32),
}

/// A namespace in which things are done raw.
pub(crate) struct Raw {
    admin: Client,
    namespace: String,
    route: Route,
    grounds: Option<Grounds>,
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

    /// As [`Self::create`], on OpenShift and for calls too.
    pub(crate) async fn on_openshift(cluster: &Cluster, name: &str, calls: &Calls) -> Result<Self> {
        let raw = Self::begin(cluster, name, Route::Api).await?;
        let ((), grounds) = tokio::try_join!(raw.files(), Grounds::prepare(cluster, name, calls))?;
        Ok(Self { grounds: Some(grounds), ..raw })
    }

    async fn begin(cluster: &Cluster, name: &str, route: Route) -> Result<Self> {
        let admin = cluster.admin().clone();
        let namespaces: Api<Namespace> = Api::all(admin.clone());
        let namespace = objects::namespace(name, "privileged");
        namespaces.create(&PostParams::default(), &namespace).await?;
        Ok(Self { admin, namespace: name.to_owned(), route, grounds: None })
    }

    async fn files(&self) -> Result<()> {
        let maps: Api<ConfigMap> = Api::namespaced(self.admin.clone(), &self.namespace);
        maps.create(&PostParams::default(), &objects::files()).await?;
        Ok(())
    }

    pub(crate) fn namespace(&self) -> &str {
        &self.namespace
    }

    /// What there is beside the namespace on OpenShift.
    pub(crate) fn grounds(&self) -> Option<&Grounds> {
        self.grounds.as_ref()
    }

    /// As whom pods are made: the user, where there is one.
    fn client(&self) -> &Client {
        self.grounds.as_ref().map_or(&self.admin, Grounds::user)
    }

    fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client().clone(), &self.namespace)
    }

    /// Creates a pod and waits until it is ready.
    pub(crate) async fn pod(&self, pod: &Pod) -> Result<Pod> {
        self.pod_until(pod, is_ready).await
    }

    /// Creates a pod and waits until it is as it should be.
    pub(crate) async fn pod_until(&self, pod: &Pod, is_done: fn(&Pod) -> bool) -> Result<Pod> {
        let api: Api<Pod> = self.api();
        let params = PostParams::default();
        let created = granted(&self.namespace, || api.create(&params, pod)).await?;
        let params =
            WatchParams::default().fields(&format!("metadata.name={}", created.name_any()));
        let version = created.resource_version().unwrap_or_default();
        let mut changes = api.watch(&params, &version).await?.boxed();
        while let Some(change) = changes.try_next().await? {
            if let WatchEvent::Modified(pod) = change
                && is_done(&pod)
            {
                return Ok(pod);
            }
        }
        Err(format!("the watch of pod `{}` ended", created.name_any()).into())
    }

    /// Runs a command in a pod's first container and returns its exit code.
    pub(crate) async fn exec(&self, pod: &Pod, arguments: &[String]) -> Result<i32> {
        match self.route {
            Route::Api => self.exec_by_api(pod, arguments).await,
            Route::Node(process) => exec_on_node(process, pod, arguments).await,
        }
    }

    async fn exec_by_api(&self, pod: &Pod, arguments: &[String]) -> Result<i32> {
        let first = pod.spec.as_ref().and_then(|spec| spec.containers.first());
        let params = AttachParams {
            container: first.map(|container| container.name.clone()),
            stdin: false,
            stdout: true,
            stderr: true,
            ..AttachParams::default()
        };
        let api: Api<Pod> = self.api();
        let mut process = api.exec(&pod.name_any(), arguments, &params).await?;
        let status = process.take_status().ok_or("no status stream")?;
        let (stdout, stderr) = (process.stdout(), process.stderr());
        let (stdout, stderr, status) = tokio::join!(drain(stdout), drain(stderr), status);
        stdout?;
        stderr?;
        exit_code(&status.ok_or("the stream ended without a status")?)
    }

    /// Deletes all of it and waits until it is gone.
    pub(crate) async fn delete(&self) -> Result<()> {
        let Some(grounds) = &self.grounds else {
            return self.end(&self.namespace).await;
        };
        let namespaces = grounds.namespaces();
        let ends = try_join_all(namespaces.iter().map(|namespace| self.end(namespace)));
        tokio::try_join!(ends, grounds.delete())?;
        Ok(())
    }

    async fn end(&self, namespace: &str) -> Result<()> {
        let namespaces: Api<Namespace> = Api::all(self.admin.clone());
        let pods: Api<Pod> = Api::namespaced(self.admin.clone(), namespace);
        let params = DeleteParams::default();
        let all = ListParams::default();
        let (deleted, _) = tokio::try_join!(
            namespaces.delete(namespace, &params),
            pods.delete_collection(&params, &all)
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

pub(crate) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|conditions| {
        conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
    })
}

async fn drain(stream: Option<impl AsyncRead + Unpin>) -> std::io::Result<()> {
    if let Some(mut stream) = stream {
        let mut sink = Vec::new();
        stream.read_to_end(&mut sink).await?;
    }
    Ok(())
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

async fn exec_on_node(process: u32, pod: &Pod, arguments: &[String]) -> Result<i32> {
    let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
    let first = pod.spec.as_ref().and_then(|spec| spec.containers.first());
    let id = first
        .and_then(|first| statuses?.iter().find(|status| status.name == first.name))
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
    Ok(output.status.code().unwrap_or(-1))
}
