//! Why each case matters and what to do when it fails, in the words of `suites/explanations`.
//!
//! One text serves three readers: `nestcheck explain`, the catalogue page, and whoever looks for a
//! case in the source. The files are Markdown, with a heading for each case; a test below keeps
//! them complete.

use harness::case::Case;

/// The files, in the order of the catalogue page.
const FILES: [&str; 14] = [
    include_str!("../explanations/preflight.md"),
    include_str!("../explanations/gate.md"),
    include_str!("../explanations/admission.md"),
    include_str!("../explanations/scc.md"),
    include_str!("../explanations/identity.md"),
    include_str!("../explanations/isolation.md"),
    include_str!("../explanations/podman.md"),
    include_str!("../explanations/compose.md"),
    include_str!("../explanations/upstream.md"),
    include_str!("../explanations/volumes.md"),
    include_str!("../explanations/root.md"),
    include_str!("../explanations/workspace.md"),
    include_str!("../explanations/teardown.md"),
    include_str!("../explanations/upgrade.md"),
];

/// What begins the paragraph about the cure.
const FIX: &str = "\nFix: ";

/// What is told of a case besides its title.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// Why it matters: Markdown, one paragraph or a few.
    pub why: &'static str,
    /// What to do when it fails: one paragraph.
    pub fix: &'static str,
}

/// A chapter of the catalogue: a suite, and what its cases have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chapter {
    /// The suite's name.
    pub suite: &'static str,
    /// What its cases have in common.
    pub about: &'static str,
    /// The explanations, by the case's id.
    pub cases: Vec<(&'static str, Explanation)>,
}

/// Every chapter, in the order of the catalogue page.
#[must_use]
pub fn chapters() -> Vec<Chapter> {
    FILES.into_iter().filter_map(parse).collect()
}

/// What is told of a case; none if its text is missing, which a test forbids.
#[must_use]
pub fn of(case: &Case) -> Option<Explanation> {
    chapters()
        .into_iter()
        .flat_map(|chapter| chapter.cases)
        .find(|(id, _)| *id == explained_as(case.id))
        .map(|(_, explanation)| explanation)
}

/// The id under which a case is explained: those that are made inside a workspace share a text, as
/// the case of the pod has one of its own.
fn explained_as(id: &str) -> &str {
    if id.starts_with("WS-07-") { "WS-07" } else { id }
}

/// Reads a file: `# SUITE`, what it is about, and for each case `## ID`, why, and `Fix: …`.
fn parse(text: &'static str) -> Option<Chapter> {
    let mut sections = text.split("\n## ");
    let (suite, about) = sections.next()?.strip_prefix("# ")?.split_once('\n')?;
    let cases = sections
        .map(|section| {
            let (id, rest) = section.split_once('\n')?;
            let (why, fix) = rest.split_once(FIX)?;
            Some((id.trim(), Explanation { why: why.trim(), fix: fix.trim() }))
        })
        .collect::<Option<_>>()?;
    Some(Chapter { suite: suite.trim(), about: about.trim(), cases })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_file_can_be_read() {
        for text in FILES {
            let head = text.lines().next().unwrap_or_default();
            let chapter = parse(text).unwrap_or_else(|| panic!("{head}: a section has no `Fix: `"));
            assert!(chapter.about.len() > 20, "{head}: what are its cases about?");
        }
    }

    #[test]
    fn every_case_is_explained_in_its_suites_chapter_and_nothing_else_is() {
        let explained: BTreeSet<_> = chapters()
            .iter()
            .flat_map(|chapter| chapter.cases.iter().map(|(id, _)| (chapter.suite, *id)))
            .collect();
        let cases: BTreeSet<_> =
            crate::cases().iter().map(|case| (case.suite, explained_as(case.id))).collect();
        let missing: Vec<_> = cases.difference(&explained).collect();
        let stray: Vec<_> = explained.difference(&cases).collect();
        assert!(missing.is_empty() && stray.is_empty(), "missing: {missing:?}; stray: {stray:?}");
    }

    #[test]
    fn every_explanation_says_something() {
        for (id, explanation) in chapters().into_iter().flat_map(|chapter| chapter.cases) {
            assert!(explanation.why.len() > 60, "{id}: {}", explanation.why);
            assert!(explanation.fix.len() > 20, "{id}: {}", explanation.fix);
            assert!(!explanation.fix.contains("\n\n"), "{id}: the cure is one paragraph");
        }
    }

    #[test]
    fn a_section_without_a_cure_is_no_chapter() {
        assert_eq!(parse("# podman\n\nAbout.\n\n## POD-01\n\nWhy.\n"), None);
    }
}
