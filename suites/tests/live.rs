//! The command against a cluster on which everything works: `NESTCHECK_TEST_KUBECONFIG` and
//! `NESTCHECK_TEST_AUDIT_LOG` name it, `ci/test` makes it. Each test has the cluster for itself
//! and looks at it afterwards: nothing may be left.

mod before;
mod devices;
mod inside;
mod operators;
mod runners;
mod shards;

use std::{collections::BTreeMap, fs, sync::OnceLock, time::Duration};

use harness::{
    engine::{Case, Profile},
    facts::Flavour,
    verdict::{Outcome, Verdict},
};
use k8s_openapi::api::rbac::v1::ClusterRole;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use test_support::{Applied, Finished, Live, Report, Request, TestDir, by_verb, expected};

/// How many requests a case with a pod may cost the API server, commands in the pod included.
const REQUESTS_A_CASE: usize = 12;

/// How many requests a run may make apart from commands in pods: its 3 namespaces and their users,
/// its record, the look at what is left, the dry runs and reads of the cases, the admission policies
/// in each version of their API, the pods, claims and policy that some make for themselves, and the
/// quotas, limits and network policies of the namespace. Events are not counted: nestcheck reads them
/// only for a pod that takes long. Measured: 180 on a busy machine.
const REQUESTS_WITHOUT_COMMANDS: usize = 195;

/// The cases about this kind of cluster.
fn cases() -> Vec<Case> {
    let profile = Profile::of(Flavour::Kubernetes);
    suites::cases().into_iter().filter(|case| profile.has(case)).collect()
}

/// A run of all cases, made once for the tests that look at one.
struct WholeRun {
    finished: Finished,
    report: Report,
    requests: Vec<Request>,
    leftovers: Vec<String>,
    dir: TestDir,
}

fn whole_run() -> &'static WholeRun {
    static RUN: OnceLock<WholeRun> = OnceLock::new();
    RUN.get_or_init(|| {
        let (cluster, dir) = (Live::take(), TestDir::new());
        let start = cluster.now();
        let finished = dir.nestcheck(["run", "--kubeconfig", cluster.kubeconfig()]);
        let (requests, leftovers) = (cluster.requests_since(start), cluster.leftovers());
        WholeRun { finished, report: dir.report(), requests, leftovers, dir }
    })
}

#[test]
#[ignore = "needs a local cluster: ci/test makes it"]
fn a_whole_run_is_conformant_and_leaves_nothing() {
    let WholeRun { finished, report, leftovers, .. } = whole_run();
    finished.exits(0).says(&["Conformant", "report in `nestcheck-report`"]);
    assert_eq!(finished.stdout, "", "data only goes there when it is asked for");
    assert_eq!(report.outcome(), Outcome::Conformant);
    let expectations = expected("kubernetes");
    report.is_as_expected(&expectations);
    assert_eq!(report.cases().len(), cases().len());
    let (passed, failed, skipped) = report.junit_counts();
    assert!(passed >= 30, "{passed} cases in the JUnit file");
    assert_eq!((failed, skipped), (0, cases().len() - expectations.with("pass").len()));
    assert_eq!(report.json("/outcome"), "conformant");
    let facts = report.json("/run/cluster").to_string();
    assert!(facts.contains("\"image id\"") && facts.contains("sha256:"), "{facts}");
    assert_eq!(*leftovers, [""; 0]);
}

#[test]
#[ignore = "needs a local cluster: ci/test makes it"]
fn every_pass_of_a_whole_run_has_a_truth_check_behind_it() {
    let report = &whole_run().report;
    let checks = report.truth_checks();
    for id in report.ids("pass") {
        assert!(checks.get(id).is_some_and(|count| *count > 0), "{id} proves nothing");
    }
}

