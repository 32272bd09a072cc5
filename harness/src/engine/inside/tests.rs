use probe::{DeviceFacts, IdRange, Mount, OpenOutcome, Reading};

use super::*;
use crate::{
    base::error::ErrorKind,
    diagnosis::facts_of_tests,
    engine::CaseKind,
    sandbox::pod_template::{Isolation, TemplateKind},
    verdict::event::{CaseFinished, EventKind},
    workload::Command,
};

fn proc_mount(path: &str, mode: &str) -> Mount {
    Mount {
        mount_point: path.into(),
        root: "/".into(),
        fs_type: "proc".into(),
        source: "proc".into(),
        options: vec![mode.into()],
        super_options: vec!["rw".into()],
    }
}

fn device(path: &str, state: DeviceState) -> DeviceFacts {
    let (state, open_read_write) = (Reading::Known(state), OpenOutcome::Opened);
    DeviceFacts { path: path.into(), state, open_read_write }
}

/// What is found with this id map, and these mounts at /proc.
fn found(outside: u32, count: u32, mounts: Vec<Mount>) -> Found {
    let map = Reading::Known(vec![IdRange { inside: 0, outside, count }]);
    Found {
        uid_map: map.clone(),
        gid_map: map,
        mounts: Reading::Known(mounts),
        devices: Vec::new(),
        ..facts_of_tests()
    }
}

fn unmasked() -> Vec<Mount> {
    vec![proc_mount("/proc", "rw")]
}

fn masked_mounts() -> Vec<Mount> {
    vec![proc_mount("/proc", "rw"), proc_mount("/proc/keys", "ro")]
}

fn pod(mounts: Vec<Mount>) -> Found {
    found(131_072, 65_536, mounts)
}

fn container(mounts: Vec<Mount>) -> Found {
    found(0, u32::MAX, mounts)
}

const fn case(inside: Inside) -> Case {
    Case {
        id: "POD-90",
        suite: "podman",
        name: "a_case",
        inside,
        kind: CaseKind::Live(|_| Box::pin(async { Ok(()) })),
        ..Case::DEFAULT
    }
}

/// The verdict of a case before it runs.
fn settled(inside: Inside, found: &Found) -> &'static str {
    settle(&case(inside), found).map_or("runs", |verdict| verdict.name())
}

#[test]
fn a_pod_runs_all_that_needs_no_api() {
    for found in [pod(unmasked()), pod(masked_mounts())] {
        assert_eq!(settled(Inside::Never, &found), "not-applicable");
        for inside in [Inside::Pod, Inside::Unmasked, Inside::Anywhere] {
            assert_eq!(settled(inside, &found), "runs", "{inside:?}");
        }
    }
}

#[test]
fn a_container_that_is_no_pod_checks_the_image_alone() {
    let found = container(unmasked());
    assert_eq!(settled(Inside::Pod, &found), "blocked");
    assert_eq!(settled(Inside::Unmasked, &found), "runs");
    let found = container(masked_mounts());
    assert_eq!(settled(Inside::Unmasked, &found), "blocked");
    assert_eq!(settled(Inside::Anywhere, &found), "runs");
    let Some(Verdict::Blocked { reason, .. }) = settle(&case(Inside::Unmasked), &found) else {
        panic!("it is blocked")
    };
    assert!(reason.contains("/proc/keys"), "{reason}");
}

#[test]
fn ids_of_a_rootless_engine_are_no_pods() {
    let found = found(100_000, 65_536, unmasked());
    let Some(Verdict::Blocked { reason, .. }) = settle(&case(Inside::Pod), &found) else {
        panic!("it is blocked")
    };
    assert!(
        reason.contains("not a pod with a user namespace") && reason.contains("0 100000 65536")
    );
}

#[test]
fn a_case_that_needs_devices_is_blocked_where_they_are_absent() {
    let needs = Case { requires: &[&Devices], ..case(Inside::Pod) };
    let mut found = pod(unmasked());
    assert_eq!(settle(&needs, &found), None, "nothing is known of them");
    found.devices = vec![device("/dev/net/tun", DeviceState::Absent)];
    let Some(Verdict::Blocked { reason, .. }) = settle(&needs, &found) else { panic!("blocked") };
    assert_eq!(reason, "there is no /dev/net/tun here");
    assert_eq!(settled(Inside::Pod, &found), "runs", "one that needs none");
}

#[test]
fn root_is_refused_with_a_hint() {
    let error = refuse_root(true).expect_err("root");
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert!(error.hint().is_some_and(|hint| hint.contains("--user 1000")));
    assert!(refuse_root(false).is_ok());
}

