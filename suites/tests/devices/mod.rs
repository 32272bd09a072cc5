//! How pods ask for devices, where a person chose it.

use harness::verdict::Verdict;
use serde_json::json;
use test_support::{Cluster, Live, NodePod, Report, TestDir};

/// This cluster's containerd knows neither name of CRI-O's annotation: it does what a CRI-O does that
/// drops it.
#[test]
#[ignore = "needs a local cluster: ci/test makes it"]
fn an_annotation_that_the_runtime_drops_is_one_failure_and_blocks_the_rest() {
    let (cluster, dir) = (Live::take(), TestDir::new());
    let cases = ["ISO-04", "ISO-05", "POD-NET-01A", "CMP-02", "POD-03"];
    let options = ["run", "--devices", "annotation", "--kubeconfig", cluster.kubeconfig()];
    let finished = dir.nestcheck(options.iter().chain(&cases));
    finished.exits(1);
    let report = dir.report();
    assert_eq!(report.ids("fail"), ["ISO-04"]);
    assert_eq!(report.ids("pass"), ["POD-03"], "it needs no devices");
    let cause = "device requested by annotation (`io.kubernetes.cri-o.Devices`, \
                 `devices.crio.io`), pod started, device absent: /dev/fuse, /dev/net/tun \
                 (runtime: containerd ";
    for case in report.cases() {
        let (message, hint) = match &case.verdict {
            Verdict::Fail { message, hint: Some(hint), .. } => (message, hint),
            Verdict::Blocked { reason, remedy, .. } => (reason, remedy),
            _ => continue,
        };
        assert!(message.contains(cause), "{}: {message}", case.id);
        assert!(hint.contains("allowed_annotations") && hint.ends_with("(F37)"), "{hint}");
    }
    cluster.is_clean();
}

#[test]
#[ignore = "needs a local cluster: ci/test makes it"]
fn who_chooses_no_devices_blocks_what_needs_them() {
    let (cluster, dir) = (Live::take(), TestDir::new());
    let options = ["run", "--devices", "none", "ISO-04", "POD-NET-01A", "--kubeconfig"];
    let finished = dir.nestcheck(options.iter().chain(&[cluster.kubeconfig()]));
    finished.exits(3).says(&["option `--devices`"]);
    assert_eq!(dir.report().ids("blocked"), ["ISO-04", "POD-NET-01A"]);
    cluster.is_clean();
}

/// Expects that ISO-04 fails because devices are absent, and that this blocks another case.
#[track_caller]
fn are_absent(report: &Report, how: &str, fix: &str) {
    let cause = format!("device requested by {how}, pod started, device absent: /dev/fuse");
    let verdict = report.verdict("ISO-04");
    let is_named = matches!(verdict, Verdict::Fail { message, hint: Some(hint), .. }
        if message.contains(&cause) && hint.contains(fix) && hint.ends_with("(F37)"));
    assert!(is_named, "{verdict:?}");
    assert_eq!(report.ids("blocked"), ["POD-NET-01A"]);
}

/// Puts a CDI spec of both devices on the node. The pod that does it takes it away again when it ends.
fn put_cdi_spec(cluster: &Cluster) -> NodePod<'_> {
    let devices = json!([{"path": "/dev/fuse"}, {"path": "/dev/net/tun"}]);
    let all = json!({"name": "all", "containerEdits": {"deviceNodes": devices}});
    let text = json!({"cdiVersion": "0.6.0", "kind": "example.com/nested", "devices": [all]});
    let script = "
        trap 'rm -f /cdi/nestcheck-test.json; exit' TERM
        echo \"$1\" > /cdi/nestcheck-test.json
        touch /tmp/ready
        sleep infinity & wait
    ";
    let container = json!({
        "name": "keep", "image": "localhost/workspace:1",
        "command": ["sh", "-euc", script, "sh", text.to_string()],
        "readinessProbe": {"exec": {"command": ["test", "-e", "/tmp/ready"]}, "periodSeconds": 1},
        "securityContext": {"privileged": true, "runAsUser": 0},
        "volumeMounts": [{"name": "cdi", "mountPath": "/cdi"}],
    });
    let directory = json!({"path": "/etc/cdi", "type": "DirectoryOrCreate"});
    let spec = json!({
        "restartPolicy": "Never", "automountServiceAccountToken": false,
        "containers": [container], "volumes": [{"name": "cdi", "hostPath": directory}],
    });
    NodePod::start(cluster, "nestcheck-test-cdi", &spec)
}

/// The kubelet gives the annotations of a pod to its sandbox only, and those of device plugins to its
/// containers (kubernetes, `pkg/kubelet/kuberuntime/labels.go`). containerd looks for CDI devices at
/// containers (containerd, `internal/cri/opts/spec_linux.go`).
#[test]
#[ignore = "needs a local cluster: ci/test makes it"]
fn a_pods_cdi_annotation_does_nothing_on_containerd_although_the_node_has_the_spec() {
    let (cluster, dir) = (Live::take(), TestDir::new());
    let spec = put_cdi_spec(&cluster);
    let options = ["run", "--devices", "cdi:example.com/nested=all", "ISO-04", "POD-NET-01A"];
    let finished = dir.nestcheck(options.iter().chain(&["--kubeconfig", cluster.kubeconfig()]));
    drop(spec);
    finished.exits(1);
    let how = "CDI annotation `cdi.k8s.io/nestcheck: example.com/nested=all`";
    are_absent(&dir.report(), how, "`--devices resource:NAME`");
    cluster.is_clean();
}

/// An extended resource that the node offers and no device plugin stands behind, for as long as the
/// guard lives.
struct Resource<'a>(&'a Cluster);

impl<'a> Resource<'a> {
    const NAME: &'static str = "example.com/nested";

    fn offer(cluster: &'a Cluster) -> Self {
        let resource = Self(cluster);
        resource.set(&json!("100"));
        resource
    }

    fn set(&self, count: &serde_json::Value) {
        let resources = json!({Self::NAME: count});
        let status = json!({"capacity": resources, "allocatable": resources});
        self.0.merge("/api/v1/nodes/node/status", &json!({"status": status}));
    }
}

impl Drop for Resource<'_> {
    fn drop(&mut self) {
        self.set(&serde_json::Value::Null);
    }
}

#[test]
#[ignore = "needs a local cluster: ci/test makes it"]
fn an_extended_resource_without_devices_is_one_failure_and_blocks_the_rest() {
    let (cluster, dir) = (Live::take(), TestDir::new());
    let resource = Resource::offer(&cluster);
    let options = ["run", "--devices", "resource:example.com/nested", "ISO-04", "POD-NET-01A"];
    let finished = dir.nestcheck(options.iter().chain(&["--kubeconfig", cluster.kubeconfig()]));
    drop(resource);
    finished.exits(1);
    are_absent(&dir.report(), "extended resource `example.com/nested`", "let the plugin give");
    cluster.is_clean();
}
