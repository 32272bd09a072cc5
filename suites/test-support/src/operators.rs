//! What the operators of workspaces are told: their APIs and objects are made by the tests, the
//! operators themselves do not run.

use std::{
    fs,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{Cluster, TestDir};

const CHE: &str = "/apis/org.eclipse.che/v2/namespaces/default/checlusters";
const CONFIG: &str =
    "/apis/controller.devfile.io/v1alpha1/namespaces/default/devworkspaceoperatorconfigs";
const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

/// How long the API server may take to serve a new API, or to forget one.
const SERVED: Duration = Duration::from_secs(60);

/// The operators' APIs on a cluster, for as long as this lives.
pub struct Operators<'a> {
    cluster: &'a Cluster,
    /// The definitions that were made.
    names: &'static [&'static str],
}

const CHE_NAME: &str = "checlusters.org.eclipse.che";
const CONFIG_NAME: &str = "devworkspaceoperatorconfigs.controller.devfile.io";

impl<'a> Operators<'a> {
    /// Makes them from the whole definitions that `NESTCHECK_TEST_OPERATOR_DEFINITIONS` names, a
    /// list as PATH is one, or from the parts of them that nestcheck reads.
    pub fn make(cluster: &'a Cluster) -> Self {
        Self::make_some(cluster, &[CHE_NAME, CONFIG_NAME])
    }

    /// Makes Che's API alone, where the DevWorkspace Operator has brought its own.
    pub fn make_che(cluster: &'a Cluster) -> Self {
        Self::make_some(cluster, &[CHE_NAME])
    }

    fn make_some(cluster: &'a Cluster, names: &'static [&'static str]) -> Self {
        let whole = std::env::var_os("NESTCHECK_TEST_OPERATOR_DEFINITIONS");
        let texts: Vec<String> = match whole.filter(|list| !list.is_empty()) {
            Some(list) => {
                let read = |path| fs::read_to_string(path).expect("a definition can be read");
                std::env::split_paths(&list).map(read).collect()
            }
            None => vec![include_str!("operator-definitions.yaml").to_owned()],
        };
        // The guard comes first: what was made half is removed too.
        let operators = Self { cluster, names };
        let documents = texts.iter().flat_map(|text| text.split("\n---\n"));
        let ours = |document: &&str| {
            document.contains("\nkind: CustomResourceDefinition\n")
                && names.iter().any(|name| document.contains(&format!("\n  name: {name}\n")))
        };
        let mut installed = 0;
        for document in documents.filter(ours) {
            let definition: Value =
                harness::base::manifest::parse("definition", document).expect("it is YAML");
            cluster.post(DEFINITIONS, &definition);
            installed += 1;
        }
        assert_eq!(installed, names.len(), "one definition of each operator");
        for path in [CHE, CONFIG] {
            let started = Instant::now();
            while !cluster.has(path) {
                assert!(started.elapsed() < SERVED, "{path} is not served");
                std::thread::sleep(Duration::from_millis(100));
            }
        }
        operators
    }

    /// Creates a CheCluster with these `spec.devEnvironments`, or changes it to them.
    pub fn che(&self, environments: &Value) {
        let object = json!({
            "apiVersion": "org.eclipse.che/v2", "kind": "CheCluster",
            "metadata": {"name": "che"}, "spec": {"devEnvironments": environments},
        });
        self.cluster.delete(&format!("{CHE}/che"), SERVED);
        self.cluster.post(CHE, &object);
    }

    /// As [`Self::che`], for the `config.workspace` of Che's `DevWorkspaceOperatorConfig`.
    pub fn config(&self, workspace: &Value) {
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
        self.cluster.delete(&format!("{CONFIG}/devworkspace-config"), SERVED);
        for name in self.names {
            self.cluster.delete(&format!("{DEFINITIONS}/{name}"), SERVED);
        }
        // The groups of the API go a moment later, and a panic in here would hide another.
        let started = Instant::now();
        let is_served = |group: &str| self.cluster.has(&format!("/apis/{group}"));
        let groups = self.names.iter().filter_map(|name| Some(name.split_once('.')?.1));
        while groups.clone().any(is_served) && started.elapsed() < SERVED {
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// The settings that the operator makes of Che's defaults.
pub fn default_settings() -> Value {
    json!({
        "hostUsers": false,
        "podAnnotations": {"io.kubernetes.cri-o.Devices": "/dev/fuse,/dev/net/tun"},
        "containerSecurityContext": {
            "procMount": "Unmasked", "allowPrivilegeEscalation": true,
            "capabilities": {"add": ["SETGID", "SETUID", "CHOWN"], "drop": ["ALL"]},
        },
    })
}

/// Expects of preflight this exit code, this state of the toggle, and exactly these findings, each
/// by its severity and words in it: for people and for programs.
#[track_caller]
pub fn reports(cluster: &Cluster, code: i32, state: &str, findings: &[(&str, &str)]) {
    let dir = TestDir::new();
    let text = dir.nestcheck(["preflight", "--kubeconfig", cluster.kubeconfig()]);
    text.exits(code);
    let json = dir.nestcheck(["preflight", "-o", "json", "--kubeconfig", cluster.kubeconfig()]);
    json.exits(code);
    let reported: Value = serde_json::from_str(&json.stdout).expect("it is JSON");
    let reported = &reported["toggle"];
    assert_eq!(reported["state"], state, "{reported:#}");
    let has_line = text.stdout.contains(&format!("\ntoggle             {state} ("));
    assert_eq!(has_line, state != "absent", "{text}");
    let found = reported["findings"].as_array().expect("a list");
    assert_eq!(found.len(), findings.len(), "{reported:#}");
    for (finding, (severity, words)) in found.iter().zip(findings) {
        assert_eq!(finding["severity"], *severity, "{finding:#}");
        let sentence = finding["finding"].as_str().unwrap_or_default();
        assert!(sentence.contains(words), "`{words}` is not in {finding:#}");
        assert!(text.stdout.contains(&format!(" {severity}: {sentence}\n")), "{text}");
    }
}
