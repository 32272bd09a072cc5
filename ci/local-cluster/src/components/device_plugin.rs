//! A device plugin, our own: it gives pods the devices that podman needs as an extended resource
//! (kubernetes, `staging/src/k8s.io/kubelet/pkg/apis/deviceplugin`).

use super::KUBERNETES;
use crate::node::protocol::Program;

/// The component's name.
pub const NAME: &str = "device-plugin";

/// The extended resource that gives both devices.
pub const RESOURCE: &str = "nestcheck.example/fuse-tun";

/// The plugin's command line. It runs once the kubelet does, and registers again with one that was
/// started again.
pub fn program() -> Program {
    Program {
        name: NAME.to_owned(),
        command: vec![
            format!("{KUBERNETES}/{NAME}"),
            format!("--resource={RESOURCE}"),
            "--device=/dev/fuse,/dev/net/tun".to_owned(),
        ],
        notifies: true,
    }
}
