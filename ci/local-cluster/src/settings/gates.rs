//! The feature gates of user namespaces in the components of a cluster.

use std::fmt;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::KubernetesVersion;

/// Which feature gates of user namespaces are on, and where. The variants that turn something off
/// exist to show what such a cluster does to a pod.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Gates {
    /// All on, in the API server and the kubelet.
    #[default]
    All,
    /// All off, in both.
    None,
    /// Off in the API server, on in the kubelet.
    NoApiserver,
    /// On in the API server, off in the kubelet.
    NoKubelet,
    /// All on but `ProcMountType`, which is off in both.
    NoProcMount,
}

/// The state of the feature gates in one component.
///
/// `UserNamespacesSupport` and `UserNamespacesPodSecurityStandards` are those of KEP-127,
/// `ProcMountType` is that of KEP-4265.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct GateValues {
    /// Pods may set `hostUsers: false`.
    pub user_namespaces_support: bool,
    /// Pod Security Standards are relaxed for such pods.
    pub user_namespaces_pod_security_standards: bool,
    /// Pods may set `procMount: Unmasked`.
    pub proc_mount_type: bool,
}

impl GateValues {
    const ON: Self = Self {
        user_namespaces_support: true,
        user_namespaces_pod_security_standards: true,
        proc_mount_type: true,
    };
    const OFF: Self = Self {
        user_namespaces_support: false,
        user_namespaces_pod_security_standards: false,
        proc_mount_type: false,
    };

    /// The gates that a component of this version is given, by their names in Kubernetes. Each that
    /// can be turned off is given, because the defaults differ between versions.
    pub fn by_name(self, version: KubernetesVersion) -> Vec<(&'static str, bool)> {
        if version.has_locked_gates() {
            return Vec::new();
        }
        vec![
            ("UserNamespacesSupport", self.user_namespaces_support),
            ("UserNamespacesPodSecurityStandards", self.user_namespaces_pod_security_standards),
            ("ProcMountType", self.proc_mount_type),
        ]
    }

    /// The values of a `--feature-gates` flag.
    pub fn as_flags(self, version: KubernetesVersion) -> Vec<String> {
        let gates = self.by_name(version);
        gates.into_iter().map(|(name, on)| format!("{name}={on}")).collect()
    }
}

impl Gates {
    /// The gates of the API server.
    pub fn apiserver(self) -> GateValues {
        match self {
            Self::All | Self::NoKubelet => GateValues::ON,
            Self::None | Self::NoApiserver => GateValues::OFF,
            Self::NoProcMount => GateValues { proc_mount_type: false, ..GateValues::ON },
        }
    }

    /// The gates of the kubelet.
    pub fn kubelet(self) -> GateValues {
        match self {
            Self::All | Self::NoApiserver => GateValues::ON,
            Self::None | Self::NoKubelet => GateValues::OFF,
            Self::NoProcMount => GateValues { proc_mount_type: false, ..GateValues::ON },
        }
    }
}

impl fmt::Display for Gates {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::All => "all",
            Self::None => "none",
            Self::NoApiserver => "no-apiserver",
            Self::NoKubelet => "no-kubelet",
            Self::NoProcMount => "no-proc-mount",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gates_off_in_one_component_are_on_in_the_other() {
        assert_eq!(Gates::NoApiserver.apiserver(), GateValues::OFF);
        assert_eq!(Gates::NoApiserver.kubelet(), GateValues::ON);
        assert_eq!(Gates::NoKubelet.apiserver(), GateValues::ON);
        assert_eq!(Gates::NoKubelet.kubelet(), GateValues::OFF);
    }

    #[test]
    fn no_proc_mount_keeps_user_namespaces() {
        assert_eq!(
            Gates::NoProcMount.kubelet().as_flags(KubernetesVersion::V1_32_5),
            [
                "UserNamespacesSupport=true",
                "UserNamespacesPodSecurityStandards=true",
                "ProcMountType=false",
            ]
        );
    }

    #[test]
    fn every_gate_that_can_be_turned_off_is_given() {
        let given = |gates: Gates| gates.apiserver().as_flags(KubernetesVersion::V1_32_5);
        assert!(given(Gates::None).iter().all(|gate| gate.ends_with("=false")));
        assert!(given(Gates::All).iter().all(|gate| gate.ends_with("=true")));
        assert_eq!(given(Gates::All).len(), 3);
        assert_eq!(Gates::All.apiserver().as_flags(KubernetesVersion::V1_37_2), [""; 0]);
    }
}
