//! What a user can choose about a cluster.

mod gates;
mod name;
mod nodes;
pub mod openshift;
mod programs;

use std::fmt;

use clap::ValueEnum;
pub use gates::{GateValues, Gates};
pub use name::ClusterName;
pub use nodes::{MOST_NODES, OtherNodes};
use openshift::{FeatureSet, Release, ZStream};
pub use programs::{RealProgram, RealPrograms};
use serde::{Deserialize, Serialize};

use crate::{
    error::Error,
    runtime::{self, Devices, Runtime},
};

/// The version of Kubernetes that a cluster runs.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize, ValueEnum)]
pub enum KubernetesVersion {
    /// The last minor version in which the feature gates are off unless somebody turns them on:
    /// that of OpenShift 4.19.
    #[default]
    #[serde(rename = "1.32.5")]
    #[value(name = "1.32.5")]
    V1_32_5,
    /// A version in which the feature gates are locked: they are always on.
    #[serde(rename = "1.37.2")]
    #[value(name = "1.37.2")]
    V1_37_2,
}

impl KubernetesVersion {
    /// All versions.
    #[cfg(test)]
    pub const ALL: [Self; 2] = [Self::V1_32_5, Self::V1_37_2];

    /// The version without a leading `v`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V1_32_5 => "1.32.5",
            Self::V1_37_2 => "1.37.2",
        }
    }

    /// The minor version, such as `32`.
    pub fn minor(self) -> &'static str {
        match self {
            Self::V1_32_5 => "32",
            Self::V1_37_2 => "37",
        }
    }

    /// Whether `UserNamespacesSupport` and `ProcMountType` can't be turned off. They are locked
    /// from 1.36 on; `UserNamespacesPodSecurityStandards` has not existed since 1.35, and a
    /// component that is given it does not start (`pkg/features/kube_features.go`).
    pub fn has_locked_gates(self) -> bool {
        self == Self::V1_37_2
    }
}

