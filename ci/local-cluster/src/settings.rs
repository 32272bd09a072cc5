//! What a user can choose about a cluster.

pub mod openshift;

use std::fmt;
use std::str::FromStr;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::runtime::Runtime;
use openshift::{FeatureSet, Release};

/// The release of Kubernetes that a cluster runs.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize, ValueEnum)]
pub enum KubernetesVersion {
    /// The version inside OpenShift 4.19.
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

/// What a cluster is a cluster of.
///
/// The two are told apart by their fields, so that the state file of a cluster of
/// Kubernetes is the same as before there was another flavour.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(untagged, rename_all_fields = "camelCase")]
pub enum Distribution {
    /// Upstream Kubernetes with containerd.
    Kubernetes {
        /// The release of Kubernetes.
        kubernetes: KubernetesVersion,
    },
    /// OpenShift's control plane with CRI-O.
    Openshift {
        /// The release of OpenShift.
        release: Release,
        /// The feature set.
        feature_set: FeatureSet,
    },
}

impl Distribution {
    /// The name of the flavour.
    pub fn flavour(self) -> Flavour {
        match self {
            Self::Kubernetes { .. } => Flavour::Kubernetes,
            Self::Openshift { .. } => Flavour::Openshift,
        }
    }

    /// The version of Kubernetes that the API server reports.
    pub fn kubernetes(self) -> &'static str {
        match self {
            Self::Kubernetes { kubernetes } => kubernetes.as_str(),
            Self::Openshift { release, .. } => release.kubernetes(),
        }
    }

    /// The feature gates that nobody has changed.
    pub fn gates(self) -> Gates {
        match self {
            Self::Kubernetes { .. } => Gates::All,
            Self::Openshift { release, feature_set } => release.gates(feature_set),
        }
    }

    /// What runs the containers.
    pub fn runtime(self) -> Runtime {
        match self {
            Self::Kubernetes { .. } => Runtime::Containerd,
            Self::Openshift { .. } => Runtime::Crio,
        }
    }
}

impl Default for Distribution {
    fn default() -> Self {
        Self::Kubernetes { kubernetes: KubernetesVersion::default() }
    }
}

impl fmt::Display for Distribution {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kubernetes { kubernetes } => write!(formatter, "kubernetes {kubernetes}"),
            Self::Openshift { release, feature_set } => {
                write!(formatter, "openshift {release}, feature set {feature_set}")
            }
        }
    }
}

/// The kind of a cluster.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Flavour {
    /// Upstream Kubernetes with containerd, built from source.
    #[default]
    Kubernetes,
    /// The control plane of OpenShift with CRI-O, from the components folder.
    Openshift,
}

/// Something that a cluster gets beyond its distribution.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Addition {
    /// The DevWorkspace Operator, with its webhooks and certificates.
    DevworkspaceOperator,
    /// Pods that ask for the kernel's log get it, as on no good node: for tests.
    KernelLog,
}

/// What a cluster gets beyond its distribution.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Additions {
    /// The DevWorkspace Operator.
    #[serde(default)]
    pub devworkspace_operator: bool,
    /// The kernel's log for pods that ask for it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub kernel_log: bool,
}

impl Additions {
    /// What was asked for.
    pub fn of(asked: &[Addition]) -> Self {
        Self {
            devworkspace_operator: asked.contains(&Addition::DevworkspaceOperator),
            kernel_log: asked.contains(&Addition::KernelLog),
        }
    }

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
    fn are_none(&self) -> bool {
        *self == Self::default()
    }
}

/// Everything that makes two clusters of the same name differ.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Settings {
    /// What the cluster is.
    #[serde(flatten)]
    pub distribution: Distribution,
    /// The feature gates.
    pub gates: Gates,
    /// What it gets beyond its distribution.
    #[serde(default, skip_serializing_if = "Additions::are_none")]
    pub with: Additions,
}

impl Settings {
    /// A cluster with the gates that its distribution has, unless others are wanted.
    pub fn new(distribution: Distribution, gates: Option<Gates>) -> Self {
        let gates = gates.unwrap_or_else(|| distribution.gates());
        Self { distribution, gates, with: Additions::default() }
    }

    /// The same with additions.
    ///
    /// # Errors
    ///
    /// Fails when the distribution can't have them.
    pub fn with(self, with: Additions) -> Result<Self, Error> {
        if with.devworkspace_operator && self.distribution.flavour() != Flavour::Openshift {
            return Err(Error::usage(
                "`--with devworkspace-operator` is for flavour `openshift` only",
            )
            .with_hint(
                "add `--flavour openshift`: on Kubernetes the operator needs cert-manager, which \
                 this cluster does not have",
            ));
        }
        if with.kernel_log && self.distribution.flavour() != Flavour::Openshift {
            return Err(Error::usage("`--with kernel-log` is for flavour `openshift` only")
                .with_hint("add `--flavour openshift`: containerd gives no device by annotation"));
        }
        Ok(Self { with, ..self })
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self::new(Distribution::default(), None)
    }
}

impl fmt::Display for Settings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}, gates {}", self.distribution, self.gates)?;
        if self.with.devworkspace_operator {
            formatter.write_str(", with devworkspace-operator")?;
        }
        if self.with.kernel_log {
            formatter.write_str(", with kernel-log")?;
        }
        Ok(())
    }
}

/// Who a kubeconfig is for.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub enum User {
    /// The administrator.
    #[default]
    Admin,
    /// A developer: an ordinary user without any right.
    Dev,
}

impl User {
    /// The name by which the API server knows the user.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Dev => "dev",
        }
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
    fn settings_of_an_older_state_file_are_understood() {
        let settings: Settings =
            serde_json::from_str(r#"{"kubernetes": "1.34.4", "gates": "no-kubelet"}"#).unwrap();
        assert_eq!(settings.distribution.kubernetes(), "1.34.4");
        assert_eq!(settings.gates, Gates::NoKubelet);
    }

    #[test]
    fn settings_of_both_flavours_survive_a_file() {
        let openshift = Distribution::Openshift {
            release: Release::V4_19,
            feature_set: FeatureSet::TechPreviewNoUpgrade,
        };
        for settings in [Settings::default(), Settings::new(openshift, Some(Gates::NoKubelet))] {
            let text = serde_json::to_string(&settings).unwrap();
            assert_eq!(serde_json::from_str::<Settings>(&text).unwrap(), settings, "{text}");
        }
    }

    #[test]
    fn gates_follow_the_feature_set_unless_given() {
        let old =
            Distribution::Openshift { release: Release::V4_19, feature_set: FeatureSet::Default };
        assert_eq!(Settings::new(old, None).gates, Gates::None);
        assert_eq!(Settings::new(old, Some(Gates::NoKubelet)).gates, Gates::NoKubelet);
        assert_eq!(Settings::default().gates, Gates::All);
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
