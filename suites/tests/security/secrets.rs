//! Canaries in what the command is given. None may come out anywhere, on the most talkative level of
//! the log neither.

use serde_json::json;
use test_support::{
    Finished, Kubeconfig, Live, Running, TestDir, answering_server, closed_address,
};

use crate::outputs::{assert_absent, outputs, said};

/// What an API server says that quotes the request, as a bad proxy does.
const TALKATIVE: &str = "HTTP/1.1 500 Internal Server Error\r\nContent-Type: application/json\r\n\
    Connection: close\r\nContent-Length: 196\r\n\r\n\
    {\"kind\":\"Status\",\"apiVersion\":\"v1\",\"status\":\"Failure\",\"code\":500,\"reason\":\"InternalError\",\
    \"message\":\"you sent Authorization: Bearer canary-of-header, password=canary-of-message \\u001b[2J canary!\"}";

const SECRETS: [&str; 8] = [
    "canary-of-token",
    "canary-of-header",
    "canary-of-message",
    "canary-of-proxy",
    "canary-of-address",
    "canary-of-other-user",
    "canary-of-plugin",
    "canary-of-image",
];

/// A kubeconfig with a secret in every place that has room for one.
fn kubeconfig(server: &str) -> Kubeconfig {
    let others = json!([
        {"name": "u", "user": {"token": "canary-of-token"}},
        {"name": "basic", "user": {"username": "u", "password": "canary-of-other-user"}},
        {"name": "plugin", "user": {"exec": {
            "apiVersion": "client.authentication.k8s.io/v1", "command": "true",
            "env": [{"name": "X", "value": "canary-of-plugin"}],
        }}},
    ]);
    Kubeconfig::to(server).with("/users", others)
}

/// Runs the command with the log on its most talkative level.
fn traced(dir: &TestDir, arguments: &[&str], proxy: Option<&str>) -> Finished {
    let mut command = dir.command(arguments);
    command.env("NESTCHECK_LOG", "trace").envs(proxy.map(|proxy| ("HTTPS_PROXY", proxy)));
    Running::start(command).finish()
}

#[track_caller]
fn reports_no_secret(finished: &Finished) {
    assert_absent(&said(finished), &SECRETS);
    assert!(!finished.stderr.contains('\u{1b}'), "{finished}");
}

#[test]
fn a_server_that_quotes_the_request_makes_no_secret_known() {
    let dir = TestDir::new();
    let path = dir.kubeconfig(&kubeconfig(&format!("http://{}", answering_server(TALKATIVE))));
    for command in [&["preflight"][..], &["run"], &["sweep", "--all"]] {
        let arguments: Vec<_> = command.iter().copied().chain(["--kubeconfig", &path]).collect();
        let refused = traced(&dir, &arguments, None);
        refused.exits(4).says(&["Authorization: [redacted]"]);
        reports_no_secret(&refused);
    }
}

#[test]
fn the_password_of_an_address_is_not_reported() {
    let dir = TestDir::new();
    let closed = closed_address();
    let address = dir.write(
        "in-address",
        &kubeconfig(&format!("https://user:canary-of-address@{closed}")).text(),
    );
    reports_no_secret(&traced(&dir, &["preflight", "--kubeconfig", &address], None));
    let proxy = format!("http://user:canary-of-proxy@{closed}");
    let with_proxy = kubeconfig(&format!("https://{closed}"))
        .with("/clusters/0/cluster/proxy-url", json!(proxy));
    let path = dir.kubeconfig(&with_proxy);
    reports_no_secret(&traced(&dir, &["preflight", "--kubeconfig", &path], None));
    let path = dir.kubeconfig(&kubeconfig(&format!("https://{closed}")));
    reports_no_secret(&traced(&dir, &["preflight", "--kubeconfig", &path], Some(&proxy)));
}

#[test]
fn arguments_and_files_that_are_refused_are_not_quoted_with_their_secrets() {
    let dir = TestDir::new();
    let image = "user:canary-of-image@host/image:1";
    let refused = traced(&dir, &["run", "--image", image], None);
    refused.exits(2).says(&["not an image reference"]);
    reports_no_secret(&refused);
    for broken in [
        "users: [{name: u, user: {token: canary-of-token, token: x}}]",
        "users: [{name: u, user: {token: [canary-of-token]}}]",
        "clusters: x\ntoken: canary-of-token",
        "client-key-data: canary-of-token\n\tx",
    ] {
        let path = dir.write("broken", broken);
        let refused = traced(&dir, &["preflight", "--kubeconfig", &path], None);
        refused.exits(2);
        reports_no_secret(&refused);
    }
    let scc = dir.write("scc", "kind: X\npassword: canary-of-token\n");
    let refused = traced(&dir, &["run", "--scc", &scc], None);
    refused.exits(2);
    reports_no_secret(&refused);
}

#[test]
#[ignore = "needs a local cluster: ci/test makes it"]
fn a_run_reports_no_secret_of_its_kubeconfig_on_any_level() {
    let (cluster, dir) = (Live::take(), TestDir::new());
    let own = cluster.own_kubeconfig();
    let key = own.value("/users/0/user/client-key-data");
    let certificate = own.value("/users/0/user/client-certificate-data");
    let authority = own.value("/clusters/0/cluster/certificate-authority-data");
    let finished =
        traced(&dir, &["run", "ID-02", "POD-03", "--kubeconfig", cluster.kubeconfig()], None);
    finished.exits(0);
    assert!(finished.stderr.lines().count() > 1000, "the log is talkative: {finished}");
    let mut all = outputs(&dir, dir.report().directory());
    all.extend(said(&finished));
    // The beginning of every JSON Web Token, such as the ordinary user's.
    assert_absent(&all, &[&key, &certificate, &authority, "eyJhbGciOi", "-----BEGIN"]);
    cluster.is_clean();
}
