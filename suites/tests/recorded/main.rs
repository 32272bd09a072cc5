//! The facts and the verdict of recorded clusters, by the same code that reads live ones.

#![expect(clippy::expect_used, clippy::panic, reason = "a test that can't go on has failed")]

mod architectures;
#[path = "../../../harness/tests/report/committed_schema.rs"]
mod committed_schema;
mod dry_run;
mod expectations;
mod last_report;
mod many_nodes;
mod remedies;

use std::fmt::Write as _;

use committed_schema::{assert_valid, committed_schema};
use harness::{
    Error,
    cluster::Cluster,
    facts,
    facts::{Fact, Facts, Gate, Rollout, support, support::Support},
};
use kube::Config;
use suites::fixtures::clusters::RecordedCluster;
use test_support::{Kubeconfig, Log, ServerBehaviour, TestDir, serve};

/// How many requests the facts of an OpenShift cluster with one node may cost, Che aside.
const REQUESTS: usize = 13;

/// How many of them may wait for each other.
const ROUND_TRIPS: usize = 3;

fn recorded() -> Vec<RecordedCluster> {
    RecordedCluster::all().expect("the recorded clusters can be read")
}

fn gather(cluster: &RecordedCluster, behaviour: ServerBehaviour) -> (Result<Facts, Error>, Log) {
    let (address, log) = serve(cluster.clone(), behaviour);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime can be had");
    let facts = runtime.block_on(async {
        let config = Config::new(address.parse().expect("it is an address"));
        let cluster = Cluster::from_config(config).expect("the configuration is good");
        facts::gather(&cluster).await
    });
    (facts, log)
}

fn read(cluster: &RecordedCluster) -> Facts {
    let (facts, _) = gather(cluster, ServerBehaviour::default());
    facts.unwrap_or_else(|error| panic!("{}: {error}", cluster.name))
}

fn verdict(support: &Support) -> String {
    match support {
        Support::Supported => "supported".to_owned(),
        Support::SupportedNotUpgradable { .. } => "supported, not upgradable".to_owned(),
        Support::Unsupported { .. } => "unsupported".to_owned(),
        Support::Inconclusive { rollout: true, .. } => "inconclusive, rollout".to_owned(),
        Support::Inconclusive { .. } => "inconclusive".to_owned(),
    }
}

/// A fact in a word: `-` where it is not applicable, `?` where it is unknown.
fn word<T>(fact: &Fact<T>, show: impl Fn(&T) -> String) -> String {
    match fact {
        Fact::Known { value, .. } => show(value),
        Fact::Unknown { .. } => "?".to_owned(),
        Fact::NotApplicable { .. } => "-".to_owned(),
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "passed as a function of a reference")]
fn yes(value: &bool) -> String {
    (if *value { "yes" } else { "no" }).to_owned()
}

/// A line of the table, and a line for everything that speaks against support.
fn describe(name: &str, facts: &Facts) -> String {
    let release = word(&facts.release, |release| match release {
        Some(release) => release.to_string(),
        None => facts.version.full.clone(),
    });
    let gates = word(&facts.configured_gates, |gates| {
        let words = Gate::ALL.map(|gate| gates.of(gate).to_string());
        words.join("/")
    });
    let rollout = word(&facts.rollout, |rollout| yes(&(*rollout != Rollout::None)));
    let support = Support::of(facts);
    let mut text = format!(
        "{name:27} {release:8} {:21} {gates:33} {:3} {:3} {:6} {rollout:7} {:4} {}\n",
        word(&facts.feature_set, ToString::to_string),
        word(&facts.keeps_host_users, yes),
        word(&facts.keeps_proc_mount, yes),
        word(&facts.scc_schema, yes),
        word(&facts.upgradeable, yes),
        verdict(&support),
    );
    for reason in support.reasons() {
        let _ = writeln!(text, "    {}", reason.reason);
    }
    for contradiction in support::contradictions(facts) {
        let _ = writeln!(text, "    contradiction: {contradiction}");
    }
    text
}

#[test]
fn every_recorded_cluster_has_its_facts_and_its_verdict() {
    let mut table = format!(
        "{:27} {:8} {:21} {:33} {:3} {:3} {:6} {:7} {:4} verdict\n",
        "cluster", "release", "feature set", "configured", "hU", "pM", "schema", "rollout", "upg"
    );
    for cluster in recorded() {
        table += &describe(&cluster.name, &read(&cluster));
    }
    insta::assert_snapshot!(table);
}

