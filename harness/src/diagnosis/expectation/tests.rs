use proptest::prelude::*;

use super::*;
use crate::{
    diagnosis::{causes, tests::case},
    facts::{Fact, Release},
    verdict::{Circumstances, Level, Outcome, Place, SignatureId, decide},
};

const CASES: [&str; 4] = ["POD-01", "POD-02", "POD-03", "ISO-04"];

fn parse(text: &str) -> Expectations {
    Expectations::parse("known.yaml", text, &CASES).expect("the file is good")
}

fn refused(text: &str) -> crate::Error {
    Expectations::parse("known.yaml", text, &CASES).expect_err(text)
}

fn openshift() -> Situation {
    Situation {
        flavour: Some(Flavour::OpenShift),
        version: Some("4.20.3".to_owned()),
        today: "2026-11-30".parse().expect("a date"),
    }
}

fn core(id: &str, verdict: Verdict) -> CaseFinished {
    case(id, Level::Core, verdict)
}

fn fail(message: &str) -> Verdict {
    Verdict::fail(message, Some("repair it"))
}

/// A failure of a signature.
fn known(message: &str) -> Verdict {
    let cause = Attribution {
        signature: Some(SignatureId::F14),
        wrong: "SELinux denies pasta".to_owned(),
        place: Place::Node,
        fix: Some("update it".to_owned()),
        ..Attribution::default()
    };
    Verdict::Fail { message: message.to_owned(), hint: None, cause: Some(Box::new(cause)) }
}

/// The cases as a run with the expectations has them.
fn applied(expectations: &Expectations, cases: &[CaseFinished]) -> Vec<CaseFinished> {
    let decide = |case: &CaseFinished| {
        let verdict = expectations.decide(&openshift(), case);
        CaseFinished { verdict, ..case.clone() }
    };
    cases.iter().map(decide).collect()
}

/// State and detail of the only entry.
#[track_caller]
fn became(text: &str, cases: &[CaseFinished]) -> (ExpectationState, String) {
    let expectations = parse(text);
    let cases = applied(&expectations, cases);
    let mut report = expectations.report(&openshift(), &cases, true);
    assert_eq!(report.entries.len(), 1, "{report:?}");
    let entry = report.entries.remove(0);
    (entry.state, entry.detail.unwrap_or_default())
}

#[test]
fn an_expected_failure_is_a_known_issue_with_the_reason_and_its_cause() {
    let expectations = parse("- case: POD-03\n  message: pasta.*denied\n  reason: issue 7\n");
    let failed = core("POD-03", known("`pasta` is denied"));

    let Verdict::KnownIssue { signature, message, cause, expectation } =
        expectations.decide(&openshift(), &failed)
    else {
        panic!("a known issue")
    };

    assert_eq!((signature, message.as_str()), (SignatureId::F14, "`pasta` is denied"));
    let expected =
        Acceptance { verdict: ExpectedVerdict::Fail, reason: "issue 7".to_owned(), line: 1 };
    assert_eq!(expectation.as_deref(), Some(&expected));
    assert!(cause.is_some_and(|cause| cause.wrong == "SELinux denies pasta"));
}

#[test]
fn a_cause_keeps_its_id_when_it_is_expected() {
    let cases = [
        core("POD-01", known("a")),
        core("POD-02", fail("conmon is missing")),
        core("POD-03", Verdict::blocked("no gate", "turn it on")),
    ];
    let before = causes(&cases);
    for cause in &before {
        let verdict = if cause.wrong == "no gate" { "blocked" } else { "fail" };
        let text = format!("- {{cause: {}, verdict: {verdict}, reason: issue 7}}\n", cause.id);
        let expectations = parse(&text);

        let after = applied(&expectations, &cases);

        let changed: Vec<_> =
            after.iter().filter(|it| it.verdict.name() == "known-issue").collect();
        assert_eq!(changed.len(), 1, "{text}");
        assert_eq!(changed[0].id, cause.cases[0]);
        assert_eq!(causes(&after), before);
    }
    let all = applied(&parse("- {cause: F14, reason: x}\n"), &cases);
    assert_eq!(all[0].verdict.name(), "known-issue", "a signature stands for each of its causes");
}

