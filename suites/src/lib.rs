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

/// Every case, the longest first.
#[must_use]
pub fn cases() -> Vec<Case> {
    let registered = harness::case::registered();
    [suite::workspace::nested(&registered), &registered].concat()
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use super::*;

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
        let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src/suite")];
        let mut declared = 0;
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).expect("the sources are there") {
                let path = entry.expect("it can be read").path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let text = fs::read_to_string(path).expect("it can be read");
                    declared += text.matches("\ninventory::submit!(Case {").count();
                }
            }
        }
        assert_eq!(harness::case::registered().len(), declared);
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
