//! The conformance cases of nestcheck, and its command.
//!
//! A case reads as prose; what it needs to say so is in [`toolbox`].

pub mod catalogue;
pub mod command;
pub mod explanation;
pub mod session;
pub mod signals;
mod suite;
pub mod tap;
pub mod toolbox;

use harness::case::Case;

/// Every case, in the order in which they are listed and begun: the longest first, so that none
/// of them is left alone at the end.
#[must_use]
pub fn cases() -> Vec<Case> {
    let all = [
        suite::upstream::CASES,
        // It waits most of its time for the network plugin.
        suite::podman::policy::CASES,
        // Waiting for the operator is most of them.
        suite::workspace::RUN,
        suite::workspace::CREATE,
        suite::workspace::RESTART,
        suite::workspace::REFUSALS,
        suite::workspace::OPERATOR,
        suite::compose::CASES,
        suite::compose::SOCKET,
        suite::compose::BUILD,
        suite::node_runtimes::CASES,
        suite::volumes::ESCALATION,
        suite::volumes::CLAIMS,
        suite::podman::network::CASES,
        suite::podman::containers::CASES,
        suite::podman::images::CASES,
        suite::podman::volumes::CASES,
        suite::podman::pods::CASES,
        suite::podman::storage::CASES,
        suite::podman::limits::CASES,
        suite::podman::setup::CASES,
        suite::volumes::CASES,
        suite::root::CASES,
        suite::root::ATTACKS,
        suite::identity::CASES,
        suite::identity::ON_THE_NODE,
        suite::isolation::CASES,
        suite::scc::ADMISSION,
        suite::scc::GRANT_REMOVAL,
        suite::scc::PLAIN,
        suite::scc::REFUSALS,
        suite::scc::SHIPPED,
        suite::admission::CASES,
        suite::gate::CASES,
        suite::gate::POD_SECURITY,
        suite::preflight::CASES,
        suite::upgrade::CASES,
        suite::scc::JUDGING,
        suite::gate::JUDGING,
        suite::preflight::JUDGING,
        suite::upgrade::JUDGING,
        suite::teardown::AUDITS,
    ]
    .concat();
    [suite::workspace::nested(&all), &all].concat()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ids_and_names_are_unique() {
        let cases = cases();
        let ids: BTreeSet<_> = cases.iter().map(|case| case.id).collect();
        let paths: BTreeSet<_> = cases.iter().map(Case::path).collect();
        assert_eq!((ids.len(), paths.len()), (cases.len(), cases.len()));
        assert!(cases.len() >= 30, "{} cases", cases.len());
    }

    #[test]
    fn every_case_has_a_sentence_and_an_id_of_its_suite() {
        let prefixes = [
            ("admission", "ADM-"),
            ("compose", "CMP-"),
            ("gate", "GATE-"),
            ("identity", "ID-"),
            ("isolation", "ISO-"),
            ("podman", "POD-"),
            ("preflight", "PRE-"),
            ("root", "ROOT-"),
            ("scc", "SCC-"),
            ("teardown", "END-"),
            ("upgrade", "UPG-"),
            ("upstream", "POD-SYS"),
            ("volumes", "VOL-"),
            ("workspace", "WS-"),
        ];
        for case in cases() {
            assert!(case.title.len() > 20 && !case.title.ends_with('.'), "{case:?}");
            let prefix = prefixes.iter().find(|(suite, _)| *suite == case.suite);
            assert!(prefix.is_some_and(|(_, prefix)| case.id.starts_with(prefix)), "{case:?}");
        }
    }
}
