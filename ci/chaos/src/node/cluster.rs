//! The clusters that get faults.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use harness::cluster::{Cluster, ConnectOptions};
use http::Request;
use kube::Client;
use serde::Deserialize;
use serde_json::Value;
use tokio::process::Command;

use crate::{Result, runner};

/// How long a cluster may take until a pod can run there again, its taints' end included.
const RECOVERY: Duration = Duration::from_secs(180);

/// How often that is asked for.
const INTERVAL: Duration = Duration::from_millis(500);

/// How long one question may take.
const QUESTION: Duration = Duration::from_secs(5);

/// A cluster of `local-cluster`.
pub(crate) struct LocalCluster {
    program: PathBuf,
    pub(crate) name: String,
    pub(crate) kubeconfig: PathBuf,
    /// The name of the container runtime.
    pub(crate) runtime: &'static str,
    client: Client,
}

#[derive(Deserialize)]
struct Status {
    components: std::collections::BTreeMap<String, Component>,
}

#[derive(Deserialize)]
struct Component {
    ended: Option<String>,
}

impl LocalCluster {
    /// A running cluster.
    pub(crate) async fn find(program: &Path, name: &str) -> Result<Self> {
        let kubeconfig = output(program, name, &["kubeconfig".to_owned()]).await?;
        let kubeconfig = PathBuf::from(kubeconfig.trim());
        let options =
            ConnectOptions { kubeconfig: Some(kubeconfig.clone()), ..ConnectOptions::default() };
        let client = Cluster::connect(&options).await?.admin().clone();
        let program = program.to_owned();
        let mut cluster =
            Self { program, name: name.to_owned(), kubeconfig, runtime: "containerd", client };
        if cluster.status().await?.components.contains_key("crio") {
            cluster.runtime = "crio";
        }
        Ok(cluster)
    }

    /// Runs a command of `local-cluster` on the cluster. Disturbances end by themselves, even if this
    /// program is killed.
    pub(crate) async fn command(&self, arguments: &[String]) -> Result<()> {
        output(&self.program, &self.name, arguments).await.map(drop)
    }

    async fn status(&self) -> Result<Status> {
        // The exit code says whether all of it runs.
        let mut command = Command::new(&self.program);
        command.args(["status", "-o", "json", "--name", &self.name]);
        Ok(serde_json::from_slice(&command.output().await?.stdout)?)
    }

    /// Waits until a pod can run again. What has ended meanwhile is started, as systemd or the kubelet
    /// would do.
    pub(crate) async fn recover(&self) -> Result<()> {
        let deadline = Instant::now() + RECOVERY;
        loop {
            let components = self.status().await?.components;
            let dead = components.into_iter().filter(|(_, component)| component.ended.is_some());
            let dead: Vec<_> = dead.map(|(name, _)| name).collect();
            if !dead.is_empty() {
                runner::log(&format!("{}: {} ended, and starts again", self.name, dead.join(", ")));
                self.command(&[vec!["restart".to_owned()], dead].concat()).await?;
            }
            if self.takes_pods().await {
                return Ok(());
            }
            if Instant::now() > deadline {
                let seconds = RECOVERY.as_secs();
                return Err(
                    format!("cluster `{}` takes no pods after {seconds} s", self.name).into()
                );
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }

    async fn takes_pods(&self) -> bool {
        let Ok(request) = Request::get("/api/v1/nodes").body(Vec::new()) else { return false };
        let asked = tokio::time::timeout(QUESTION, self.client.request::<Value>(request)).await;
        let Ok(Ok(list)) = asked else { return false };
        list["items"].as_array().is_some_and(|nodes| nodes.iter().all(takes_pods))
    }
}

fn takes_pods(node: &Value) -> bool {
    let conditions = node["status"]["conditions"].as_array().into_iter().flatten();
    let is_ready =
        |condition: &Value| condition["type"] == "Ready" && condition["status"] == "True";
    let mut taints = node["spec"]["taints"].as_array().into_iter().flatten();
    conditions.clone().any(is_ready) && taints.all(|taint| taint["effect"] == "PreferNoSchedule")
}

async fn output(program: &Path, name: &str, arguments: &[String]) -> Result<String> {
    let mut command = Command::new(program);
    command.args(arguments).args(["--name", name]);
    let output = command.output().await?;
    if output.status.success() {
        return Ok(String::from_utf8(output.stdout)?);
    }
    let reason = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(format!("`local-cluster {}` failed: {reason}", arguments.join(" ")).into())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_node_takes_pods_when_it_is_ready_and_has_no_taint_left() {
        let ready = json!([{"type": "Ready", "status": "True"}]);
        let late = json!([{"type": "Ready", "status": "Unknown"}]);
        let taint = json!([{"key": "node.kubernetes.io/unreachable", "effect": "NoExecute"}]);

        assert!(takes_pods(&json!({"status": {"conditions": ready}})));
        assert!(!takes_pods(&json!({"status": {"conditions": late}})));
        assert!(!takes_pods(&json!({"status": {"conditions": ready}, "spec": {"taints": taint}})));
    }
}
