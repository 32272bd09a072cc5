//! What a caller may do, and what Che was told, where SCCs decide about pods.

use std::fs;

use harness::{base::manifest, facts::Flavour};
use k8s_openapi::api::rbac::v1::ClusterRole;
use serde_json::{Value, json};
use test_support::{Applied, Live, Operators, Request, TestDir, default_settings, reports};

use super::lacks_control;

const RUN: [&str; 5] = ["run", "scc", "admission", "ID-02", "--kubeconfig"];

/// The published role, without the rules with this verb.
fn role_without(verb: &str) -> ClusterRole {
    let role = harness::sandbox::rbac::role(Flavour::OpenShift).expect("there is one");
    let mut role: ClusterRole = manifest::parse("role", &role).expect("it is good");
    role.rules.get_or_insert_default().retain(|rule| !rule.verbs.iter().any(|item| item == verb));
    role
}

#[test]
#[ignore = "needs a local cluster of OpenShift: ci/test makes it"]
fn the_published_permissions_are_enough_for_a_run() {
    let (cluster, dir) = (Live::take_openshift(), TestDir::new());
    let _grant = Applied::create(&cluster, include_str!("../../../ci/openshift/rbac.yaml"));
    let token = cluster.token_of("nestcheck");
    let path = dir.kubeconfig(&cluster.own_kubeconfig().with_token(&token));
    let preflight = dir.nestcheck(["preflight", "--kubeconfig", &path]);
    preflight.exits(0);
    let unknown = preflight.stdout.lines().filter(|line| line.contains("unknown"));
    let expected = |line: &str| line.contains("kubelet gate unknown: the user may not read");
    assert!(unknown.clone().all(expected), "{preflight}");
    assert_eq!(unknown.count(), 1, "the kubelet's gate: {preflight}");
    let run = dir.nestcheck(["run", "--kubeconfig", &path]);
    run.exits(0);
    assert!(!run.stderr.contains("forbidden"), "{run}");
    let report = dir.report();
    assert!(!lacks_control(&report), "the control was made: {run}");
    let written = fs::read_to_string(report.directory().join("report.json"));
    let written = written.expect("it is there");
    assert!(!written.contains("there is no such pod"), "commands may be run in the control");
    cluster.is_clean();
}

#[test]
#[ignore = "needs a local cluster of OpenShift: ci/test makes it"]
fn a_user_without_permissions_gets_what_grants_them() {
    let (cluster, dir) = (Live::take_openshift(), TestDir::new());
    let token = cluster.token_without_permissions();
    let path = dir.kubeconfig(&cluster.own_kubeconfig().with_token(&token));
    let refused = dir.nestcheck(RUN.into_iter().chain([path.as_str()]));
    refused.exits(4).says(&[
        "`create namespaces`",
        "`create securitycontextconstraints.security.openshift.io`",
        "`use securitycontextconstraints.security.openshift.io`",
        "`create clusterroles.rbac.authorization.k8s.io`",
    ]);
    let (_, yaml) = refused.stderr.split_once("\n\n").expect("the objects come last");
    let _grant = cluster.apply_grant(yaml);
    dir.nestcheck(RUN.into_iter().chain([path.as_str()])).exits(0);
    cluster.is_clean();
}

#[test]
#[ignore = "needs a local cluster of OpenShift: ci/test makes it"]
fn who_may_not_use_an_scc_is_reported_before_one_is_made() {
    let (cluster, dir) = (Live::take_openshift(), TestDir::new());
    let token = cluster.token_without_permissions();
    let path = dir.kubeconfig(&cluster.own_kubeconfig().with_token(&token));
    let _grant = cluster.grant(&role_without("use"));
    let start = cluster.now();
    let refused = dir.nestcheck(RUN.into_iter().chain([path.as_str()]));
    refused.exits(4).says(&["needs: `use securitycontextconstraints.security.openshift.io`\n"]);
    let requests = cluster.requests_since(start);
    assert!(!requests.iter().any(Request::changes), "{requests:?}");
}

/// Has the API server list the group of SCCs, which it serves but leaves to others to tell
/// the aggregator of: OpenShift's API server does, and MicroShift by a manifest
/// (`assets/crd/securityv1-local-apiservice.yaml`). A cluster that has it keeps it as it is.
fn list_sccs_in_discovery(cluster: &Live) {
    const SERVICES: &str = "/apis/apiregistration.k8s.io/v1/apiservices";
    let name = "v1.security.openshift.io";
    if !cluster.has(&format!("{SERVICES}/{name}")) {
        let object = json!({
            "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
            "metadata": {"name": name},
            "spec": {"group": "security.openshift.io", "version": "v1",
                     "groupPriorityMinimum": 9900, "versionPriority": 15},
        });
        cluster.post(SERVICES, &object);
    }
}

/// `container-run` as Che's operator makes it.
fn container_run() -> Value {
    let text = manifest::parse::<Value>("scc", suites::fixtures::NESTED_PODMAN.text);
    let mut scc = text.expect("it is YAML");
    scc["metadata"] = json!({"name": "container-run"});
    scc["allowedCapabilities"] = json!(["SETUID", "SETGID", "CHOWN"]);
    scc
}

#[test]
#[ignore = "needs a local cluster of OpenShift: ci/test makes it"]
fn preflight_compares_what_che_was_reported_with_its_scc() {
    let cluster = Live::take_openshift();
    list_sccs_in_discovery(&cluster);
    reports(&cluster, 0, "absent", &[]);
    let operators = Operators::make(&cluster);
    operators
        .che(&json!({"disableContainerRunCapabilities": false, "containerRunConfiguration": {}}));
    operators.config(&default_settings());
    let missing = "SCC `container-run`, which does not exist";
    reports(&cluster, 0, "on", &[("warning", missing)]);
    {
        let _scc = cluster.create_scc(&container_run());
        reports(&cluster, 0, "on", &[]);
    }
    let mut scc = container_run();
    scc["userNamespaceLevel"] = json!("AllowHostLevel");
    let _scc = cluster.create_scc(&scc);
    reports(&cluster, 0, "on", &[("danger", "`userNamespaceLevel` is \"AllowHostLevel\"")]);
    let mut settings = default_settings();
    settings["podAnnotations"] = Value::Null;
    operators.config(&settings);
    let level = ("danger", "userNamespaceLevel");
    reports(&cluster, 0, "on", &[level, ("warning", "no /dev/fuse, /dev/net/tun")]);
}
