//! The settings that the cluster's own workspaces have, a case for each: of a run with
//! `--as-configured`. A setting that is wrong fails one case, and what would fail because of it is
//! blocked.

use harness::{
    engine::{Case, CaseKind, CheckResult, Profile},
    facts::{ClusterSettings, ConfigName, DEVICE_PATHS, Facts, PodSettings, allowed_capabilities},
    verdict::{Level, event::TruthCheck},
    workload::truth::check,
};
use serde_json::Value;

use super::at;
use crate::suite::{
    OPENSHIFT,
    static_checks::{always, known, not_applicable},
};

/// The profile of `--as-configured`, for cases that belong to that of OpenShift too.
pub(super) const AS_CONFIGURED: &[Profile] = &[Profile::AsConfigured];

/// The capabilities without which `newuidmap` and `newgidmap` can't write a map.
const CAPABILITIES: [&str; 2] = ["SETUID", "SETGID"];

/// Where Che's administrator sets how the containers of workspaces are made.
const FIX: &str = "set it in `spec.devEnvironments.containerRunConfiguration` of the CheCluster, \
     whose operator writes it to the DevWorkspaceOperatorConfig; without Che, in `config.workspace` \
     of that object";

/// What the cases have in common.
const OF_SETTINGS: Case = Case {
    suite: "workspace",
    level: Level::Extended,
    flavours: OPENSHIFT,
    by_flavour: false,
    profiles: AS_CONFIGURED,
    ..Case::DEFAULT
};

/// Checks how each object that has a say makes pods: what the CheCluster says and what its operator
/// has written. So a field is right in both, or one case fails.
fn check_pods(
    facts: &Facts,
    hint: &str,
    checks: impl Fn(&str, &PodSettings) -> Vec<TruthCheck>,
) -> CheckResult {
    always(|| {
        let sources = settings(facts)?.sources();
        if sources.is_empty() {
            return Err(not_applicable("nothing says how pods are made, see WS-20B"));
        }
        let of = |(place, pods): (String, _)| checks(&format!("by {place}"), pods);
        Ok(CheckResult::of(sources.into_iter().flat_map(of).collect(), hint))
    })
}

/// Checks the settings that the run took from the cluster.
fn check_settings(
    facts: &Facts,
    hint: &str,
    checks: impl FnOnce(&ClusterSettings) -> Vec<TruthCheck>,
) -> CheckResult {
    always(|| Ok(CheckResult::of(checks(settings(facts)?), hint)))
}

fn settings(facts: &Facts) -> Result<&ClusterSettings, CheckResult> {
    let why = "the run brings settings of its own; `--as-configured` takes those of the cluster";
    facts.devspaces.cluster_settings.as_ref().ok_or_else(|| not_applicable(why))
}

/// A setting as people write it; `absent` where nobody has set it.
fn show<T: ToString>(setting: Option<&T>) -> String {
    setting.map_or_else(|| "absent".to_owned(), ToString::to_string)
}

inventory::submit!(Case {
    id: "WS-20A",
    name: "settings_name_a_constraint_that_isolates",
    title: "The SCC that Che's settings name exists, requires a user namespace and admits nested \
        containers",
    why: "Che gives every workspace the SCC of `openShiftSecurityContextConstraint`. If that SCC \
          does not exist, no workspace starts. If it does not require a user namespace, a workspace \
          gets SETUID and SETGID in the node's own one.",
    fix: "Name the SCC that Che's operator creates, `container-run`, or compare yours with it: \
          `userNamespaceLevel: RequirePodLevel`, `allowPrivilegeEscalation: true`, \
          `allowPrivilegedContainer: false` and the SELinux type `container_engine_t`.",
    kind: CaseKind::Static(settings_name_an_scc_that_isolates),
    ..OF_SETTINGS
});

