//! The proofs that a pod is what was asked for. The API server drops fields silently when a gate
//! is off, so acceptance proves nothing: the object is read back, and the kernel is asked from
//! inside.

use std::fmt;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use probe::{IdRange, Mount, Reading};

use crate::{
    diagnosis::{CheckId, CheckName},
    sandbox::{
        AppliedScc,
        pod_template::{ADMITTED_BY, Isolation, PodTemplate},
    },
    verdict::event::TruthCheck,
};

/// The first id outside that a pod may be mapped to: the ids below belong to the node itself
/// (KEP-127, "the kubelet will use a range above the first 65536 ids").
pub const FIRST_POD_ID: u32 = 65_536;

/// How many ids a pod gets at least.
const POD_IDS: u32 = 65_536;

/// A truth check of a pod, with its id where its failure has a known cause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodCheck {
    /// What is checked.
    pub name: CheckName<'static>,
    /// What must be seen.
    pub expected: String,
    /// What was seen.
    pub observed: String,
    /// Whether it holds.
    pub holds: bool,
}

impl From<PodCheck> for TruthCheck {
    fn from(check: PodCheck) -> Self {
        let PodCheck { name, expected, observed, holds } = check;
        Self { name: name.text.to_owned(), expected, observed, holds }
    }
}

impl fmt::Display for PodCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, expected, observed, holds: _ } = self;
        write!(f, "{}: expected {expected}, observed {observed}", name.text)
    }
}

fn pod_check(
    name: impl Into<CheckName<'static>>,
    expected: &str,
    observed: impl Into<String>,
    holds: bool,
) -> PodCheck {
    PodCheck { name: name.into(), expected: expected.to_owned(), observed: observed.into(), holds }
}

/// A check of a value against what is expected.
#[must_use]
pub fn check(name: &str, expected: &str, observed: impl Into<String>, holds: bool) -> TruthCheck {
    TruthCheck {
        name: name.to_owned(),
        expected: expected.to_owned(),
        observed: observed.into(),
        holds,
    }
}

/// What the stored object must say of the template's own containers. Others, which somebody added
/// on the way, are not what was asked for.
#[must_use]
pub fn of_object(template: &PodTemplate, pod: &Pod) -> Vec<PodCheck> {
    let mut spec = pod.spec.clone().unwrap_or_default();
    let own = template.own_containers();
    let is_there = |name: &String| spec.containers.iter().any(|it| it.name == *name);
    let lost: Vec<_> = own.iter().filter(|name| !is_there(name)).map(String::as_str).collect();
    if !lost.is_empty() && template.isolation != Isolation::Unchecked {
        let observed = format!("without {}", lost.join(", "));
        return vec![pod_check("stored containers", &own.join(", "), observed, false)];
    }
    spec.containers.retain(|it| own.is_empty() || own.contains(&it.name));
    let host_users = match spec.host_users {
        Some(value) => value.to_string(),
        None => "absent".to_owned(),
    };
    let proc_mounts: Vec<String> = spec
        .containers
        .iter()
        .map(|container| {
            let context = container.security_context.clone().unwrap_or_default();
            context.proc_mount.unwrap_or_else(|| "absent".to_owned())
        })
        .collect();
    let all_unmasked = proc_mounts.iter().all(|value| value == "Unmasked");
    let none_unmasked = !proc_mounts.iter().any(|value| value == "Unmasked");
    let proc_mounts = proc_mounts.join(", ");
    match template.isolation {
        Isolation::Nested => vec![
            pod_check(CheckId::StoredHostUsers, "false", &host_users, host_users == "false"),
            pod_check(CheckId::StoredProcMount, "Unmasked", proc_mounts, all_unmasked),
        ],
        Isolation::UserNamespace => vec![
            pod_check(CheckId::StoredHostUsers, "false", &host_users, host_users == "false"),
            pod_check(CheckId::StoredProcMount.name(), "not Unmasked", proc_mounts, none_unmasked),
        ],
        Isolation::HostUsers => vec![
            pod_check(
                CheckId::StoredHostUsers.name(),
                "not false",
                &host_users,
                host_users != "false",
            ),
            pod_check(CheckId::StoredProcMount.name(), "not Unmasked", proc_mounts, none_unmasked),
        ],
        Isolation::Privileged => vec![
            pod_check(
                CheckId::StoredHostUsers.name(),
                "not false",
                &host_users,
                host_users != "false",
            ),
            of_stored_privilege(&spec),
        ],
        Isolation::Unchecked => Vec::new(),
    }
}

