//! The names of tests, which must stay for months: dashboards follow a test by its name.

use std::collections::BTreeMap;

use harness::{Error, Result, engine::Case};

/// The first name of each test, by id, as committed.
const FROZEN: &str = include_str!("../../../ote-names.json");

/// The first name of each test, by the id of its case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Frozen(BTreeMap<String, String>);

impl Frozen {
    /// The names of this build.
    pub(super) fn committed() -> Self {
        // A test reads it: the file is part of the source.
        Self::parse(FROZEN).unwrap_or(Self(BTreeMap::new()))
    }

    pub(super) fn parse(text: &str) -> std::result::Result<Self, serde_json::Error> {
        serde_json::from_str(text).map(Self)
    }

    /// The first name of a case, if it has another one today.
    pub(super) fn original_name(&self, case: &Case) -> Option<&str> {
        let first = self.0.get(case.id)?;
        (*first != name(case)).then_some(first.as_str())
    }

    /// These names with those of new cases.
    pub(super) fn updated(&self, cases: &[Case]) -> Result<Self> {
        let lost: Vec<_> = self
            .0
            .iter()
            .filter(|(id, _)| !cases.iter().any(|case| case.id == **id))
            .map(|(id, _)| format!("`{id}`"))
            .collect();
        if !lost.is_empty() {
            return Err(Error::usage(format!("no case has the id {}", lost.join(", ")))
                .with_hint("give the case its id back, or delete the line if the test is gone"));
        }
        let mut names = self.0.clone();
        for case in cases {
            names.entry(case.id.to_owned()).or_insert_with(|| name(case));
        }
        Ok(Self(names))
    }

    /// The text of the file.
    pub(super) fn text(&self) -> String {
        // A map of strings is always JSON.
        serde_json::to_string_pretty(&self.0).unwrap_or_default() + "\n"
    }
}

/// The name of a test: unique, and the same in each build while the case keeps its name.
pub(super) fn name(case: &Case) -> String {
    format!("[sig-node][nestcheck] {} {}", case.id, case.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_has_a_frozen_name_and_every_name_a_case() {
        let frozen = Frozen::parse(FROZEN).expect("the file is JSON");
        let updated = frozen.updated(&crate::cases()).expect("no case is gone");
        assert_eq!(frozen, updated, "run `nestcheck --ote update`");
        assert_eq!(FROZEN, frozen.text(), "run `nestcheck --ote update`");
    }

    #[test]
    fn a_renamed_test_keeps_its_first_name_and_a_lost_one_is_an_error() {
        let cases = crate::cases();
        let case = cases.iter().find(|case| case.id == "POD-03").expect("a case");
        let old = Frozen(BTreeMap::from([("POD-03".to_owned(), "an old name".to_owned())]));
        assert_eq!(old.original_name(case), Some("an old name"));
        let updated = old.updated(&cases).expect("no case is gone");
        assert_eq!(updated.original_name(case), Some("an old name"));
        let lost = Frozen(BTreeMap::from([("POD-99".to_owned(), "gone".to_owned())]));
        let error = lost.updated(&cases).expect_err("a case is gone");
        assert!(error.to_string().contains("POD-99"), "{error}");
    }
}