fn settings_name_an_scc_that_isolates(facts: &Facts) -> CheckResult {
    always(|| {
        let settings = settings(facts)?;
        if !settings.is_of_che {
            return Err(not_applicable("no CheCluster names an SCC: the run's own applies"));
        }
        let sccs = known(&facts.sccs)?;
        let scc = settings.scc.as_ref().and_then(|name| sccs.get(name));
        let named = settings.scc.clone().unwrap_or_else(|| "none".to_owned());
        let place = format!("SCC that {} names", settings.place);
        let observed = match (&settings.scc, scc) {
            (Some(name), None) => format!("`{name}`, which does not exist"),
            _ => named.clone(),
        };
        let mut checks = vec![check(&place, "one that exists", observed, scc.is_some())];
        for (field, expected) in [
            ("userNamespaceLevel", "RequirePodLevel"),
            ("allowPrivilegeEscalation", "true"),
            ("allowPrivilegedContainer", "false"),
            ("seLinuxContext/seLinuxOptions/type", "container_engine_t"),
        ] {
            let Some(scc) = scc else { break };
            let observed = at(scc, &format!("/{field}"));
            let name = format!("`{}` of SCC `{named}`", field.replace('/', "."));
            checks.push(check(&name, expected, &observed, observed == expected));
        }
        let hint = "name `container-run` in `openShiftSecurityContextConstraint`, or give the SCC \
                    these values";
        Ok(CheckResult::of(checks, hint))
    })
}

inventory::submit!(Case {
    id: "WS-20B",
    name: "settings_give_a_user_namespace",
    title: "The cluster's settings give workspaces `hostUsers: false`",
    why: "Che's toggle is only a wish: its operator writes `hostUsers: false` to a \
          DevWorkspaceOperatorConfig, and the DevWorkspace Operator gives it to pods. Without it, a \
          workspace has no user namespace, and the SCC refuses it.",
    fix: "See the log of Che's operator, which writes `devworkspace-config`. Update the DevWorkspace \
          Operator to 0.37 or newer with its CRDs: older ones drop the field. Without Che, set \
          `config.workspace.hostUsers: false`.",
    kind: CaseKind::Static(settings_give_a_user_namespace),
    ..OF_SETTINGS
});

fn settings_give_a_user_namespace(facts: &Facts) -> CheckResult {
    let hint = "see whether Che's operator writes `hostUsers: false`, and whether the CRD keeps it";
    check_settings(facts, hint, |settings| {
        let ConfigName { namespace, name } = &settings.config;
        let name = format!("hostUsers of DevWorkspaceOperatorConfig `{namespace}/{name}`");
        let observed = match &settings.host_users {
            None if !settings.is_written => "absent, as the object is".to_owned(),
            host_users => show(host_users.as_ref()),
        };
        let holds = settings.host_users == Some(false);
        vec![check(&name, "false", observed, holds)]
    })
}

inventory::submit!(Case {
    id: "WS-20C",
    name: "settings_unmask_proc",
    title: "The cluster's settings give workspaces `procMount: Unmasked`",
    why: "With a masked /proc, the kernel refuses an inner container its own /proc, and no container \
          starts.",
    fix: "Set `procMount: Unmasked` in `containerSecurityContext` of Che's \
          `containerRunConfiguration`; without Che, of the DevWorkspaceOperatorConfig.",
    kind: CaseKind::Static(settings_unmask_proc),
    ..OF_SETTINGS
});

fn settings_unmask_proc(facts: &Facts) -> CheckResult {
    check_pods(facts, FIX, |place, pods| {
        let observed = show(pods.proc_mount.as_ref());
        let holds = observed == "Unmasked";
        vec![check(&format!("procMount {place}"), "Unmasked", observed, holds)]
    })
}