#[test]
#[ignore = "needs a local cluster: ci/test makes it"]
fn a_whole_run_keeps_to_its_budget_of_requests() {
    let WholeRun { report, requests, .. } = whole_run();
    // An exec is a GET of a subresource, however often it is asked for; anything else that is
    // got twice is a loop that should have been a watch.
    let mut gets: BTreeMap<&str, usize> = BTreeMap::new();
    for request in requests.iter().filter(|request| request.verb == "get" && !request.is_exec()) {
        *gets.entry(request.path()).or_default() += 1;
    }
    let verbs = by_verb(requests);
    println!("{} requests: {verbs:?}", requests.len());
    println!("gets: {gets:?}");
    assert!(!gets.is_empty() && gets.values().all(|count| *count == 1), "{gets:?}");

    let with_pod = cases().iter().filter(|case| !case.pods.is_empty()).count();
    let commands = verbs.get("exec").copied().unwrap_or_default();
    assert!(commands > 0, "{verbs:?}");
    assert!(requests.len() <= REQUESTS_A_CASE * with_pod, "{} requests", requests.len());
    let events = requests.iter().filter(|request| request.path().ends_with("/events")).count();
    let others = requests.len() - commands - events;
    assert!(others <= REQUESTS_WITHOUT_COMMANDS, "{others} of {verbs:?}");

    // What a case does it does as the ordinary user.
    let user = format!("system:serviceaccount:nestcheck-{}:workspace-user", report.run());
    let in_pods = requests.iter().filter(|request| request.is_exec());
    assert!(in_pods.into_iter().all(|request| request.user() == user));
}

#[test]
#[ignore = "needs a local cluster: ci/test makes it"]
fn a_report_can_be_made_again_from_the_log_and_has_no_secret_in_it() {
    let WholeRun { report, dir, .. } = whole_run();
    let directory = report.directory().display().to_string();
    for (format, name) in [("junit", "junit.xml"), ("json", "report.json"), ("html", "index.html")]
    {
        let again = dir.nestcheck(["report", &directory, "--format", format]);
        again.exits(0);
        let written = fs::read_to_string(report.directory().join(name)).expect("it is there");
        assert_eq!(again.stdout, written, "{name}");
    }
    let log = fs::read_to_string(report.directory().join("events.jsonl")).expect("it is there");
    // The beginning of every JSON Web Token, such as the ordinary user's.
    assert!(!log.contains("eyJhbGciOi"), "a token is in the log");
}

#[test]
#[ignore = "needs a local cluster: ci/test makes it"]
fn preflight_writes_nothing() {
    let (cluster, dir) = (Live::take(), TestDir::new());
    let start = cluster.now();
    let text = dir.nestcheck(["preflight", "--kubeconfig", cluster.kubeconfig()]);
    text.exits(0);
    assert!(text.stdout.contains("\nsupported"), "{text}");
    assert_eq!(text.stderr, "");
    let json = dir.nestcheck(["preflight", "-o", "json", "--kubeconfig", cluster.kubeconfig()]);
    json.exits(0);
    let facts: Value = serde_json::from_str(&json.stdout).expect("it is JSON");
    assert_eq!(facts["supported"], true, "{json}");

    let requests = cluster.requests_since(start);
    assert!(requests.iter().any(Request::is_dry_run), "the gates are asked by dry runs");
    let changes: Vec<_> = requests.iter().filter(|request| request.changes()).collect();
    assert!(changes.is_empty(), "{changes:?}");
    assert_eq!(dir.content(), [""; 0]);
}

#[test]
#[ignore = "needs a local cluster: ci/test makes it"]
fn one_case_makes_only_the_pod_that_it_needs() {
    let (cluster, dir) = (Live::take(), TestDir::new());
    let start = cluster.now();
    dir.nestcheck(["run", "POD-03", "--kubeconfig", cluster.kubeconfig()]).exits(0);
    let report = dir.report();
    assert_eq!(report.ids("pass"), ["POD-03"]);
    assert_eq!(report.cases().len(), 1);
    let requests = cluster.requests_since(start);
    let pods = requests.iter().filter(|request| {
        request.verb == "create" && request.path().ends_with("/pods") && request.changes()
    });
    assert_eq!(pods.count(), 1, "{requests:?}");
    cluster.is_clean();
}

