//! A pod that says what it should not, in a run of its own on the engine that runs the real ones.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::OnceLock,
    time::Duration,
};

use harness::{
    engine::{Case, CaseKind, Context},
    report::{Dialect, Style, Terminal, directory::ReportDir},
    verdict::{CaseResult, Failure, Verdict, event::Event},
    workload::Command,
};
use k8s_openapi::api::core::v1::{EnvVar, Pod, Secret};
use kube::{Api, api::PostParams};
use serde_json::json;
use suites::fixtures::NESTED_POD;
use test_support::{InProcessRun, Live, TestDir, finished, mode_of};

use crate::outputs::{assert_absent, directories, files, outputs};

const DEADLINE: Duration = Duration::from_secs(240);

/// How much more memory the process may take at its peak while 100 MB come: a few times what is
/// kept of both streams, which is 1 MiB each.
const MOST_MEMORY_KIB: u64 = 48 * 1024;

/// What a password of the kubeconfig is; the pod says it without a word about what it is.
const KNOWN: &str = "canary known from the kubeconfig";

/// What the pod says, in many forms. `%s` is the known one.
const SAY: &str = r#"
    echo "password=canary-in-pod"
    echo "Authorization: Bearer canary-in-pod"
    echo '{"auths":{"host":{"auth":"canary-in-pod"}}}'
    echo 'client-key-data: canary-in-pod'
    echo "$1" >&2
    cat /var/run/pull/.dockerconfigjson
    echo
    env | grep PASSWORD >&2
    printf -- '-----BEGIN PRIVATE KEY-----\ncanary-in-pod\n-----END PRIVATE KEY-----\n'
    exit 3
"#;

/// 100 MB, after what would steer a terminal and break a format.
const FLOOD: &str = r#"
    printf '\033[2J\033]0;title\007\377\376\000\302\233\342\200\256]]><script>alert(1)</script>&<!--\n' | tee /dev/stderr
    head -c 100000000 /dev/zero | tr '\0' 'x'
    printf '</system-out></testcase><testcase name="forged"/>\n\rPASS FORGED-01\n'
"#;

const SAYS: Case = case("SEC-01", "says_secrets", |cx| Box::pin(says_secrets(cx)));
const FLOODS: Case = case("SEC-02", "floods", |cx| Box::pin(floods(cx)));

const fn case(
    id: &'static str,
    name: &'static str,
    act: fn(Context) -> harness::engine::CaseFuture,
) -> Case {
    Case {
        id,
        name,
        suite: "hostile",
        title: "A pod is hostile",
        deadline: DEADLINE,
        kind: CaseKind::Live(act),
        ..Case::DEFAULT
    }
}

/// Puts secrets into the namespace, the pod's environment, its files, its output and a command's
/// arguments, and fails with one in the message.
async fn says_secrets(cx: Context) -> CaseResult {
    let secret: Secret = serde_json::from_value(json!({
        "metadata": {"name": "pull"},
        "type": "kubernetes.io/dockerconfigjson",
        "stringData": {".dockerconfigjson":
            "{\"auths\":{\"host\":{\"username\":\"u\",\"password\":\"canary-in-secret\"}}}"},
    }))
    .expect("it is a secret");
    let secrets: Api<Secret> =
        Api::namespaced(cx.sandbox().user().clone(), cx.sandbox().namespace());
    let created = secrets.create(&PostParams::default(), &secret).await;
    created.map_err(|error| Failure::harness(error.to_string()))?;
    let mut pod = cx.manifest(&NESTED_POD)?;
    carry(&mut pod);
    let pod = cx.provision_pod(&NESTED_POD, &pod).await?;
    let none: [&str; 0] = [];
    pod.run(&Command::new(["true", "--password", "canary-in-argument"])).await?;
    pod.run(&Command::shell("flags", "true --token=canary-in-script", none)).await?;
    let said = pod.run(&Command::shell("say secrets", SAY, [KNOWN])).await?;
    let said = said.exits(0).expect_err("it exits with 3");
    Err(said.adding("token: canary-in-message"))
}