inventory::submit!(Case {
    id: "WS-20D",
    name: "settings_allow_privilege_escalation",
    title: "The cluster's settings give workspaces `allowPrivilegeEscalation: true`",
    why: "`newuidmap` gains its capability from its file. With `allowPrivilegeEscalation: false` the \
          kernel gives a program nothing of its file, so podman can't write an id map. The DevWorkspace \
          Operator forbids it on OpenShift where nobody says otherwise.",
    fix: "Set `allowPrivilegeEscalation: true` in `containerSecurityContext` of Che's \
          `containerRunConfiguration`; without Che, of the DevWorkspaceOperatorConfig.",
    kind: CaseKind::Static(settings_allow_privilege_escalation),
    ..OF_SETTINGS
});

fn settings_allow_privilege_escalation(facts: &Facts) -> CheckResult {
    check_pods(facts, FIX, |place, pods| {
        let escalates = pods.allow_privilege_escalation;
        let name = format!("allowPrivilegeEscalation {place}");
        vec![check(&name, "true", show(escalates.as_ref()), escalates == Some(true))]
    })
}

inventory::submit!(Case {
    id: "WS-20E",
    name: "settings_give_capabilities_that_the_constraint_allows",
    title: "The cluster's settings add SETUID and SETGID, and nothing that the SCC does not allow",
    why: "`newuidmap` needs SETUID and `newgidmap` needs SETGID. A capability that the SCC does not \
          allow is worse than none: the SCC then refuses the whole workspace. Che adds CHOWN as well, \
          and its SCC allows it.",
    fix: "Add `SETUID` and `SETGID` to `capabilities.add` in `containerSecurityContext`, drop neither \
          by name, and allow in the SCC (`allowedCapabilities`) what the settings add.",
    kind: CaseKind::Static(settings_give_capabilities_that_the_scc_allows),
    ..OF_SETTINGS
});

fn settings_give_capabilities_that_the_scc_allows(facts: &Facts) -> CheckResult {
    let scc = scc_of(facts);
    check_pods(facts, FIX, |place, pods| {
        let is_in = |list: &[String], name: &str| list.iter().any(|item| item == name);
        let has = |name: &&str| {
            is_in(&pods.capabilities, name) && !is_in(&pods.dropped_capabilities, name)
        };
        let added: Vec<_> = CAPABILITIES.into_iter().filter(has).collect();
        let holds = added.len() == CAPABILITIES.len();
        let name = format!("capabilities {place}");
        let mut checks = vec![check(&name, "SETUID, SETGID", some(&added), holds)];
        if let Some(scc) = scc {
            let allowed = allowed_capabilities(scc);
            let is_refused = |it: &&str| !allowed.contains(it) && !allowed.contains(&"*");
            let refused: Vec<_> =
                pods.capabilities.iter().map(String::as_str).filter(is_refused).collect();
            let name = format!("capabilities {place} that the SCC does not allow");
            checks.push(check(&name, "none", some(&refused), refused.is_empty()));
        }
        checks
    })
}

/// The SCC that the settings name, where it can be read.
fn scc_of(facts: &Facts) -> Option<&Value> {
    let name = facts.devspaces.cluster_settings.as_ref()?.scc.as_ref()?;
    facts.sccs.value()?.get(name)
}

inventory::submit!(Case {
    id: "WS-20F",
    name: "settings_ask_for_devices",
    title: "The cluster's settings ask for /dev/fuse and /dev/net/tun by the annotation that its \
        nodes honour",
    why: "CRI-O gives a pod a device only by an annotation. OpenShift's nodes honour \
          `io.kubernetes.cri-o.Devices`. With another name, one device less or a blank after a comma, \
          a workspace starts without the device: storage is slow, and inner containers have no \
          network.",
    fix: "Set the annotation `io.kubernetes.cri-o.Devices: /dev/fuse,/dev/net/tun` in \
          `workspacesPodAnnotations` of Che's `containerRunConfiguration`; without Che, in \
          `podAnnotations` of the DevWorkspaceOperatorConfig.",
    kind: CaseKind::Static(settings_ask_for_devices),
    ..OF_SETTINGS
});

