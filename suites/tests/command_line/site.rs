//! The documentation as a site (`ci/docs`): its summary has each page, and no link leads nowhere.

use std::{
    collections::BTreeSet,
    fs,
    path::{Component, Path, PathBuf},
};

/// Where pages for people are. Elsewhere a README describes the files beside it.
const DIRECTORIES: [&str; 8] = [
    "",
    "docs",
    "docs/how-to",
    "ci/kind",
    "ci/local-cluster",
    "ci/microshift",
    "ci/openshift",
    "fixtures/images",
];

const SUMMARY: &str = "docs/SUMMARY.md";

fn of_repository(path: impl AsRef<Path>) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

fn is_page(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|end| end == "md")
}

#[expect(clippy::panic, reason = "a test ends where a page is missing")]
fn read(path: &str) -> String {
    fs::read_to_string(of_repository(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The lines of a page that are text: neither a block of code nor code within a line.
fn prose(page: &str) -> String {
    let mut is_fenced = false;
    let mut prose = String::new();
    for line in page.lines() {
        if line.starts_with("```") {
            is_fenced = !is_fenced;
        } else if !is_fenced && !line.starts_with("    ") {
            // What stands between two backticks is code.
            prose.extend(line.split('`').step_by(2).flat_map(|text| [text, "`"]));
            prose.push('\n');
        }
    }
    prose
}

/// Where the links of a page lead, without those to other sites.
fn links(page: &str) -> Vec<String> {
    let prose = prose(page);
    let links = prose.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0));
    links.filter(|link| !link.contains("://")).map(str::to_owned).collect()
}

/// The anchors of a page: its headings in lower case, with `-` for spaces and without punctuation.
fn anchors(page: &str) -> BTreeSet<String> {
    let headings = page.lines().filter_map(|line| {
        line.trim_start_matches('#').strip_prefix(' ').filter(|_| line.starts_with('#'))
    });
    let anchor = |heading: &str| {
        let kept = heading.chars().filter(|it| it.is_alphanumeric() || " -_".contains(*it));
        kept.map(|it| if it == ' ' { '-' } else { it.to_ascii_lowercase() }).collect()
    };
    headings.map(anchor).collect()
}

/// A path of the repository, from a link on a page.
fn resolve(page: &str, link: &str) -> String {
    let mut parts: Vec<&str> = page.split('/').collect();
    parts.pop();
    for part in Path::new(link).components() {
        match part {
            Component::ParentDir => {
                parts.pop();
            }
            Component::Normal(part) => parts.extend(part.to_str()),
            _ => {}
        }
    }
    parts.join("/")
}

/// The pages in the summary.
fn summary() -> BTreeSet<String> {
    links(&read(SUMMARY)).iter().map(|link| resolve(SUMMARY, link)).collect()
}

/// What is wrong with a link of a page, if anything is.
fn problem(page: &str, link: &str, summary: &BTreeSet<String>) -> Option<&'static str> {
    let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
    let target = if path.is_empty() { page.to_owned() } else { resolve(page, path) };
    if !of_repository(&target).exists() {
        return Some("leads nowhere");
    }
    if !is_page(&target) {
        return None;
    }
    if !summary.contains(&target) {
        return Some("leads to a page that is not in the summary");
    }
    let is_there = anchor.is_empty() || anchors(&read(&target)).contains(anchor);
    (!is_there).then_some("has an anchor that the page does not have")
}

#[test]
fn each_page_is_in_the_summary_of_the_site() {
    let summary = summary();
    let mut pages = 0;
    for directory in DIRECTORIES {
        for entry in fs::read_dir(of_repository(directory)).expect("the directory can be read") {
            let name = entry.expect("it can be read").file_name();
            let name = name.to_str().expect("names are text");
            let page = format!("{directory}/{name}").trim_start_matches('/').to_owned();
            if is_page(name) && page != SUMMARY {
                assert!(summary.contains(&page), "{page} is not in {SUMMARY}");
                pages += 1;
            }
        }
    }
    assert!(pages >= 20, "{pages}");
}

#[test]
fn no_link_of_the_site_is_broken() {
    let summary = summary();
    let mut checked = 0;
    for page in &summary {
        for link in links(&read(page)) {
            checked += 1;
            let problem = problem(page, &link, &summary);
            assert_eq!(problem, None, "{page}: `{link}`");
        }
    }
    assert!(checked >= 100, "{checked}");
}

#[test]
fn a_broken_link_is_found() {
    let page =
        "# A\n[one](b.md#c), ![two](d.png) and `[no](e.md)`\n\n    [no](f.md)\n[x](https://a.b)";
    assert_eq!(links(page), ["b.md#c", "d.png"]);
    let heading = "# A `case`: it's (not) #1\n";
    assert_eq!(anchors(heading), BTreeSet::from(["a-case-its-not-1".to_owned()]));
    let summary = summary();
    let problem = |link| problem("docs/how-to/ci.md", link, &summary);
    assert_eq!(problem("compare-runs.md#what-changed"), None);
    assert_eq!(problem("#prow"), None);
    assert_eq!(problem("../../ci/github/action.yml"), None);
    assert!(problem("compare-runs.md#what-changes").is_some());
    assert!(problem("../how-to.md").is_some());
    assert!(problem("../../fixtures/recordings/scc/README.md").is_some());
}
