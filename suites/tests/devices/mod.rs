//! How pods ask for devices, where a person chose it.

use harness::verdict::Verdict;
use test_support::{Live, TestDir};

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