fn settings_ask_for_devices(facts: &Facts) -> CheckResult {
    let hint = "set the annotation in `workspacesPodAnnotations`, without a blank";
    let flavour = facts.flavour.value().copied();
    let runtimes = facts.runtimes();
    check_pods(facts, hint, |place, pods| {
        let lacking = pods.lacking_devices(flavour, &runtimes);
        let lacking: Vec<_> = lacking
            .iter()
            .map(|(name, paths)| format!("no {} in `{name}`", paths.join(", ")))
            .collect();
        let holds = lacking.is_empty();
        let observed = if holds { "all of them".to_owned() } else { lacking.join("; ") };
        let name = format!("devices that pods ask for {place}");
        vec![check(&name, &DEVICE_PATHS.join(", "), observed, holds)]
    })
}

inventory::submit!(Case {
    id: "WS-20G",
    name: "settings_leave_containers_as_the_constraint_makes_them",
    title: "The cluster's settings make no container privileged, no root file system read-only, and \
        nobody another user than the SCC's",
    why: "The SCC decides about the user, and refuses a workspace that asks for another one or for a \
          privileged container. With a read-only root file system, an image can't set up its user, \
          and podman finds no place for its files.",
    fix: "Take `privileged`, `readOnlyRootFilesystem` and `runAsUser` out of \
          `containerSecurityContext`.",
    kind: CaseKind::Static(settings_leave_containers_as_the_scc_makes_them),
    ..OF_SETTINGS
});

fn settings_leave_containers_as_the_scc_makes_them(facts: &Facts) -> CheckResult {
    let uid = scc_of(facts).and_then(|scc| scc.pointer("/runAsUser/uid")?.as_i64());
    let expected = uid.map_or_else(|| "any".to_owned(), |uid| format!("absent or {uid}"));
    check_pods(facts, "take the field out of `containerSecurityContext`", |place, pods| {
        let not_true = |name: &str, field: Option<bool>| {
            let name = format!("{name} {place}");
            check(&name, "not true", show(field.as_ref()), field != Some(true))
        };
        let is_that_of_scc = uid.is_none() || pods.run_as_user.is_none_or(|it| Some(it) == uid);
        let user = show(pods.run_as_user.as_ref());
        vec![
            not_true("privileged", pods.privileged),
            not_true("readOnlyRootFilesystem", pods.read_only_root_filesystem),
            check(&format!("runAsUser {place}"), &expected, user, is_that_of_scc),
        ]
    })
}

