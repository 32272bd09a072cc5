//! What preflight says of the operators of workspaces.

use serde_json::json;
use test_support::{Live, Operators, TestDir, default_settings, reports};

#[test]
#[ignore = "needs a local cluster: ci/test makes it"]
fn preflight_reports_what_che_was_reported() {
    let cluster = Live::take();
    reports(&cluster, 0, "absent", &[]);

    let operators = Operators::make(&cluster);
    let start = cluster.now();
    reports(&cluster, 0, "off", &[("note", "supports nested containers, but the toggle is off")]);
    let requests = cluster.requests_since(start);
    let changes: Vec<_> = requests.iter().filter(|request| request.changes()).collect();
    assert!(changes.is_empty(), "{changes:?}");

    // Off is what the schema makes of nothing.
    operators.che(&json!({}));
    let place = "the toggle is off (CheCluster `default/che`)";
    reports(&cluster, 0, "off", &[("note", place)]);

    // On, but nobody has told the DevWorkspace Operator. The schema fills in the rest.
    operators
        .che(&json!({"disableContainerRunCapabilities": false, "containerRunConfiguration": {}}));
    let unwritten = "its namespace has no DevWorkspaceOperatorConfig `devworkspace-config`";
    reports(&cluster, 0, "on", &[("warning", unwritten)]);

    // As the operator does it.
    let whole = default_settings();
    operators.config(&whole);
    reports(&cluster, 0, "on", &[]);

    let mut masked = whole.clone();
    masked["containerSecurityContext"] = json!({"capabilities": {"drop": ["ALL"]}});
    operators.config(&masked);
    reports(&cluster, 0, "on", &[("warning", "masked"), ("warning", "no SETUID, SETGID")]);

    let mut host = whole;
    host["hostUsers"] = json!(true);
    operators.config(&host);
    reports(&cluster, 0, "on", &[("warning", "has no `hostUsers: false`")]);
}

#[test]
#[ignore = "needs a local cluster: ci/test makes it"]
fn preflight_reports_what_the_workspace_operator_was_reported_without_che() {
    let cluster = Live::take();
    let operators = Operators::make(&cluster);
    operators.config(&json!({"hostUsers": false,
                             "containerSecurityContext": {"procMount": "Unmasked"}}));
    reports(&cluster, 0, "on", &[]);
}

#[test]
#[ignore = "needs a local cluster: ci/test makes it"]
fn a_setting_that_may_not_be_read_is_unknown() {
    let (cluster, dir) = (Live::take(), TestDir::new());
    let _operators = Operators::make(&cluster);
    let token = cluster.token_without_permissions();
    let path = dir.kubeconfig(&cluster.own_kubeconfig().with_token(&token));
    let preflight = dir.nestcheck(["preflight", "--kubeconfig", &path]);
    preflight.exits(3);
    let line = "\ntoggle             unknown: failed to read CheClusters: checlusters.org.eclipse.che \
                is forbidden";
    assert!(preflight.stdout.contains(line), "{preflight}");
}
