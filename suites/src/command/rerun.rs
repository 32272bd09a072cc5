//! Which cases `nestcheck run --rerun` runs.

use std::{collections::BTreeSet, fs, path::Path};

use harness::{
    Error, Result,
    engine::{Case, OfNode, Profile, base_id, plan::Selection},
    report::{cases_to_rerun, input, summarize},
};

/// What did not pass in an earlier run.
#[derive(Debug)]
pub(super) struct Rerun {
    report: String,
    /// The profile of that run, where this nestcheck has it.
    pub(super) profile: Option<Profile>,
    ids: BTreeSet<String>,
}

impl Rerun {
    /// Reads a report, which the new run must not replace: both are needed for a joined one.
    ///
    /// # Errors
    ///
    /// What is not a report, one in which nothing is left to run, and the new run's own directory.
    pub(super) fn read(path: &Path, report_dir: &Path) -> Result<Self> {
        let report = path.display().to_string();
        let real = |path: &Path| fs::canonicalize(path).ok();
        // The log of a directory stands for it.
        let directory = path.parent().filter(|_| path.is_file()).map(|parent| match parent {
            parent if parent.as_os_str().is_empty() => Path::new("."),
            parent => parent,
        });
        if real(directory.unwrap_or(path)).is_some_and(|path| real(report_dir) == Some(path)) {
            return Err(Error::usage(format!("the new report would replace `{report}`"))
                .with_hint("give the new report another directory with `--report-dir DIR`"));
        }
        let earlier = summarize(&input::read(path)?);
        let profile = earlier.run.as_ref().and_then(|run| Profile::parse(&run.profile).ok());
        let ids: BTreeSet<_> = cases_to_rerun(&earlier).into_iter().map(str::to_owned).collect();
        if ids.is_empty() {
            let message =
                format!("no case of `{report}` failed, broke, was interrupted or was blocked");
            return Err(Error::usage(message).with_hint("run all cases without `--rerun`"));
        }
        Ok(Self { report, profile, ids })
    }

    /// The ids of the proofs of nodes among them. Which nodes there are, only the cluster knows.
    pub(super) fn of_nodes(&self) -> BTreeSet<String> {
        self.ids.iter().filter(|id| base_id(id) != id.as_str()).cloned().collect()
    }

    /// Whether the run knew no node to prove: its proof stands for those of all.
    pub(super) fn knew_no_node(&self) -> bool {
        let cases = crate::cases();
        let mut proofs = cases.iter().filter(|case| case.of_node == OfNode::Each);
        proofs.any(|case| self.ids.contains(case.id))
    }

    /// Picks the cases to run, of those that profile, filters and shard select.
    ///
    /// # Errors
    ///
    /// A selection without any of them.
    pub(super) fn pick(&self, cases: Vec<Case>, selection: &Selection) -> Result<Vec<Case>> {
        let cases: Vec<_> = cases.into_iter().filter(|case| self.ids.contains(case.id)).collect();
        if !selection.pick(&cases).is_empty() || !self.of_nodes().is_empty() || self.knew_no_node()
        {
            return Ok(cases);
        }
        let ids: Vec<_> = self.ids.iter().map(String::as_str).collect();
        let message = format!(
            "none of the cases that did not pass in `{}` is selected: {}",
            self.report,
            ids.join(", ")
        );
        Err(Error::usage(message)
            .with_hint("leave out filters, `--shard` and `--profile`, or choose others"))
    }
}

#[cfg(test)]
mod tests {
    use harness::engine::plan::Filters;

    use super::*;

    fn rerun(ids: &[&str]) -> Rerun {
        let ids = ids.iter().map(|id| (*id).to_owned()).collect();
        Rerun { report: "report".to_owned(), profile: None, ids }
    }

    fn selection(filters: &[&str]) -> Selection {
        let filters: Vec<_> = filters.iter().map(|filter| (*filter).to_owned()).collect();
        let filters = Filters::parse(&filters, &crate::cases()).expect("the filters fit");
        Selection { filters, ..Selection::default() }
    }

    #[test]
    fn only_what_did_not_pass_is_run_and_filters_narrow_it() {
        let rerun = rerun(&["POD-03", "CMP-02", "OLD-01"]);
        let pick = |filters: &[&str]| {
            let selection = selection(filters);
            let cases = rerun.pick(crate::cases(), &selection).expect("there are some");
            let mut ids: Vec<_> = selection.pick(&cases).iter().map(|case| case.id).collect();
            ids.sort_unstable();
            ids
        };

        assert_eq!(pick(&[]), ["CMP-02", "POD-03"]);
        assert_eq!(pick(&["podman"]), ["POD-03"]);
        let error = rerun.pick(crate::cases(), &selection(&["identity"])).expect_err("none");
        assert_eq!(error.kind().exit_code(), 2);
        assert!(error.to_string().contains("POD-03"), "{error}");
    }
}
