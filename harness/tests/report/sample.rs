//! Sample runs, with every verdict.

use harness::{
    cluster::exec_error::Lost,
    verdict::{
        Attribution, Cause, Disruption, Effect, ExpectationReport, Failure, Level, Outcome, Place,
        SignatureId, Verdict,
        event::{
            CaseDisrupted, CaseFinished, CaseRetried, CommandFinished, DisruptionEnded, Event,
            EventKind, EvidenceCollected, EvidenceFile, RunStarted, SCHEMA, StepFinished,
            TruthCheck,
        },
    },
};
use jiff::{SignedDuration, Timestamp};

const GATE: &str = "the gate `UserNamespacesSupport` is off";
const GATE_REMEDY: &str =
    "set `featureSet: TechPreviewNoUpgrade` in the `FeatureGate` named `cluster`, or run on 4.20";

/// Gives events their time: a second each.
pub fn at_fixed_times(kinds: impl IntoIterator<Item = EventKind>) -> Vec<Event> {
    let start: Timestamp = "2026-11-24T09:30:00Z".parse().expect("a valid time");
    let at = |index: usize| start + SignedDuration::from_secs(i64::try_from(index).expect("few"));
    let kinds = kinds.into_iter().enumerate();
    kinds
        .map(|(index, event)| Event {
            schema: SCHEMA,
            at: at(index),
            iteration: None,
            event: event.into(),
        })
        .collect()
}

pub fn run_started(cases: usize) -> EventKind {
    let fact = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    EventKind::RunStarted(RunStarted {
        run: "k7f3q".into(),
        version: "0.1.0".into(),
        profile: "openshift".into(),
        image: "registry.example/devfile/universal-developer-image:ubi9-latest".into(),
        cases,
        is_part: false,
        profile_cases: Some(cases),
        planned: Vec::new(),
        proofs: Vec::new(),
        cluster_id: Some("4f0c4e5e-0b8e-4a39-9d55-3b1b5f0f6f0e".into()),
        repeat: None,
        platform: None,
        cluster: vec![
            fact("flavour", "openshift"),
            fact("version", "4.20.3 (Kubernetes 1.33.5)"),
            fact("nodes", "3 × amd64, CRI-O 1.33.4, kernel 5.14"),
            fact("gates", "UserNamespacesSupport on, ProcMountType off"),
            fact("identity", "dev (edit in the namespace, use on the SCC)"),
        ],
    })
}

pub fn run_finished(outcome: Outcome, duration_ms: u64) -> EventKind {
    run_finished_by(outcome, duration_ms, Vec::new())
}

pub fn run_finished_by(outcome: Outcome, duration_ms: u64, causes: Vec<Cause>) -> EventKind {
    EventKind::RunFinished {
        outcome,
        duration_ms,
        causes,
        namespace: Vec::new(),
        expectations: ExpectationReport::default(),
    }
}

pub fn step(name: &str, duration_ms: u64, failure: Option<&str>) -> EventKind {
    let failure = failure.map(str::to_owned);
    let is_pod = name == "pod workspace" && failure.is_none();
    let image_id = is_pod.then(|| format!("registry.example/workspace@sha256:{:0>64}", "abc"));
    EventKind::StepFinished(StepFinished {
        step: name.to_owned().into(),
        duration_ms,
        failure,
        image_id,
    })
}

pub fn check(id: &str, name: &str, expected: &str, observed: &str) -> EventKind {
    EventKind::TruthChecked {
        id: id.into(),
        check: TruthCheck {
            name: name.into(),
            expected: expected.into(),
            observed: observed.into(),
            holds: expected == observed || expected.starts_with("not "),
        },
    }
}

pub fn broken_check(id: &str, name: &str, expected: &str, observed: &str) -> EventKind {
    match check(id, name, expected, observed) {
        EventKind::TruthChecked { id, check } => {
            EventKind::TruthChecked { id, check: TruthCheck { holds: false, ..check } }
        }
        other => other,
    }
}

pub fn command(
    id: &str,
    command: &[&str],
    exit_code: i32,
    stdout: &str,
    stderr: &str,
) -> EventKind {
    EventKind::CommandFinished(CommandFinished {
        id: id.into(),
        pod: "workspace".into(),
        command: command.iter().map(|&word| word.to_owned()).collect(),
        exit_code,
        duration_ms: 1840,
        stdout: stdout.into(),
        stderr: stderr.into(),
    })
}

pub fn started(id: &str) -> EventKind {
    EventKind::CaseStarted { id: id.into() }
}

pub fn finished(
    id: &str,
    name: &str,
    title: &str,
    level: Level,
    verdict: Verdict,
    duration_ms: u64,
) -> EventKind {
    EventKind::CaseFinished(CaseFinished {
        id: id.into(),
        name: name.into(),
        suite: name.split("::").next().unwrap_or_default().into(),
        title: title.into(),
        level,
        verdict,
        duration_ms,
    })
}

pub fn fail(message: &str, hint: Option<&str>) -> Verdict {
    Verdict::fail(message, hint)
}

