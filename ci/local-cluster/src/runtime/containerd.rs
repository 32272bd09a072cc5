//! containerd with crun: its configuration, its command line, and the two ways to `/dev/fuse` and
//! `/dev/net/tun`: the runtime handler `nested`, or an annotation as of CRI-O.

use std::{iter, path::Path};

use serde_json::json;

use super::{Options, RuntimeSpec, devices};
use crate::{components::CONFIG, image};

const PROGRAMS: &str = "/opt/local-cluster/containerd";
const CONFIG_FILE: &str = "containerd.toml";
const ROOT: &str = "/var/lib/containerd";

/// The configuration of a kind cluster.
const KIND_CLUSTER: &str = include_str!("../../../kind/cluster.yaml");

/// The name of the runtime handler, and of the `RuntimeClass` that leads to it.
pub const NESTED_HANDLER: &str = "nested";

/// containerd, which is built.
pub const CONTAINERD: RuntimeSpec = RuntimeSpec {
    name: "containerd",
    programs: PROGRAMS,
    root: ROOT,
    socket: "unix:///run/containerd/containerd.sock",
    command: || {
        let program = format!("{PROGRAMS}/containerd");
        vec![program, "--config".to_owned(), format!("{CONFIG}/{CONFIG_FILE}")]
    },
    files: |options| {
        let plugin = options.devices.map(|devices| (devices::CONFIG_FILE, devices.plugin_config()));
        [(CONFIG_FILE, config(options))].into_iter().chain(plugin).collect()
    },
    // `k8s.io` is the namespace of Kubernetes' images.
    import: |archive, _| {
        let client = format!("{PROGRAMS}/ctr");
        let command = [&client, "--namespace", "k8s.io", "images", "import", archive];
        command.map(str::to_owned).to_vec()
    },
    daemon_imports: true,
    packages: &[],
    node_tree: "node-tree",
    store_inputs: || config(Options::default()),
    is_own_file: is_database,
};

/// Whether a file is a database, directly in the folder of a plugin such as
/// `io.containerd.metadata.v1.bolt`.
fn is_database(file: &Path) -> bool {
    let parent = file.parent().and_then(Path::file_name);
    file.extension().is_some_and(|extension| extension == "db")
        && parent.is_some_and(|name| name.to_string_lossy().starts_with("io.containerd."))
}

/// The daemon's configuration file. Pods get devices by annotation if the options have some, and
/// otherwise with the handler `nested`.
fn config(options: Options<'_>) -> String {
    let handler = match options.devices {
        Some(_) => devices::containerd_config(PROGRAMS, CONFIG),
        None => nested_handler(),
    };
    common_config(options.selinux) + &handler
}

fn common_config(selinux: bool) -> String {
    let selinux = if selinux { "enable_selinux = true\n" } else { "" };
    format!(
        r#"version = 3
root = "{ROOT}"
state = "/run/containerd"

[grpc]
address = "/run/containerd/containerd.sock"

[plugins."io.containerd.cri.v1.images"]
snapshotter = "overlayfs"

[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "{pause}"

# The default is two directories in one text, which a pull by the transfer service does not split.
[plugins."io.containerd.cri.v1.images".registry]
config_path = "/etc/containerd/certs.d"

[plugins."io.containerd.cri.v1.runtime"]
disable_apparmor = true
{selinux}# The node may itself be in a container that must not lower its score.
restrict_oom_score_adj = true
# On a v1 machine hugetlb may be a v2 controller, out of the node's sight.
disable_hugetlb_controller = true
tolerate_missing_hugetlb_controller = true

[plugins."io.containerd.cri.v1.runtime".cni]
bin_dirs = ["/usr/lib/cni"]
conf_dir = "{CONFIG}/cni"

[plugins."io.containerd.cri.v1.runtime".containerd]
default_runtime_name = "crun"

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.crun]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.crun.options]
BinaryName = "/usr/bin/crun"
"#,
        pause = image::PAUSE
    )
}

