//! Cases that end badly, or not at all, in runs of their own on the engine that runs the real ones,
//! against the cluster of `NESTCHECK_TEST_KUBECONFIG`.

#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends where something is not as it must be"
)]

use std::{
    path::Path,
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use harness::{
    engine::{Case, CaseFuture, CaseKind, Context},
    report::directory::ReportDir,
    sandbox::pod_template::PodTemplate,
    verdict::{
        CaseResult, Failure, Outcome, Verdict,
        event::{Event, EventKind},
    },
    workload::Command,
};
use suites::{
    fixtures::{KEEPER, NESTED_POD},
    steps::{keep_on, pvc},
};
use test_support::{InProcessRun, Live, TestDir, finished};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

/// How long a case here may take.
const DEADLINE: Duration = Duration::from_secs(4);

const fn case(
    id: &'static str,
    name: &'static str,
    pods: &'static [&'static PodTemplate],
    act: fn(Context) -> CaseFuture,
) -> Case {
    Case {
        id,
        name,
        suite: "endings",
        title: "A case ends badly",
        pods,
        deadline: DEADLINE,
        kind: CaseKind::Live(act),
        ..Case::DEFAULT
    }
}

const WITH_POD: &[&PodTemplate] = &[&NESTED_POD];

const PANICS: Case = case("BAD-01", "panics", &[], |_| Box::pin(async { panic!("on purpose") }));
const COMMAND: Case =
    case("BAD-02", "has_an_endless_command", WITH_POD, |cx| Box::pin(has_an_endless_command(cx)));
const ENDLESS: Case = case("BAD-03", "never_ends", &[], |_| Box::pin(std::future::pending()));
const GOOD: Case = case("BAD-04", "is_good", &[], |cx| Box::pin(async move { is_good(&cx) }));
/// Begins with the pod, so that it goes on while the other's evidence is collected.
const WAITS: Case = case("BAD-06", "waits", WITH_POD, |_| Box::pin(std::future::pending()));
/// Its pods take longer than a case that has none.
const LOSES: Case = Case {
    deadline: Duration::from_secs(60),
    ..case("BAD-07", "loses_its_pod_once", &[&KEEPER], |cx| Box::pin(loses_its_pod_once(cx)))
};
const FAILS: Case = case("BAD-05", "fails", WITH_POD, |cx| Box::pin(fails(cx)));

async fn has_an_endless_command(cx: Context) -> CaseResult {
    let pod = cx.pod(&NESTED_POD).await?;
    let sleep = Command::new(["sleep", "infinity"]).within(Duration::from_secs(2));
    pod.run(&sleep).await.map(drop)
}

fn is_good(cx: &Context) -> CaseResult {
    cx.check("truth", "yes", "yes", true)
}

/// Where a case sends a signal to its own run.
static SIGNALS: OnceLock<UnboundedSender<u8>> = OnceLock::new();

/// Fails, and has a signal sent while the evidence of that is collected.
async fn fails(cx: Context) -> CaseResult {
    let pod = cx.pod(&NESTED_POD).await?;
    // The probe, podman and others are asked for the evidence, which takes longer than this.
    tokio::spawn(async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        SIGNALS.get().map(|signals| signals.send(2))
    });
    Err(Failure::product(format!("the pod `{}` is not good", pod.name())))
}

/// Whether the case was tried before.
static WAS_LOST: AtomicBool = AtomicBool::new(false);

/// Keeps a file on a volume, and loses its pod in the first attempt.
async fn loses_its_pod_once(cx: Context) -> CaseResult {
    pvc(&cx, "bad-07", "ReadWriteOnce", None).await?;
    let mut pod = keep_on(cx.manifest(&KEEPER)?, "bad-07");
    pod.metadata.name = Some("bad-07".to_owned());
    let pod = cx.provision_pod(&KEEPER, &pod).await?;
    let script = "ls /kept /tmp | grep by-the-first; touch /kept/by-the-first /tmp/by-the-first";
    let seen = pod.run(&Command::shell("look for earlier files", script, [""; 0])).await?;
    if !WAS_LOST.swap(true, Ordering::Relaxed) {
        return Err(Failure::lost("the test says so"));
    }
    cx.check_equal("files of the first attempt", "", &seen.text())
}

/// Runs cases, and returns the outcome and what each came to.
fn run(cases: Vec<Case>, signals: BoxStream<'static, u8>) -> (Outcome, Vec<Event>) {
    let (cluster, dir) = (Live::take(), TestDir::new());
    let runtime = tokio::runtime::Runtime::new().expect("a runtime can be made");
    let mut report = ReportDir::create(&dir.path("report")).expect("the directory can be made");
    let run = InProcessRun::of("endings", cases).hearing(signals);
    let kubeconfig = Path::new(cluster.kubeconfig());
    let ended = runtime.block_on(run.make(kubeconfig, &mut report, |_| {}));
    cluster.is_clean();
    ended
}

fn verdict<'a>(events: &'a [Event], id: &str) -> &'a Verdict {
    &finished(events, id).verdict
}

#[test]
#[ignore = "needs a local cluster: ci/test makes it"]
fn whatever_a_case_does_it_ends_in_a_verdict_with_its_reason() {
    let cases = vec![PANICS, COMMAND, ENDLESS, GOOD];
    let (outcome, events) = run(cases, stream::pending().boxed());
    let message = |id| verdict(&events, id).message().unwrap_or_default();
    assert!(matches!(verdict(&events, "BAD-01"), Verdict::Error { .. }));
    assert!(message("BAD-01").contains("on purpose"), "{}", message("BAD-01"));
    assert_eq!(message("BAD-02"), "`sleep infinity` did not end within 2 s; it wrote nothing");
    assert_eq!(message("BAD-03"), "it did not end within 4 s");
    assert_eq!(*verdict(&events, "BAD-04"), Verdict::Pass);
    assert_eq!(outcome, Outcome::Error);
}

#[test]
#[ignore = "needs a local cluster: ci/test makes it"]
fn a_case_that_is_retried_finds_nothing_of_its_first_attempt() {
    let (outcome, events) = run(vec![LOSES], stream::pending().boxed());
    let retried = |event: &Event| matches!(*event.event, EventKind::CaseRetried(_));
    assert!(events.iter().any(retried), "{events:?}");
    assert_eq!(*verdict(&events, "BAD-07"), Verdict::Pass);
    assert_eq!(outcome, Outcome::Conformant);
}

#[test]
#[ignore = "needs a local cluster: ci/test makes it"]
fn a_signal_takes_no_verdict_from_a_case_that_has_one() {
    let (sender, receiver) = unbounded_channel();
    SIGNALS.set(sender).expect("it is set once");
    let signals = stream::unfold(receiver, |mut receiver| async {
        receiver.recv().await.map(|signal| (signal, receiver))
    });
    let (outcome, events) = run(vec![FAILS, WAITS], signals.boxed());
    let failed = verdict(&events, "BAD-05").message();
    assert_eq!(failed, Some("the pod `workspace` is not good"));
    assert_eq!(*verdict(&events, "BAD-06"), Verdict::Interrupted);
    assert_eq!(outcome, Outcome::Interrupted { signal: 2 });
}
