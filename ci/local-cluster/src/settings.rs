//! What a user can choose about a cluster.

use std::fmt;
use std::str::FromStr;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::error::Error;

/// The release of Kubernetes that a cluster runs.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize, ValueEnum)]
pub enum KubernetesVersion {
    /// The version inside `OpenShift` 4.19.
    #[default]
    #[serde(rename = "1.32.5")]
    #[value(name = "1.32.5")]
    V1_32_5,
    /// The last minor version that has all three feature gates.
    #[serde(rename = "1.34.4")]
    #[value(name = "1.34.4")]
    V1_34_4,
}

impl KubernetesVersion {
    /// The version without a leading `v`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V1_32_5 => "1.32.5",
            Self::V1_34_4 => "1.34.4",
        }
    }

    /// The minor version, such as `32`.
    pub fn minor(self) -> &'static str {
        match self {
            Self::V1_32_5 => "32",
            Self::V1_34_4 => "34",
        }
    }
}

impl fmt::Display for KubernetesVersion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// Which feature gates of user namespaces are on, and where. The variants that
/// turn something off exist to show what such a cluster does to a pod.
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
/// `UserNamespacesSupport` and `UserNamespacesPodSecurityStandards` are those of
/// KEP-127, `ProcMountType` is that of KEP-4265.
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

    /// Every gate by its name in Kubernetes. A gate is always given, because
    /// the defaults differ between versions.
    pub fn by_name(self) -> [(&'static str, bool); 3] {
        [
            ("UserNamespacesSupport", self.user_namespaces_support),
            ("UserNamespacesPodSecurityStandards", self.user_namespaces_pod_security_standards),
            ("ProcMountType", self.proc_mount_type),
        ]
    }

    /// The value of a `--feature-gates` flag.
    pub fn as_flag(self) -> String {
        let pairs = self.by_name().map(|(name, on)| format!("{name}={on}"));
        pairs.join(",")
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

/// Everything that makes two clusters of the same name differ.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Settings {
    /// The release of Kubernetes.
    pub kubernetes: KubernetesVersion,
    /// The feature gates.
    pub gates: Gates,
}

impl fmt::Display for Settings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "kubernetes {}, gates {}", self.kubernetes, self.gates)
    }
}

/// The name of a cluster: a DNS label of at most 30 characters, because it
/// becomes part of a host name and of a cgroup's name.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClusterName(String);

impl ClusterName {
    const LONGEST: usize = 30;

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ClusterName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let edges = !text.starts_with('-') && !text.ends_with('-');
        if text.is_empty() || text.len() > Self::LONGEST || !text.chars().all(inner) || !edges {
            return Err(Error::usage(format!(
                "`{text}` is no cluster name: it takes 1 to {} lower case letters, digits and inner dashes",
                Self::LONGEST
            )));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for ClusterName {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<ClusterName> for String {
    fn from(name: ClusterName) -> Self {
        name.0
    }
}

impl fmt::Display for ClusterName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
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
            Gates::NoProcMount.kubelet().as_flag(),
            "UserNamespacesSupport=true,UserNamespacesPodSecurityStandards=true,ProcMountType=false"
        );
    }

    #[test]
    fn every_gate_is_given_explicitly() {
        assert_eq!(Gates::None.apiserver().as_flag().matches("=false").count(), 3);
        assert_eq!(Gates::All.apiserver().as_flag().matches("=true").count(), 3);
    }

    #[test]
    fn names_are_dns_labels() {
        for good in ["nestcheck", "a", "a-1"] {
            assert!(good.parse::<ClusterName>().is_ok(), "{good}");
        }
        let long = "a".repeat(31);
        for bad in ["", "-a", "a-", "A", "a/b", "..", "a.b", long.as_str()] {
            assert!(bad.parse::<ClusterName>().is_err(), "{bad}");
        }
    }
}
