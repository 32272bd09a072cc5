//! What the operators of workspaces are told: their APIs and objects are made by the tests, the
//! operators themselves do not run.

#![expect(clippy::expect_used, reason = "a test ends where something is not as it must be")]

use std::{
    fs,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::support::{Bench, Finished, Live, retry_until};

const CHE: &str = "/apis/org.eclipse.che/v2/namespaces/default/checlusters";
const CONFIG: &str =
    "/apis/controller.devfile.io/v1alpha1/namespaces/default/devworkspaceoperatorconfigs";
const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

/// How long the API server may take to serve a new API, or to forget one.
const SERVED: Duration = Duration::from_secs(60);

/// The operators' APIs on a cluster, for as long as this lives.
struct Operators<'a> {
    cluster: &'a Live,
}

impl<'a> Operators<'a> {
    /// Makes them from the whole definitions that `NESTCHECK_TEST_OPERATOR_DEFINITIONS` names, a
    /// list as PATH is one, or from the parts of them that nestcheck reads.
    fn make(cluster: &'a Live) -> Self {
        let whole = std::env::var_os("NESTCHECK_TEST_OPERATOR_DEFINITIONS");
        let texts: Vec<String> = match whole.filter(|list| !list.is_empty()) {
            Some(list) => {
                let read = |path| fs::read_to_string(path).expect("a definition can be read");
                std::env::split_paths(&list).map(read).collect()
            }
            None => vec![include_str!("definitions.yaml").to_owned()],
        };
        // The guard comes first: what was made half is removed too.
        let operators = Self { cluster };
        let documents = texts.iter().flat_map(|text| text.split("\n---\n"));
        let ours = |document: &&str| {
            document.contains("\nkind: CustomResourceDefinition\n")
                && Self::names()
                    .iter()
                    .any(|name| document.contains(&format!("\n  name: {name}\n")))
        };
        let mut made = 0;
        for document in documents.filter(ours) {
            let definition: Value =
                harness::manifest::parse("definition", document).expect("it is YAML");
            cluster.post(DEFINITIONS, &definition);
            made += 1;
        }
        assert_eq!(made, 2, "one definition of each operator");
        for path in [CHE, CONFIG] {
            retry_until(SERVED, path, || cluster.has(path));
        }
        operators
    }

    fn names() -> [&'static str; 2] {
        ["checlusters.org.eclipse.che", "devworkspaceoperatorconfigs.controller.devfile.io"]
    }

    /// Creates a CheCluster with these `spec.devEnvironments`, or changes it to them.
    fn che(&self, environments: &Value) {
        let object = json!({
            "apiVersion": "org.eclipse.che/v2", "kind": "CheCluster",
            "metadata": {"name": "che"}, "spec": {"devEnvironments": environments},
        });
        self.cluster.delete(&format!("{CHE}/che"), SERVED);
        self.cluster.post(CHE, &object);
    }

    /// As [`Self::che`], for the `config.workspace` of Che's `DevWorkspaceOperatorConfig`.
    fn config(&self, workspace: &Value) {
        let object = json!({
            "apiVersion": "controller.devfile.io/v1alpha1", "kind": "DevWorkspaceOperatorConfig",
            "metadata": {"name": "devworkspace-config"}, "config": {"workspace": workspace},
        });
        self.cluster.delete(&format!("{CONFIG}/devworkspace-config"), SERVED);
        self.cluster.post(CONFIG, &object);
    }
}

