//! What only root of the node can make for the fixtures.

use std::time::{Duration, Instant};

use serde_json::json;
use test_support::Cluster;

/// The directory on the node, on a tmpfs, whose ids the kernel can map.
pub const DIRECTORY: &str = "/dev/nestcheck-broken";

const POD: &str = "/api/v1/namespaces/default/pods/nestcheck-test-node-devices";

/// How long the pod may take to start, and to clean up.
const GRACE: Duration = Duration::from_secs(60);

/// Device nodes for everybody and for root alone, and a directory of root's. They are made by a
/// privileged pod, which takes them away again when it ends.
pub struct NodeDevices<'a> {
    cluster: &'a Cluster,
}

impl<'a> NodeDevices<'a> {
    /// Makes them.
    pub fn make(cluster: &'a Cluster) -> Self {
        cluster.delete(POD, GRACE);
        let devices = Self { cluster };
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
        cluster.post(
            "/api/v1/namespaces/default/pods",
            &json!({
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": "nestcheck-test-node-devices"},
                "spec": {
                    "restartPolicy": "Never",
                    "automountServiceAccountToken": false,
                    "initContainers": [container("make", &make)],
                    "containers": [container("keep", &keep)],
                    "volumes": [{"name": "dev", "hostPath": {"path": "/dev"}}],
                },
            }),
        );
        let started = Instant::now();
        while cluster.get(POD)["status"]["phase"] != "Running" {
            assert!(started.elapsed() < GRACE, "{}", cluster.get(POD)["status"]);
            std::thread::sleep(Duration::from_millis(100));
        }
        devices
    }
}

impl Drop for NodeDevices<'_> {
    fn drop(&mut self) {
        self.cluster.delete(POD, GRACE);
    }
}
