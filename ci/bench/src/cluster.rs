//! The cluster that is measured: brought up by the local-cluster command.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use harness::cluster::ConnectOptions;
use serde::Deserialize;

use crate::Result;

/// A running cluster, as `local-cluster status` tells it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Cluster {
    pub(crate) audit_log: PathBuf,
    pub(crate) kubeconfig: PathBuf,
    pub(crate) kubectl: PathBuf,
    /// The process whose namespaces are the node's.
    pub(crate) node_init: u32,
    pub(crate) kubernetes: String,
}

/// Starts the cluster and returns it with the seconds until it was ready. It is ended first, in
/// case it runs.
pub(crate) async fn up(program: &Path, name: &str) -> Result<(Cluster, f64)> {
    local_cluster(program, &["down", "--name", name]).await?;
    let started = Instant::now();
    local_cluster(program, &["up", "--name", name]).await?;
    let seconds = started.elapsed().as_secs_f64();
    let status = local_cluster(program, &["status", "--name", name, "-o", "json"]).await?;
    Ok((serde_json::from_slice(&status)?, seconds))
}

async fn local_cluster(program: &Path, arguments: &[&str]) -> Result<Vec<u8>> {
    let mut command = tokio::process::Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = command.output().await?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    Err(format!("`local-cluster {}` failed", arguments.join(" ")).into())
}

impl Cluster {
    /// A program with the cluster's kubeconfig in its environment.
    pub(crate) fn program(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env("KUBECONFIG", &self.kubeconfig);
        command
    }

    /// A client with nestcheck's own connection, so that the two differ only in what they ask.
    pub(crate) async fn client(&self) -> Result<kube::Client> {
        let options = ConnectOptions { kubeconfig: Some(self.kubeconfig.clone()), context: None };
        Ok(harness::cluster::Cluster::connect(&options).await?.admin().clone())
    }
}
