//! Proxies between nestcheck and the API server, good ones and bad ones.

use std::{net::SocketAddr, time::Duration};

use harness::cluster::exec_error::Lost;
use serde_json::json;
use test_support::{
    Finished, ForwardProxy, Kubeconfig, Live, ProxyProtocol, Running, TestDir, answering_server,
    closed_address, silent_server,
};

/// A server beyond this machine, where nobody is (RFC 5737).
const ELSEWHERE: &str = "https://192.0.2.1:6443";

/// A name of the server in its certificate, which no resolver of this machine knows: nothing of a run
/// reaches it without the proxy.
pub const ONLY_BY_PROXY: &str = "kubernetes.default.svc";

const USER: (&str, &str) = ("who", "canary-of-proxy");

/// Commands in pods, watches, and a pod of its own.
const CASES: [&str; 3] = ["ID-02", "POD-03", "END-01"];

/// Runs `nestcheck` with variables, and expects that it leaves nothing and says no password.
#[track_caller]
fn with_variables(command: &str, server: &str, variables: &[(&str, &str)]) -> Finished {
    let dir = TestDir::new();
    let path = dir.kubeconfig(&Kubeconfig::to(server));
    let mut nestcheck = dir.command([command, "--kubeconfig", &path]);
    nestcheck.envs(variables.iter().copied());
    let finished = Running::start(nestcheck).finish();
    assert_eq!(dir.content(), ["kubeconfig"], "{finished}");
    assert!(!finished.stderr.contains("canary-wrong"), "{finished}");
    finished
}

#[test]
fn a_proxy_that_is_not_there_is_named_with_its_variable() {
    let proxy = format!("http://{}", closed_address());
    for (command, variable) in [("preflight", "HTTPS_PROXY"), ("run", "all_proxy")] {
        with_variables(command, ELSEWHERE, &[(variable, &proxy)])
            .refuses(4, &[&format!("proxy `{proxy}` (`{variable}`) cannot be reached")])
            .hints(&["192.0.2.1 in `NO_PROXY`"]);
    }
}

#[test]
fn what_is_no_proxy_is_named_soon() {
    let not_found = format!("http://{}", answering_server("HTTP/1.1 404 Not Found\r\n\r\n"));
    with_variables("preflight", ELSEWHERE, &[("HTTPS_PROXY", &not_found)])
        .refuses(4, &["does not answer as a proxy of its kind"])
        .hints(&["`socks5://"]);
    let silent = format!("socks5://{}", silent_server());
    with_variables("preflight", ELSEWHERE, &[("ALL_PROXY", &silent)])
        .refuses(4, &["`ALL_PROXY`", "opened no connection within 8 s"])
        .within(Duration::from_secs(20));
}

#[test]
fn a_proxy_that_wants_a_password_says_where_to_write_it() {
    let known = (ONLY_BY_PROXY, SocketAddr::from(([127, 0, 0, 1], 1)));
    for protocol in [ProxyProtocol::Http, ProxyProtocol::Socks5] {
        let proxy = ForwardProxy::start_for(protocol, USER, known);
        for (user, reason) in [
            ("", "requires a user and a password"),
            ("who:canary-wrong@", "does not accept the user and the password"),
        ] {
            with_variables("preflight", ELSEWHERE, &[("HTTPS_PROXY", &proxy.url_for(user))])
                .refuses(4, &["`HTTPS_PROXY`", reason])
                .hints(&["USER:PASSWORD@"]);
        }
    }
}

#[test]
fn a_server_that_the_proxy_cannot_reach_is_not_taken_for_a_bad_proxy() {
    for protocol in [ProxyProtocol::Http, ProxyProtocol::Socks5] {
        let proxy = ForwardProxy::start(protocol);
        let server = format!("https://{}", closed_address());
        let dir = TestDir::new();
        let kubeconfig =
            Kubeconfig::to(&server).with("/clusters/0/cluster/proxy-url", json!(proxy.url()));
        dir.nestcheck(["preflight", "--kubeconfig", &dir.kubeconfig(&kubeconfig)])
            .refuses(4, &["`proxy-url` of the kubeconfig", "cannot reach the server"])
            .hints(&["kubeconfig's `server`"]);
    }
}

#[test]
fn a_proxy_that_cannot_be_used_is_bad_input() {
    for (proxy, reason) in [
        ("https://p:1", "has the scheme `https`"),
        ("ftp://p:1", "has the scheme `ftp`"),
        ("http://a:canary-wrong@", "is not the URL of a proxy"),
    ] {
        with_variables("run", ELSEWHERE, &[("HTTPS_PROXY", proxy)])
            .refuses(2, &["`HTTPS_PROXY`", reason])
            .hints(&["http://HOST:PORT"]);
    }
}