#[test]
fn another_message_verdict_case_or_cause_is_not_expected() {
    for text in [
        "- {case: POD-03, message: ^denied$, reason: x}",
        "- {case: POD-03, verdict: blocked, reason: x}",
        "- {case: POD-01, reason: x}",
        "- {cause: F15, reason: x}",
        "- {cause: F14-00000000, reason: x}",
        "- {cause: C-00000000, reason: x}",
    ] {
        let failed = core("POD-03", known("`pasta` is denied"));
        assert_eq!(parse(text).decide(&openshift(), &failed), failed.verdict, "{text}");
    }
}

#[test]
fn an_error_is_never_expected() {
    let error = core("POD-03", Verdict::Error { message: "the node went away".to_owned() });
    for text in ["- {case: POD-03, reason: x}", "- {case: POD-03, verdict: blocked, reason: x}"] {
        assert_eq!(parse(text).decide(&openshift(), &error), error.verdict);
        let (state, detail) = became(text, std::slice::from_ref(&error));
        assert_eq!((state, &*detail), (ExpectationState::NotChecked, "POD-03 has no verdict"));
    }
    let refused = refused("- case: POD-03\n  verdict: error\n  reason: x\n").to_string();
    assert!(refused.contains("`fail` or `blocked` at line 2"), "{refused}");
}

#[test]
fn an_entry_is_used_up_to_its_last_day_and_on_its_clusters_only() {
    use ExpectationState::{Expired, NotChecked, Used};

    let failed = [core("POD-03", fail("no"))];
    for (bounds, state) in [
        ("until: 2026-11-30", Used),
        ("until: 2026-11-29", Expired),
        ("flavour: openshift", Used),
        ("flavour: kubernetes", NotChecked),
        ("flavour: openshift, versions: '>=4.19 <4.21'", Used),
        ("flavour: openshift, versions: '>=4.21'", NotChecked),
        ("flavour: kubernetes, until: 2020-01-01", NotChecked),
    ] {
        let text = format!("- {{case: POD-03, reason: x, {bounds}}}");
        assert_eq!(became(&text, &failed).0, state, "{bounds}");
        let is_used = parse(&text).decide(&openshift(), &failed[0]) != failed[0].verdict;
        assert_eq!(is_used, state == Used, "{bounds}");
    }
}

#[test]
fn an_unknown_version_is_in_no_range() {
    let unknown = Situation { version: None, ..openshift() };
    let expectations = parse("- {case: POD-03, reason: x, flavour: openshift, versions: '>=4'}");
    let failed = core("POD-03", fail("no"));
    assert_eq!(expectations.decide(&unknown, &failed), failed.verdict);
}

#[test]
fn the_version_is_that_of_the_product() {
    let now = "2026-11-30T23:59:59Z".parse().expect("a time");
    let mut facts = Facts {
        flavour: Fact::known(Flavour::OpenShift, "test"),
        release: Fact::known(Release::parse("4.20.3"), "test"),
        ..Facts::default()
    };
    facts.version.full = "v1.33.5".to_owned();
    assert_eq!(Situation::new(&facts, now), openshift());
    facts.flavour = Fact::known(Flavour::Kubernetes, "test");
    assert_eq!(Situation::new(&facts, now).version.as_deref(), Some("v1.33.5"));
}

