//! What `nestcheck remedy` prints for recorded clusters.

use serde_json::Value;
use suites::fixtures::clusters::RecordedCluster;
use test_support::{Finished, Kubeconfig, ServerBehaviour, TestDir, documents, serve};

use crate::{
    committed_schema::{assert_valid, committed_schema},
    recorded,
};

fn remedy(cluster: &RecordedCluster, options: &[&str]) -> Finished {
    let (address, log) = serve(cluster.clone(), ServerBehaviour::default());
    let dir = TestDir::new();
    let path = dir.kubeconfig(&Kubeconfig::to(&address));
    let finished = dir.nestcheck([&["remedy", "--kubeconfig", &path], options].concat());
    finished.exits(0);
    assert_eq!(finished.stderr, "", "{}", cluster.name);
    // A dry run is the only request that is not a read.
    let dry_run = "POST /api/v1/namespaces/default/pods";
    let is_read = |request: &String| request.starts_with("GET ") || request.starts_with(dry_run);
    let log = log.lock();
    let wrote: Vec<_> = log.requests.iter().map(|(it, _)| it).filter(|it| !is_read(it)).collect();
    assert_eq!(wrote, Vec::<&String>::new(), "{}", cluster.name);
    finished
}

#[test]
fn every_recorded_cluster_has_its_remedies() {
    let schema = committed_schema("remedy", &harness::remedy::json_schema());
    let mut table: Vec<String> = Vec::new();
    for cluster in recorded() {
        let printed = remedy(&cluster, &["-o", "json"]).stdout;
        let document: Value = serde_json::from_str(&printed).expect("JSON");
        assert_valid(&schema, &document);
        let list = |name: &str| document[name].as_array().expect("a list").clone();
        table.push(cluster.name.clone());
        for remedy in list("remedies") {
            let costs = remedy["costs"].as_array().expect("a list");
            let costs: Vec<_> = costs.iter().filter_map(Value::as_str).collect();
            let title = remedy["title"].as_str().expect("a title");
            table.push(format!("  {title}: {}", costs.join(", ")));
        }
        for problem in list("without_remedy") {
            table.push(format!("  no remedy: {}", problem["wrong"].as_str().expect("text")));
        }
    }
    insta::assert_snapshot!("remedies", table.join("\n"));
}

#[test]
fn manifests_can_be_applied_as_they_are_printed() {
    let all = recorded();
    let find = |name: &str| all.iter().find(|it| it.name == name).expect("it is recorded");
    let printed = remedy(find("openshift-4.19"), &["-o", "yaml"]).stdout;
    let gate = documents(&printed).remove(0);
    assert_eq!(gate["kind"], "FeatureGate");
    assert_eq!(gate["spec"]["featureSet"], "TechPreviewNoUpgrade");
    assert!(printed.contains("# cost: it can't be undone"), "{printed}");

    let for_alice = ["-o", "yaml", "--user", "alice", "--namespace", "work"];
    let printed = remedy(find("openshift-4.20"), &for_alice).stdout;
    let kinds: Vec<_> = documents(&printed).iter().map(|it| it["kind"].clone()).collect();
    assert!(kinds.ends_with(&["Role".into(), "RoleBinding".into()]), "{kinds:?}");

    insta::assert_snapshot!("remedy_kind", remedy(find("kind-1.34-stock"), &[]).stdout);
    insta::assert_snapshot!("remedy_openshift-4.19", remedy(find("openshift-4.19"), &[]).stdout);
}