fn of_stored_privilege(spec: &PodSpec) -> PodCheck {
    let privileged = |container: &Container| {
        container.security_context.as_ref().and_then(|context| context.privileged) == Some(true)
    };
    let all = spec.containers.iter().all(privileged);
    pod_check("stored privileged", "true", all.to_string(), all)
}

/// What must be so of the SCC that admitted a pod: the one that was asked for, and stored as it
/// was applied.
#[must_use]
pub fn of_admission(template: &PodTemplate, pod: &Pod, scc: &AppliedScc) -> Vec<PodCheck> {
    let annotations = pod.metadata.annotations.as_ref();
    let admitted_by = annotations.and_then(|annotations| annotations.get(ADMITTED_BY));
    let admitted_by = admitted_by.map_or("absent", String::as_str);
    let asked_for = template.scc(&scc.name);
    let mut checks =
        vec![pod_check(CheckId::AdmittedBy, asked_for, admitted_by, admitted_by == asked_for)];
    if !matches!(template.isolation, Isolation::Unchecked | Isolation::Privileged) {
        checks.push(of_stored_scc(scc));
    }
    checks
}

/// Whether the SCC is stored as it was applied.
#[must_use]
pub fn of_stored_scc(scc: &AppliedScc) -> PodCheck {
    let differences: Vec<_> = scc.differences.iter().map(ToString::to_string).collect();
    let stored =
        if differences.is_empty() { "as applied".to_owned() } else { differences.join("; ") };
    pod_check(CheckId::StoredScc, "as applied", stored, differences.is_empty())
}

/// What a process in the pod must see.
#[must_use]
pub fn of_inside(template: &PodTemplate, facts: &probe::Facts) -> Vec<PodCheck> {
    let (users, masked) = match template.isolation {
        Isolation::Nested => (id_maps(facts), unmasked_proc(facts)),
        Isolation::UserNamespace => (id_maps(facts), masked_proc(facts)),
        Isolation::HostUsers => (host_id_map(facts), masked_proc(facts)),
        Isolation::Privileged => return host_id_map(facts),
        Isolation::Unchecked => return Vec::new(),
    };
    users.into_iter().chain([masked]).collect()
}

fn id_maps(facts: &probe::Facts) -> Vec<PodCheck> {
    [(CheckId::UidMap.into(), &facts.uid_map), ("/proc/self/gid_map".into(), &facts.gid_map)]
        .map(|(name, map): (CheckName<'static>, _)| {
            let holds = map.known().is_some_and(|map| is_pod_map(map));
            pod_check(
                name,
                "ids from 0 mapped to a range of the pod's own above the node's",
                show_reading(map, |map| show_map(map)),
                holds,
            )
        })
        .to_vec()
}

fn host_id_map(facts: &probe::Facts) -> Vec<PodCheck> {
    let is_host =
        |map: &Vec<IdRange>| map.as_slice() == [IdRange { inside: 0, outside: 0, count: u32::MAX }];
    vec![pod_check(
        CheckId::UidMap.name(),
        "the node's own ids, 0 0 4294967295",
        show_reading(&facts.uid_map, |map| show_map(map)),
        facts.uid_map.known().is_some_and(is_host),
    )]
}

/// Whether a map is that of a pod in a user namespace: one range from 0, long enough, to ids above
/// the node's, aligned as the kubelet hands them out.
#[must_use]
pub fn is_pod_map(map: &[IdRange]) -> bool {
    match map {
        [range] => {
            range.inside == 0
                && range.count >= POD_IDS
                && range.outside >= FIRST_POD_ID
                && range.outside.is_multiple_of(POD_IDS)
        }
        _ => false,
    }
}

/// An id map in the kernel's form, lines separated by commas.
#[must_use]
pub fn show_map(map: &[IdRange]) -> String {
    let lines: Vec<_> = map
        .iter()
        .map(|range| format!("{} {} {}", range.inside, range.outside, range.count))
        .collect();
    if lines.is_empty() { "empty".to_owned() } else { lines.join(", ") }
}

fn unmasked_proc(facts: &probe::Facts) -> PodCheck {
    let holds = facts.mounts.known().is_some_and(|mounts| match proc_mounts(mounts)[..] {
        [only] => only.fs_type == "proc" && !only.is_read_only(),
        _ => false,
    });
    pod_check(
        "mounts at /proc",
        "one, writable: nothing is masked",
        show_reading(&facts.mounts, |mounts| show_proc(mounts)),
        holds,
    )
}

