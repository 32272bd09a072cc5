//! Who nestcheck is to the API server: tokens that end during a run, plugins, and other users.

use std::{collections::BTreeSet, fs, os::unix::fs::PermissionsExt, path::Path, time::Duration};

use harness::sandbox::rbac;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use test_support::{Kubeconfig, Live, Request, Running, TestDir, mode_of};

/// How long the plugin's tokens are said to be good: less than a run takes.
const LIFE: &str = "3 seconds";

/// A kubeconfig whose user has a plugin.
fn with_plugin(kubeconfig: Kubeconfig, plugin: &Value) -> Kubeconfig {
    let mut exec = json!({
        "apiVersion": "client.authentication.k8s.io/v1", "interactiveMode": "Never",
    });
    let fields = exec.as_object_mut().expect("an object");
    fields.extend(plugin.as_object().expect("an object").clone());
    kubeconfig.with("/users/0/user", json!({"exec": exec}))
}

/// Writes a plugin as a shell script, and returns its path.
fn script(dir: &TestDir, text: &str) -> String {
    let path = dir.write("plugin", &format!("#!/bin/sh\n{text}\n"));
    let executable = fs::Permissions::from_mode(0o755);
    fs::set_permissions(&path, executable).expect("it is ours");
    path
}

fn elsewhere() -> Kubeconfig {
    Kubeconfig::to("https://192.0.2.1:6443")
}

#[test]
fn a_missing_plugin_hints_at_how_to_install_it() {
    let dir = TestDir::new();
    for (plugin, hint) in [
        (json!({"command": "kubelogin-of-nobody"}), "install `kubelogin-of-nobody`, or add"),
        (json!({"command": "oc-x", "installHint": "Get it from the console.\n"}), "the console"),
        (json!({"command": "/no/such/plugin"}), "correct `command`"),
    ] {
        let path = dir.kubeconfig(&with_plugin(elsewhere(), &plugin));
        dir.nestcheck(["run", "--kubeconfig", &path])
            .refuses(2, &["failed to start the kubeconfig's plugin", "No such file"])
            .hints(&[hint]);
    }
    assert_eq!(dir.content(), ["kubeconfig"]);
}

#[test]
fn a_plugin_that_fails_or_prints_something_else_is_named() {
    let dir = TestDir::new();
    let failing =
        script(&dir, "echo token=canary; echo 'password=canary not logged in' >&2; exit 1");
    let path = dir.kubeconfig(&with_plugin(elsewhere(), &json!({"command": failing})));
    let refused = dir.nestcheck(["preflight", "--kubeconfig", &path]);
    refused.refuses(4, &["plugin", "failed (exit status: 1)", "not logged in"]);
    assert!(!refused.stderr.contains("canary"), "{refused}");
    let other = script(&dir, "echo canary");
    let path = dir.kubeconfig(&with_plugin(elsewhere(), &json!({"command": other})));
    let refused = dir.nestcheck(["preflight", "--kubeconfig", &path]);
    refused.refuses(2, &["prints no credential"]).hints(&["ExecCredential"]);
    assert!(!refused.stderr.contains("canary"), "{refused}");
    let asks = json!({"command": "true", "interactiveMode": "Always"});
    let path = dir.kubeconfig(&with_plugin(elsewhere(), &asks));
    dir.nestcheck(["preflight", "--kubeconfig", &path])
        .refuses(2, &["asks at a terminal"])
        .hints(&["service account"]);
}

