//! The command on Kubernetes 1.37, whose gates are locked on, while admission policies of somebody
//! else change and refuse pods: each is named with what it did, and never taken for a gate.

#![expect(clippy::expect_used, clippy::panic, reason = "a test ends where something is wrong")]

use std::{thread, time::Duration};

use harness::verdict::{Outcome, Verdict};
use serde_json::{Value, json};
use test_support::{LocalCluster, Report, TestDir};

/// What a failed case says, with its hint.
#[track_caller]
fn failure(report: &Report, id: &str) -> String {
    let all = report.cases();
    let case = all.iter().find(|case| case.id == id).expect("the case ran");
    match &case.verdict {
        Verdict::Fail { message, hint, .. } => {
            format!("{message}; {}", hint.as_deref().unwrap_or_default())
        }
        other => panic!("{id} is {other:?}"),
    }
}

/// A mutating policy about all new pods, with one JSON patch in CEL.
fn mutating(patch: &str) -> Value {
    json!({
        "failurePolicy": "Fail",
        "reinvocationPolicy": "Never",
        "matchConstraints": pods(),
        "mutations": [{"patchType": "JSONPatch",
                       "jsonPatch": {"expression": format!("[JSONPatch{{{patch}}}]")}}],
    })
}

fn pods() -> Value {
    json!({"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"],
                              "resources": ["pods"]}]})
}

/// Waits until the API server has taken up a policy: until it does this to a pod.
#[track_caller]
fn await_policy(cluster: &LocalCluster, is_done: impl Fn(&Result<Value, String>) -> bool) {
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "canary"}, "spec": {
        "hostUsers": false, "containers": [{"name": "canary", "image": "canary",
            "securityContext": {"procMount": "Unmasked"}}]}});
    for _ in 0..200 {
        if is_done(&cluster.dry_run(&pod)) {
            return;
        }
        thread::sleep(Duration::from_millis(50));
    }
    panic!("the API server did not take up the policy within 10 s");
}

#[test]
#[ignore = "makes its own clusters: run with --ignored --test-threads=1"]
fn what_policies_do_to_pods_is_never_taken_for_a_gate() {
    let cluster = LocalCluster::up("policies", &["--kubernetes", "1.37.2"]);
    changed_everywhere(&cluster);
    refused(&cluster);
    joined_by_a_container(&cluster);
    cluster.is_clean();
}

fn changed_everywhere(cluster: &LocalCluster) {
    let spec = mutating(r#"op: "replace", path: "/spec/hostUsers", value: true"#);
    let _policy = cluster.create_policy("MutatingAdmissionPolicy", "compatibility", &spec);
    // The pod that lost `hostUsers` must not unmask /proc.
    await_policy(cluster, |stored| {
        stored.as_ref().is_err_and(|it| it.contains("`hostUsers` must be false"))
    });
    let preflight = TestDir::new().nestcheck(["preflight", "--kubeconfig", cluster.kubeconfig()]);
    preflight.exits(0);
    let words = "UserNamespacesSupport can't be off, but pods lose `hostUsers` on their way";
    assert!(preflight.stdout.contains(words), "{preflight}");
    assert!(preflight.stdout.contains("MutatingAdmissionPolicy `compatibility`"), "{preflight}");
    let (finished, report) = cluster.run(&["GATE-01", "GATE-03", "POD-03", "PRE-12"]);
    finished.exits(1);
    for id in ["GATE-01", "GATE-03", "POD-03", "PRE-12"] {
        let reported = failure(&report, id);
        assert!(reported.contains("MutatingAdmissionPolicy `compatibility`"), "{id}: {reported}");
        assert!(!reported.contains("turn the feature gate"), "{id}: {reported}");
    }
    assert!(failure(&report, "GATE-01").ends_with("(F41)"));
}

fn refused(cluster: &LocalCluster) {
    let rule = "object.spec.containers.all(c, !has(c.securityContext) || \
                !has(c.securityContext.procMount) || c.securityContext.procMount == 'Default')";
    let spec = json!({"failurePolicy": "Fail", "matchConstraints": pods(),
                      "validations": [{"expression": rule, "message": "procMount is forbidden"}]});
    let (name, kind) = ("disallow-proc-mount", "ValidatingAdmissionPolicy");
    let _policy = cluster.create_denying_policy(name, &spec);
    await_policy(cluster, |stored| stored.as_ref().is_err_and(|it| it.contains("is forbidden")));
    let (finished, report) = cluster.run(&["GATE-02", "POD-03"]);
    finished.exits(1);
    for id in ["GATE-02", "POD-03"] {
        let reported = failure(&report, id);
        assert!(reported.contains(&format!("refused by {kind} `{name}`")), "{id}: {reported}");
        assert!(reported.ends_with("(F41)"), "{id}: {reported}");
    }
}

fn joined_by_a_container(cluster: &LocalCluster) {
    let spec = mutating(
        r#"op: "add", path: "/spec/containers/0", value: Object.spec.containers{name: "proxy",
        image: object.spec.containers[0].image, command: ["sleep", "3600"]}"#,
    );
    let _policy = cluster.create_policy("MutatingAdmissionPolicy", "injector", &spec);
    await_policy(cluster, |stored| {
        stored.as_ref().is_ok_and(|pod| pod["spec"]["containers"][0]["name"] == "proxy")
    });
    let suites = ["gate", "identity", "isolation", "admission", "POD-03", "PRE-14"];
    let (finished, report) = cluster.run(&suites);
    finished.exits(0);
    assert_eq!(report.outcome(), Outcome::Conformant);
    assert_eq!(report.ids("fail"), ["PRE-14"], "a finding");
    let reported = failure(&report, "PRE-14");
    assert!(reported.contains("observed container `proxy`"), "{reported}");
    assert!(reported.contains("MutatingAdmissionPolicy `injector`"), "{reported}");
}
