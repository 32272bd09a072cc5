//! Whether SELinux confines a pod, by what can be seen from inside.

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
