//! What those who read `JUnit` make of the file, by their own rules.

use std::collections::HashSet;

use harness::{
    report::{Dialect, junit, summarize},
    verdict::{Level, Outcome, Verdict, event::Event},
};

use crate::{
    sample,
    xml::{self, Element},
};

/// What a reader takes a case for.
#[derive(Debug, PartialEq, Eq)]
pub enum Seen {
    Passed,
    Failed,
    Skipped,
    Dropped,
}

pub fn document(events: &[Event], dialect: Dialect) -> Element {
    let text = junit(&summarize(events), dialect).expect("JUnit can be written");
    xml::parse(&text)
}

pub fn cases(document: &Element) -> Vec<&Element> {
    document.walk().into_iter().filter(|element| element.name == "testcase").collect()
}

/// Jenkins' junit-plugin: `CaseResult` looks for an error before it looks for a failure.
pub fn jenkins(case: &Element) -> Seen {
    if case.child("skipped").is_some() {
        Seen::Skipped
    } else if case.child("error").or(case.child("failure")).is_some() {
        Seen::Failed
    } else {
        Seen::Passed
    }
}

/// Sippy: knows `failure` and `skipped` only, drops skipped cases and suites not on its list.
pub fn sippy(suite: &Element, case: &Element) -> Seen {
    let allowed = ["lp-interop--", "lp-chaos--", "lp-ocp-compat--"];
    let name = suite.attribute("name").unwrap_or_default();
    if !allowed.iter().any(|prefix| name.starts_with(prefix)) || case.child("skipped").is_some() {
        Seen::Dropped
    } else if case.child("failure").is_some() {
        Seen::Failed
    } else {
        Seen::Passed
    }
}

fn find<'a>(document: &'a Element, name: &str) -> &'a Element {
    let mut found = cases(document)
        .into_iter()
        .filter(|case| case.attribute("name").is_some_and(|whole| whole.starts_with(name)));
    found.next().expect("the case is there")
}

fn every_run() -> Vec<Vec<Event>> {
    vec![
        sample::every_verdict(),
        sample::conformant(),
        sample::not_conformant(),
        sample::partial(),
        sample::died(),
        Vec::new(),
    ]
}

#[test]
fn jenkins_sees_red_exactly_when_the_run_is_not_conformant() {
    for events in every_run() {
        let document = document(&events, Dialect::Jenkins);
        let is_red = cases(&document).into_iter().any(|case| jenkins(case) == Seen::Failed);
        let outcome = summarize(&events).outcome;
        assert_eq!(is_red, outcome != Some(Outcome::Conformant), "{outcome:?}");
    }
}

#[test]
fn an_informing_failure_does_not_turn_jenkins_red() {
    let id = "END-02";
    let mut events = sample::conformant();
    let end = events.pop().expect("the end of the run");
    let verdict = sample::fail("no", None);
    let informing = sample::finished(id, "end::x", "x", Level::Informing, verdict, 1);
    events.extend(sample::at_fixed_times([informing]));
    events.push(end);
    let jenkins_document = document(&events, Dialect::Jenkins);
    assert!(cases(&jenkins_document).into_iter().all(|case| jenkins(case) != Seen::Failed));
    let openshift = document(&events, Dialect::OpenShift);
    let case = find(&openshift, id);
    assert!(case.child("failure").is_some());
    assert_eq!(case.attribute("lifecycle"), Some("informing"));
}

#[test]
fn jenkins_takes_no_part_of_a_name_for_a_package() {
    let verdict = Verdict::Pass;
    let dotted = sample::finished("A-1", "v4.19::x.y", "x", Level::Core, verdict, 1);
    let document = document(&sample::at_fixed_times([dotted]), Dialect::Jenkins);
    let case = find(&document, "A-1");
    assert_eq!(case.attribute("classname"), Some("nestcheck.v4-19"));
}

#[test]
fn gitlab_finds_each_name_once_and_a_text_in_each_failure() {
    for events in every_run() {
        let document = document(&events, Dialect::GitLab);
        let mut names = HashSet::new();
        for case in cases(&document) {
            assert!(names.insert(case.attribute("name").expect("a name").to_owned()));
            for wrong in case.each("failure").chain(case.each("error")).chain(case.each("skipped"))
            {
                assert!(!wrong.text.trim().is_empty(), "{case:?}");
            }
        }
    }
}

