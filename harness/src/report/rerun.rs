//! Which cases of a run are worth to be run again. Pure.

use std::collections::BTreeSet;

use super::model::Report;
use crate::verdict::Verdict;

/// The ids of the cases that did not pass but may: those that failed, broke, were interrupted or
/// blocked, and those that were planned and never began, where the log knows their ids. A known issue
/// is expected, and a case that is not applicable stays so.
#[must_use]
pub fn cases_to_rerun(report: &Report) -> BTreeSet<&str> {
    let is_open = |verdict: &Verdict| match verdict {
        Verdict::Fail { .. }
        | Verdict::Error { .. }
        | Verdict::Interrupted
        | Verdict::Blocked { .. } => true,
        Verdict::Pass | Verdict::NotApplicable { .. } | Verdict::KnownIssue { .. } => false,
    };
    let cases = report.cases.iter().map(|case| &case.case);
    let open = cases.clone().filter(|case| is_open(&case.verdict)).map(|case| case.id.as_str());
    let seen: BTreeSet<&str> = cases.map(|case| case.id.as_str()).collect();
    let planned = report.run.iter().flat_map(|run| &run.planned).map(String::as_str);
    open.chain(planned.filter(|id| !seen.contains(id))).collect()
}
