//! A minor version of Kubernetes.

use super::{Decision, Requirement};
use crate::facts::Facts;

/// The API server's minor version is at least this.
#[derive(Clone, Copy, Debug)]
pub struct KubernetesMinor(pub u32);

impl Requirement for KubernetesMinor {
    fn describe(&self) -> String {
        format!("Kubernetes 1.{} or newer", self.0)
    }

    fn decide(&self, facts: &Facts) -> Decision {
        let Self(minor) = self;
        if facts.version.minor >= *minor {
            return Decision::Met;
        }
        Decision::unmet(
            format!("Kubernetes {} is older than 1.{minor}", facts.version.full),
            format!("use a cluster of Kubernetes 1.{minor} or newer"),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::*, *};

    #[test]
    fn an_old_cluster_is_named() {
        let reported = reason(KubernetesMinor(34).decide(&able()));
        assert!(reported.contains("v1.32.5 is older than 1.34"), "{reported}");
    }
}