#[test]
fn sippy_takes_nothing_broken_for_a_success() {
    let events = sample::every_verdict();
    let document = document(&events, Dialect::OpenShift);
    for suite in document.each("testsuite") {
        for case in suite.each("testcase") {
            assert!(case.child("error").is_none(), "Sippy does not see errors");
            let seen = sippy(suite, case);
            let verdict = case.walk().into_iter().find(|p| p.attribute("name") == Some("verdict"));
            let expected = match verdict.and_then(|property| property.attribute("value")) {
                Some("pass") => Seen::Passed,
                Some("fail" | "error" | "interrupted") => Seen::Failed,
                Some(_) => Seen::Dropped,
                None => continue,
            };
            assert_eq!(seen, expected, "{case:?}");
        }
    }
    assert!(find(&document, "outcome").child("failure").is_some());
    assert!(find(&document, "teardown").child("failure").is_some());
}

#[test]
fn spyglass_reads_what_decides_from_a_property_and_sippy_from_an_attribute() {
    let document = document(&sample::every_verdict(), Dialect::OpenShift);
    for case in cases(&document) {
        let properties = case.child("properties").expect("properties");
        let lifecycle =
            properties.each("property").find(|p| p.attribute("name") == Some("lifecycle"));
        let value = lifecycle.and_then(|property| property.attribute("value"));
        assert!(matches!(value, Some("blocking" | "informing")), "{case:?}");
        assert_eq!(value, case.attribute("lifecycle"));
    }
}

/// dorny/test-reporter's `java-junit`: no nested suites, numeric times.
#[test]
fn dorny_finds_no_nested_suite_and_a_number_in_each_time() {
    for dialect in Dialect::ALL {
        for events in every_run() {
            let document = document(&events, dialect);
            assert_eq!(document.name, "testsuites");
            for element in document.walk() {
                assert!(element.name != "testsuite" || element.each("testsuite").next().is_none());
                if matches!(element.name.as_str(), "testsuites" | "testsuite" | "testcase") {
                    let time = element.attribute("time").expect("a time");
                    assert!(time.parse::<f64>().expect("a number") >= 0.0);
                }
            }
        }
    }
}

#[test]
fn a_pass_shows_what_proves_it() {
    let document = document(&sample::conformant(), Dialect::Jenkins);
    let output = &find(&document, "POD-03").child("system-out").expect("an output").text;
    assert!(output.contains("ok uid map of the pod: 0 3405774848 65536"), "{output}");
}

#[test]
fn a_partial_run_names_what_blocks_it() {
    let document = document(&sample::partial(), Dialect::Jenkins);
    let failure = find(&document, "outcome").child("failure").expect("a failure");
    assert_eq!(
        failure.attribute("message"),
        Some("partial: 2 core cases blocked: the gate `UserNamespacesSupport` is off")
    );
}

#[test]
fn text_of_any_kind_and_length_is_bounded_and_well_formed() {
    let nasty = "]]> <b>&amp; \u{1b}[31mred\u{1b}[0m \0\u{1}\u{b}\u{7f}\u{85}\u{fffe}\u{ffff}\r\n";
    let huge = nasty.repeat(1024 * 1024 / nasty.len());
    let failure = sample::fail(&huge, Some(&huge));
    let events = sample::at_fixed_times([
        sample::command("X-1", &["sh", "-c", &huge], 1, &huge, &huge),
        sample::broken_check("X-1", &huge, &huge, &huge),
        sample::finished("X-1", "x::y", &huge, Level::Core, failure, 1),
        sample::step(nasty, 1, Some(&huge)),
        sample::run_finished(Outcome::NotConformant, 1),
    ]);
    for dialect in Dialect::ALL {
        let text = junit(&summarize(&events), dialect).expect("JUnit can be written");
        xml::parse(&text);
        assert!(text.len() < 120_000, "{} bytes", text.len());
        assert!(!text.contains('\u{1b}'));
    }
}