#[test]
fn a_gate_that_is_locked_on_is_still_in_the_metrics() {
    let names = ["kind-1.36", "kind-1.37", "microshift-5.0", "openshift-4.23", "openshift-5.0"];
    let clusters = recorded();
    let clusters = clusters.iter().filter(|cluster| names.contains(&cluster.name.as_str()));
    assert_eq!(clusters.clone().count(), names.len());
    for cluster in clusters {
        let facts = read(cluster);
        for gate in [Gate::UserNamespacesSupport, Gate::ProcMountType] {
            assert_eq!(facts.server_gate(gate).value(), Some(&true), "{}", cluster.name);
            assert!(facts.is_locked(gate), "{}", cluster.name);
        }
        let node = &facts.nodes.value().expect("nodes")[0];
        assert_eq!(node.kubelet_gate.value(), Some(&true), "{}", cluster.name);
        assert_eq!(facts.server_host_network_gate.value(), Some(&false), "{}", cluster.name);
    }
}

#[test]
fn every_recorded_answer_is_asked_for_and_no_verdict_needs_a_missing_one() {
    for cluster in recorded() {
        let (facts, log) = gather(&cluster, ServerBehaviour::default());
        let asked = log.lock().requests.clone();
        for request in cluster.requests() {
            let is_asked = asked.iter().any(|(asked, _)| asked == request);
            assert!(is_asked, "{}: {request} is not asked for", cluster.name);
        }
        let facts = facts.unwrap_or_else(|error| panic!("{}: {error}", cluster.name));
        let support = Support::of(&facts);
        let is_unanswered = |reason: &&support::Reason| reason.reason.contains("was not asked");
        let missing: Vec<_> = support.reasons().iter().filter(is_unanswered).collect();
        assert!(missing.is_empty(), "{}: record the answer: {missing:?}", cluster.name);
    }
}

#[test]
fn what_is_refused_is_unknown_and_makes_no_cluster_unsupported() {
    for cluster in recorded() {
        let whole = Support::of(&read(&cluster));
        // One that is unsupported anyway is enough to see the reasons.
        if matches!(whole, Support::Unsupported { .. }) && cluster.name != "openshift-4.19" {
            continue;
        }
        for request in cluster.requests() {
            let place = format!("{}: {request}", cluster.name);
            let refuses = Some(request.to_owned());
            let (facts, log) =
                gather(&cluster, ServerBehaviour { refuses, ..ServerBehaviour::default() });
            let asked = log.lock().requests.clone();
            assert!(asked.iter().any(|(asked, _)| asked == request), "{place} is not asked for");
            let facts = match facts {
                Ok(facts) => facts,
                // Without these nothing at all can be said.
                Err(error) => {
                    assert!(matches!(request, "GET /apis" | "GET /version"), "{place}: {error}");
                    continue;
                }
            };
            let reported = serde_json::to_string(&facts).expect("facts are JSON");
            // Most users may not ask kubelets, which is not a mistake.
            let reason = if request.ends_with("/proxy/metrics") {
                "the user may not read the kubelet's metrics".to_owned()
            } else {
                format!("{request} is forbidden")
            };
            let assert_diagnosis = reported.contains(&reason);
            // Where the ClusterVersion tells of a rollout, the pools have nothing to add.
            let is_moot = request.ends_with("pools") && facts.rollout.value().is_some();
            assert!(assert_diagnosis || is_moot, "{place} has no reason");
            let support = Support::of(&facts);
            let accuses = matches!(support, Support::Unsupported { .. });
            let is_unsupported = matches!(whole, Support::Unsupported { .. });
            assert!(!accuses || is_unsupported, "{place} turns {whole:?} into {support:?}");
        }
    }
}

#[test]
fn the_facts_cost_few_requests_and_fewer_round_trips() {
    for name in ["openshift-4.20", "openshift-4.19", "microshift-4.20", "kind-1.34"] {
        let cluster = recorded().into_iter().find(|cluster| cluster.name == name);
        let cluster = cluster.expect(name);
        // A machine that stalls makes two round trips of one, and never one of two.
        let mut attempts = (0..5).map(|_| requests_and_round_trips(&cluster));
        let fits = |&(requests, round_trips): &(usize, usize)| {
            requests <= REQUESTS && round_trips <= ROUND_TRIPS
        };
        let (requests, round_trips) = attempts.find(fits).expect(name);
        println!("{name}: {requests} requests in {round_trips} round trips");
    }
}