/// The names, or `none`.
fn some(names: &[&str]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use harness::{
        engine::plan::{Filters, Plan, Selection},
        facts::{ConfigName, DEVICES_V1, DEVICES_V2, Fact, FeatureSet, Sccs, WorkspaceOperator},
        verdict::Verdict,
    };
    use serde_json::json;

    use super::*;
    use crate::suite::static_checks::tests::{evaluate, openshift};

    const IDS: [&str; 7] = ["WS-20A", "WS-20B", "WS-20C", "WS-20D", "WS-20E", "WS-20F", "WS-20G"];

    /// An OpenShift cluster with Che, whose settings are those that its operator makes of the toggle.
    fn configured() -> Facts {
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        let pods = PodSettings {
            annotations: BTreeMap::from([(DEVICES_V1.to_owned(), DEVICE_PATHS.join(","))]),
            proc_mount: Some("Unmasked".to_owned()),
            allow_privilege_escalation: Some(true),
            capabilities: names(&["SETGID", "SETUID", "CHOWN"]),
            dropped_capabilities: names(&["ALL"]),
            ..PodSettings::default()
        };
        let settings = ClusterSettings {
            place: "CheCluster `eclipse-che/eclipse-che`".to_owned(),
            is_of_che: true,
            config: ConfigName {
                namespace: "eclipse-che".to_owned(),
                name: "devworkspace-config".to_owned(),
            },
            is_written: true,
            scc: Some("container-run".to_owned()),
            image: None,
            host_users: Some(false),
            wanted: Some(pods.clone()),
            pods,
        };
        let scc = json!({
            "userNamespaceLevel": "RequirePodLevel",
            "allowPrivilegeEscalation": true,
            "allowPrivilegedContainer": false,
            "allowedCapabilities": ["SETUID", "SETGID", "CHOWN"],
            "runAsUser": {"type": "MustRunAs", "uid": 1000},
            "seLinuxContext":
                {"type": "MustRunAs", "seLinuxOptions": {"type": "container_engine_t"}},
        });
        let mut facts = openshift("4.20.4", FeatureSet::Default);
        facts.sccs = Fact::known(Sccs::from([("container-run".to_owned(), scc)]), "test");
        facts.devspaces.cluster_settings = Some(settings);
        facts
    }

    /// The cases that fail once one thing is changed; all others must pass.
    fn failing(change: impl FnOnce(&mut ClusterSettings, &mut Value)) -> Vec<&'static str> {
        let mut facts = configured();
        let settings = facts.devspaces.cluster_settings.as_mut().expect("settings");
        let Fact::Known { value: sccs, .. } = &mut facts.sccs else { panic!("SCCs") };
        change(settings, sccs.get_mut("container-run").expect("an SCC"));
        let fails = |id: &&str| match evaluate(id, &facts).verdict {
            Verdict::Fail { .. } => true,
            Verdict::Pass => false,
            other => panic!("{id}: {other:?}"),
        };
        IDS.into_iter().filter(fails).collect()
    }

    /// Sets one annotation, and no other.
    fn annotate(pods: &mut PodSettings, name: &str, value: &str) {
        pods.annotations = BTreeMap::from([(name.to_owned(), value.to_owned())]);
    }

    fn add(pods: &mut PodSettings, capabilities: &[&str]) {
        pods.capabilities = capabilities.iter().map(|&it| it.to_owned()).collect();
    }

    #[test]
    fn each_wrong_field_outside_of_pods_fails_exactly_one_case() {
        type Change = fn(&mut ClusterSettings, &mut Value);
        let changes: &[(&str, &str, Change)] = &[
            ("WS-20A", "no name", |it, _| it.scc = None),
            ("WS-20A", "no such SCC", |it, _| it.scc = Some("gone".to_owned())),
            ("WS-20A", "no level", |_, scc| scc["userNamespaceLevel"] = Value::Null),
            ("WS-20A", "host level", |_, scc| scc["userNamespaceLevel"] = "AllowHostLevel".into()),
            ("WS-20A", "no escalation", |_, scc| scc["allowPrivilegeEscalation"] = false.into()),
            ("WS-20A", "privileged", |_, scc| scc["allowPrivilegedContainer"] = true.into()),
            ("WS-20A", "type", |_, scc| scc["seLinuxContext"] = json!({"type": "RunAsAny"})),
            ("WS-20B", "no hostUsers", |it, _| it.host_users = None),
            ("WS-20B", "hostUsers", |it, _| it.host_users = Some(true)),
            ("WS-20B", "nothing written", |it, _| (it.is_written, it.host_users) = (false, None)),
            ("WS-20E", "refused", |_, scc| {
                scc["allowedCapabilities"] = json!(["SETUID", "SETGID"]);
            }),
        ];
        assert_eq!(failing(|_, _| {}), [""; 0]);
        for (id, what, change) in changes {
            assert_eq!(failing(*change), [*id], "{what}");
        }
    }

    #[test]
    fn each_wrong_field_of_pods_fails_exactly_one_case_whoever_says_it() {
        type Change = fn(&mut PodSettings);
        let changes: &[(&str, &str, Change)] = &[
            ("WS-20C", "no procMount", |it| it.proc_mount = None),
            ("WS-20C", "masked", |it| it.proc_mount = Some("Default".to_owned())),
            ("WS-20D", "nothing said", |it| it.allow_privilege_escalation = None),
            ("WS-20D", "forbidden", |it| it.allow_privilege_escalation = Some(false)),
            ("WS-20E", "none", |it| add(it, &[])),
            ("WS-20E", "no SETUID", |it| add(it, &["SETGID", "CHOWN"])),
            ("WS-20E", "no SETGID", |it| add(it, &["SETUID", "CHOWN"])),
            ("WS-20E", "one more", |it| add(it, &["SETUID", "SETGID", "NET_ADMIN"])),
            ("WS-20E", "dropped", |it| it.dropped_capabilities.push("SETUID".to_owned())),
            ("WS-20F", "no annotation", |it| it.annotations.clear()),
            ("WS-20F", "one device", |it| annotate(it, DEVICES_V1, "/dev/fuse")),
            ("WS-20F", "a blank", |it| annotate(it, DEVICES_V1, "/dev/fuse, /dev/net/tun")),
            ("WS-20F", "new", |it| annotate(it, DEVICES_V2, "/dev/fuse,/dev/net/tun")),
            ("WS-20G", "privileged", |it| it.privileged = Some(true)),
            ("WS-20G", "read-only", |it| it.read_only_root_filesystem = Some(true)),
            ("WS-20G", "root", |it| it.run_as_user = Some(0)),
        ];
        for (id, what, change) in changes {
            let written = failing(|it, _| change(&mut it.pods));
            assert_eq!(written, [*id], "{what}, written");
            let wanted = failing(|it, _| change(it.wanted.as_mut().expect("Che's word")));
            assert_eq!(wanted, [*id], "{what}, wanted");
        }
    }

    #[test]
    fn a_hard_coded_user_is_right_where_it_is_that_of_the_scc() {
        assert_eq!(failing(|it, _| it.pods.run_as_user = Some(1000)), [""; 0]);
    }

    #[test]
    fn a_run_with_settings_of_its_own_has_nothing_to_check() {
        let mut facts = configured();
        facts.devspaces.cluster_settings = None;
        for id in IDS {
            let verdict = evaluate(id, &facts).verdict;
            assert!(matches!(verdict, Verdict::NotApplicable { .. }), "{id}: {verdict:?}");
        }
    }

    /// The plan of a run as configured.
    fn plan(facts: &Facts) -> Plan {
        let cases = crate::cases();
        let filters = Filters::parse(&[], &cases).expect("no filter");
        let selection =
            Selection { profile: Some(Profile::AsConfigured), filters, ..Selection::default() };
        let picked = selection.pick(&cases);
        let plan = Plan::new(picked.clone(), facts, false);
        plan.without_what_must_fail(&picked, facts)
    }

    #[test]
    fn what_a_wrong_setting_would_fail_is_blocked_by_the_case_that_names_it() {
        let mut facts = configured();
        let operator = WorkspaceOperator {
            namespace: "operators".to_owned(),
            account: "controller".to_owned(),
            image: "controller:v0.42.0".to_owned(),
            version: Some((0, 42)),
            is_available: true,
        };
        facts.devspaces.operator = Fact::known(operator, "test");
        let acting: Vec<_> = plan(&facts).live().map(|case| case.id).collect();
        assert!(acting.len() > 15, "the cases of the workspace are in the profile: {acting:?}");

        let settings = facts.devspaces.cluster_settings.as_mut().expect("settings");
        settings.pods.proc_mount = None;
        let plan = plan(&facts);

        assert_eq!(plan.runnable().count(), 0, "nothing acts in the cluster");
        for entry in plan.entries.iter().filter(|entry| acting.contains(&entry.case.id)) {
            let Some(Verdict::Blocked { reason, .. }) = &entry.settled else {
                panic!("{:?}", entry.case)
            };
            assert!(reason.starts_with("WS-20C fails: procMount by "), "{reason}");
        }
    }

    #[test]
    fn the_cases_of_settings_are_in_no_other_profile() {
        for case in crate::cases().iter().filter(|case| IDS.contains(&case.id)) {
            assert!(Profile::AsConfigured.has(case), "{case:?}");
            assert!(!Profile::OpenShift.has(case), "{case:?}");
        }
    }
}
