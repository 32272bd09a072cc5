//! Settings of a cluster that are repaired with exactly what `nestcheck remedy` prints: its manifests
//! are applied with `kubectl apply`.

use std::time::Duration;

use serde_json::{Value, json};
use test_support::{Finished, LocalCluster, Operators, Report, TestDir, default_settings};

const SCC: &str = "nested-podman-scc";
const SCCS: &str = "/apis/security.openshift.io/v1/securitycontextconstraints";
const GONE: Duration = Duration::from_secs(30);

fn run(cluster: &LocalCluster, options: &[&str]) -> (Finished, Report) {
    cluster.run(options)
}

fn manifests(cluster: &LocalCluster, options: &[&str]) -> String {
    let fixed = ["remedy", "--kubeconfig", cluster.kubeconfig(), "-o", "yaml"];
    let printed = TestDir::new().nestcheck(fixed.iter().chain(options));
    printed.exits(0);
    printed.stdout
}

/// 4.19 ships no SCC for nested containers: one is printed, with the role for one user in one namespace.
fn an_scc_and_its_role_are_repaired(cluster: &LocalCluster) {
    let named = format!("cluster:{SCC}");
    let nested = ["--scc", &named, "ID-05", "ISO-01", "POD-03"];
    let refused = TestDir::new()
        .nestcheck([&["run", "--kubeconfig", cluster.kubeconfig()][..], &nested].concat());
    refused.refuses(2, &[SCC]);
    let work = json!({"metadata": {"name": "remedy-work"}});
    let _work = cluster.create_namespace(&work);

    cluster.apply(&manifests(cluster, &["--user", "dev", "--namespace", "remedy-work"]));

    let (finished, report) = run(cluster, &nested);
    finished.exits(0);
    assert_eq!(report.ids("pass"), ["ID-05", "ISO-01", "POD-03"]);
    let may = |namespace: &str| {
        let scc = format!("securitycontextconstraints/{SCC}");
        let words = ["auth", "can-i", "use", &scc, "--as", "dev", "--namespace", namespace];
        cluster.kubectl(&words, "").is_some_and(|answer| answer.trim() == "yes")
    };
    assert!(may("remedy-work") && !may("default"), "it is granted there and nowhere else");
    let after = manifests(cluster, &[]);
    assert!(!after.contains("kind: SecurityContextConstraints"), "it is there: {after}");
}

/// A change of a good configuration, and the case that names it.
type Wrong = (&'static str, fn(&mut Value));

const WRONG: [Wrong; 5] = [
    ("WS-20C", |it| it["containerSecurityContext"]["procMount"] = "Default".into()),
    ("WS-20D", |it| it["containerSecurityContext"]["allowPrivilegeEscalation"] = false.into()),
    ("WS-20E", |it| it["containerSecurityContext"]["capabilities"]["add"] = json!(["SETUID"])),
    ("WS-20F", |it| it["podAnnotations"] = json!({"devices.crio.io": "/dev/fuse,/dev/net/tun"})),
    ("WS-20G", |it| it["containerSecurityContext"]["privileged"] = true.into()),
];

/// Expects that a case fails, and passes once what is printed is applied.
fn is_repaired(cluster: &LocalCluster, id: &str) {
    let (_, report) = run(cluster, &["--as-configured", id]);
    assert_eq!(report.ids("fail"), [id]);
    cluster.apply(&manifests(cluster, &[]));
    let (finished, report) = run(cluster, &["--as-configured", id]);
    assert_eq!(report.ids("pass"), [id], "{finished}");
}

fn settings_of_workspaces_are_repaired(cluster: &LocalCluster) {
    let mut good = default_settings();
    good["imagePullPolicy"] = "IfNotPresent".into();
    // The run's own SCC, which workspaces have here, does not allow CHOWN.
    good["containerSecurityContext"]["capabilities"]["add"] = json!(["SETGID", "SETUID"]);
    let operators = Operators::make_che(cluster);
    operators.config(&good);
    operators.che(&json!({
        "disableContainerRunCapabilities": false,
        "containerRunConfiguration": {"openShiftSecurityContextConstraint": "container-run"},
    }));
    is_repaired(cluster, "WS-20A");
    cluster.delete(&format!("{SCCS}/container-run"), GONE);

    // Without Che the operator's own configuration counts.
    cluster.delete("/apis/org.eclipse.che/v2/namespaces/default/checlusters/che", GONE);
    for (id, change) in WRONG {
        let mut wrong = good.clone();
        change(&mut wrong);
        operators.config(&wrong);
        is_repaired(cluster, id);
    }
    let (finished, report) = run(cluster, &["--as-configured", "WS-07-POD-03"]);
    finished.exits(0);
    assert_eq!(report.ids("pass"), ["WS-07-POD-03"]);
}

/// Breaks settings of a cluster of OpenShift with the DevWorkspace Operator, and repairs them.
pub fn settings_are_repaired(cluster: &LocalCluster) {
    settings_of_workspaces_are_repaired(cluster);
    // It was among what was printed.
    cluster.delete(&format!("{SCCS}/{SCC}"), GONE);
    // The last, because it switches container run on in the operator's own configuration too.
    an_scc_and_its_role_are_repaired(cluster);
    cluster.is_clean();
}