#[test]
fn no_proxy_is_asked_for_this_machine_or_for_a_server_of_no_proxy() {
    let here = format!("https://{}", closed_address());
    let proxy = ForwardProxy::start(ProxyProtocol::Http);
    let url = proxy.url();
    let reached = with_variables("preflight", &here, &[("HTTPS_PROXY", &url)]);
    reached.refuses(4, &["reach the cluster"]);
    assert!(!reached.stderr.contains("proxy `"), "{reached}");
    // kube would compare with the host of the proxy, and take the proxy here.
    let except = [("HTTPS_PROXY", url.as_str()), ("NO_PROXY", "192.0.2.0/24")];
    with_variables("preflight", ELSEWHERE, &except).refuses(4, &["reach the cluster"]);
    assert!(proxy.asked().is_empty(), "{:?}", proxy.asked());
}

/// A proxy to the cluster, and a kubeconfig whose server only the proxy knows.
fn behind(cluster: &Live, protocol: ProxyProtocol) -> (ForwardProxy, Kubeconfig) {
    let own = cluster.own_kubeconfig();
    let server = own.value("/clusters/0/cluster/server");
    let address = server.trim_start_matches("https://").trim_end_matches('/');
    let address: SocketAddr = address.parse().expect("the server is an address with a port");
    let proxy = ForwardProxy::start_for(protocol, USER, (ONLY_BY_PROXY, address));
    let behind = format!("https://{ONLY_BY_PROXY}:{}", address.port());
    (proxy, own.with("/clusters/0/cluster/server", json!(behind)))
}

fn arguments(kubeconfig: &str) -> impl Iterator<Item = &str> {
    ["run", "--kubeconfig", kubeconfig].into_iter().chain(CASES)
}

#[test]
#[ignore = "needs a local cluster: ci/test makes it"]
fn a_run_through_a_proxy_is_the_run_without_one() {
    let (cluster, dir) = (Live::take(), TestDir::new());
    dir.nestcheck(arguments(cluster.kubeconfig())).exits(0);
    let direct = dir.report();
    let verdicts = |report: &test_support::Report| {
        let cases = report.cases();
        let verdicts: Vec<_> =
            cases.iter().map(|case| (case.id.clone(), case.verdict.clone())).collect();
        (verdicts, report.truth_checks().into_values().sum::<usize>(), report.outcome())
    };
    for protocol in [ProxyProtocol::Http, ProxyProtocol::Socks5] {
        let (proxy, kubeconfig) = behind(&cluster, protocol);
        let dir = TestDir::new();
        // One is named by the environment, the other by the kubeconfig.
        let (kubeconfig, variable) = match protocol {
            ProxyProtocol::Http => (kubeconfig, "HTTPS_PROXY"),
            ProxyProtocol::Socks5 => {
                (kubeconfig.with("/clusters/0/cluster/proxy-url", json!(proxy.url())), "UNUSED")
            }
        };
        let mut command = dir.command(arguments(&dir.kubeconfig(&kubeconfig)));
        command.env(variable, proxy.url()).env("NESTCHECK_LOG", "trace");

        let finished = Running::start(command).finish();

        finished.exits(0);
        assert!(!finished.stderr.contains("canary"), "{finished}");
        let mut observed = verdicts(&dir.report());
        let mut expected = verdicts(&direct);
        observed.0.sort_by(|one, other| one.0.cmp(&other.0));
        expected.0.sort_by(|one, other| one.0.cmp(&other.0));
        assert_eq!(observed, expected, "{protocol:?}");
        assert!(dir.report().disruptions().is_empty(), "{finished}");
        let asked = proxy.asked();
        assert!(asked.len() == 1 && asked.iter().all(|asked| asked.starts_with(ONLY_BY_PROXY)));
        let log = std::fs::read_to_string(dir.path("nestcheck-report/events.jsonl"));
        assert!(!log.expect("the log is there").contains("canary"));
    }
    cluster.is_clean();
}

#[test]
#[ignore = "needs a local cluster: ci/test makes it"]
fn a_proxy_that_dies_is_a_disruption_and_no_failure() {
    let (cluster, dir) = (Live::take(), TestDir::new());
    let (proxy, kubeconfig) = behind(&cluster, ProxyProtocol::Http);
    let kubeconfig = kubeconfig.with("/clusters/0/cluster/proxy-url", json!(proxy.url()));
    let path = dir.kubeconfig(&kubeconfig);
    let cases = ["identity", "POD-01", "POD-03", "POD-04", "POD-06", "POD-08", "END-01"];
    let mut running = dir.start(["run", "--kubeconfig", &path].into_iter().chain(cases));
    running.wait_for("pod workspace");

    proxy.die();
    running.wait_for("LOST");
    proxy.come_back();

    let finished = running.finish();
    // Which request notices it first, and in which words, depends on the moment.
    finished.exits(0);
    let report = dir.report();
    assert_eq!((report.ids("fail"), report.ids("error")), (vec![], vec![]), "{finished}");
    let lost = report.disruptions();
    let is_of_server =
        |lost: Option<Lost>| matches!(lost, Some(Lost::ApiServer | Lost::Connection));
    assert!(lost.iter().any(|disruption| is_of_server(disruption.lost)), "{lost:?}");
    assert!(!lost.iter().any(|disruption| disruption.lost == Some(Lost::Node)), "{lost:?}");
    cluster.is_clean();
}