#[test]
fn an_entry_that_nothing_needs_is_reported_with_why() {
    use ExpectationState::{NoMatch, NotChecked, Stale};

    let not_applicable = Verdict::NotApplicable { reason: "elsewhere".to_owned() };
    let entry = "- {case: POD-03, message: denied, reason: x}";
    for (verdict, state, why) in [
        (Verdict::Pass, Stale, "POD-03 passes"),
        (Verdict::known_issue(SignatureId::F28, "no"), Stale, "as F28"),
        (fail("refused"), NoMatch, "POD-03 fails with another message"),
        (Verdict::blocked("denied", "ask"), NotChecked, "POD-03 is blocked"),
        (Verdict::Interrupted, NotChecked, "has no verdict"),
        (not_applicable, NotChecked, "POD-03 is not applicable"),
    ] {
        let (became, detail) = became(entry, &[core("POD-03", verdict)]);
        assert_eq!(became, state, "{detail}");
        assert!(detail.contains(why), "{detail}");
    }
    let (state, detail) = became(entry, &[core("POD-01", Verdict::Pass)]);
    assert_eq!((state, &*detail), (NotChecked, "POD-03 was not selected"));
    let blocked = "- {case: POD-03, verdict: blocked, reason: x}";
    let (state, _) = became(blocked, &[core("POD-03", fail("no"))]);
    assert_eq!(state, NoMatch, "it is worse than expected");
}

#[test]
fn a_cause_is_missed_only_where_all_cases_have_a_verdict() {
    use ExpectationState::{NoMatch, NotChecked, Stale, Used};

    let text = "- {cause: F14, message: denied, reason: x}";
    let error = Verdict::Error { message: "lost".to_owned() };
    let passed = core("POD-01", Verdict::Pass);
    assert_eq!(became(text, &[passed.clone(), core("POD-02", known("denied"))]).0, Used);
    assert_eq!(became(text, &[passed.clone(), core("POD-02", known("refused"))]).0, NoMatch);
    assert_eq!(became(text, std::slice::from_ref(&passed)).0, Stale);
    assert_eq!(became(text, &[passed.clone(), core("POD-02", error)]).0, NotChecked);
    let report = parse(text).report(&openshift(), &[passed], false);
    assert_eq!(report.entries[0].state, NotChecked, "a part of the cases");
}

#[test]
fn only_strict_expectations_fail_a_run() {
    let mut expectations = parse("- {case: POD-03, reason: x}");
    let passed = [core("POD-03", Verdict::Pass)];
    assert!(!expectations.report(&openshift(), &passed, true).fails_run());
    expectations.strict = true;
    assert!(expectations.report(&openshift(), &passed, true).fails_run());
    assert!(!expectations.report(&openshift(), &[], true).fails_run(), "it is not stale");
}