/// A failure of a signature.
fn lost_capabilities(message: &str) -> Verdict {
    let cause = Attribution {
        signature: Some(SignatureId::F02),
        wrong: "newuidmap lost its file capabilities".into(),
        place: Place::Image,
        fix: Some("rebuild the image with `setcap cap_setuid+ep /usr/bin/newuidmap`".into()),
        ..Attribution::default()
    };
    Failure::product(message).with_hint(Some(cause)).into()
}

fn blocked(id: &str, name: &str, title: &str, level: Level) -> EventKind {
    let verdict = Verdict::blocked(GATE, GATE_REMEDY);
    finished(id, name, title, level, verdict, 0)
}

const UNTIL: &str = "2026-11-24T09:30:19.5Z";

fn node_lost(until: Option<&str>) -> Disruption {
    let time = |text: &str| text.parse().expect("a valid time");
    Disruption {
        lost: Some(Lost::Node),
        node: Some("worker-1".into()),
        since: Some(time("2026-11-24T09:30:07Z")),
        until: until.map(time),
        reason: "no sign of life for 5 s".into(),
    }
}

fn passing() -> Vec<EventKind> {
    vec![
        started("POD-03"),
        command("POD-03", &["podman", "run", "--rm", "localhost/scratch"], 0, "", ""),
        check("POD-03", "SCC of the pod", "nested-container", "nested-container"),
        check("POD-03", "uid map of the pod", "not 0 0 4294967295", "0 3405774848 65536"),
        check("POD-03", "exit code of the inner container", "42", "42"),
        finished(
            "POD-03",
            "podman::builds_and_runs_a_scratch_image",
            "An image built from scratch runs, and its exit code arrives",
            Level::Core,
            Verdict::Pass,
            512,
        ),
        started("ID-01"),
        check("ID-01", "uid in the pod, seen before the loss", "1000", "1000"),
        EventKind::DisruptionStarted(node_lost(None)),
        EventKind::CaseRetried(CaseRetried {
            id: "ID-01".into(),
            attempt: 1,
            disruption: Disruption {
                reason: "failed to run `id -u` in pod `workspace`: the stream ended".into(),
                ..node_lost(Some(UNTIL))
            },
        }),
        EventKind::CaseDisrupted(CaseDisrupted {
            id: "ID-01".into(),
            effect: Effect::Waited,
            disruption: node_lost(Some(UNTIL)),
        }),
        EventKind::DisruptionEnded(DisruptionEnded {
            is_back: true,
            disruption: node_lost(Some(UNTIL)),
        }),
        check("ID-01", "uid in the pod", "1000", "1000"),
        finished(
            "ID-01",
            "identity::runs_as_the_uid_of_the_scc",
            "The workspace runs as uid 1000",
            Level::Core,
            Verdict::Pass,
            204,
        ),
    ]
}

fn failing() -> Vec<EventKind> {
    vec![
        started("POD-07"),
        command("POD-07", &["id", "-u"], 0, "1000\n", ""),
        command(
            "POD-07",
            &["podman", "unshare", "sh", "-c", "cat /proc/self/uid_map && id -u"],
            125,
            "",
            "\u{1b}[31mError:\u{1b}[0m cannot set up namespace using \"/usr/bin/newuidmap\"\n\
             newuidmap: write to uid_map failed: Operation not permitted <EPERM>\n",
        ),
        check("POD-07", "uid map of the pod", "not 0 0 4294967295", "0 3405774848 65536"),
        broken_check("POD-07", "uid map of podman", "0 1000 1, 1 1001 64535", "0 1000 1"),
        EventKind::EvidenceCollected(EvidenceCollected {
            id: "POD-07".into(),
            directory: "diagnostics/POD-07".into(),
            files: vec![
                EvidenceFile { name: "pod-1.object.json".into(), bytes: 8211 },
                EvidenceFile { name: "pod-1.events.txt".into(), bytes: 0 },
                EvidenceFile { name: "../../etc/passwd".into(), bytes: 1 },
            ],
            missing: vec!["pod-1.podman-info.json: it did not end within 5 s".into()],
            duration_ms: 312,
        }),
        finished(
            "POD-07",
            "podman::maps_a_range_of_uids",
            "Podman maps the whole range of uids that the image grants",
            Level::Core,
            lost_capabilities("`podman unshare` ended with exit code 125 instead of 0"),
            4021,
        ),
        started("POD-08"),
        finished(
            "POD-08",
            "podman::runs_as_the_user",
            "A container runs as the requested user",
            Level::Extended,
            lost_capabilities("`podman run` ended with exit code 125 instead of 0"),
            1204,
        ),
        started("END-02"),
        finished(
            "END-02",
            "end::logs_are_kept",
            "The logs of an ended container can be read",
            Level::Informing,
            fail("expected 3 lines, observed 2", None),
            97,
        ),
    ]
}