/// The handler `nested`: the patch that a kind cluster has, so that the tests run what people copy.
/// Here the configuration has version 3, containerd's files are elsewhere, and crun runs without
/// systemd.
fn nested_handler() -> String {
    let lines = KIND_CLUSTER.lines().skip_while(|line| *line != "- |").skip(1);
    let patch = lines.take_while(|line| line.is_empty() || line.starts_with(' '));
    let patch = patch.flat_map(|line| [line.trim_start(), "\n"]);
    let patch: String = iter::once("\n").chain(patch).collect();
    patch
        .replace("io.containerd.grpc.v1.cri", "io.containerd.cri.v1.runtime")
        .replace("/etc/containerd", PROGRAMS)
        .replace("SystemdCgroup = true", "BinaryName = \"/usr/bin/crun\"")
}

/// The runtime specification that containers of the handler `nested` start from: containerd's own
/// default (`default_spec`, the output of `ctr oci spec`), the two devices, and the permission of
/// the devices controller to use them.
pub fn nested_spec(mut default_spec: serde_json::Value) -> serde_json::Value {
    const DEVICES: [(&str, u32, u32); 2] = [("/dev/fuse", 10, 229), ("/dev/net/tun", 10, 200)];
    let devices = DEVICES.map(|(path, major, minor)| {
        json!({
            "path": path, "type": "c", "major": major, "minor": minor,
            // 0666, as on RHEL: with less the user of the pod has no use of them.
            "fileMode": 0o666, "uid": 0, "gid": 0,
        })
    });
    let rules = DEVICES.map(|(_, major, minor)| json!({"allow": true, "type": "c", "major": major, "minor": minor, "access": "rwm"}));
    extend(&mut default_spec["linux"]["devices"], devices);
    extend(&mut default_spec["linux"]["resources"]["devices"], rules);
    default_spec
}

fn extend(list: &mut serde_json::Value, more: impl IntoIterator<Item = serde_json::Value>) {
    if !list.is_array() {
        *list = json!([]);
    }
    if let Some(list) = list.as_array_mut() {
        list.extend(more);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::Devices;

    #[test]
    fn nested_spec_adds_devices_and_rules_after_the_defaults() {
        let default =
            json!({"linux": {"resources": {"devices": [{"allow": false, "access": "rwm"}]}}});
        let spec = nested_spec(default);
        assert_eq!(spec["linux"]["devices"][0]["path"], "/dev/fuse");
        assert_eq!(spec["linux"]["devices"][1]["fileMode"], 438);
        let rules = spec["linux"]["resources"]["devices"].as_array().unwrap();
        assert_eq!(rules.len(), 3);
        assert_eq!(rules[0]["allow"], false, "the rule that denies comes first");
    }

    #[test]
    fn the_handler_of_kind_is_the_handler_here() {
        let expected = r#"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.nested]
runtime_type = "io.containerd.runc.v2"
base_runtime_spec = "/opt/local-cluster/containerd/nested.json"

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.nested.options]
BinaryName = "/usr/bin/crun"
"#;
        assert_eq!(nested_handler(), expected);
        assert_eq!(NESTED_HANDLER, "nested");
    }

    #[test]
    fn nested_spec_of_kind_has_the_devices_of_the_one_here() {
        let kind = include_str!("../../../kind/nested.json");
        let kind: serde_json::Value = serde_json::from_str(kind).unwrap();
        let here = nested_spec(json!({}))["linux"].take();
        assert_eq!(kind["linux"]["devices"], here["devices"]);
        let rules = kind["linux"]["resources"]["devices"].as_array().unwrap();
        assert_eq!(rules[0]["allow"], false, "the rule that denies comes first");
        assert_eq!(json!(rules[1..]), here["resources"]["devices"]);
        // The hook of kind's own base spec fails in a user namespace on some node images.
        assert!(kind["hooks"].is_null());
    }

    #[test]
    fn both_handlers_run_crun() {
        let config = config(Options::default());
        assert_eq!(config.matches("BinaryName = \"/usr/bin/crun\"").count(), 2);
        assert!(config.contains("base_runtime_spec"));
        assert!(!config.contains("required_plugins"));
        assert!(!config.contains("selinux"));
    }

    #[test]
    fn devices_by_annotation_need_no_second_handler() {
        let config = config(Options { devices: Some(&Devices::openshift()), selinux: true });
        assert!(config.contains("enable_selinux = true"));
        assert!(config.contains("required_plugins"));
        assert!(!config.contains("base_runtime_spec"));
    }
}
