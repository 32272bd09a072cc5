//! The cluster that is measured: brought up by the local-cluster command.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use clap::{Args, ValueEnum};
use harness::cluster::ConnectOptions;
use serde::Deserialize;

use crate::Result;

/// What kind of cluster is measured: the options of `local-cluster up`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Kind {
    /// The kind of cluster.
    #[arg(long, value_enum, default_value = "kubernetes")]
    pub(crate) flavour: Flavour,
    /// The release of OpenShift.
    #[arg(long)]
    release: Option<String>,
    /// The feature set of OpenShift.
    #[arg(long)]
    feature_set: Option<String>,
    /// What is added to the cluster, such as `devworkspace-operator`.
    #[arg(long)]
    with: Vec<String>,
}

/// The flavour of a cluster; it decides about the profile and what a run does beside its pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Flavour {
    Kubernetes,
    #[value(name = "openshift")]
    OpenShift,
}

impl Flavour {
    /// Its name, which is its profile's too.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Kubernetes => "kubernetes",
            Self::OpenShift => "openshift",
        }
    }
}

impl Kind {
    fn options(&self) -> Vec<&str> {
        let mut options = vec!["--flavour", self.flavour.name()];
        for (option, value) in [("--release", &self.release), ("--feature-set", &self.feature_set)]
        {
            options.extend(value.iter().flat_map(|value| [option, value.as_str()]));
        }
        options.extend(self.with.iter().flat_map(|addition| ["--with", addition]));
        options
    }
}

/// A running cluster, as `local-cluster status` reports it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Cluster {
    pub(crate) audit_log: PathBuf,
    pub(crate) kubeconfig: PathBuf,
    pub(crate) kubectl: PathBuf,
    /// The process whose namespaces are the node's.
    pub(crate) node_init: u32,
    pub(crate) kubernetes: String,
    pub(crate) flavour: String,
    /// None on Kubernetes, as the feature set is.
    #[serde(default)]
    pub(crate) release: Option<String>,
    #[serde(default)]
    pub(crate) feature_set: Option<String>,
}

/// Starts the cluster and returns it with the seconds until it was ready. It is ended first, in
/// case it runs.
pub(crate) async fn up(program: &Path, name: &str, kind: &Kind) -> Result<(Cluster, f64)> {
    local_cluster(program, &["down", "--name", name]).await?;
    let started = Instant::now();
    local_cluster(program, &[&["up", "--name", name], kind.options().as_slice()].concat()).await?;
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
        // Older nestchecks don't know `--no-ci`.
        command.env_remove("GITHUB_STEP_SUMMARY").env_remove("ARTIFACT_DIR");
        command
    }

    /// What it is, in words.
    pub(crate) fn describe(&self) -> String {
        let release = [&self.release, &self.feature_set];
        let mut words = vec![self.flavour.clone()];
        words.extend(release.into_iter().flatten().cloned());
        words.push(format!("(Kubernetes {})", self.kubernetes));
        words.join(" ")
    }

    /// The cluster by nestcheck's own connection, so that the two differ only in what they ask.
    pub(crate) async fn connect(&self) -> Result<harness::cluster::Cluster> {
        let options = ConnectOptions {
            kubeconfig: Some(self.kubeconfig.clone()),
            ..ConnectOptions::default()
        };
        Ok(harness::cluster::Cluster::connect(&options).await?)
    }
}
