//! A run in shards by an Indexed Job, by the manifests of `deploy`.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use harness::verdict::{Outcome, Verdict};
use serde_json::{Value, json};
use test_support::{Applied, LocalCluster, TestDir, documents, program_tree};

use super::{SOON, has_rows, run};

/// How long a Job may take.
const DEADLINE: Duration = Duration::from_secs(180);

const NAMESPACE: &str = "/namespaces/nestcheck";

/// Cases of which each of the four shards has some.
const CASES: [&str; 8] =
    ["nodes", "ID-01", "ID-05", "ID-06", "ID-07", "ISO-01", "ISO-04", "END-01"];

fn manifest(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The objects of a manifest, whose pods run as a user of their own: the image names none. The local
/// cluster has no services, so the pods are told the address of the API server itself.
fn objects(cluster: &LocalCluster, name: &str, more: &[&str]) -> Vec<Value> {
    let server = cluster.own_kubeconfig().value("/clusters/0/cluster/server");
    let address = server.trim_start_matches("https://").trim_end_matches('/').to_owned();
    let (host, port) = address.split_once(':').expect("the server has a port");
    let mut objects = documents(&manifest(name));
    for object in objects.iter_mut().filter(|object| object["kind"] == "Job") {
        let pod = &mut object["spec"]["template"]["spec"];
        pod["securityContext"]["runAsUser"] = json!(1000);
        pod["securityContext"]["fsGroup"] = json!(1000);
        let container = &mut pod["containers"][0];
        let mut variables = container["env"].as_array().cloned().unwrap_or_default();
        variables.push(json!({"name": "KUBERNETES_SERVICE_HOST", "value": host}));
        variables.push(json!({"name": "KUBERNETES_SERVICE_PORT", "value": port}));
        container["env"] = variables.into();
        let fixed = container["args"].as_array().cloned().unwrap_or_default();
        container["args"] = fixed.into_iter().chain(more.iter().map(|it| json!(it))).collect();
    }
    objects
}

/// Waits until something holds of an object.
#[track_caller]
fn wait(cluster: &LocalCluster, path: &str, holds: impl Fn(&Value) -> bool) -> Value {
    let started = Instant::now();
    loop {
        let object = cluster.get(path);
        if holds(&object) {
            return object;
        }
        assert!(started.elapsed() < DEADLINE, "{path} takes too long: {object:#}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn is_over(job: &Value) -> bool {
    let conditions = job["status"]["conditions"].as_array().into_iter().flatten();
    let ends = ["Complete", "Failed"];
    conditions
        .into_iter()
        .any(|it| it["status"] == "True" && ends.iter().any(|end| it["type"] == *end))
}

#[test]
fn the_parts_of_the_job_are_those_that_are_joined() {
    let job = documents(&manifest("indexed-job.yaml")).remove(1);
    let join = documents(&manifest("join-job.yaml")).remove(0);
    let arguments = |job: &Value| {
        let arguments = &job["spec"]["template"]["spec"]["containers"][0]["args"];
        let words = arguments.as_array().into_iter().flatten().filter_map(Value::as_str);
        words.map(str::to_owned).collect::<Vec<_>>()
    };
    let count = job["spec"]["completions"].as_u64().expect("a number");
    assert!(arguments(&job).contains(&format!("job/{count}")), "{job:#}");
    let joined = arguments(&join).into_iter().filter(|word| word.starts_with("/reports/"));
    let expected: Vec<_> = (0..count).map(|index| format!("/reports/{index}")).collect();
    assert_eq!(joined.collect::<Vec<_>>(), expected);
}

#[test]
#[ignore = "makes a cluster: ci/test runs it"]
fn two_nodes_are_proven_by_an_indexed_job_of_which_one_pod_is_killed() {
    let (cluster, dir) = (LocalCluster::up("alike", &["--nodes", "2"]), TestDir::new());
    let (finished, report) = run(&cluster, &dir, &["--every-node", "nodes", "END-01"]);
    finished.exits(0).within(SOON);
    assert_eq!(report.outcome(), Outcome::Conformant);
    for id in ["NODE-01.node", "NODE-01.node-2"] {
        assert_eq!(report.verdict(id), &Verdict::Pass);
        assert!(report.truth_checks().get(id).is_some_and(|count| *count > 5), "{id}");
    }
    has_rows(&finished, &report);
    cluster.is_clean();

    cluster.load(&program_tree(&dir, env!("CARGO_BIN_EXE_nestcheck")), "localhost/nestcheck:0.1.0");
    let _namespace = Applied::create(&cluster, &manifest("namespace.yaml"));
    let _rbac = Applied::create(&cluster, &manifest("rbac.yaml"));
    for object in objects(&cluster, "indexed-job.yaml", &CASES) {
        let collection = match object["kind"].as_str() {
            Some("Job") => format!("/apis/batch/v1{NAMESPACE}/jobs"),
            _ => format!("/api/v1{NAMESPACE}/persistentvolumeclaims"),
        };
        cluster.post(&collection, &object);
    }
    let of_index = |index: usize| {
        format!(
            "/api/v1{NAMESPACE}/pods?labelSelector=batch.kubernetes.io%2Fjob-completion-index%3D{index}"
        )
    };
    let first =
        wait(&cluster, &of_index(2), |pods| pods["items"][0]["status"]["phase"] == "Running");
    let first = first["items"][0]["metadata"]["name"].as_str().expect("a name").to_owned();
    cluster.delete(&format!("/api/v1{NAMESPACE}/pods/{first}"), Duration::ZERO);
    let path = format!("/apis/batch/v1{NAMESPACE}/jobs/nestcheck-nodes");
    let job = wait(&cluster, &path, is_over);
    let again = cluster.get(&of_index(2))["items"].clone();
    let again = again.as_array().into_iter().flatten();
    let names: Vec<_> = again.filter_map(|pod| pod["metadata"]["name"].as_str()).collect();
    assert!(names.iter().any(|name| *name != first), "the Job started no other pod: {names:?}");
    assert_eq!(job["status"]["completedIndexes"], "0-3", "{job:#}");

    let join = objects(&cluster, "join-job.yaml", &[]).remove(0);
    cluster.post(&format!("/apis/batch/v1{NAMESPACE}/jobs"), &join);
    wait(&cluster, &format!("/apis/batch/v1{NAMESPACE}/jobs/nestcheck-join"), is_over);
    let pods = format!("/api/v1{NAMESPACE}/pods");
    let selector = "labelSelector=batch.kubernetes.io%2Fjob-name%3Dnestcheck-join";
    let pod = cluster.get(&format!("{pods}?{selector}"))["items"][0].clone();
    let name = pod["metadata"]["name"].as_str().unwrap_or_default();
    let log = cluster.text(&format!("{pods}/{name}/log"));
    let code = pod.pointer("/status/containerStatuses/0/state/terminated/exitCode");
    assert_eq!(code.and_then(Value::as_u64), Some(0), "{log}");
    assert!(log.contains("Conformant"), "{log}");
    cluster.is_clean();
}
