//! `nestcheck run --dry-run` on recorded clusters: what it lists, and that it writes nothing.

use serde_json::Value;
use suites::fixtures::clusters::RecordedCluster;
use test_support::{Finished, Kubeconfig, Log, Permissions, ServerBehaviour, TestDir, serve};

use super::{
    committed_schema::{assert_valid, committed_schema},
    recorded,
};

pub(super) fn cluster(name: &str) -> RecordedCluster {
    recorded().into_iter().find(|cluster| cluster.name == name).expect("it is recorded")
}

/// A dry run against a recorded cluster. It leaves no file, and the server has nothing to store.
fn dry_run(name: &str, permissions: Permissions, options: &[&str]) -> Finished {
    let permissions = Some(permissions);
    dry_run_of(name, ServerBehaviour { permissions, ..ServerBehaviour::default() }, options)
}

/// As [`dry_run`], against a server that behaves in this way.
pub(super) fn dry_run_of(name: &str, behaviour: ServerBehaviour, options: &[&str]) -> Finished {
    let (address, log): (String, Log) = serve(cluster(name), behaviour);
    let dir = TestDir::new();
    let path = dir.kubeconfig(&Kubeconfig::to(&address));
    let common = ["run", "--dry-run", "--image", "localhost/workspace:1", "--kubeconfig", &path];
    let mut finished = dir.nestcheck([&common, options].concat());
    assert_eq!(dir.content(), ["kubeconfig"], "{finished}");
    let writes = log.lock().writes.clone();
    assert_eq!(writes, [""; 0], "{finished}");
    assert!(!log.lock().requests.is_empty());
    finished.stdout = finished.stdout.replace(&address, "SERVER");
    finished
}

pub(super) fn json(finished: &Finished) -> Value {
    serde_json::from_str(&finished.stdout).unwrap_or_else(|error| panic!("{error}: {finished}"))
}

#[test]
fn a_dry_run_shows_what_would_run_be_created_and_be_permitted() {
    let filters = ["POD-03", "ID-09", "GATE-01", "WS-04", "END-01"];
    let finished = dry_run("kind-1.36", Permissions::All, &filters);
    finished.exits(0);
    assert_eq!(finished.stderr, "");
    insta::assert_snapshot!(finished.stdout);
}

#[test]
fn an_unsupported_cluster_would_be_left_alone() {
    let finished = dry_run("openshift-4.18", Permissions::All, &["-o", "json"]);
    finished.exits(3);
    let preview = json(&finished);
    assert_eq!((&preview["outcome"], &preview["exit_code"]), (&"partial".into(), &3.into()));
    for empty in ["objects", "permissions"] {
        assert_eq!(preview[empty], Value::Array(Vec::new()), "{empty}");
    }
    let cases = preview["cases"].as_array().expect("a list");
    assert!(cases.iter().all(|case| case["runs"] == false), "{preview}");
    assert!(cases.iter().any(|case| case["verdict"] == "blocked" && case["remedy"].is_string()));
}

#[test]
fn a_user_without_permissions_learns_each_that_is_missing() {
    let finished = dry_run("kind-1.36", Permissions::None, &["POD-03"]);
    finished.exits(4);
    for words in [
        "no   create namespaces\n",
        "no   bind clusterroles.rbac.authorization.k8s.io edit\n",
        "the run cannot begin: permissions are missing (exit code 4)",
        "hint: an administrator grants what is missing",
    ] {
        assert!(finished.stdout.contains(words), "`{words}` is not in {finished}");
    }
    let json = json(&dry_run("kind-1.36", Permissions::None, &["POD-03", "-o", "json"]));
    let permissions = json["permissions"].as_array().expect("a list");
    assert!(permissions.iter().all(|it| it["granted"] == false), "{json}");
    let granted = dry_run("kind-1.36", Permissions::All, &["POD-03", "-o", "json"]);
    granted.exits(0);
}

#[test]
fn a_dry_run_in_a_given_namespace_stays_inside() {
    let options = ["--namespace", "team-a", "POD-03", "GATE-07", "END-01"];
    let finished = dry_run("kind-1.36", Permissions::All, &options);
    finished.exits(0);
    for words in [
        "team-a/nestcheck-ID\n",
        "team-a/nestcheck-ID-*",
        "yes  create pods\n",
        "this run is confined to namespace `team-a`",
    ] {
        assert!(finished.stdout.contains(words), "`{words}` is not in {finished}");
    }
    assert!(!finished.stdout.contains("create namespaces"), "{finished}");
    let json =
        json(&dry_run("kind-1.36", Permissions::All, &[&options[..], &["-o", "json"]].concat()));
    let objects = json["objects"].as_array().expect("a list");
    assert!(!objects.is_empty(), "{json}");
    assert!(objects.iter().all(|object| object["namespace"] == "team-a"), "{json}");

    let refused = dry_run("kind-1.36", Permissions::None, &options);
    refused.exits(4);
    let hint = "--print-rbac=USER --namespace team-a";
    assert!(refused.stdout.contains(hint), "{refused}");
}

#[test]
fn a_dry_run_refuses_what_a_run_refuses() {
    let refused = dry_run("kind-1.36", Permissions::All, &["--scc", "cluster:nested", "POD-03"]);
    refused.refuses(2, &["this cluster admits no pods by SCCs"]);
}

#[test]
fn every_dry_run_has_the_form_of_the_schema() {
    let schema = committed_schema("dry-run", &harness::engine::preview::json_schema());
    for name in ["kind-1.36", "openshift-4.18", "openshift-4.20", "microshift-4.20"] {
        let finished = dry_run(name, Permissions::All, &["-o", "json"]);
        finished.exits_as_documented();
        assert_valid(&schema, &json(&finished));
    }
}
