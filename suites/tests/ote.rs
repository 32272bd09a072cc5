//! nestcheck as an extension of openshift-tests: its output is read by the rules of openshift-tests
//! (openshift/origin, `pkg/test/extensions/binary.go`).

#![expect(clippy::expect_used, reason = "a test ends where something is not as it must be")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    time::Duration,
};

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use test_support::{Finished, Live, Running, TestDir};

/// How many processes openshift-tests starts at once: one for each test.
const PROCESSES: usize = 8;

/// Runs a verb as openshift-tests does, with nothing but its environment.
fn ote(dir: &TestDir, arguments: &[&str], environment: &[(&str, &str)]) -> Running {
    let mut command = dir.command([&["--ote"], arguments].concat());
    command.envs(environment.iter().copied());
    Running::start(command)
}

fn verb(arguments: &[&str]) -> Finished {
    ote(&TestDir::new(), arguments, &[]).finish()
}

/// The objects of an output: lines that begin with `{` and end. All others are dropped.
fn objects(output: &str) -> Vec<Value> {
    let lines = output.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    let objects = lines.filter(|line| line.starts_with('{'));
    objects.map(|line| serde_json::from_str(line).expect("a line is one object")).collect()
}

/// The results of named tests: one for each, and none that is not asked for.
#[track_caller]
fn results(finished: &Finished, names: &[&str]) -> BTreeMap<String, Value> {
    let mut expected: BTreeSet<_> = names.iter().copied().collect();
    let mut found = BTreeMap::new();
    for result in objects(&finished.stdout) {
        let name = result["name"].as_str().expect("it has a name").to_owned();
        assert!(expected.remove(name.as_str()), "an unexpected result `{name}`: {finished}");
        let ended = result["result"].as_str();
        assert!(matches!(ended, Some("passed" | "failed" | "skipped")), "{result}");
        found.insert(name, result);
    }
    assert!(expected.is_empty(), "no result for {expected:?}: {finished}");
    found
}

fn listed(arguments: &[&str]) -> Vec<Value> {
    let finished = verb(&[&["list", "-o", "jsonl"], arguments].concat());
    finished.exits(0);
    assert_eq!(finished.stderr, "");
    objects(&finished.stdout)
}

/// The name of a case's test.
fn name_of(id: &str) -> String {
    let names = listed(&[]);
    let name = names.iter().find(|spec| spec["tags"]["id"] == id).expect("the case is listed");
    name["name"].as_str().expect("it has a name").to_owned()
}

#[test]
fn info_is_one_object_that_names_version_component_and_suites() {
    let finished = verb(&["info"]);
    finished.exits(0);
    let (begin, end) = (finished.stdout.find('{'), finished.stdout.rfind('}'));
    let text = &finished.stdout[begin.expect("an object")..=end.expect("an object")];
    let info: Value = serde_json::from_str(text).expect("it is JSON");
    assert_eq!(info["apiVersion"], "v1.1");
    let component = json!({"product": "nestcheck", "type": "non-payload", "name": "nestcheck"});
    assert_eq!(info["component"], component);
    for suite in info["suites"].as_array().expect("suites") {
        assert_eq!(suite["clusterStability"], "Stable");
        assert!(suite["testTimeout"].is_u64() && suite["qualifiers"].is_array(), "{suite}");
    }
    assert!(info["source"]["commit"].is_string() && info["images"].is_array(), "{info}");
}

#[test]
fn tests_are_listed_without_a_cluster_for_the_environment_that_is_named() {
    let all = listed(&[]);
    let flags = ["--platform", "aws", "--network=ovn", "--feature-gate", "A", "--api-group", "b"];
    let same = listed(&[&flags[..], &["--topology=ha", "--architecture=amd64"]].concat());
    assert!(same.len() > 150 && same.len() <= all.len(), "{} of {}", same.len(), all.len());
    let microshift = listed(&["--topology", "microshift", "--version", "4.20"]);
    assert!(!microshift.is_empty() && microshift.len() < same.len());
    assert!(listed(&["--version=4.18"]).is_empty());
    assert!(listed(&["--architecture=s390x"]).is_empty());
    for spec in &all {
        assert!(matches!(spec["lifecycle"].as_str(), Some("blocking" | "informing")), "{spec}");
        assert!(spec["labels"].is_object() && spec["resources"]["isolation"].is_object());
    }
    let names = verb(&["list", "-o", "names"]);
    assert_eq!(names.stdout.lines().count(), all.len());
}

#[test]
fn images_are_those_that_tests_pull() {
    let none: Value = serde_json::from_str(&verb(&["images"]).stdout).expect("it is JSON");
    assert_eq!(none, json!([]));
    let one = verb(&["images", "--image", "registry.test/team/workspace:2"]);
    let one: Value = serde_json::from_str(&one.stdout).expect("it is JSON");
    let expected = json!([
        {"index": 0, "registry": "registry.test", "name": "team/workspace", "version": "2"},
    ]);
    assert_eq!(one, expected);
}