/// Gives a pod the secret as a file, and others in its environment.
fn carry(pod: &mut Pod) {
    let spec = pod.spec.get_or_insert_default();
    let volume = json!({"name": "pull", "secret": {"secretName": "pull", "defaultMode": 0o444}});
    spec.volumes.get_or_insert_default().push(serde_json::from_value(volume).expect("a volume"));
    let mount = json!({"name": "pull", "mountPath": "/var/run/pull"});
    let container = &mut spec.containers[0];
    let mounts = container.volume_mounts.get_or_insert_default();
    mounts.push(serde_json::from_value(mount).expect("a mount"));
    let variable = |name: &str| EnvVar {
        name: name.to_owned(),
        value: Some("canary-in-environment".to_owned()),
        value_from: None,
    };
    container.env.get_or_insert_default().extend(["DB_PASSWORD", "OPAQUE"].map(variable));
}

async fn floods(cx: Context) -> CaseResult {
    let mut pod = cx.manifest(&NESTED_POD)?;
    pod.metadata.name = Some("flood".to_owned());
    let pod = cx.provision_pod(&NESTED_POD, &pod).await?;
    let none: [&str; 0] = [];
    let before = peak_memory_kib();
    let command = Command::shell("flood", FLOOD, none).within(Duration::from_secs(120));
    let output = pod.run(&command).await?;
    let grown = peak_memory_kib() - before;
    cx.check("memory", "little", format!("{grown} KiB"), grown < MOST_MEMORY_KIB)?;
    cx.check("output", "1 MiB", output.stdout.len().to_string(), output.stdout.len() == 1 << 20)?;
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(Failure::product(format!("the pod said {stderr}")).with_hint(Some(stderr)))
}

/// The most memory that this process ever had (proc(5), `VmHWM`).
fn peak_memory_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("it can be read");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    number.and_then(|number| number.parse().ok()).expect("it is a number")
}

struct HostileRun {
    dir: TestDir,
    directory: PathBuf,
    events: Vec<Event>,
    terminal: String,
}

/// The run, made once for the tests that look at it.
fn hostile_run() -> &'static HostileRun {
    static RUN: OnceLock<HostileRun> = OnceLock::new();
    RUN.get_or_init(|| {
        let (cluster, dir) = (Live::take(), TestDir::new());
        let user = json!({"name": "other", "user": {"username": "u", "password": KNOWN}});
        let mut users = vec![cluster.own_kubeconfig().object("/users/0")];
        users.push(user);
        let kubeconfig = cluster.own_kubeconfig().with("/users", users.into());
        let kubeconfig = dir.kubeconfig(&kubeconfig);
        let directory = dir.path("report");
        let runtime = tokio::runtime::Runtime::new().expect("a runtime can be made");
        let (events, terminal) = runtime.block_on(run(Path::new(&kubeconfig), &directory));
        cluster.is_clean();
        HostileRun { dir, directory, events, terminal }
    })
}

async fn run(kubeconfig: &Path, directory: &Path) -> (Vec<Event>, String) {
    let mut report = ReportDir::create(directory).expect("the directory can be made");
    let mut terminal = Terminal::new(Vec::new(), Style::default());
    let run = InProcessRun::of("hostile", vec![SAYS, FLOODS]).within(DEADLINE).jobs(2);
    let (_, events) = run.make(kubeconfig, &mut report, |event| terminal.event(event)).await;
    report.finish(Dialect::default()).expect("the reports can be made");
    terminal.finish();
    (events, String::from_utf8(terminal.into_inner()).expect("it is text"))
}

fn verdict(id: &str) -> &'static Verdict {
    &finished(&hostile_run().events, id).verdict
}