#[test]
fn assignments_are_read_with_and_without_quotes() {
    let text = "ID=debian\nPRETTY_NAME=\"Debian GNU/Linux 13\"\nimage=\"\"\n";
    assert_eq!(assigned(text, "PRETTY_NAME").as_deref(), Some("Debian GNU/Linux 13"));
    assert_eq!(assigned(text, "ID").as_deref(), Some("debian"));
    assert_eq!(assigned(text, "image"), None);
    assert_eq!(assigned(text, "NAME"), None);
}

const TEMPLATE: PodTemplate = PodTemplate {
    name: "workspace",
    file: "p.yaml",
    manifest: "kind: Pod\napiVersion: v1\nspec: {containers: [{name: a}]}\n",
    kind: TemplateKind::Pod,
    isolation: Isolation::Nested,
    devices: false,
    shared: true,
};

const OWN: Case = Case { pods: &[&TEMPLATE], ..case(Inside::Pod) };

/// Runs cases on this machine, whoever the user is, as if it were a pod.
async fn ran(cases: &[Case]) -> (Outcome, Vec<CaseFinished>) {
    ran_with(cases, RunConfig::new(None, Vec::new())).await
}

async fn ran_with(cases: &[Case], config: RunConfig) -> (Outcome, Vec<CaseFinished>) {
    let machine = Machine::prepare(&config.sandbox.run, &[], "/store").await.expect("a machine");
    let here = Here {
        machine,
        template: &TEMPLATE,
        storage: "/store",
        found: pod(unmasked()),
        podman: None,
        system: None,
        image: None,
    };
    let plan = here.plan(cases.to_vec());
    let mut finished = Vec::new();
    let signals = futures::stream::pending();
    let observe = |event: &Event| {
        if let EventKind::CaseFinished(case) = &*event.event {
            finished.push(case.clone());
        }
    };
    let outcome = run(here, plan, config, signals, observe).await;
    (outcome, finished)
}

#[tokio::test]
async fn a_case_runs_on_this_machine_and_passes_with_its_proofs() {
    let passes = Case {
        kind: CaseKind::Live(|cx| {
            Box::pin(async move {
                let pod = cx.pod(&TEMPLATE).await?;
                let said = pod.output(&Command::new(["echo", "here"])).await?;
                cx.check_equal("what it says", "here", &said)
            })
        }),
        ..OWN
    };
    let (outcome, finished) = ran(&[passes, Case { id: "POD-91", ..case(Inside::Never) }]).await;
    assert_eq!(outcome, Outcome::Conformant);
    let names: Vec<_> = finished.iter().map(|case| case.verdict.name()).collect();
    assert_eq!(names, ["not-applicable", "pass"]);
}

#[tokio::test]
async fn a_failure_is_the_products_and_is_not_tried_again() {
    let fails = Case {
        kind: CaseKind::Live(|cx| {
            Box::pin(async move {
                let pod = cx.pod(&TEMPLATE).await?;
                pod.run(&Command::new(["false"])).await?.exits(0).map(drop)
            })
        }),
        ..OWN
    };
    let (outcome, finished) = ran(&[fails]).await;
    assert_eq!(outcome, Outcome::NotConformant);
    assert_eq!(finished[0].verdict.name(), "fail");
}

#[tokio::test]
async fn a_case_that_asks_the_api_by_mistake_is_an_error() {
    let asks = Case {
        kind: CaseKind::Live(|cx| {
            Box::pin(async move {
                let pod = cx.manifest(&TEMPLATE)?;
                cx.provision_pod(&TEMPLATE, &pod).await.map(drop)
            })
        }),
        ..OWN
    };
    let (outcome, finished) = ran(&[asks]).await;
    assert_eq!(outcome, Outcome::Error);
    assert!(matches!(finished[0].verdict, Verdict::Error { .. }), "{:?}", finished[0].verdict);
}

#[tokio::test]
async fn nothing_starts_after_a_failure_where_that_is_asked_for() {
    let fails = Case {
        kind: CaseKind::Live(|_| Box::pin(async { Err(crate::verdict::Failure::product("no")) })),
        ..OWN
    };
    let config = RunConfig { fail_fast: true, jobs: 1, ..RunConfig::new(None, Vec::new()) };
    let (outcome, finished) = ran_with(&[fails, Case { id: "POD-91", ..OWN }], config).await;
    assert_eq!(outcome, Outcome::NotConformant);
    let names: Vec<_> = finished.iter().map(|case| case.verdict.name()).collect();
    assert_eq!(names, ["fail", "blocked"]);
}
