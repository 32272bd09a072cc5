use serde_json::{Value, json};

use super::*;
use crate::verdict::{Level, Verdict, event::CaseFinished};

/// The facts of a good workspace, with one of them changed.
pub(super) fn facts(pointer: &str, value: Value) -> Facts {
    let map = json!({"known": [{"inside": 0, "outside": 131_072, "count": 65_536}]});
    let ranges = json!({"known": {
        "ranges": [{"owner": "user", "start": 1001, "count": 64_535}],
        "unparsable": [],
    }});
    let helper = |capability: &str| {
        json!({"known": {
            "path": "/usr/bin/newidmap",
            "mode": "0755",
            "owner_uid": 0,
            "file_capabilities": {"known": {
                "permitted": capability,
                "inheritable": "0000000000000000",
                "effective": true,
                "root_id": null,
            }},
        }})
    };
    let set = "00000000000000c0";
    let device = |path: &str, minor: u32| {
        json!({
            "path": path,
            "state": {"known": {"present": {
                "character": true, "major": 10, "minor": minor, "mode": "0666", "owner_uid": 0,
            }}},
            "open_read_write": "opened",
        })
    };
    let unknown = || json!({"unknown": "not of interest"});
    let mut text = json!({
        "schema": Facts::SCHEMA,
        "real_uid": 1000, "effective_uid": 1000, "real_gid": 1000, "effective_gid": 1000,
        "groups": {"known": [1000]},
        "uid_map": map, "gid_map": map,
        "capabilities": {"known": {
            "effective": set, "permitted": set, "inheritable": set, "bounding": set, "ambient": set,
        }},
        "no_new_privs": {"known": false},
        "seccomp": {"known": "disabled"},
        "user_name": {"known": "user"},
        "home": "/home/user",
        "subordinate_uids": ranges, "subordinate_gids": ranges,
        "newuidmap": helper("0000000000000080"), "newgidmap": helper("0000000000000040"),
        "mounts": unknown(),
        "devices": [device("/dev/fuse", 229), device("/dev/net/tun", 200)],
        "security_label": unknown(),
        "selinux_enforcing": unknown(),
        "namespaces": {},
        "process_1_command": unknown(),
        "process_1_root": unknown(),
        "sysctls": {
            "max_user_namespaces": {"known": 1000},
            "unprivileged_userns_clone": unknown(),
            "apparmor_restrict_unprivileged_userns": unknown(),
        },
        "kernel_release": "6.18.0",
        "hostname": "workspace",
    });
    *text.pointer_mut(pointer).expect("the test names a fact") = value;
    serde_json::from_value(text).expect("the facts are as the probe writes them")
}

/// Facts of a pod with which nothing is wrong.
pub(crate) fn facts_of_tests() -> Facts {
    facts("/hostname", json!("workspace"))
}

/// A case of suite `podman` that ended so.
pub(super) fn case(id: &str, level: Level, verdict: impl Into<Verdict>) -> CaseFinished {
    CaseFinished {
        id: id.to_owned(),
        name: format!("podman::{id}"),
        suite: "podman".to_owned(),
        title: "It works".to_owned(),
        level,
        verdict: verdict.into(),
        duration_ms: 1,
    }
}

fn id(symptom: Symptom<'_>) -> Option<SignatureId> {
    diagnose(symptom, None).map(|diagnosis| diagnosis.id)
}

/// The same refusal, whatever its cause.
const REFUSED: &str = "newuidmap: write to uid_map failed: Operation not permitted";

#[track_caller]
fn assert_diagnosis(output: &str, facts: &Facts, id: SignatureId, cause: &str) {
    let reported = diagnose(Symptom::Output(output), Some(facts)).expect("the symptom is known");
    assert_eq!(reported.id, id, "{reported}");
    assert!(reported.cause.contains(cause), "{reported}");
}