fn other_verdicts() -> Vec<EventKind> {
    let message = "`pasta` is denied by SELinux before container-selinux 2.246";
    let known = Verdict::known_issue(SignatureId::F14, message);
    let broken = Verdict::Error { message: "the node `worker-1` went away".into() };
    let elsewhere = Verdict::NotApplicable { reason: "only MicroShift has this file".into() };
    vec![
        blocked("ISO-04", "isolation::unmasks_proc", "/proc has no masked mounts", Level::Core),
        blocked("CMP-02", "compose::starts_two_services", "Compose starts two", Level::Core),
        blocked("CMP-05", "compose::scales", "Compose scales a service", Level::Extended),
        started("POD-NET-01"),
        finished(
            "POD-NET-01",
            "podman::reaches_a_service",
            "A container reaches a service in the cluster",
            Level::Extended,
            known,
            2210,
        ),
        started("VOL-01"),
        finished("VOL-01", "volumes::keeps_a_file", "A file stays", Level::Core, broken, 30_000),
        finished("MS-01", "host::reads_it", "The file is read", Level::Core, elsewhere, 0),
        started("POD-11"),
        finished(
            "POD-11",
            "podman::runs_ten_at_once",
            "Ten containers run at once",
            Level::Extended,
            Verdict::Interrupted,
            6100,
        ),
    ]
}

/// A run with every verdict, which could not remove what it made.
pub fn every_verdict() -> Vec<Event> {
    let mut kinds =
        vec![run_started(11), step("preflight", 310, None), step("provision", 2412, None)];
    kinds.push(step("pod workspace", 8120, None));
    kinds.extend(passing());
    kinds.extend(failing());
    kinds.extend(other_verdicts());
    kinds.push(step(
        "teardown",
        60_000,
        Some("the namespace `nestcheck-k7f3q-0` still is there: finalizer `example.com/stuck`"),
    ));
    kinds.push(run_finished(Outcome::Leaked, 113_512));
    at_fixed_times(kinds)
}

/// A run in which everything is well.
pub fn conformant() -> Vec<Event> {
    let mut kinds = vec![run_started(2), step("provision", 2412, None)];
    kinds.extend(passing());
    kinds.push(step("teardown", 5120, None));
    kinds.push(run_finished(Outcome::Conformant, 8248));
    at_fixed_times(kinds)
}

/// A run in which two cases fail, others are blocked.
pub fn not_conformant() -> Vec<Event> {
    let mut kinds = vec![run_started(8), step("provision", 2412, None)];
    kinds.extend(passing());
    kinds.extend(failing());
    kinds.extend(other_verdicts().into_iter().take(3));
    kinds.push(step("teardown", 5120, None));
    kinds.push(run_finished(Outcome::NotConformant, 21_312));
    at_fixed_times(kinds)
}

/// A run in which core cases are blocked and all others pass.
pub fn partial() -> Vec<Event> {
    let mut kinds = vec![run_started(5)];
    kinds.extend(passing());
    kinds.extend(other_verdicts().into_iter().take(3));
    kinds.push(run_finished(Outcome::Partial, 3312));
    at_fixed_times(kinds)
}

/// A run whose image is nowhere.
pub fn without_image() -> Vec<Event> {
    let missing = |reason: &str| {
        format!("the image `localhost/nowhere:1` can't be had ({reason}): no such host")
    };
    let reason =
        |number: u32| if number.is_multiple_of(2) { "ErrImagePull" } else { "ImagePullBackOff" };
    let broken = |number: u32| {
        let id = format!("POD-{number:02}");
        let verdict = Verdict::Error { message: missing(reason(number)) };
        finished(&id, &format!("podman::works_{number}"), "It works", Level::Core, verdict, 0)
    };
    let mut kinds = vec![run_started(47)];
    let pass = |number: u32| {
        let name = format!("preflight::is_read_{number}");
        finished(&format!("PRE-{number:02}"), &name, "Read", Level::Core, Verdict::Pass, 1)
    };
    kinds.extend((1..5).map(pass));
    kinds.push(step("provision", 690, None));
    for (number, pod) in (0..).zip(["workspace", "masked-proc", "host-users", "volumes"]) {
        let failure = missing(reason(number));
        kinds.push(step(&format!("pod {pod}"), 6777, Some(&failure)));
    }
    kinds.extend((1..41).map(broken));
    kinds.push(finished(
        "ADM-03",
        "admission::is_new",
        "It is new",
        Level::Extended,
        Verdict::blocked("Kubernetes v1.32.5 is older than 1.34", "use a newer cluster"),
        0,
    ));
    kinds.extend((5..7).map(pass));
    kinds.push(step("teardown", 6272, None));
    kinds.push(run_finished(Outcome::Error, 24_922));
    at_fixed_times(kinds)
}

/// A run whose process was killed while a case ran.
pub fn died() -> Vec<Event> {
    let mut kinds = vec![run_started(5)];
    kinds.extend(passing());
    kinds.push(started("POD-07"));
    kinds.push(check("POD-07", "uid in the pod", "1000", "1000"));
    at_fixed_times(kinds)
}

/// Every sample with its name.
pub fn runs() -> [(&'static str, Vec<Event>); 5] {
    [
        ("every-verdict", every_verdict()),
        ("conformant", conformant()),
        ("not-conformant", not_conformant()),
        ("partial", partial()),
        ("died", died()),
    ]
}