/// Only the kubeconfig of a local cluster names an image: another cluster has none of that name.
#[test]
#[ignore = "needs a local cluster: ci/test makes it"]
fn a_cluster_that_is_not_a_local_one_has_no_image_by_default() {
    let (cluster, dir) = (Live::take(), TestDir::new());
    let named = "/clusters/0/cluster/extensions";
    let path = dir.kubeconfig(&cluster.own_kubeconfig().with(named, Value::Null));
    let start = cluster.now();
    let refused = dir.nestcheck(["run", "POD-03", "--kubeconfig", &path]);
    refused.refuses(2, &["workspace image"]).hints(&["--image REF", "fixtures/images/workspace"]);
    assert!(!cluster.requests_since(start).iter().any(Request::changes));
    assert_eq!(dir.content(), ["kubeconfig"], "nothing ran, so there is no report");
    let no_name = json!([{"name": "nestcheck", "extension": {"image": "no name"}}]);
    let wrong = dir.kubeconfig(&cluster.own_kubeconfig().with(named, no_name));
    dir.nestcheck(["run", "POD-03", "--kubeconfig", &wrong])
        .refuses(2, &["the image `no name` of the kubeconfig is not an image reference"]);
    let path = dir.kubeconfig(&cluster.own_kubeconfig().with(named, Value::Null));
    // What only compares facts needs no image.
    dir.nestcheck(["run", "PRE-01", "--kubeconfig", &path]).exits(3);
    let image = ["--image", "localhost/workspace:1", "ID-01", "--kubeconfig", &path];
    dir.nestcheck(["run"].into_iter().chain(image)).exits(0);
}

#[test]
#[ignore = "needs a local cluster: ci/test makes it"]
fn without_preflight_the_pods_decide_and_pass() {
    let (cluster, dir) = (Live::take(), TestDir::new());
    let arguments = ["run", "--no-preflight", "gate", "identity", "--kubeconfig"];
    dir.nestcheck(arguments.into_iter().chain([cluster.kubeconfig()])).exits(0);
    assert_eq!(dir.report().outcome(), Outcome::Conformant);
    cluster.is_clean();
}

#[test]
#[ignore = "needs a local cluster: ci/test makes it"]
fn two_runs_at_once_do_not_meet() {
    let (cluster, one, other) = (Live::take(), TestDir::new(), TestDir::new());
    let arguments = ["run", "admission", "identity", "--kubeconfig", cluster.kubeconfig()];
    let (one_runs, other_runs) = (one.start(arguments), other.start(arguments));
    one_runs.finish().exits(0);
    other_runs.finish().exits(0);
    assert_ne!(one.report().run(), other.report().run());
    cluster.is_clean();
}

// What the server refuses.

#[test]
#[ignore = "needs a local cluster: ci/test makes it"]
fn a_made_up_token_is_refused_with_a_way_on() {
    let (cluster, dir) = (Live::take(), TestDir::new());
    let path = dir.kubeconfig(&cluster.own_kubeconfig().with_token("made-up"));
    for command in ["run", "preflight"] {
        dir.nestcheck([command, "--kubeconfig", &path])
            .refuses(4, &["Unauthorized", "401"])
            .hints(&["log in"]);
    }
    assert_eq!(dir.content(), ["kubeconfig"], "nothing ran, so there is no report");
}

#[test]
#[ignore = "needs a local cluster: ci/test makes it"]
fn a_user_without_permissions_learns_which_are_missing_and_what_grants_them() {
    let (cluster, dir) = (Live::take(), TestDir::new());
    let token = cluster.token_without_permissions();
    let path = dir.kubeconfig(&cluster.own_kubeconfig().with_token(&token));
    let run = ["run", "--kubeconfig", &path, "gate", "admission", "POD-03", "ID-02"];
    let start = cluster.now();
    let refused = dir.nestcheck(run);
    refused.exits(4).says(&[
        "error: user `system:serviceaccount:default:default` lacks",
        "`create namespaces`",
        "`create serviceaccounts/token`",
        "`bind clusterroles.rbac.authorization.k8s.io edit`",
    ]);
    assert_eq!(refused.stdout, "", "{refused}");
    let requests = cluster.requests_since(start);
    let done = requests.iter().filter(|request| request.changes() && request.code() < 400);
    assert_eq!(done.count(), 0, "{requests:?}");
    assert_eq!(dir.content(), ["kubeconfig"], "nothing ran, so there is no report");
    cluster.is_clean();

    // What it was told is what it needs: neither less nor more.
    let (error, yaml) = refused.stderr.split_once("\n\n").expect("the objects come last");
    assert_eq!(error.lines().count(), 2, "{refused}");
    let _grant = cluster.apply_grant(yaml);
    dir.nestcheck(run).exits(0);
    cluster.is_clean();
}

