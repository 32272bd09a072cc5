//! The conformance cases of nestcheck, and its command.
//!
//! A case reads as prose; its helpers are in [`steps`].

pub mod catalogue;
pub mod command;
pub mod fixtures;
pub mod session;
pub mod signals;
pub mod steps;
mod suite;
pub mod tap;

use harness::engine::Case;

/// Every case, the longest first.
#[must_use]
pub fn cases() -> Vec<Case> {
    let registered = harness::engine::registered();
    [suite::workspace::nested(&registered), &registered].concat()
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use harness::{
        engine::{CaseKind, Inside},
        facts::requirement::{DefaultStorageClass, NodeAccess},
    };

    use super::*;
    use crate::fixtures::NESTED_POD;

    #[test]
    fn ids_and_names_are_unique() {
        let cases = cases();
        let ids: BTreeSet<_> = cases.iter().map(|case| case.id).collect();
        let paths: BTreeSet<_> = cases.iter().map(Case::path).collect();
        assert_eq!((ids.len(), paths.len()), (cases.len(), cases.len()));
        assert!(cases.len() >= 30, "{} cases", cases.len());
    }

    /// A linker may drop what nothing refers to; the source says what should be there.
    #[test]
    fn every_declared_case_is_registered() {
        let mut directories = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src/suite")];
        let mut declared = 0;
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(directory).expect("the sources are there") {
                let path = entry.expect("it can be read").path();
                if path.is_dir() {
                    directories.push(path);
                } else {
                    let text = fs::read_to_string(path).expect("it can be read");
                    declared += text.matches("\ninventory::submit!(Case {").count();
                }
            }
        }
        assert_eq!(harness::engine::registered().len(), declared);
    }

    #[test]
    fn a_case_that_runs_inside_looks_at_the_nested_pod_alone() {
        let inside: Vec<_> = cases().into_iter().filter(|it| it.inside != Inside::Never).collect();
        assert!(inside.len() >= 50, "{inside:?}");
        for case in inside {
            let pods: Vec<_> = case.pods.iter().map(|template| template.name).collect();
            assert_eq!((pods, case.stand_ins), (vec![NESTED_POD.name], &[][..]), "{case:?}");
            assert!(matches!(case.kind, CaseKind::Live(_)), "{case:?}");
            assert!(
                !case.needs::<DefaultStorageClass>() && !case.needs::<NodeAccess>(),
                "{case:?}"
            );
        }
    }

    #[test]
    fn every_case_has_a_sentence_and_an_id_of_its_suite() {
        let prefixes = [
            ("admission", "ADM-"),
            ("compose", "CMP-"),
            ("gate", "GATE-"),
            ("identity", "ID-"),
            ("isolation", "ISO-"),
            ("nodes", "NODE-"),
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
            assert!(case.why.len() > 60 && case.fix.len() > 20, "{case:?}: why, and the fix?");
            assert!(!case.fix.contains("\n\n"), "{case:?}: the fix is one paragraph");
        }
    }
}