fn requests_and_round_trips(cluster: &RecordedCluster) -> (usize, usize) {
    let behaviour = ServerBehaviour { counts_round_trips: true, ..ServerBehaviour::default() };
    let (facts, log) = gather(cluster, behaviour);
    facts.expect("the cluster is read");
    let requests = &log.lock().requests;
    let round_trips = requests.iter().map(|(_, round)| *round).max();
    (requests.len(), round_trips.unwrap_or_default())
}

/// What `nestcheck preflight` prints, with its exit code.
fn preflight(cluster: &RecordedCluster, options: &[&str]) -> String {
    let (address, _) = serve(cluster.clone(), ServerBehaviour::default());
    let dir = TestDir::new();
    let path = dir.kubeconfig(&Kubeconfig::to(&address));
    let finished = dir.nestcheck([&["preflight", "--kubeconfig", &path], options].concat());
    assert_eq!(finished.stderr, "", "{}", cluster.name);
    let support = Support::of(&read(cluster));
    finished.exits(if support.is_supported() { 0 } else { 3 });
    finished.stdout.replace(&address, "SERVER")
}

#[test]
fn a_person_may_choose_how_pods_ask_for_devices() {
    for (name, route, words) in [
        ("kind-1.34-stock", "annotation", "containerd 2.2.0 knows neither name by itself"),
        ("kind-1.34-stock", "runtime-class:mine", "RuntimeClass `mine`"),
        ("openshift-4.20", "none", "no way to give a pod /dev/fuse and /dev/net/tun"),
    ] {
        let all = recorded();
        let cluster = all.iter().find(|cluster| cluster.name == name).expect("it is recorded");
        let (address, _) = serve(cluster.clone(), ServerBehaviour::default());
        let dir = TestDir::new();
        let path = dir.kubeconfig(&Kubeconfig::to(&address));
        let arguments = ["preflight", "--devices", route, "--kubeconfig", &path];
        let finished = dir.nestcheck(arguments);
        finished.exits(if route == "none" { 3 } else { 0 });
        assert!(finished.stdout.contains(words), "{name} {route}: {finished}");
    }
}

#[test]
fn a_run_as_configured_needs_settings_of_the_cluster() {
    let others = "`--as-configured` is for OpenShift, and this is kubernetes";
    for (name, words) in
        [("openshift-4.20", "this cluster has no settings for workspaces"), ("kind-1.34", others)]
    {
        let all = recorded();
        let cluster = all.iter().find(|cluster| cluster.name == name).expect("it is recorded");
        let (address, _) = serve(cluster.clone(), ServerBehaviour::default());
        let dir = TestDir::new();
        let path = dir.kubeconfig(&Kubeconfig::to(&address));
        let finished = dir.nestcheck(["run", "--as-configured", "--kubeconfig", &path]);
        finished.exits(2);
        assert!(finished.stderr.contains(words), "{name}: {finished}");
    }
}

#[test]
fn every_preflight_has_the_form_of_the_schema() {
    let schema = committed_schema("preflight", &suites::command::preflight_schema());
    for cluster in recorded() {
        let text = preflight(&cluster, &["-o", "json"]);
        assert_valid(&schema, &serde_json::from_str(&text).expect("JSON"));
    }
}

#[test]
fn preflight_reports_all_of_it() {
    for cluster in recorded() {
        let text = preflight(&cluster, &[]);
        if ["openshift-4.19", "openshift-4.19-tech-preview", "openshift-4.19-updating"]
            .contains(&cluster.name.as_str())
        {
            insta::assert_snapshot!(format!("preflight_{}", cluster.name), text);
        }
        // No API tells whether a handler honours the annotation, so nobody may say that it does.
        let devices =
            text.lines().find(|line| line.ends_with("/dev/fuse and /dev/net/tun for pods"));
        let mark = devices.and_then(|line| line.split_whitespace().next());
        let expected = match cluster.name.as_str() {
            "kind-1.34-stock" => "no",
            name if name.starts_with("kind") => "yes",
            _ => "?",
        };
        assert_eq!(mark, Some(expected), "{text}");
        let says_to_try = text.contains("devices by annotation: to be tried in a pod (CRI-O 1.");
        assert_eq!(says_to_try, expected == "?", "{text}");
        let verdict = text.trim_end().rsplit("\n\n").next().unwrap_or_default();
        assert!(!verdict.lines().any(|line| line.ends_with('.')), "{verdict}");
    }
}