#[test]
#[ignore = "needs a local cluster: ci/test makes it"]
fn one_missing_right_is_named_alone_and_nothing_is_written() {
    let (cluster, dir) = (Live::take(), TestDir::new());
    let role = harness::sandbox::rbac::role(Flavour::Kubernetes).expect("there is one");
    let mut role: ClusterRole = harness::base::manifest::parse("role", &role).expect("it is good");
    role.rules.get_or_insert_default().retain(|rule| !rule.verbs.iter().any(|verb| verb == "bind"));
    let _grant = cluster.grant(&role);
    let token = cluster.token_without_permissions();
    let path = dir.kubeconfig(&cluster.own_kubeconfig().with_token(&token));
    let start = cluster.now();
    let refused = dir.nestcheck(["run", "POD-03", "--kubeconfig", &path]);
    refused.exits(4).says(&[
        "needs: `bind clusterroles.rbac.authorization.k8s.io edit`\n",
        "  resourceNames:\n  - edit\n",
    ]);
    assert!(!refused.stderr.contains("namespaces"), "{refused}");
    let requests = cluster.requests_since(start);
    let changes: Vec<_> = requests.iter().filter(|request| request.changes()).collect();
    assert!(changes.is_empty(), "{changes:?}");
}

#[test]
#[ignore = "needs a local cluster: ci/test makes it"]
fn who_has_the_permissions_of_a_role_need_not_be_allowed_to_bind_it() {
    let (cluster, dir) = (Live::take(), TestDir::new());
    let role = harness::sandbox::rbac::role(Flavour::Kubernetes).expect("there is one");
    let mut role: ClusterRole = harness::base::manifest::parse("role", &role).expect("it is good");
    let rules = role.rules.get_or_insert_default();
    rules.retain(|rule| !rule.verbs.iter().any(|verb| verb == "bind"));
    rules.extend(cluster.rules_of("edit"));
    let _grant = cluster.grant(&role);
    let token = cluster.token_without_permissions();
    let path = dir.kubeconfig(&cluster.own_kubeconfig().with_token(&token));
    dir.nestcheck(["run", "ID-02", "--kubeconfig", &path]).exits(0);
    cluster.is_clean();
}

#[test]
#[ignore = "needs a local cluster: ci/test makes it"]
fn the_permissions_of_a_caller_who_has_them_cost_one_request() {
    // What the ordinary user may do is asked by a case, and who the caller is costs no right.
    let is_of_permissions = |request: &&Request| {
        request.is_review()
            && !request.path().ends_with("/selfsubjectreviews")
            && !request.user().starts_with("system:serviceaccount:")
    };
    let reviews = whole_run().requests.iter().filter(is_of_permissions);
    let paths: Vec<_> = reviews.map(Request::path).collect();
    assert_eq!(paths, ["/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"]);
}

#[test]
#[ignore = "needs a local cluster: ci/test makes it"]
fn the_published_permissions_are_enough_for_a_run() {
    let (cluster, dir) = (Live::take(), TestDir::new());
    let _grant = Applied::create(&cluster, include_str!("../../ci/kind/rbac.yaml"));
    let token = cluster.token_of("nestcheck");
    let path = dir.kubeconfig(&cluster.own_kubeconfig().with_token(&token));
    dir.nestcheck(["preflight", "--kubeconfig", &path]).exits(0);
    let run = ["run", "--kubeconfig", &path, "gate", "admission", "POD-03", "ID-02"];
    dir.nestcheck(run).exits(0);
    cluster.is_clean();
}