fn masked_proc(facts: &probe::Facts) -> PodCheck {
    let holds = facts.mounts.known().is_some_and(|mounts| proc_mounts(mounts).len() > 1);
    pod_check(
        "mounts at /proc",
        "several: some paths are masked",
        show_reading(&facts.mounts, |mounts| show_proc(mounts)),
        holds,
    )
}

/// The mounts at /proc and below it.
#[must_use]
pub fn proc_mounts(mounts: &[Mount]) -> Vec<&Mount> {
    mounts.iter().filter(|mount| mount.is_at_or_below("/proc")).collect()
}

fn show_proc(mounts: &[Mount]) -> String {
    let paths: Vec<_> = proc_mounts(mounts)
        .iter()
        .map(|mount| {
            let mode = if mount.is_read_only() { "ro" } else { "rw" };
            format!("{} {} {mode}", mount.mount_point, mount.fs_type)
        })
        .collect();
    if paths.is_empty() { "none".to_owned() } else { paths.join(", ") }
}

/// A reading for people.
pub fn show_reading<T>(reading: &Reading<T>, show: impl Fn(&T) -> String) -> String {
    match reading {
        Reading::Known(value) => show(value),
        Reading::Unknown { reason } => format!("unreadable: {reason}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::pod_template::TemplateKind;

    fn range(inside: u32, outside: u32, count: u32) -> IdRange {
        IdRange { inside, outside, count }
    }

    #[test]
    fn only_a_range_of_its_own_is_a_pods_map() {
        assert!(is_pod_map(&[range(0, 131_072, 65_536)]));
        assert!(!is_pod_map(&[range(0, 0, u32::MAX)]), "the node's own");
        assert!(!is_pod_map(&[range(0, 1000, 65_536)]), "the node's ids");
        assert!(!is_pod_map(&[range(0, 131_072, 1000)]), "too short");
        assert!(!is_pod_map(&[range(0, 131_073, 65_536)]), "not aligned");
        assert!(!is_pod_map(&[range(0, 131_072, 1), range(1, 196_608, 65_535)]), "two ranges");
        assert!(!is_pod_map(&[]));
    }

    fn template(isolation: Isolation) -> PodTemplate {
        PodTemplate {
            name: "p",
            file: "p.yaml",
            manifest: "kind: Pod\napiVersion: v1\nspec: {containers: [{name: a}]}\n",
            kind: TemplateKind::Pod,
            isolation,
            devices: false,
            shared: true,
        }
    }

    fn pod(host_users: &str, proc_mount: &str) -> Pod {
        let text = format!(
            "apiVersion: v1\nkind: Pod\nspec:\n  {host_users}\n  containers:\n  - name: a\n    \
             securityContext: {{{proc_mount}}}\n"
        );
        crate::base::manifest::parse("p.yaml", &text).expect("the test's manifest is good")
    }

    fn broken(isolation: Isolation, pod: &Pod) -> Vec<&'static str> {
        let checks = of_object(&template(isolation), pod);
        checks.into_iter().filter(|check| !check.holds).map(|check| check.name.text).collect()
    }

    #[test]
    fn only_containers_that_were_sent_are_checked() {
        let mut pod = pod("hostUsers: false", "procMount: Unmasked");
        let sidecar = Container { name: "proxy".to_owned(), ..Container::default() };
        pod.spec.get_or_insert_default().containers.insert(0, sidecar);
        assert!(broken(Isolation::Nested, &pod).is_empty());
        pod.spec.get_or_insert_default().containers[1].name = "renamed".to_owned();
        assert_eq!(broken(Isolation::Nested, &pod), ["stored containers"]);
        assert!(broken(Isolation::Unchecked, &pod).is_empty());
    }

    #[test]
    fn a_dropped_field_is_seen_in_the_stored_object() {
        let whole = pod("hostUsers: false", "procMount: Unmasked");
        assert!(broken(Isolation::Nested, &whole).is_empty());
        let dropped = pod("restartPolicy: Never", "procMount: Unmasked");
        assert_eq!(broken(Isolation::Nested, &dropped), ["stored hostUsers"]);
        let reset = pod("hostUsers: false", "procMount: Default");
        assert_eq!(broken(Isolation::Nested, &reset), ["stored procMount"]);
        let flipped = pod("hostUsers: true", "procMount: Unmasked");
        assert_eq!(broken(Isolation::Nested, &flipped), ["stored hostUsers"]);
        assert_eq!(broken(Isolation::HostUsers, &whole), ["stored hostUsers", "stored procMount"]);
    }
}
