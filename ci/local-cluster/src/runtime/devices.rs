//! Devices by annotation on containerd, as CRI-O gives them: the settings of the NRI plugin
//! `recipes/containerd/devices`, and what containerd's configuration says about it.
//!
//! The plugin is a stand-in. On an OpenShift node CRI-O does this itself.

use serde::{Deserialize, Serialize};
use serde_json::json;

/// The only name of the annotation up to CRI-O 1.34.
pub const ANNOTATION_V1: &str = "io.kubernetes.cri-o.Devices";

/// The name since CRI-O 1.35. Older ones take no notice of it.
pub const ANNOTATION_V2: &str = "devices.crio.io";

/// The name of the plugin. Containers are refused with this name when it is not there.
pub const PLUGIN: &str = "cri-o-devices";

/// The path of the plugin below the programs of containerd. It has a folder of its own: containerd
/// starts every program there, and refuses names without a number.
pub const PROGRAM: &str = "nri/10-cri-o-devices";

/// The name of the plugin's configuration file. containerd finds it by the program's name.
pub const CONFIG_FILE: &str = "10-cri-o-devices.conf";

/// What the handler allows, by CRI-O's settings `allowed_annotations` and `allowed_devices`. It
/// decides which annotation counts; an annotation that is not allowed is dropped silently. Where
/// both are allowed and on the pod, V2 counts.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Devices {
    /// [`ANNOTATION_V1`] is allowed.
    pub v1: bool,
    /// [`ANNOTATION_V2`] is allowed. CRI-O up to 1.34 does not start with this.
    pub v2: bool,
    /// The paths on the node that pods may ask for.
    pub allowed: Vec<String>,
}

impl Devices {
    /// An OpenShift node: V1 alone, also where CRI-O knows V2 (machine-config-operator,
    /// `templates/worker/01-worker-container-runtime`). Also CRI-O up to 1.34 without a drop-in.
    pub fn openshift() -> Self {
        Self::with(true, false)
    }

    /// CRI-O from 1.35 on without a drop-in, as on `MicroShift` 4.22: V2 alone
    /// (`pkg/config/config.go`).
    pub fn crio_1_35() -> Self {
        Self::with(false, true)
    }

    /// An OpenShift node with the drop-in that allows both.
    pub fn both() -> Self {
        Self::with(true, true)
    }

    /// The packages of CRI-O's own project: their drop-in allows neither.
    pub fn neither() -> Self {
        Self::with(false, false)
    }

    /// Both devices that CRI-O allows from 1.31 on.
    fn with(v1: bool, v2: bool) -> Self {
        Self { v1, v2, allowed: vec!["/dev/fuse".into(), "/dev/net/tun".into()] }
    }

    /// The same, and the kernel's log, which no good node gives away.
    #[must_use]
    pub fn and_kernel_log(mut self) -> Self {
        self.allowed.push("/dev/kmsg".into());
        self
    }

    /// The text of [`CONFIG_FILE`]. The names are CRI-O's.
    pub fn plugin_config(&self) -> String {
        let annotations = [(self.v1, ANNOTATION_V1), (self.v2, ANNOTATION_V2)]
            .into_iter()
            .filter_map(|(allowed, name)| allowed.then_some(name));
        let settings = json!({
            "allowed_annotations": annotations.collect::<Vec<_>>(),
            "allowed_devices": self.allowed,
        });
        format!("{settings:#}\n")
    }
}

/// What containerd's configuration says about the plugin: containerd starts it before it takes
/// requests, lets no other plugin connect, and refuses every container while it is not there.
/// `programs` are containerd's; `configs` is the folder of [`CONFIG_FILE`].
///
/// The times are long because NRI ends a plugin that is late and starts it no more, and the machine
/// may be busy.
pub fn containerd_config(programs: &str, configs: &str) -> String {
    let (folder, _) = PROGRAM.rsplit_once('/').unwrap_or_default();
    format!(
        r#"
[plugins."io.containerd.nri.v1.nri"]
disable = false
disable_connections = true
plugin_path = "{programs}/{folder}"
plugin_config_path = "{configs}"
plugin_registration_timeout = "60s"
plugin_request_timeout = "60s"

[plugins."io.containerd.nri.v1.nri".default_validator]
enable = true
required_plugins = ["{PLUGIN}"]
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(devices: &Devices) -> serde_json::Value {
        serde_json::from_str(&devices.plugin_config()).unwrap()
    }

    #[test]
    fn each_node_allows_its_own_annotations() {
        for (devices, expected) in [
            (Devices::openshift(), vec![ANNOTATION_V1]),
            (Devices::crio_1_35(), vec![ANNOTATION_V2]),
            (Devices::both(), vec![ANNOTATION_V1, ANNOTATION_V2]),
            (Devices::neither(), vec![]),
        ] {
            let found = settings(&devices);
            assert_eq!(found["allowed_annotations"], json!(expected));
            assert_eq!(found["allowed_devices"], json!(["/dev/fuse", "/dev/net/tun"]));
        }
    }

    #[test]
    fn the_kernel_log_is_one_device_more() {
        let found = settings(&Devices::openshift().and_kernel_log());
        assert_eq!(found["allowed_devices"], json!(["/dev/fuse", "/dev/net/tun", "/dev/kmsg"]));
    }

    #[test]
    fn containerd_starts_and_requires_the_plugin() {
        let config = containerd_config("/opt/c", "/etc/c");
        assert!(config.contains("plugin_path = \"/opt/c/nri\""));
        assert!(config.contains("plugin_config_path = \"/etc/c\""));
        assert!(config.contains("required_plugins = [\"cri-o-devices\"]"));
    }

    #[test]
    fn program_and_file_have_the_name_of_the_plugin() {
        assert_eq!(PROGRAM, format!("nri/10-{PLUGIN}"));
        assert_eq!(CONFIG_FILE, format!("10-{PLUGIN}.conf"));
    }
}