#[test]
#[ignore = "needs a local cluster: ci/test makes it"]
fn what_the_components_say_of_themselves_is_not_needed_for_conformance() {
    let (cluster, dir) = (Live::take(), TestDir::new());
    let role = harness::sandbox::rbac::role(Flavour::Kubernetes).expect("there is one");
    let mut role: ClusterRole = harness::base::manifest::parse("role", &role).expect("it is good");
    for rule in role.rules.iter_mut().flatten() {
        for paths in [&mut rule.resources, &mut rule.non_resource_urls].into_iter().flatten() {
            paths.retain(|path| path != "/metrics");
        }
    }
    // A rule about nothing is refused.
    role.rules.get_or_insert_default().retain(|rule| rule.resources != Some(Vec::new()));
    let _grant = cluster.grant(&role);
    let token = cluster.token_without_permissions();
    let path = dir.kubeconfig(&cluster.own_kubeconfig().with_token(&token));
    let run = ["run", "--kubeconfig", &path, "gate", "preflight", "ADM-05", "ID-01"];
    dir.nestcheck(run).exits(0);
    let report = dir.report();
    assert_eq!(report.ids("fail"), [""; 0]);
    assert_eq!(report.ids("blocked")[..2], ["GATE-03", "GATE-06"], "{:?}", report.ids("blocked"));
    for id in ["ADM-05", "GATE-07", "GATE-08", "PRE-02", "PRE-06", "PRE-09"] {
        assert_eq!(report.verdict(id).name(), "pass", "{id}");
    }
    cluster.is_clean();
}

#[test]
#[ignore = "needs a local cluster: ci/test makes it"]
fn a_run_that_only_evaluates_facts_is_never_green() {
    let (cluster, dir) = (Live::take(), TestDir::new());
    let start = cluster.now();
    let run = ["run", "PRE-01", "PRE-02", "--kubeconfig", cluster.kubeconfig()];
    dir.nestcheck(run).exits(3).says(&["no case passed that acts in the cluster"]);
    assert_eq!(dir.report().ids("pass"), ["PRE-01", "PRE-02"]);
    assert!(!cluster.requests_since(start).iter().any(Request::changes));
}

#[test]
#[ignore = "needs a local cluster: ci/test makes it"]
fn a_user_who_may_read_nothing_gets_the_facts_that_need_no_permissions() {
    let (cluster, dir) = (Live::take(), TestDir::new());
    let token = cluster.token_without_permissions();
    let path = dir.kubeconfig(&cluster.own_kubeconfig().with_token(&token));
    let preflight = dir.nestcheck(["preflight", "--kubeconfig", &path]);
    preflight.exits(3);
    for words in ["flavour            kubernetes", "?    user namespaces", "(403)", "not known"] {
        assert!(preflight.stdout.contains(words), "`{words}` is not in {preflight}");
    }
    assert!(!preflight.stdout.contains("\nyes "), "{preflight}");
}

#[test]
#[ignore = "needs a local cluster: ci/test makes it"]
fn a_server_of_another_authority_is_refused() {
    let (cluster, dir) = (Live::take(), TestDir::new());
    let other = rcgen::generate_simple_self_signed(["another".to_owned()]);
    let other = dir.write("ca.pem", &other.expect("a certificate can be made").cert.pem());
    let kubeconfig = cluster
        .own_kubeconfig()
        .with("/clusters/0/cluster/certificate-authority-data", Value::Null)
        .with("/clusters/0/cluster/certificate-authority", json!(other));
    let path = dir.kubeconfig(&kubeconfig);
    for command in ["run", "preflight"] {
        dir.nestcheck([command, "--kubeconfig", &path])
            .refuses(4, &["reach the cluster at https://", "certificate"])
            .hints(&["certificate-authority-data"]);
    }
}

// Runs that end badly.

