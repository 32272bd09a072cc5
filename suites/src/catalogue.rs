//! The page that describes the cases.
//!
//! A case has the id of a check in the fact sheet about nested containers (`docs/`). One check may
//! be several cases: then a letter follows (`POD-12A`). A case that runs inside a workspace has the
//! id of the case that it repeats (`WS-07-POD-03`).

use std::fmt::Write;

use harness::{engine::Case, verdict::Level};

use crate::suite::SUITES;

/// The checks that no case makes, and why.
const LEFT_OUT: &[(&str, &str)] = &[
    (
        "ISO-08",
        "needs nodes that enforce SELinux and a pod with a weaker type than `container_engine_t`, which \
         the run's SCC does not admit; ISO-07 proves the type and that SELinux enforces it",
    ),
    (
        "SCC-02",
        "Che owns its SCC; PRE-08 reports where the SCC contradicts the cluster, and a run with \
         `--as-configured` tests a copy of it",
    ),
    (
        "WS-01",
        "a run does not test Che itself; PRE-08 reports its settings, and a run with \
         `--as-configured` takes them",
    ),
    ("WS-03", "Che owns these roles; WS-10 proves that a grant is required"),
    (
        "WS-11",
        "on OpenShift the SCC limits overrides; on Kubernetes the operator does, and it needs \
         cert-manager",
    ),
    ("WS-13", "a persistent home is Che's; WS-12 shows that files on a PVC outlive a stop"),
    ("WS-14", "Che chooses the storage; WS-05 uses storage that ends with the workspace"),
    ("WS-18", "only Che's operator reverts an SCC"),
    ("WS-19", "only Che has older workspaces; WS-10 proves that the attribute cannot be changed"),
    ("END-04", "a node has 110 ranges, and `ci/chaos` creates thousands of pods on one node"),
    ("END-06", "a run that was cut off can't check itself; `suites/tests` and `ci/chaos` do"),
    ("UPG-05", "WS-06 finds a missing HOST_USERS, and PRE-08 missing fields"),
    ("UPG-06", "both forms of Che's configuration are valid; PRE-08 compares them"),
    ("UPG-07", "an old policy shows in POD-NET-01, and diagnosis F14 names it"),
    ("UPG-08", "`suites/tests` cover old clusters: real ones without gates, and recorded ones"),
    ("UPG-11", "SCC-01 finds fields that differ, and PRE-07 the dropped field"),
    ("UPG-12", "tests of the reports cover ids and the report format"),
];

/// What blocks a case, in words.
#[must_use]
pub fn needs(case: &Case) -> String {
    if case.requires.is_empty() {
        return "nothing".to_owned();
    }
    let needs: Vec<_> = case.requires.iter().map(|requirement| requirement.describe()).collect();
    needs.join("; ")
}

/// The kinds of cluster that a case is about, in words.
#[must_use]
pub fn clusters(case: &Case) -> String {
    case.flavours.iter().map(|flavour| flavour.product()).collect::<Vec<_>>().join(", ")
}

/// A level, in words.
#[must_use]
pub fn level(level: Level) -> String {
    let effect = match level {
        Level::Core => "the run is conformant only if this case passes",
        Level::Extended => "a failure makes the run not conformant; a blocked case does not",
        Level::Informing => "never changes the outcome",
    };
    format!("{}: {effect}", level.name())
}

/// The page about these cases, as Markdown.
#[must_use]
pub fn page(cases: &[Case]) -> String {
    let mut page = String::from(
        "# The cases of nestcheck\n\nPrinted by `nestcheck explain --output markdown`.\n",
    );
    for (suite, about) in SUITES {
        let mut own: Vec<_> = cases.iter().filter(|case| case.suite == suite).collect();
        own.sort_by_key(|case| case.id);
        if !own.is_empty() {
            write_suite(&mut page, suite, about, &own);
        }
    }
    if !LEFT_OUT.is_empty() {
        page.push_str("\n## Checks that no case makes\n\n");
        for (id, reason) in LEFT_OUT {
            let _ = writeln!(page, "- {id}: {reason}");
        }
    }
    page
}

fn write_suite(page: &mut String, suite: &str, about: &str, cases: &[&Case]) {
    // Writing to a string can't fail.
    let _ = write!(page, "\n## {suite}\n\n{about}\n");
    for case in cases {
        let _ = write!(
            page,
            "\n### {}\n\n**{}.** `{}`\n\n{}\n\n- Fix: {}\n- Needs: {}\n- Clusters: {}\n- Level: \
             {}\n",
            case.id,
            case.title,
            case.path(),
            case.why,
            case.fix,
            needs(case),
            clusters(case),
            level(case.level),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_case_makes_a_check_that_is_left_out() {
        // A check may be several cases: then a letter follows.
        let is_of = |case: &Case, id: &str| {
            case.id.strip_prefix(id).is_some_and(|rest| rest.chars().all(char::is_alphabetic))
        };
        for (id, _) in LEFT_OUT {
            let made = crate::cases().into_iter().find(|case| is_of(case, id));
            assert!(made.is_none(), "{id} is left out, and {made:?} makes it");
        }
    }

    #[test]
    fn the_page_has_every_case_once_in_the_section_of_its_suite() {
        let cases = crate::cases();
        let page = page(&cases);
        for case in &cases {
            let heading = format!("\n### {}\n", case.id);
            assert_eq!(page.matches(&heading).count(), 1, "{case:?}");
            let section = page.split("\n## ").find(|section| section.contains(&heading));
            assert!(section.is_some_and(|text| text.starts_with(case.suite)), "{case:?}");
        }
    }
}