#[test]
fn the_same_refusal_has_another_cause_with_other_facts() {
    let range = |start: u32| {
        json!({"known": {
            "ranges": [{"owner": "user", "start": start, "count": 65_000}],
            "unparsable": [],
        }})
    };
    assert_diagnosis(
        REFUSED,
        &facts("/subordinate_gids", range(2000)),
        SignatureId::F01,
        "leaves the pod's ids",
    );
    let nnp = facts("/no_new_privs", json!({"known": true}));
    assert_diagnosis(REFUSED, &nnp, SignatureId::F02, "no_new_privs");
    let bounding = facts("/capabilities/known/bounding", json!("0000000000000080"));
    assert_diagnosis(REFUSED, &bounding, SignatureId::F02, "lacks the capabilities");
    let helper = facts("/newuidmap/known/file_capabilities", json!({"known": null}));
    assert_diagnosis(REFUSED, &helper, SignatureId::F02, "lost its file capabilities");
    let setuid = facts("/newuidmap/known/mode", json!("4755"));
    assert_diagnosis(REFUSED, &setuid, SignatureId::F02, "is setuid");
    assert_diagnosis(
        REFUSED,
        &facts("/hostname", json!("x")),
        SignatureId::F02,
        "may not write the map",
    );
}

/// Checks with what podman writes where they do not hold, and the facts of such a pod.
fn signs_of_one_cause() -> Vec<(CheckId, &'static str, Facts)> {
    let ranges = |value: Value| facts("/subordinate_uids", value);
    let range = |owner: &str, start: u32, count: u32| {
        ranges(json!({"known": {
            "ranges": [{"owner": owner, "start": start, "count": count}],
            "unparsable": [],
        }}))
    };
    let invalid = "newuidmap: write to uid_map failed: Invalid argument";
    let unmapped = "potentially insufficient UIDs or GIDs available in user namespace";
    let no_range = "no subuid ranges found for user \"user\" in /etc/subuid";
    let clone = "cannot clone: Operation not permitted";
    let settings = "write ping_group_range: Read-only file system";
    let tun = "Failed to open() /dev/net/tun: Permission denied";
    let mount = |point: &str, option: &str| {
        json!({"mount_point": point, "root": "/", "fs_type": "proc", "source": "proc",
            "options": [option], "super_options": []})
    };
    let masked = json!({"known": [mount("/proc", "rw"), mount("/proc/sys", "ro")]});
    let absent = || json!({"known": "absent"});
    vec![
        (CheckId::SubordinateIds, REFUSED, range("user", 2000, 65_000)),
        (CheckId::SubordinateIds, invalid, range("user", 999, 3000)),
        (CheckId::SubordinateIds, no_range, range("other", 1001, 64_535)),
        (CheckId::SubordinateIds, no_range, facts("/user_name", json!({"known": null}))),
        (CheckId::SubordinateIds, unmapped, range("user", 1001, 10)),
        (
            CheckId::SubordinateIds,
            no_range,
            ranges(json!({"known": {"ranges": [], "unparsable": []}})),
        ),
        (CheckId::NoNewPrivs, REFUSED, facts("/no_new_privs", json!({"known": true}))),
        (
            CheckId::BoundingCapabilities,
            REFUSED,
            facts("/capabilities/known/bounding", json!("0000000000000080")),
        ),
        (
            CheckId::IdHelpers,
            REFUSED,
            facts("/newuidmap/known/file_capabilities", json!({"known": null})),
        ),
        (CheckId::IdHelpers, REFUSED, facts("/newuidmap/known/mode", json!("4755"))),
        (CheckId::InnerNamespace, clone, facts("/seccomp", json!({"known": "filter"}))),
        (
            CheckId::InnerNamespace,
            clone,
            facts("/sysctls/max_user_namespaces", json!({"known": 0})),
        ),
        (CheckId::Proc, settings, facts("/mounts", masked)),
        (CheckId::Fuse, "fuse: device not found", facts("/devices/0/state", absent())),
        (
            CheckId::Fuse,
            "fuse: failed to open /dev/fuse",
            facts("/devices/0/state/known/present/mode", json!("0600")),
        ),
        (CheckId::Tun, tun, facts("/devices/1/state/known/present/mode", json!("0600"))),
        (
            CheckId::Tun,
            "open /dev/net/tun: No such file or directory",
            facts("/devices/1/state", absent()),
        ),
    ]
}