#[test]
fn what_cannot_be_understood_is_refused_with_its_line_and_what_is_known() {
    for (text, words, hint) in [
        ("", "known.yaml` have no entry", "nestcheck expect"),
        ("# only a comment\n---\n", "have no entry", "--expect"),
        ("[]\n", "have no entry", "--expect"),
        ("- case: POD-3\n  reason: x\n", "line 1: there is no case `POD-3`", "`POD-03`"),
        ("# a\n\n- reason: x\n  case: NO-1\n", "line 4: there is no case", "nestcheck list"),
        (
            "- cause: F143\n  reason: x\n",
            "line 1: there is no cause `F143`",
            "the nearest id is `F",
        ),
        ("- {cause: C-12, reason: x}\n", "line 1: there is no cause", "C-0123abcd"),
        (
            "- case: POD-03\n  because: x\n",
            "unknown field `because`, expected one of `case`",
            "`until`",
        ),
        ("- case: POD-03\n  verdict: flaky\n", "`fail` or `blocked` at line 2", "verdict"),
        (
            "- case: POD-03\n  reason: x\n  message: '(a'\n",
            "not a regular expression: unclosed",
            "",
        ),
        ("- case: POD-03\n  message: ''\n", "matches every message at line 2", ""),
        ("- case: POD-03\n  until: soon\n", "`soon` is not a date, such as", ""),
        ("- case: POD-03\n  until: 2026-02-30\n", "`2026-02-30` is not a date", ""),
        ("- case: POD-03\n  flavour: okd\n", "`okd` is not a flavour", ""),
        ("- case: POD-03\n  versions: 4.x\n", "`4.x` is not a range of versions", ""),
        ("- case: POD-03\n  versions: >=4.19\n", "block scalar", "into quotes"),
        (
            "- case: POD-03\n  reason: x\n  versions: '4.20'\n",
            "line 3: `versions` need a",
            "openshift",
        ),
        (
            "- case: POD-03\n  cause: F14\n  reason: x\n",
            "line 2: an entry has either",
            "two entries",
        ),
        ("- reason: x\n", "line 1: the entry has neither", "`case` or `cause`"),
        ("- case: POD-03\n", "line 1: the entry has no reason", "URL"),
        ("- case: POD-03\n  reason: ' '\n", "line 2: the entry has no reason", "URL"),
        (
            "- case: POD-03\n  reason: 'todo: ask'\n",
            "line 2: the entry has only a placeholder",
            "URL",
        ),
        ("case: POD-03\nreason: x\n", "invalid type: map, expected a sequence", ""),
        ("- case: POD-03\n  case: POD-01\n", "duplicate", ""),
        (
            "- {case: POD-03, reason: x}\n- {case: pod-03, reason: y}\n",
            "line 2: the entry is the same as that of line 1",
            "remove",
        ),
        (
            "[{case: POD-03, reason: x}, {case: X-1, reason: y}]\n",
            "line 1: there is no case `X-1`",
            "",
        ),
    ] {
        let error = refused(text);
        assert!(error.to_string().contains(words), "{text}: {error}");
        assert!(error.to_string().contains("known.yaml"), "{error}");
        assert!(error.hint().is_some_and(|it| it.contains(hint)), "{text}: {:?}", error.hint());
        assert_eq!(error.kind().exit_code(), 2);
    }
}

#[test]
fn an_expression_that_the_log_would_cut_is_refused() {
    let entry =
        |length| format!("- case: POD-03\n  reason: x\n  message: {}\n", "a".repeat(length));
    assert_eq!(parse(&entry(EXPRESSION_LIMIT)).entries.len(), 1);
    let error = refused(&entry(EXPRESSION_LIMIT + 1)).to_string();
    assert!(error.contains("has 4097 bytes, more than 4096 at line 3"), "{error}");
}

#[test]
fn entries_know_their_lines() {
    let text = "---\n# known\n- case: POD-01\n  reason: |\n    - not an entry\n    - either\n\n-\n  case: \
                POD-02\n  reason: 'a\n    - b'\n- {cause: F14, reason: x}\n";
    let lines: Vec<_> = parse(text).entries.iter().map(|entry| entry.line).collect();
    assert_eq!(lines, [3, 8, 12]);
}

fn verdict() -> impl Strategy<Value = Verdict> {
    let text = || prop::sample::select(vec!["denied", "refused", "pid 7", "pid 8"]);
    let program = || Attribution { signature: Some(SignatureId::F43), ..Attribution::default() };
    prop_oneof![
        3 => Just(Verdict::Pass),
        1 => Just(Verdict::Interrupted),
        3 => text().prop_map(fail),
        2 => text().prop_map(known),
        2 => text().prop_map(|text| Verdict::blocked(text, "ask")),
        1 => text().prop_map(move |text| crate::verdict::Failure::blocked_by(text, program()).into()),
        1 => text().prop_map(|text| Verdict::NotApplicable { reason: text.to_owned() }),
        1 => text().prop_map(|text| Verdict::Error { message: text.to_owned() }),
        1 => text().prop_map(|text| Verdict::known_issue(SignatureId::F28, text)),
    ]
}

fn cases() -> impl Strategy<Value = Vec<CaseFinished>> {
    let level = || prop_oneof![2 => Just(Level::Core), 2 => Just(Level::Extended), 1 => Just(Level::Informing)];
    prop::collection::vec((level(), verdict()), CASES.len()).prop_map(|cases| {
        let cases = CASES.iter().zip(cases);
        cases.map(|(id, (level, verdict))| case(id, level, verdict)).collect()
    })
}