impl fmt::Display for KubernetesVersion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// What a cluster is a cluster of.
///
/// The two differ in their fields, so that the state file of a cluster of Kubernetes is the same as
/// before there was another flavour.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(untagged, rename_all_fields = "camelCase")]
pub enum Distribution {
    /// Upstream Kubernetes with containerd.
    Kubernetes {
        /// The release of Kubernetes.
        kubernetes: KubernetesVersion,
    },
    /// Kubernetes with the API objects of OpenShift and stand-ins for its components.
    Openshift {
        /// The release of OpenShift.
        release: Release,
        /// The feature set.
        feature_set: FeatureSet,
        /// Which of the release's patch releases.
        #[serde(default, skip_serializing_if = "ZStream::is_latest")]
        z_stream: ZStream,
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

    /// The version of Kubernetes that is built.
    pub fn kubernetes(self) -> KubernetesVersion {
        match self {
            Self::Kubernetes { kubernetes } => kubernetes,
            Self::Openshift { release, .. } => release.control_plane(),
        }
    }

    /// The default feature gates.
    pub fn gates(self) -> Gates {
        match self {
            Self::Kubernetes { .. } => Gates::All,
            Self::Openshift { release, feature_set, .. } => release.gates(feature_set),
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
        match *self {
            Self::Kubernetes { kubernetes } => write!(formatter, "kubernetes {kubernetes}"),
            Self::Openshift { release, feature_set, z_stream } => {
                write!(formatter, "openshift {release}, feature set {feature_set}")?;
                if z_stream == ZStream::Early {
                    formatter.write_str(", early z-stream")
                } else {
                    Ok(())
                }
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
    /// Kubernetes with the API objects of OpenShift and stand-ins for its components: SCC
    /// admission, the controller of namespaces, devices by annotation.
    Openshift,
}

/// Something that a cluster gets beyond its distribution.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Addition {
    /// A test double of the DevWorkspace Operator, which plays back what version 0.42.0 did; the
    /// real one where `--components` has it.
    DevworkspaceOperator,
    /// Pods that ask for the kernel's log get it, as on no good node: for tests.
    KernelLog,
    /// A device plugin that gives /dev/fuse and /dev/net/tun as the extended resource
    /// `nestcheck.example/fuse-tun`.
    DevicePlugin,
    /// A small disk for the kubelet's data, so that `disturb --fill-disk` can fill it.
    OwnDisk,
}

/// By which annotations pods get devices: what `allowed_annotations` of CRI-O's runtime handler
/// lists. `io.kubernetes.cri-o.Devices` is the first version of the name, which the
/// machine-config-operator of every release allows; `devices.crio.io` is the second, which is all
/// that CRI-O 1.35 and newer allow by default.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum DeviceAnnotations {
    /// Only `io.kubernetes.cri-o.Devices`.
    #[default]
    V1,
    /// Only `devices.crio.io`.
    V2,
    /// Both.
    Both,
    /// Neither.
    None,
}

impl DeviceAnnotations {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
    fn are_usual(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for DeviceAnnotations {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
            Self::Both => "both",
            Self::None => "none",
        })
    }
}

/// What a cluster gets beyond its distribution.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_excessive_bools, reason = "each is there or not, whatever the others are")]
pub struct Additions {
    /// The DevWorkspace Operator.
    #[serde(default)]
    pub devworkspace_operator: bool,
    /// The kernel's log for pods that ask for it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub kernel_log: bool,
    /// A device plugin for /dev/fuse and /dev/net/tun.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub device_plugin: bool,
    /// A disk for the kubelet's data.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub own_disk: bool,
}

impl Additions {
    /// The requested ones.
    pub fn of(asked: &[Addition]) -> Self {
        Self {
            devworkspace_operator: asked.contains(&Addition::DevworkspaceOperator),
            kernel_log: asked.contains(&Addition::KernelLog),
            device_plugin: asked.contains(&Addition::DevicePlugin),
            own_disk: asked.contains(&Addition::OwnDisk),
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
    /// The nodes beyond the first.
    #[serde(default, skip_serializing_if = "OtherNodes::are_none")]
    pub others: OtherNodes,
    /// By which annotations pods get devices, for flavour `openshift`.
    #[serde(default, skip_serializing_if = "DeviceAnnotations::are_usual")]
    pub device_annotations: DeviceAnnotations,
    /// The programs of `--components` that take the place of built ones and of stand-ins.
    #[serde(default, skip_serializing_if = "RealPrograms::are_none")]
    pub real: RealPrograms,
}

impl Settings {
    /// A cluster with the gates that its distribution has, unless others are wanted.
    pub fn new(distribution: Distribution, gates: Option<Gates>) -> Result<Self, Error> {
        let version = distribution.kubernetes();
        match gates {
            Some(gates) if gates != Gates::All && version.has_locked_gates() => {
                return Err(Error::usage(format!(
                    "`--gates {gates}` is not possible: Kubernetes {version} has locked the \
                     feature gates of user namespaces, so they are always on"
                ))
                .with_hint(format!(
                    "leave `--gates` out, or choose {}",
                    match distribution.flavour() {
                        Flavour::Kubernetes => "`--kubernetes 1.32.5`",
                        Flavour::Openshift => "`--release 4.20` or older",
                    }
                )));
            }
            _ => {}
        }
        let gates = gates.unwrap_or_else(|| distribution.gates());
        Ok(Self {
            distribution,
            gates,
            with: Additions::default(),
            others: OtherNodes::default(),
            device_annotations: DeviceAnnotations::default(),
            real: RealPrograms::default(),
        })
    }

    /// What runs the containers.
    pub fn runtime(self) -> Runtime {
        runtime::of(self.real)
    }

    /// What pods get by annotation, as from CRI-O: nothing on Kubernetes, where a runtime class
    /// gives the devices.
    pub fn devices(self) -> Option<Devices> {
        if self.distribution.flavour() != Flavour::Openshift {
            return None;
        }
        let devices = match self.device_annotations {
            DeviceAnnotations::V1 => Devices::openshift(),
            DeviceAnnotations::V2 => Devices::crio_1_35(),
            DeviceAnnotations::Both => Devices::both(),
            DeviceAnnotations::None => Devices::neither(),
        };
        Some(if self.with.kernel_log { devices.and_kernel_log() } else { devices })
    }

    /// The same with devices by these annotations.
    pub fn with_device_annotations(self, asked: Option<DeviceAnnotations>) -> Result<Self, Error> {
        let Some(device_annotations) = asked else {
            return Ok(self);
        };
        if self.distribution.flavour() != Flavour::Openshift {
            return Err(Error::usage("`--device-annotations` is an option of flavour `openshift`")
                .with_hint("add `--flavour openshift`, or leave `--device-annotations` out"));
        }
        Ok(Self { device_annotations, ..self })
    }

    /// The parts of the cluster that stand in for a real component, each with the name of that
    /// component.
    pub fn stand_ins(self) -> Vec<&'static str> {
        let mut all = Vec::new();
        let mut add = |program, what| {
            if !self.real.has(program) {
                all.push(what);
            }
        };
        if self.distribution.flavour() == Flavour::Openshift {
            add(RealProgram::Apiserver, "SCC admission of OpenShift's API server");
            add(RealProgram::PolicyController, "cluster-policy-controller");
            add(RealProgram::Crio, "devices by annotation of CRI-O");
        }
        if self.with.devworkspace_operator {
            add(RealProgram::Operator, "DevWorkspace Operator 0.42.0 (a test double)");
        }
        all
    }

    /// The same with additions.
    pub fn with(self, with: Additions) -> Result<Self, Error> {
        if with.kernel_log && self.distribution.flavour() != Flavour::Openshift {
            return Err(Error::usage("`--with kernel-log` is for flavour `openshift` only")
                .with_hint("add `--flavour openshift`: Kubernetes gives no device by annotation"));
        }
        Ok(Self { with, ..self })
    }
}

impl Default for Settings {
    fn default() -> Self {
        let distribution = Distribution::default();
        Self {
            distribution,
            gates: distribution.gates(),
            with: Additions::default(),
            others: OtherNodes::default(),
            device_annotations: DeviceAnnotations::default(),
            real: RealPrograms::default(),
        }
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
        if self.with.device_plugin {
            formatter.write_str(", with device-plugin")?;
        }
        if self.with.own_disk {
            formatter.write_str(", with own-disk")?;
        }
        if !self.device_annotations.are_usual() {
            write!(formatter, ", device annotations {}", self.device_annotations)?;
        }
        if !self.real.are_none() {
            write!(formatter, ", with the real {}", self.real)?;
        }
        write!(formatter, "{}", self.others)
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
    /// The user's name for the API server.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Dev => "dev",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn openshift(release: Release, feature_set: FeatureSet) -> Distribution {
        Distribution::Openshift { release, feature_set, z_stream: ZStream::Latest }
    }

    #[test]
    fn settings_of_an_older_state_file_are_understood() {
        let settings: Settings =
            serde_json::from_str(r#"{"kubernetes": "1.32.5", "gates": "no-kubelet"}"#).unwrap();
        assert_eq!(settings.distribution.kubernetes(), KubernetesVersion::V1_32_5);
        assert_eq!(settings.gates, Gates::NoKubelet);
    }

    #[test]
    fn settings_of_both_flavours_survive_a_file() {
        let openshift = openshift(Release::V4_19, FeatureSet::TechPreviewNoUpgrade);
        let mut real = Settings::new(openshift, Some(Gates::NoKubelet)).unwrap();
        real.real = RealPrograms::of([RealProgram::Crio]);
        for settings in [Settings::default(), Settings::new(openshift, None).unwrap(), real] {
            let text = serde_json::to_string(&settings).unwrap();
            assert_eq!(serde_json::from_str::<Settings>(&text).unwrap(), settings, "{text}");
        }
    }

    #[test]
    fn gates_follow_the_feature_set_unless_given() {
        let old = openshift(Release::V4_19, FeatureSet::Default);
        assert_eq!(Settings::new(old, None).unwrap().gates, Gates::None);
        assert_eq!(Settings::new(old, Some(Gates::NoKubelet)).unwrap().gates, Gates::NoKubelet);
        assert_eq!(Settings::default().gates, Gates::All);
    }

    #[test]
    fn a_locked_gate_can_not_be_turned_off() {
        let newest = openshift(Release::V5_0, FeatureSet::Default);
        assert_eq!(Settings::new(newest, None).unwrap().gates, Gates::All);
        let error = Settings::new(newest, Some(Gates::None)).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("`--gates none`"), "{error}");
        assert!(error.to_string().contains("locked"), "{error}");
        let kubernetes = Distribution::Kubernetes { kubernetes: KubernetesVersion::V1_37_2 };
        assert!(Settings::new(kubernetes, Some(Gates::NoKubelet)).is_err());
        assert!(Settings::new(kubernetes, Some(Gates::All)).is_ok());
    }

    #[test]
    fn devices_come_by_the_annotations_that_are_allowed() {
        let openshift = Settings::new(openshift(Release::V4_20, FeatureSet::Default), None);
        let openshift = openshift.unwrap();
        let devices = openshift.devices().unwrap();
        assert!(devices.v1 && !devices.v2);
        assert_eq!(devices.allowed, ["/dev/fuse", "/dev/net/tun"]);
        let both = openshift.with_device_annotations(Some(DeviceAnnotations::Both)).unwrap();
        assert!(both.devices().unwrap().v2);
        assert!(both.to_string().ends_with("device annotations both"), "{both}");
        let kubernetes = Settings::default();
        assert!(kubernetes.devices().is_none());
        assert!(kubernetes.with_device_annotations(Some(DeviceAnnotations::V1)).is_err());
    }

    #[test]
    fn real_programs_replace_stand_ins() {
        let distribution = openshift(Release::V4_20, FeatureSet::Default);
        let mut settings = Settings::new(distribution, None).unwrap();
        assert_eq!(settings.stand_ins().len(), 3);
        assert_eq!(settings.runtime().name, "containerd");
        settings.real = RealPrograms::of([RealProgram::Crio, RealProgram::PolicyController]);
        assert_eq!(settings.stand_ins(), ["SCC admission of OpenShift's API server"]);
        assert_eq!(settings.runtime().name, "crio");
        assert_eq!(Settings::default().stand_ins(), [""; 0]);
        let with = Additions { devworkspace_operator: true, ..Additions::default() };
        let with_operator = Settings::default().with(with).unwrap();
        assert_eq!(with_operator.stand_ins(), ["DevWorkspace Operator 0.42.0 (a test double)"]);
    }
}