#[test]
fn what_a_case_reads_in_a_pod_and_what_podman_writes_there_have_one_cause() {
    for (check, output, facts) in signs_of_one_cause() {
        let observed = match check {
            CheckId::InnerNamespace => {
                "exit code 1: unshare: unshare failed: Operation not permitted"
            }
            _ => "",
        };
        let symptom = Symptom::Check { id: check, observed };
        let read = diagnose(symptom, Some(&facts));
        assert!(read.is_some(), "{check:?}, {output}");
        assert_eq!(read, diagnose(Symptom::Output(output), Some(&facts)), "{check:?}");
        let good = facts_of_tests();
        assert_eq!(diagnose(symptom, Some(&good)), None);
    }
    let filtered = facts("/seccomp", json!({"known": "filter"}));
    let mount = "exit code 32: mount: /tmp: permission denied.";
    let symptom = Symptom::Check { id: CheckId::InnerNamespace, observed: mount };
    assert_eq!(diagnose(symptom, Some(&filtered)), None, "the namespace was made");
}

#[test]
fn a_fact_that_could_not_be_read_speaks_for_no_cause() {
    for pointer in ["/subordinate_uids", "/no_new_privs", "/capabilities", "/newuidmap"] {
        let facts = facts(pointer, json!({"unknown": "EACCES"}));
        assert_diagnosis(REFUSED, &facts, SignatureId::F02, "may not write the map");
    }
}

#[test]
fn a_device_that_is_refused_is_reported_by_its_mode_and_the_answer() {
    let tun = "Failed to open() /dev/net/tun: Permission denied";
    let private = facts("/devices/1/state/known/present/mode", json!("0600"));
    assert_diagnosis(tun, &private, SignatureId::F14, "not for everybody");
    assert_diagnosis(tun, &facts("/hostname", json!("x")), SignatureId::F14, "SELinux");
    let refused = facts("/devices/1/open_read_write", json!({"refused": {"errno": "EPERM"}}));
    let tun = "Failed to open() /dev/net/tun: Operation not permitted";
    assert_diagnosis(tun, &refused, SignatureId::F14, "cgroup");
}

#[test]
fn what_forbids_a_namespace_is_reported() {
    let clone = "cannot clone: Operation not permitted";
    let none = facts("/sysctls/max_user_namespaces", json!({"known": 0}));
    assert_diagnosis(clone, &none, SignatureId::F08, "kernel setting");
    assert_diagnosis(
        clone,
        &facts("/seccomp", json!({"known": "filter"})),
        SignatureId::F08,
        "seccomp profile forbids",
    );
}