fn entry() -> impl Strategy<Value = String> {
    let subjects = ["case: POD-01", "case: POD-02", "case: ISO-04", "cause: F14", "cause: F43"];
    let bounds = ["", ", until: 2020-01-01", ", flavour: kubernetes", ", flavour: openshift"];
    (
        prop::sample::select(subjects.to_vec()),
        prop::sample::select(vec!["fail", "blocked"]),
        prop::sample::select(vec!["", ", message: denied", ", message: 'pid \\d'"]),
        prop::sample::select(bounds.to_vec()),
    )
        .prop_map(|(subject, verdict, message, bounds)| {
            format!("- {{{subject}, verdict: {verdict}, reason: x{message}{bounds}}}")
        })
}

/// A file of these entries, without those that differ from an earlier one in their last day only.
fn file(entries: impl IntoIterator<Item = String>) -> Expectations {
    let mut seen = std::collections::BTreeSet::new();
    let is_new = |entry: &String| seen.insert(entry.replace(", until: 2020-01-01", ""));
    let entries: Vec<_> = entries.into_iter().filter(is_new).collect();
    parse(&entries.join("\n"))
}

fn outcome_of(cases: &[CaseFinished]) -> Outcome {
    decide(cases.iter().map(|case| (case.level, &case.verdict)), Circumstances::default())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn a_run_is_greener_only_by_failures_that_are_expected(
        cases in cases(),
        entries in prop::collection::btree_set(entry(), 1..6),
    ) {
        let expectations = file(entries);

        let after = applied(&expectations, &cases);

        let mut has_expected_failure = false;
        for (before, after) in cases.iter().zip(&after) {
            match (&before.verdict, &after.verdict) {
                (before, after) if before == after => {}
                (Verdict::Fail { .. }, Verdict::KnownIssue { .. }) => has_expected_failure = true,
                (Verdict::Blocked { .. }, Verdict::KnownIssue { .. }) => {}
                (before, after) => prop_assert!(false, "{before:?} became {after:?}"),
            }
        }
        let (without, with) = (outcome_of(&cases), outcome_of(&after));
        if !has_expected_failure {
            prop_assert_eq!(with, without);
        }
        match without {
            Outcome::NotConformant => {}
            other => prop_assert_eq!(with, other),
        }
        let is_missing = |case: &CaseFinished| {
            case.level == Level::Core && matches!(case.verdict, Verdict::KnownIssue { .. })
        };
        if after.iter().any(is_missing) {
            prop_assert_ne!(with, Outcome::Conformant, "a core case stays partial");
        }
    }

    #[test]
    fn each_entry_is_reported_and_names_the_cases_that_it_changed(
        cases in cases(),
        entries in prop::collection::btree_set(entry(), 1..6),
    ) {
        let expectations = file(entries);
        let after = applied(&expectations, &cases);

        let report = expectations.report(&openshift(), &after, true);

        prop_assert_eq!(report.entries.len(), expectations.entries.len());
        let mut named: Vec<_> = report.entries.iter().flat_map(|it| it.cases.clone()).collect();
        named.sort();
        named.dedup();
        let changed = cases.iter().zip(&after).filter(|(before, after)| before != after);
        let mut changed: Vec<_> = changed.map(|(case, _)| case.id.clone()).collect();
        changed.sort();
        prop_assert_eq!(named, changed);
        for entry in &report.entries {
            prop_assert_eq!(entry.cases.is_empty(), entry.state != ExpectationState::Used);
            prop_assert_eq!(entry.detail.is_none(), entry.state == ExpectationState::Used);
        }
    }

    #[test]
    fn no_text_makes_it_panic(text in "(- |case: |POD-03|reason: x|until: |\n|  |[{}]|'|\\PC){0,12}") {
        let _ = Expectations::parse("known.yaml", &text, &CASES);
    }
}
