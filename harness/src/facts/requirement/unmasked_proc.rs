//! An unmasked /proc.

use super::{
    Decision, Requirement,
    gate::{decide_server_gate, unknown_gate},
};
use crate::{
    base::repair::Repair,
    facts::{Facts, Gate},
};

/// Pods keep `procMount: Unmasked`.
#[derive(Clone, Copy, Debug)]
pub struct UnmaskedProc;

impl UnmaskedProc {
    /// What `nestcheck preflight` calls it.
    pub const TITLE: &str = "unmasked /proc";
}

impl Requirement for UnmaskedProc {
    fn describe(&self) -> String {
        "an unmasked /proc for pods (gate ProcMountType)".to_owned()
    }

    fn decide(&self, facts: &Facts) -> Decision {
        decide_server_gate(facts, Gate::ProcMountType)
    }

    fn repairs(&self, _: &Facts) -> Vec<Repair> {
        vec![Repair::Gates]
    }

    fn unknown(&self, facts: &Facts) -> Option<String> {
        unknown_gate(facts, Gate::ProcMountType).map(str::to_owned)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::*, *};
    use crate::facts::Fact;

    #[test]
    fn what_the_server_does_counts_more_than_what_it_says() {
        let facts = Facts { server_proc_mount_gate: off(), ..able() };
        assert_eq!(UnmaskedProc.decide(&facts), Decision::Met);
        let facts = Facts { keeps_proc_mount: Fact::unknown("403"), ..facts };
        assert!(reason(UnmaskedProc.decide(&facts)).contains("ProcMountType is off"));
    }

    #[test]
    fn the_gate_is_named_with_its_component() {
        let facts = Facts { keeps_proc_mount: off(), ..able() };
        let reported = reason(UnmaskedProc.decide(&facts));
        assert!(reported.contains("ProcMountType is off on the API server"), "{reported}");
    }

    #[test]
    fn nodes_that_could_not_be_read_have_no_say() {
        let facts = Facts { nodes: Fact::unknown("403"), ..able() };
        assert_eq!(UnmaskedProc.unknown(&facts), None);
        let facts = Facts {
            keeps_proc_mount: Fact::unknown("403"),
            server_proc_mount_gate: Fact::unknown("metrics"),
            ..facts
        };
        assert_eq!(UnmaskedProc.unknown(&facts).as_deref(), Some("403"));
    }
}
