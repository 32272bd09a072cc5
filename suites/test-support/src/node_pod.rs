//! A pod that changes the node for a test.

use std::{
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::Cluster;

/// The namespace of these pods, which tests share.
const PODS: &str = "/api/v1/namespaces/default/pods";

/// How long a pod may take to start, and to clean up.
const GRACE: Duration = Duration::from_secs(60);

/// A privileged pod that changes something on the node, and undoes that when it ends: when this is
/// dropped.
pub struct NodePod<'a> {
    cluster: &'a Cluster,
    path: String,
}

impl<'a> NodePod<'a> {
    /// Starts a pod of this name, in place of one that an earlier test left, and waits until it is ready.
    pub fn start(cluster: &'a Cluster, name: &str, spec: &Value) -> Self {
        let pod = Self { cluster, path: format!("{PODS}/{name}") };
        cluster.delete(&pod.path, GRACE);
        let object = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec,
        });
        cluster.post(PODS, &object);
        let started = Instant::now();
        loop {
            let status = cluster.get(&pod.path)["status"].clone();
            if status["containerStatuses"][0]["ready"] == true {
                return pod;
            }
            assert!(started.elapsed() < GRACE, "{status}");
            thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for NodePod<'_> {
    fn drop(&mut self) {
        self.cluster.delete(&self.path, GRACE);
    }
}