impl Drop for Operators<'_> {
    fn drop(&mut self) {
        for name in Self::names() {
            self.cluster.delete(&format!("{DEFINITIONS}/{name}"), SERVED);
        }
        // The groups of the API go a moment later, and a panic in here would hide another.
        let started = Instant::now();
        let is_served = |group: &str| self.cluster.has(&format!("/apis/{group}"));
        while ["org.eclipse.che", "controller.devfile.io"].into_iter().any(is_served)
            && started.elapsed() < SERVED
        {
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// What preflight says, for people and for programs; both must agree about the state.
fn preflight(cluster: &Live) -> (Finished, Value) {
    let bench = Bench::new();
    let text = bench.nestcheck(["preflight", "--kubeconfig", cluster.kubeconfig()]);
    text.exits(0);
    let json = bench.nestcheck(["preflight", "-o", "json", "--kubeconfig", cluster.kubeconfig()]);
    json.exits(0);
    let told: Value = serde_json::from_str(&json.stdout).expect("it is JSON");
    (text, told["toggle"].clone())
}

/// Expects this state in both forms, and exactly these findings, each by words in it.
#[track_caller]
fn tells(cluster: &Live, state: &str, findings: &[(&str, &str)]) {
    let (text, told) = preflight(cluster);
    assert_eq!(told["state"], state, "{told:#}");
    let has_line = text.stdout.contains(&format!("\ntoggle             {state} ("));
    assert_eq!(has_line, state != "absent", "{text}");
    let found = told["findings"].as_array().expect("a list");
    assert_eq!(found.len(), findings.len(), "{told:#}");
    for (finding, (severity, words)) in found.iter().zip(findings) {
        assert_eq!(finding["severity"], *severity, "{finding:#}");
        let sentence = finding["finding"].as_str().unwrap_or_default();
        assert!(sentence.contains(words), "`{words}` is not in {finding:#}");
        assert!(text.stdout.contains(&format!(" {severity}: {sentence}\n")), "{text}");
    }
}

#[test]
#[ignore = "needs a local cluster: ci/test makes it"]
fn preflight_tells_what_che_was_told() {
    let cluster = Live::take();
    tells(&cluster, "absent", &[]);

    let operators = Operators::make(&cluster);
    let start = cluster.now();
    tells(&cluster, "off", &[("note", "supports nested containers, but the toggle is off")]);
    let requests = cluster.requests_since(start);
    let changes: Vec<_> = requests.iter().filter(|request| request.changes()).collect();
    assert!(changes.is_empty(), "{changes:?}");

    // Off is what the schema makes of nothing.
    operators.che(&json!({}));
    let place = "the toggle is off (CheCluster `default/che`)";
    tells(&cluster, "off", &[("note", place)]);

    // On, but nobody has told the DevWorkspace Operator. The schema fills in the rest.
    operators
        .che(&json!({"disableContainerRunCapabilities": false, "containerRunConfiguration": {}}));
    let unwritten = "its namespace has no DevWorkspaceOperatorConfig `devworkspace-config`";
    tells(&cluster, "on", &[("warning", unwritten)]);

    // As the operator does it.
    let context = json!({"procMount": "Unmasked", "allowPrivilegeEscalation": true,
                         "capabilities": {"add": ["SETGID", "SETUID", "CHOWN"], "drop": ["ALL"]}});
    let whole = json!({"hostUsers": false, "containerSecurityContext": context,
                       "podAnnotations": {"io.kubernetes.cri-o.Devices": "/dev/fuse,/dev/net/tun"}});
    operators.config(&whole);
    tells(&cluster, "on", &[]);

    let mut masked = whole.clone();
    masked["containerSecurityContext"] = json!({"capabilities": {"drop": ["ALL"]}});
    operators.config(&masked);
    tells(&cluster, "on", &[("warning", "masked"), ("warning", "no SETUID, SETGID")]);

    let mut host = whole;
    host["hostUsers"] = json!(true);
    operators.config(&host);
    tells(&cluster, "on", &[("warning", "has no `hostUsers: false`")]);
}

#[test]
#[ignore = "needs a local cluster: ci/test makes it"]
fn preflight_tells_what_the_workspace_operator_was_told_without_che() {
    let cluster = Live::take();
    let operators = Operators::make(&cluster);
    operators.config(&json!({"hostUsers": false,
                             "containerSecurityContext": {"procMount": "Unmasked"}}));
    tells(&cluster, "on", &[]);
}

#[test]
#[ignore = "needs a local cluster: ci/test makes it"]
fn a_toggle_that_may_not_be_read_is_unknown() {
    let (cluster, bench) = (Live::take(), Bench::new());
    let _operators = Operators::make(&cluster);
    let token = cluster.token_without_rights();
    let path = bench.kubeconfig(&cluster.own_kubeconfig().with_token(&token));
    let preflight = bench.nestcheck(["preflight", "--kubeconfig", &path]);
    preflight.exits(3);
    let line = "\ntoggle             unknown: failed to read CheClusters: checlusters.org.eclipse.che \
                is forbidden";
    assert!(preflight.stdout.contains(line), "{preflight}");
}