#[test]
fn what_no_local_cluster_shows_is_known_by_its_words() {
    let outputs = [
        ("newuidmap: Could not set caps", SignatureId::F03),
        (
            "Error: cannot set up namespace using \"/usr/bin/newuidmap\": exit status 1",
            SignatureId::F05,
        ),
        ("netns dir open: Permission denied, exiting", SignatureId::F15),
        (
            "could not find slirp4netns, the network namespace can't be configured: exec: \
             \"slirp4netns\": executable file not found in $PATH",
            SignatureId::F43,
        ),
        ("write /proc/self/oom_score_adj: Permission denied", SignatureId::F29),
        (
            "newuidmap 12 0 1000 1 1 10000 65536: write to uid_map failed: Operation not permitted",
            SignatureId::F01,
        ),
        (
            "container_linux.go: error mounting \"proc\" to rootfs: operation not permitted",
            SignatureId::F09,
        ),
    ];
    for (text, expected) in outputs {
        assert_eq!(id(Symptom::Output(text)), Some(expected), "{text}");
    }
    let starts = [
        ("failed to mount sysfs: operation not permitted", SignatureId::F19),
        ("mkdirat /run/lock: permission denied", SignatureId::F20),
        (
            "failed to create network namespace for sandbox \"3f\": failed to start noop process \
             for unshare: fork/exec /proc/self/exe: no space left on device",
            SignatureId::F08,
        ),
        (
            "failed to start noop process for unshare: fork/exec /proc/self/exe: operation not \
             permitted",
            SignatureId::F08,
        ),
        (
            "failed to start noop process for unshare: fork/exec /proc/self/exe: invalid argument",
            SignatureId::F08,
        ),
        ("crun: setresuid to `1000740000`: Invalid argument", SignatureId::F40),
        ("crun: setgroups: Invalid argument", SignatureId::F40),
        (
            "failed to update container IO owner: failed to do idmap to get host ID: container ID \
             1000740000 cannot be mapped to a host ID",
            SignatureId::F40,
        ),
        ("runc: unable to setup user: invalid argument: unknown", SignatureId::F40),
        ("CDI device injection failed: unresolvable CDI devices x.y/z=a", SignatureId::F37),
        ("device /dev/kmsg is specified but is not in allowed_devices", SignatureId::F38),
        ("snapshotter \"overlayfs\" doesn't support idmap mounts on this host", SignatureId::F16),
        (
            "the feature gate \"UserNamespacesSupport\" is disabled: can't set spec.HostUsers",
            SignatureId::F18,
        ),
    ];
    for (text, expected) in starts {
        assert_eq!(id(Symptom::Start(text)), Some(expected), "{text}");
    }
}

#[test]
fn a_refusal_by_an_scc_names_the_field_that_decides() {
    let refusal = "pods \"w\" is forbidden: unable to validate against any security context \
                   constraint: provider x: .containers[0].capabilities.add: Invalid value: \
                   \"SETGID\": capability may not be added";
    let reported = explain(Symptom::Refusal(refusal), None).expect("it is known");
    assert_eq!(reported.signature(), Some(SignatureId::F21));
    let reported = reported.text;
    assert!(
        reported.contains("`allowedCapabilities`") && reported.ends_with("(F21)"),
        "{reported}"
    );
}

#[test]
fn a_refusal_by_somebody_elses_policy_is_not_taken_for_another() {
    for refusal in [
        "admission webhook \"validate.kyverno.svc-fail\" denied the request: policy \
         disallow-proc-mount: violates PodSecurity",
        "pods \"w\" is forbidden: ValidatingAdmissionPolicy 'proc' with binding 'all' denied \
         request: procMount must be Default",
    ] {
        assert_eq!(id(Symptom::Refusal(refusal)), Some(SignatureId::F41), "{refusal}");
    }
}

#[test]
fn a_check_is_known_by_its_id() {
    let check = |check, observed| id(Symptom::Check { id: check, observed });
    assert_eq!(check(CheckId::StoredScc, "no `userNamespaceLevel`"), Some(SignatureId::F25));
    assert_eq!(check(CheckId::StoredHostUsers, "absent"), Some(SignatureId::F25));
    assert_eq!(check(CheckId::StoredProcMount, "absent"), Some(SignatureId::F25));
    assert_eq!(check(CheckId::UidMap, "0 0 4294967295"), Some(SignatureId::F25));
    assert_eq!(check(CheckId::AdmittedBy, "restricted-v2"), Some(SignatureId::F22));
    assert_eq!(check(CheckId::StorageDriver, "`vfs`"), Some(SignatureId::F34));
    assert_eq!(check(CheckId::StorageDriver, "`btrfs`"), None, "only vfs copies every layer");
}

#[test]
fn words_mean_something_only_where_they_are_seen() {
    assert_eq!(id(Symptom::Start(REFUSED)), None);
    assert_eq!(id(Symptom::Output("does not support user namespaces")), None);
    assert_eq!(id(Symptom::Output("something else")), None);
}
