//! Whether SELinux confines a pod, by what can be seen from inside.

use std::collections::BTreeSet;

use harness::workload::truth::show_reading;
use probe::{AttemptOutcome, Reading};

/// Whether what is forbidden is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// It is known, and how.
    Reported { enforces: bool, how: String },
    /// Nothing told.
    Unknown(String),
}

/// Whether a label is one of SELinux: `user:role:type:level`. Those of other modules have no colons.
pub(super) fn is_label(label: &str) -> bool {
    let mut parts = label.splitn(4, ':');
    parts.by_ref().take(3).all(|part| !part.is_empty() && !part.contains(' '))
        && parts.next().is_some()
}

/// Whether a label has this type and level.
pub(super) fn has(label: &str, kind: &str, level: &str) -> bool {
    let mut parts = label.splitn(4, ':').skip(2);
    parts.next() == Some(kind) && parts.next().is_some_and(|own| Level::of(own) == Level::of(level))
}

/// A level: `s0:c5,c6`. The kernel sorts the categories and writes three or more in a row as `c1.c3`; the
/// annotation `openshift.io/sa.scc.mcs` of a namespace has them in any order, such as `s0:c27,c14`.
#[derive(PartialEq, Eq)]
struct Level<'a> {
    sensitivity: &'a str,
    categories: BTreeSet<u16>,
    /// Parts that are not categories.
    others: BTreeSet<&'a str>,
}

impl<'a> Level<'a> {
    fn of(text: &'a str) -> Self {
        let (sensitivity, categories) = text.split_once(':').unwrap_or((text, ""));
        let mut found = Self { sensitivity, categories: BTreeSet::new(), others: BTreeSet::new() };
        for part in categories.split(',').filter(|part| !part.is_empty()) {
            let (first, last) = part.split_once('.').unwrap_or((part, part));
            match (category(first), category(last)) {
                (Some(first), Some(last)) => found.categories.extend(first..=last),
                _ => _ = found.others.insert(part),
            }
        }
        found
    }
}

/// The number of a category. A policy has at most 1024 of them.
fn category(text: &str) -> Option<u16> {
    text.strip_prefix('c')?.parse().ok().filter(|number| *number < 1024)
}

/// The mode by the file that says so, which few containers see, or else by what a process of the
/// pod may do: become what no container may.
pub(super) fn mode(file: &Reading<bool>, change: Option<&AttemptOutcome>) -> Mode {
    if let Reading::Known(enforces) = file {
        return Mode::Reported {
            enforces: *enforces,
            how: format!("/sys/fs/selinux/enforce: {enforces}"),
        };
    }
    let file = show_reading(file, ToString::to_string);
    match change {
        Some(AttemptOutcome::Allowed) => Mode::Reported {
            enforces: false,
            how: "permissive: a process of the pod may take the type init_t".to_owned(),
        },
        Some(AttemptOutcome::Refused { errno }) if errno.is_permission_denied() => Mode::Reported {
            enforces: true,
            how: format!("a process of the pod may not take the type init_t: {errno}"),
        },
        Some(AttemptOutcome::Refused { errno }) => {
            Mode::Unknown(format!("{file}; taking the type init_t ends with {errno}"))
        }
        Some(AttemptOutcome::Unavailable { reason }) => Mode::Unknown(format!("{file}; {reason}")),
        None => Mode::Unknown(format!("{file}; no attempt was made")),
    }
}

#[cfg(test)]
mod tests {
    use probe::ErrorName;

    use super::*;

    #[test]
    fn a_label_of_selinux_has_four_parts() {
        assert!(is_label("system_u:system_r:container_engine_t:s0:c17,c25"));
        assert!(is_label("system_u:system_r:container_t:s0"));
        for other in [
            "",
            "none",
            "unconfined",
            "cri-containerd.apparmor.d (enforce)",
            "a:b:c",
            "unknown: ENOENT: /proc/self/attr/current: x",
        ] {
            assert!(!is_label(other), "{other}");
        }
    }

    #[test]
    fn a_level_does_not_depend_on_the_order_of_its_categories() {
        let label = "system_u:system_r:container_engine_t:s0:c5,c6";
        let has = |level| has(label, "container_engine_t", level);
        // As the kernel writes it, and as OpenShift does.
        assert!(has("s0:c5,c6") && has("s0:c6,c5"));
        for other in
            ["", "s0", "s0:c5", "s0:c5,c7", "s0:c5,c6,c7", "s1:c5,c6", "s0:c5,x", "s0:c6.c5"]
        {
            assert!(!has(other), "{other}");
        }
        assert!(!super::has(label, "container_t", "s0:c5,c6"));
        assert!(super::has("u:r:t:s0:c1.c3", "t", "s0:c3,c1,c2"));
        assert!(!super::has("u:r:t", "t", ""));
    }

    #[test]
    fn the_mode_is_reported_by_the_file_or_by_what_is_refused() {
        let unseen = || Reading::Unknown { reason: "ENOENT".into() };
        let refused = |errno| AttemptOutcome::Refused { errno: ErrorName::from_number(errno) };
        let enforces = |mode| match mode {
            Mode::Reported { enforces, .. } => Some(enforces),
            Mode::Unknown(_) => None,
        };
        assert_eq!(enforces(mode(&Reading::Known(true), None)), Some(true));
        assert_eq!(enforces(mode(&Reading::Known(false), Some(&refused(13)))), Some(false));
        assert_eq!(enforces(mode(&unseen(), Some(&refused(13)))), Some(true));
        assert_eq!(enforces(mode(&unseen(), Some(&AttemptOutcome::Allowed))), Some(false));
        // No such type in the policy.
        assert_eq!(enforces(mode(&unseen(), Some(&refused(22)))), None);
        assert_eq!(enforces(mode(&unseen(), None)), None);
    }
}