/// Whether a process runs with this text in its command line.
fn runs(text: &str) -> bool {
    let has = |path: &Path| {
        let line = fs::read(path.join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(text)
    };
    let processes = fs::read_dir("/proc").expect("processes").flatten();
    processes.map(|entry| entry.path()).any(|path| has(&path))
}

#[test]
fn a_plugin_that_hangs_ends_with_all_that_it_started() {
    let dir = TestDir::new();
    // The first is ended by its deadline, the second by who waits for it.
    for (seconds, signal) in [("86401", None), ("86402", Some(Signal::SIGTERM))] {
        let hanging = script(&dir, &format!("echo waiting > started\nsleep {seconds}\ntrue"));
        let path = dir.kubeconfig(&with_plugin(elsewhere(), &json!({"command": hanging})));
        let running = dir.start(["run", "--kubeconfig", &path]);
        while !dir.path("started").exists() {
            std::thread::sleep(Duration::from_millis(20));
        }
        if let Some(signal) = signal {
            running.signal(signal);
        }
        let finished = running.finish();
        match signal {
            None => {
                finished.refuses(4, &["plugin", "did not end within 20 s"]).hints(&["by hand"]);
            }
            Some(_) => {
                finished.exits(143).within(Duration::from_secs(10));
            }
        }
        let ended = std::time::Instant::now();
        while runs(&format!("sleep\0{seconds}")) {
            assert!(ended.elapsed() < Duration::from_secs(5), "it goes on: {finished}");
            std::thread::sleep(Duration::from_millis(20));
        }
        fs::remove_file(dir.path("started")).expect("it is there");
    }
}

#[test]
fn groups_are_those_of_a_user() {
    let dir = TestDir::new();
    dir.nestcheck(["preflight", "--as-group", "admins"]).refuses(2, &["--as"]);
    dir.nestcheck(["preflight", "--as", ""]).refuses(2, &["--as"]);
}

#[test]
#[ignore = "needs a local cluster: ci/test makes it"]
fn tokens_that_end_during_a_run_are_renewed_by_the_plugin() {
    let (cluster, dir) = (Live::take(), TestDir::new());
    let role = rbac::role(harness::facts::Flavour::Kubernetes).expect("it is written");
    let role = harness::base::manifest::parse("role", &role).expect("it is a role");
    let _grant = cluster.grant(&role);
    for number in 1..=9 {
        dir.write(&format!("tokens/{number}"), &cluster.token_of("default"));
    }
    let tokens = dir.path("tokens").display().to_string();
    let plugin = script(
        &dir,
        &format!(
            "cd {tokens}
            number=$(ls | head -n 1)
            [ \"$number\" = 9 ] || trap 'rm \"$number\"' EXIT
            printf '{{\"kind\": \"ExecCredential\", \"status\": {{\"token\": \"%s\", ' \"$(cat \"$number\")\"
            printf '\"expirationTimestamp\": \"%s\"}}}}' \"$(date -u -d '{LIFE}' +%FT%TZ)\""
        ),
    );
    let kubeconfig = with_plugin(cluster.own_kubeconfig(), &json!({"command": plugin}));
    let path = dir.kubeconfig(&kubeconfig);
    let start = cluster.now();
    let mut command = dir.command(["run", "ID-02", "POD-03", "END-01", "--kubeconfig", &path]);
    command.env("PATH", "/usr/bin:/bin").env("NESTCHECK_LOG", "trace");

    let finished = Running::start(command).finish();

    finished.exits(0);
    let account = "system:serviceaccount:default:default";
    let requests = cluster.requests_since(start);
    let own = requests.iter().filter(|request| request.user() == account);
    let tokens: BTreeSet<_> = own.clone().filter_map(Request::credential).collect();
    assert!(tokens.len() >= 2, "{} requests with {tokens:?}", own.clone().count());
    assert!(own.clone().all(|request| request.code() != 401));
    assert!(!finished.stderr.contains("eyJhbGciOi"), "a token is in the log");
    cluster.is_clean();
}

#[test]
#[ignore = "needs a local cluster: ci/test makes it"]
fn a_run_acts_as_another_user_where_it_may() {
    let (cluster, dir) = (Live::take(), TestDir::new());
    let start = cluster.now();
    let run = ["run", "ID-02", "END-01", "--as", "alice", "--as-group", "system:masters"];
    let archive = ["--report-archive", "report.tar.gz", "--kubeconfig", cluster.kubeconfig()];
    dir.nestcheck(run.iter().chain(&archive)).exits(0);
    assert_eq!(mode_of(&dir.path("report.tar.gz")), 0o600);
    let mut tar = std::process::Command::new("tar");
    let listed = tar.arg("-tzf").arg(dir.path("report.tar.gz")).output().expect("tar is installed");
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(listed.contains("nestcheck-report/report.json"), "{listed}");
    let requests = cluster.requests_since(start);
    let (users, others): (Vec<_>, Vec<_>) = requests
        .iter()
        .partition(|request| request.user().starts_with("system:serviceaccount:nestcheck-"));
    assert!(!others.is_empty() && others.iter().all(|request| request.acts_as() == "alice"));
    assert!(!users.is_empty() && users.iter().all(|request| request.acts_as().is_empty()));

    let token = cluster.own_kubeconfig().with_token(&cluster.token_without_permissions());
    let path = dir.kubeconfig(&token);
    dir.nestcheck(["preflight", "--as", "alice", "--kubeconfig", &path])
        .refuses(4, &["cannot impersonate"])
        .hints(&["verb `impersonate`"]);
    cluster.is_clean();
}
