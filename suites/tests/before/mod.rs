//! Before and during a run: what a dry run says and leaves, and a run that repeats its cases.

#![expect(clippy::expect_used, reason = "a test that can't go on has failed")]

use std::fs;

use harness::sandbox::Entry;
use serde_json::Value;
use test_support::{Finished, Live, Request, TestDir};

/// What a dry run of these cases says.
fn dry_run(cluster: &Live, filters: &[&str]) -> (Finished, Value) {
    let dir = TestDir::new();
    let options = ["run", "--dry-run", "-o", "json", "--kubeconfig", cluster.kubeconfig()];
    let finished = dir.nestcheck([&options, filters].concat());
    let preview = serde_json::from_str(&finished.stdout).expect("it is JSON");
    assert_eq!(dir.content(), [""; 0], "{finished}");
    (finished, preview)
}

fn texts<'a>(preview: &'a Value, list: &str, field: &str) -> Vec<&'a str> {
    let items = preview[list].as_array().expect("a list").iter();
    items.map(|item| item[field].as_str().unwrap_or_default()).collect()
}

/// Whether an object of the ledger of a run is one that the dry run lists.
fn is_listed(preview: &Value, kind: &str, namespace: Option<&str>, name: &str) -> bool {
    let fits = |pattern: &Value, text: Option<&str>| match (pattern.as_str(), text) {
        (Some(pattern), Some(text)) => match pattern.strip_suffix('*') {
            Some(beginning) => text.starts_with(beginning),
            None => pattern == text,
        },
        (pattern, text) => pattern == text,
    };
    preview["objects"].as_array().expect("a list").iter().any(|object| {
        object["kind"] == kind
            && fits(&object["namespace"], namespace)
            && fits(&object["name"], Some(name))
    })
}

/// Expects that the dry run lists each object that the run's ledger has.
fn assert_listed(preview: &Value, dir: &TestDir) {
    let report = dir.report();
    let ledger = fs::read_to_string(report.directory().join("ledger.jsonl")).expect("a ledger");
    let without_id = |text: &str| text.replace(report.run(), "ID");
    let mut count = 0;
    for line in ledger.lines() {
        let Ok(Entry::Intended(intent)) = serde_json::from_str(line) else { continue };
        let namespace = intent.namespace.as_deref().map(without_id);
        let name = without_id(&intent.name);
        assert!(is_listed(preview, &intent.kind, namespace.as_deref(), &name), "{intent}");
        count += 1;
    }
    assert!(count >= 5, "{ledger}");
}

#[test]
#[ignore = "needs a local cluster: ci/test makes it"]
fn a_dry_run_writes_nothing_and_lists_what_the_run_then_does() {
    let (cluster, dir) = (Live::take(), TestDir::new());
    let filters = ["POD-03", "ID-02", "GATE-01", "END-01"];
    let start = cluster.now();
    let (finished, preview) = dry_run(&cluster, &filters);
    finished.exits(0);
    assert_eq!(finished.stderr, "");

    // Whatever is not a read is a review, which no API server stores, or a dry run.
    let requests = cluster.requests_since(start);
    let reads = |it: &&Request| matches!(it.verb.as_str(), "get" | "list" | "watch");
    let (read, others): (Vec<_>, Vec<_>) = requests.iter().partition(reads);
    assert!(!read.is_empty() && others.iter().any(|request| request.is_review()));
    for request in others {
        assert!(request.is_review() || request.is_dry_run(), "{request:?}");
    }
    cluster.is_clean();

    let run = ["run", "--kubeconfig", cluster.kubeconfig()];
    dir.nestcheck([&run[..], &filters].concat()).exits(0);
    assert_eq!(texts(&preview, "cases", "id"), dir.report().started().planned);
    assert_eq!(&preview["outcome"], dir.report().json("/outcome"));
    assert_listed(&preview, &dir);
    cluster.is_clean();
}

#[test]
#[ignore = "needs a local cluster: ci/test makes it"]
fn cases_that_are_repeated_run_in_fresh_namespaces_each_time() {
    let (cluster, dir) = (Live::take(), TestDir::new());
    let run = ["run", "ID-01", "END-01", "PRE-01", "--repeat", "2", "--kubeconfig"];
    let finished = dir.nestcheck([&run[..], &[cluster.kubeconfig()]].concat());
    finished.exits(0).says(&["(iteration 2)", "3 cases in 2 iterations"]);
    let report = dir.report();
    assert_eq!(report.json("/run/repeat"), 2);
    let cases = report.json("/cases");
    for case in cases.as_array().expect("a list") {
        let expected = if case["id"] == "PRE-01" { 0 } else { 2 };
        let iterations = case["iterations"].as_array().map_or(0, Vec::len);
        assert_eq!(iterations, expected, "{case}");
    }
    cluster.is_clean();
}
