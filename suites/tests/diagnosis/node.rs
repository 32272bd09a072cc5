//! What only root of the node can make for the breakages.

use serde_json::json;
use test_support::{Cluster, NodePod};

/// The directory on the node, on a tmpfs, whose ids the kernel can map.
pub const DIRECTORY: &str = "/dev/nestcheck-broken";

/// Makes device nodes for everybody and for root alone, and a directory of root's. The pod that makes
/// them takes them away again when it ends.
pub fn make_devices(cluster: &Cluster) -> NodePod<'_> {
    let make = format!(
        "rm -rf {DIRECTORY}; mkdir -p {DIRECTORY}/private {DIRECTORY}/public {DIRECTORY}/directory
        for kind in private:600 public:666; do
            mknod -m ${{kind#*:}} {DIRECTORY}/${{kind%:*}}/fuse c 10 229
            mknod -m ${{kind#*:}} {DIRECTORY}/${{kind%:*}}/tun c 10 200
        done"
    );
    let keep = format!("trap 'rm -rf {DIRECTORY}; exit' TERM; sleep infinity & wait");
    let container = |name: &str, script: &str| {
        json!({
            "name": name,
            "image": "localhost/workspace:1",
            "command": ["sh", "-euc", script],
            "securityContext": {"privileged": true, "runAsUser": 0},
            "volumeMounts": [{"name": "dev", "mountPath": "/dev"}],
        })
    };
    let spec = json!({
        "restartPolicy": "Never",
        "automountServiceAccountToken": false,
        "initContainers": [container("make", &make)],
        "containers": [container("keep", &keep)],
        "volumes": [{"name": "dev", "hostPath": {"path": "/dev"}}],
    });
    NodePod::start(cluster, "nestcheck-test-node-devices", &spec)
}
