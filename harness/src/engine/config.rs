//! What a run is made with.

use std::time::Duration;

use super::{Keep, evidence::Collector, plan::EveryNode};
use crate::{
    diagnosis::Expectations,
    facts::ChosenRoute,
    sandbox::{
        Architectures, File, Home, Ledger, Placement, SandboxConfig, SecretName, Timeouts,
        pod_template::EntryPoint,
    },
};

/// How long a run may take unless its caller says otherwise.
pub const RUN_TIMEOUT: Duration = Duration::from_secs(30 * 60);

/// How many cases run at once unless the caller says otherwise.
pub const JOBS: usize = 4;

/// Everything about a run that its caller decides; the rest is read from the cluster.
#[derive(Clone, Debug)]
pub struct RunConfig {
    /// How many cases run at once.
    pub jobs: usize,
    /// Whether no case begins any more once one has failed.
    pub fail_fast: bool,
    /// How often the cases run, at least once.
    pub repeat: u32,
    /// Whether what the run created stays for a look.
    pub keep: Keep,
    /// Whether cases whose requirements are unmet run all the same.
    pub tries_blocked: bool,
    /// The workspace image, where a person chose it. Otherwise it is the one of the cluster's own
    /// workspaces, in a run with the cluster's settings, or the one that the kubeconfig names.
    pub image: Option<String>,
    /// How pods ask for devices, where a person chose it; otherwise as was read.
    pub devices: Option<ChosenRoute>,
    /// The secret of the cluster with which the image is pulled; one of a file is in the sandbox's
    /// placement already.
    pub pull_secret: Option<SecretName>,
    /// Whether the node may be looked at from outside of pods.
    pub node_access: bool,
    /// The nodes that are proven one by one, if any are.
    pub every_node: Option<EveryNode>,
    /// The failures that a person expects.
    pub expectations: Expectations,
    /// What collects the evidence of cases that fail.
    pub diagnostics: Collector,
    /// The namespaces and what is in them.
    pub sandbox: SandboxConfig,
}

impl RunConfig {
    /// The defaults: four cases at once, 30 minutes, nothing is kept, no ledger and no evidence on
    /// disk. The run gets a new id.
    #[must_use]
    pub fn new(image: Option<String>, files: Vec<File>) -> Self {
        let of_pods = image.clone().unwrap_or_default();
        Self {
            jobs: JOBS,
            fail_fast: false,
            repeat: 1,
            keep: Keep::Never,
            tries_blocked: false,
            image,
            devices: None,
            pull_secret: None,
            node_access: false,
            every_node: None,
            expectations: Expectations::default(),
            diagnostics: Collector::nowhere(),
            sandbox: SandboxConfig {
                run: new_run_id(),
                home: Home::default(),
                secrets: Vec::new(),
                image: of_pods,
                entry_point: EntryPoint::default(),
                placement: Placement::NONE,
                files,
                architectures: Architectures::default(),
                scc: None,
                run_timeout: RUN_TIMEOUT,
                ledger: Ledger::nowhere(),
                timeouts: Timeouts::default(),
            },
        }
    }
}

/// Eight characters that are good in the names of Kubernetes objects, and hard to confuse.
fn new_run_id() -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    (0..8).map(|_| char::from(ALPHABET[fastrand::usize(..ALPHABET.len())])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_run_has_an_id_of_its_own_that_a_name_can_carry() {
        let ids = [(); 2].map(|()| RunConfig::new(None, Vec::new()).sandbox.run);
        assert_ne!(ids[0], ids[1]);
        assert!(
            ids.iter().all(|id| id.len() == 8 && id.bytes().all(|b| b.is_ascii_alphanumeric()))
        );
    }
}