#[test]
fn every_named_test_has_one_result_without_a_cluster_too() {
    let known = name_of("GATE-01");
    let names = ["no such test", known.as_str()];
    let finished =
        verb(&["run-test", "-n", names[0], "-n", names[1], "-n", names[1], "-o", "jsonl"]);
    let results = results(&finished, &names);
    assert_eq!(results[names[0]]["result"], "failed");
    let error = results[names[1]]["error"].as_str().unwrap_or_default();
    assert!(error.contains("kubeconfig"), "{finished}");
    assert_eq!(results[names[1]]["result"], "failed");
    assert_ne!(finished.code, Some(0), "{finished}");
}

#[test]
fn bad_input_is_one_line_with_a_hint() {
    verb(&["run-test"]).refuses(2, &["no test is named"]).hints(&["list"]);
    verb(&["run-suite", "nope"]).refuses(2, &["no suite `nope`"]).hints(&["nestcheck/all"]);
    verb(&["list", "--component", "other"]).refuses(2, &["other"]);
    verb(&["nope"]).refuses(2, &["nope"]);
    verb(&["update", "nope.json"]).refuses(2, &["nope.json"]);
}

/// A test by dry runs, one in a pod, one that is blocked, and one that no cluster of Kubernetes has.
#[test]
#[ignore = "needs a local cluster: ci/test makes it"]
fn tests_run_by_name_and_leave_their_files_among_the_artifacts() {
    let (cluster, dir) = (Live::take(), TestDir::new());
    let names = ["GATE-01", "ISO-01", "ID-09", "SCC-P01"].map(name_of);
    let names = names.each_ref().map(String::as_str);
    let artifacts = dir.path("artifacts").display().to_string();
    let environment =
        [("KUBECONFIG", cluster.kubeconfig()), ("EXTENSION_ARTIFACT_DIR", artifacts.as_str())];
    let arguments = names.iter().flat_map(|name| ["-n", name]);
    let arguments: Vec<_> = ["run-test", "-o", "jsonl"].into_iter().chain(arguments).collect();
    let finished = ote(&dir, &arguments, &environment).finish();
    finished.exits(0);
    let results = results(&finished, &names);
    let ended: Vec<_> = names.iter().map(|name| results[*name]["result"].clone()).collect();
    assert_eq!(ended[..2], ["passed", "passed"], "{finished}");
    // Extended and blocked, and not of this cluster's profile.
    assert_eq!(ended[2..], ["skipped", "skipped"], "{finished}");
    let passed = &results[names[1]];
    assert!(passed["output"].as_str().is_some_and(|output| output.contains("/proc")), "{passed}");
    for time in ["startTime", "endTime"] {
        assert!(passed[time].as_str().is_some_and(|time| time.ends_with(" UTC")), "{passed}");
    }
    let mut places = fs::read_dir(&artifacts).expect("the directory is made");
    let place = places.next().expect("a run").expect("it can be listed").path();
    assert!(place.join("junit.xml").is_file() && place.join("events.jsonl").is_file());
    cluster.is_clean();
}

#[test]
#[ignore = "needs a local cluster: ci/test makes it"]
fn many_processes_at_once_each_run_one_test_and_leave_nothing() {
    let cluster = Live::take();
    let specs = listed(&["--topology=ha"]);
    let is_fast = |spec: &&Value| spec["labels"]["isolation"].is_object();
    let names = specs.iter().filter(is_fast).filter_map(|spec| spec["name"].as_str());
    let names: Vec<_> = names.take(PROCESSES).collect();
    assert_eq!(names.len(), PROCESSES);
    let environment = [("KUBECONFIG", cluster.kubeconfig())];
    let dirs: Vec<_> = names.iter().map(|_| TestDir::new()).collect();
    let start = |(dir, name): (&TestDir, &&str)| {
        ote(dir, &["run-test", "-n", name, "-o", "jsonl"], &environment)
    };
    let running: Vec<_> = dirs.iter().zip(&names).map(start).collect();
    for (running, name) in running.into_iter().zip(&names) {
        let finished = running.finish();
        let results = results(&finished, &[name]);
        assert_ne!(results[*name]["error"], "the run did not end", "{finished}");
        assert!(matches!(finished.code, Some(0 | 1)), "{finished}");
    }
    cluster.is_clean();
}

#[test]
#[ignore = "needs a local cluster: ci/test makes it"]
fn an_interrupted_test_has_failed_and_leaves_nothing() {
    let (cluster, dir) = (Live::take(), TestDir::new());
    let name = name_of("POD-03");
    let environment = [("KUBECONFIG", cluster.kubeconfig())];
    let mut running = ote(&dir, &["run-test", "-n", &name, "-o", "jsonl"], &environment);
    running.wait_for("provision");
    running.signal(Signal::SIGINT);
    let finished = running.finish();
    finished.exits(130).within(Duration::from_secs(60));
    assert_eq!(results(&finished, &[&name])[&name]["result"], "failed", "{finished}");
    cluster.is_clean();
}
