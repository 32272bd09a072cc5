//! CRI-O with crun, as on an OpenShift node, where `--components` has it: its configuration and its
//! command line.

use std::path::Path;

use serde_json::json;

use super::{Options, RuntimeSpec, devices};
use crate::{components::CONFIG, image};

const PROGRAMS: &str = "/opt/local-cluster/crio";
const CONFIG_FILE: &str = "crio.conf";
const POLICY_FILE: &str = "policy.json";
const CRUN_FILE: &str = "crun";
/// The folder of `containers/storage`, in the node.
const ROOT: &str = "/var/lib/containers/storage";
/// The folder of its state that ends with the node.
const RUN_ROOT: &str = "/run/containers/storage";

/// CRI-O, where `--components` has it.
pub const CRIO: RuntimeSpec = RuntimeSpec {
    name: "crio",
    programs: PROGRAMS,
    root: ROOT,
    socket: "unix:///run/crio/crio.sock",
    command: || {
        // Without the configuration of the Debian packages.
        let folder = "--config-dir=".to_owned();
        vec![format!("{PROGRAMS}/crio"), format!("--config={CONFIG}/{CONFIG_FILE}"), folder]
    },
    files: |options| {
        vec![(CONFIG_FILE, config(options)), (POLICY_FILE, policy()), (CRUN_FILE, CRUN.to_owned())]
    },
    import,
    daemon_imports: false,
    // The watcher of its containers, the library of its helper `pinns`, and a program that copies
    // images into its storage.
    packages: &["conmon", "libseccomp2", "skopeo"],
    node_tree: "node-tree-crio",
    store_inputs: || import("", "").join(" "),
    is_own_file: |file| !is_layer_content(file),
};

/// Whether a file is in `overlay/ID/diff`.
fn is_layer_content(file: &Path) -> bool {
    let mut parts = file.iter();
    parts.next().is_some_and(|part| part == "overlay")
        && parts.nth(1).is_some_and(|part| part == "diff")
}

/// The command that copies one image of an OCI archive into CRI-O's storage. Both may use the
/// storage at once: it has locks.
fn import(archive: &str, reference: &str) -> Vec<String> {
    vec![
        "/usr/bin/skopeo".into(),
        // The archive is this program's own.
        "--insecure-policy".into(),
        "copy".into(),
        "--quiet".into(),
        format!("oci-archive:{archive}:{reference}"),
        format!("containers-storage:[overlay@{ROOT}+{RUN_ROOT}]{reference}"),
    ]
}

/// crun, for a machine without `CAP_SYS_RESOURCE` (bit 24), as some virtual ones are. CRI-O asks
/// for every capability that the kernel knows where a container is privileged, and crun fails where
/// one can't be had; containerd asks for those that it has itself.
const CRUN: &str = r#"#!/bin/sh
bounding=$(sed -n 's/^CapBnd:[[:space:]]*//p' /proc/self/status)
if [ $((0x$bounding >> 24 & 1)) = 0 ]; then
    option=
    for argument; do
        file=
        case $option in
            -b | --bundle) file=$argument/config.json ;;
            -p | --process) file=$argument ;;
        esac
        if [ -n "$file" ]; then
            name='"CAP_SYS_RESOURCE"'
            sed -i -z "s/$name,[[:space:]]*//g; s/,[[:space:]]*$name//g" "$file"
        fi
        option=$argument
    done
fi
exec /usr/bin/crun "$@"
"#;

/// The daemon's configuration file. Devices and annotations are those of an OpenShift node
/// (machine-config-operator, `templates/worker/01-worker-container-runtime/_base/files/crio.yaml`);
/// cgroupfs, because there is no systemd in the node; no `SELinux` and no `AppArmor`, because the
/// machine's own policy knows nothing of the node.
fn config(Options { devices, selinux }: Options<'_>) -> String {
    let quoted = |items: &[&str]| {
        items.iter().map(|item| format!("\"{item}\"")).collect::<Vec<_>>().join(", ")
    };
    let mut annotations = vec!["io.containers.trace-syscall", "io.kubernetes.cri-o.LinkLogs"];
    let mut allowed_devices = Vec::new();
    if let Some(devices) = devices {
        annotations.extend(devices.v1.then_some(devices::ANNOTATION_V1));
        annotations.extend(devices.v2.then_some(devices::ANNOTATION_V2));
        allowed_devices.extend(devices.allowed.iter().map(String::as_str));
    }
    let (annotations, allowed_devices) = (quoted(&annotations), quoted(&allowed_devices));
    format!(
        r#"[crio]
root = "{ROOT}"
runroot = "{RUN_ROOT}"
storage_driver = "overlay"
log_level = "info"

[crio.api]
listen = "/run/crio/crio.sock"

[crio.runtime]
cgroup_manager = "cgroupfs"
conmon = "/usr/bin/conmon"
conmon_cgroup = "pod"
pinns_path = "{PROGRAMS}/pinns"
selinux = {selinux}
apparmor_profile = "unconfined"
allowed_devices = [{allowed_devices}]
default_runtime = "crun"

[crio.runtime.runtimes.crun]
runtime_path = "{CONFIG}/{CRUN_FILE}"
runtime_type = "oci"
runtime_root = "/run/crun"
monitor_path = "/usr/bin/conmon"
monitor_cgroup = "pod"
allowed_annotations = [{annotations}]

[crio.image]
pause_image = "{pause}"
pause_command = "/pause"
signature_policy = "{CONFIG}/{POLICY_FILE}"

[crio.network]
plugin_dirs = ["/usr/lib/cni"]
network_dir = "{CONFIG}/cni"
"#,
        pause = image::PAUSE
    )
}

/// Which images are trusted: all, because nothing is pulled.
fn policy() -> String {
    format!("{:#}\n", json!({"default": [{"type": "insecureAcceptAnything"}]}))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::Devices;

    #[test]
    fn the_allowed_devices_and_annotations_are_listed() {
        let config = config(Options { devices: Some(&Devices::openshift()), selinux: false });
        assert!(config.contains(r#"allowed_devices = ["/dev/fuse", "/dev/net/tun"]"#));
        assert!(config.contains(r#""io.kubernetes.cri-o.Devices"]"#), "{config}");
        assert!(!config.contains("devices.crio.io"));
    }

    #[test]
    fn only_the_content_of_layers_is_an_images() {
        let own = |path: &str| (CRIO.is_own_file)(Path::new(path));
        assert!(own("overlay-layers/layers.json"));
        assert!(own("overlay/0123/link"));
        assert!(own("storage.lock"));
        assert!(!own("overlay/0123/diff/etc/passwd"));
        assert!(!own("overlay/0123/diff/overlay-images/images.lock"));
    }

    #[test]
    fn images_keep_their_whole_name() {
        let command = import("/dev/stdin", "localhost/x:1");
        assert!(command.contains(&"oci-archive:/dev/stdin:localhost/x:1".to_owned()));
        assert!(command.last().unwrap().ends_with("]localhost/x:1"));
    }
}