#[test]
#[ignore = "needs a local cluster: ci/test makes it"]
fn an_image_that_does_not_exist_is_named_and_is_no_verdict_on_the_product() {
    let (cluster, dir) = (Live::take(), TestDir::new());
    let image = "localhost/no-such-image:1";
    let run = ["run", "--image", image, "POD-03", "ID-03", "--kubeconfig", cluster.kubeconfig()];
    let finished = dir.nestcheck(run);
    finished.exits(4).says(&[image]).within(Duration::from_secs(60));
    let report = dir.report();
    assert_eq!(report.outcome(), Outcome::Error);
    for id in ["POD-03", "ID-03"] {
        let verdict = report.verdict(id);
        let named = matches!(verdict, Verdict::Error { message } if message.contains(image));
        assert!(named, "{verdict:?}");
    }
    assert!(report.junit_counts().1 > 0, "the JUnit file is red");
    cluster.is_clean();
}

#[test]
#[ignore = "needs a local cluster: ci/test makes it"]
fn a_run_whose_time_is_over_ends_as_an_error_and_leaves_nothing() {
    let (cluster, dir) = (Live::take(), TestDir::new());
    let run = ["run", "--timeout", "3s", "podman", "--kubeconfig", cluster.kubeconfig()];
    dir.nestcheck(run).exits(4).within(Duration::from_secs(40));
    let report = dir.report();
    assert_eq!(report.outcome(), Outcome::Error);
    let late = report.ids("error");
    assert!(!late.is_empty());
    for id in late {
        let message = report.verdict(id).message();
        assert!(message.is_some_and(|text| text.contains("3 s are over")), "{message:?}");
    }
    assert!(report.junit_counts().1 > 0, "the JUnit file is red");
    cluster.is_clean();
}

#[test]
#[ignore = "needs a local cluster: ci/test makes it"]
fn a_signal_in_the_middle_ends_the_run_with_a_whole_report_and_leaves_nothing() {
    let cluster = Live::take();
    for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
        let dir = TestDir::new();
        let mut running = dir.start(["run", "podman", "--kubeconfig", cluster.kubeconfig()]);
        // The pod is there, and cases have begun to run commands in it: each builds an image,
        // which takes seconds.
        running.wait_for("pod workspace");
        // Who asks what runs learns it, and the run goes on.
        running.signal(Signal::SIGUSR1);
        running.wait_for("; running ");
        running.signal(signal);
        running.finish().exits(code).says(&["Interrupted"]).within(Duration::from_secs(40));
        let report = dir.report();
        assert_eq!(i32::from(report.outcome().exit_code()), code);
        let interrupted = report.ids("interrupted");
        assert!(!interrupted.is_empty());
        for id in report.began() {
            let ended = report.ids("pass").contains(&id) || interrupted.contains(&id);
            assert!(ended, "{id} began and has no verdict");
        }
        assert_eq!(report.cases().len(), report.started().cases, "each case has a verdict");
        assert!(report.junit_counts().1 > 0, "the JUnit file is red");
        cluster.is_clean();
    }
}

#[test]
#[ignore = "needs a local cluster: ci/test makes it"]
fn a_signal_before_the_pods_are_there_ends_the_run_and_leaves_nothing() {
    let (cluster, dir) = (Live::take(), TestDir::new());
    let mut running = dir.start(["run", "--kubeconfig", cluster.kubeconfig()]);
    running.wait_for("provision");
    running.signal(Signal::SIGINT);
    running.finish().exits(130).within(Duration::from_secs(40));
    assert!(matches!(dir.report().outcome(), Outcome::Interrupted { signal: 2 }));
    cluster.is_clean();
}

#[test]
#[ignore = "needs a local cluster: ci/test makes it"]
fn a_signal_at_the_very_beginning_ends_the_run_and_leaves_nothing() {
    let (cluster, dir) = (Live::take(), TestDir::new());
    let mut running = dir.start(["run", "--kubeconfig", cluster.kubeconfig()]);
    running.wait_for("Starting");
    running.signal(Signal::SIGTERM);
    running.finish().exits(143).within(Duration::from_secs(40));
    assert!(matches!(dir.report().outcome(), Outcome::Interrupted { signal: 15 }));
    cluster.is_clean();
}