#[test]
#[ignore = "needs a local cluster: ci/test makes it"]
fn no_secret_of_a_pod_is_in_any_output() {
    let HostileRun { dir, directory, terminal, .. } = hostile_run();
    let failed = verdict("SEC-01");
    assert!(
        failed.message().is_some_and(|message| message.contains("token: [redacted]")),
        "{failed:?}"
    );
    let mut all = outputs(dir, directory);
    all.push(("the terminal".to_owned(), terminal.clone()));
    let names: Vec<_> = all.iter().map(|(name, _)| name.as_str()).collect();
    for part in ["ledger.jsonl", "events.jsonl", "pod-1.object.json", "index.html", "junit.xml"] {
        assert!(names.iter().any(|name| name.ends_with(part)), "{part} is not in {names:?}");
    }
    assert_absent(&all, &["canary"]);
    // What was said is there, but for the secrets.
    let log = &all.iter().find(|(name, _)| name.ends_with("events.jsonl")).expect("it is there").1;
    for kept in ["password=[redacted]", "client-key-data: [redacted]", "DB_PASSWORD=[redacted]"] {
        assert!(log.contains(kept), "{kept} is not in {log}");
    }
}

#[test]
#[ignore = "needs a local cluster: ci/test makes it"]
fn a_flood_of_hostile_bytes_changes_nothing_outside_its_field() {
    let HostileRun { dir, directory, terminal, .. } = hostile_run();
    let failed = verdict("SEC-02");
    let message = failed.message().unwrap_or_default();
    assert!(message.starts_with("the pod said"), "the checks of memory and size hold: {failed:?}");
    let steers = |text: &str| text.contains(|c: char| c.is_control() && !matches!(c, '\n' | '\t'));
    assert!(!steers(terminal) && !terminal.contains("\nPASS FORGED"), "{terminal}");
    for (name, text) in outputs(dir, directory) {
        assert!(!steers(&text), "{name} steers a terminal");
        assert!(text.len() < 1 << 20, "{name} has {} bytes", text.len());
        if text.starts_with("<?xml") {
            let parsed = quick_junit::Report::deserialize_from_str(&text).expect("it is JUnit");
            let cases: Vec<_> =
                parsed.test_suites.iter().flat_map(|suite| &suite.test_cases).collect();
            assert!(cases.iter().all(|case| !case.name.contains("forged")), "{name}");
            assert_eq!(
                cases.iter().filter(|case| case.name.contains("floods")).count(),
                1,
                "{name}"
            );
        }
        if text.starts_with("<!DOCTYPE html>") {
            assert!(!text.contains("<script") && text.contains("&lt;script"), "{name}");
        }
    }
}

#[test]
#[ignore = "needs a local cluster: ci/test makes it"]
fn every_file_is_its_owners_alone() {
    let HostileRun { directory, .. } = hostile_run();
    let all = files(directory);
    assert!(all.len() >= 12, "diagnostics of two cases are among them: {all:?}");
    for file in all {
        assert_eq!(mode_of(&file), 0o600, "{}", file.display());
    }
    for directory in directories(directory) {
        assert_eq!(mode_of(&directory), 0o700, "{}", directory.display());
    }
}

#[test]
#[ignore = "needs a local cluster: ci/test makes it"]
fn files_are_private_whatever_the_umask_and_an_open_directory_is_reported() {
    let (cluster, dir) = (Live::take(), TestDir::new());
    let run = |report: &str| {
        let mut shell = std::process::Command::new("sh");
        let script =
            format!("umask 0; exec \"$0\" run GATE-01 --kubeconfig \"$1\" --report-dir {report}");
        let program = env!("CARGO_BIN_EXE_nestcheck");
        shell.args(["-c", &script, program, cluster.kubeconfig()]).current_dir(dir.path(""));
        test_support::Running::start(shell).finish()
    };
    let finished = run("new/report");
    finished.exits(0);
    assert!(!finished.stderr.contains("warning"), "{finished}");
    for directory in directories(&dir.path("new")) {
        assert_eq!(mode_of(&directory), 0o700, "{}", directory.display());
    }
    let open = dir.path("open");
    fs::create_dir(&open).expect("it can be made");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    fs::set_permissions(&open, mode).expect("it is ours");
    let finished = run("open");
    finished
        .exits(0)
        .says(&["warning: others can look into report directory `open`", "hint: `chmod"]);
    assert_eq!(mode_of(&open), 0o777, "it is its owner's business");
    for file in files(&open).into_iter().chain(files(&dir.path("new"))) {
        assert_eq!(mode_of(&file), 0o600, "{}", file.display());
    }
    cluster.is_clean();
}
