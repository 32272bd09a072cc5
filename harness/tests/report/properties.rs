//! What holds for any events at all.

use harness::{
    report::{Dialect, Report, Style, Terminal, headline, html, json, junit, markdown, summarize},
    verdict::{
        Acceptance, Attribution, ExpectedVerdict, Level, Outcome, SignatureId, Verdict,
        event::{
            CommandFinished, Event, EventKind, EvidenceCollected, EvidenceFile, StepFinished,
            TruthCheck,
        },
    },
};
use proptest::prelude::*;

use crate::{
    consumers::{Seen, cases, document, jenkins},
    sample,
};

/// Text as pods write it: anything, with what breaks formats more often than chance has it.
fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        3 => "[a-z ]{0,8}",
        1 => any::<char>().prop_map(String::from),
        1 => prop::sample::select(vec![
            "]]>", "<![CDATA[", "<script>", "&", "\"", "'", "`", "```", "|", "\n", "\r", "\t",
            "\u{1b}[31m", "\u{1b}]0;x", "\0", "\u{fffe}", "\u{202e}", "hint:", "conformant:",
        ])
        .prop_map(str::to_owned),
    ];
    prop::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

/// Ids from a small set, so that events meet, and sometimes any text.
fn id() -> impl Strategy<Value = String> {
    prop_oneof![4 => "[AB]-[12]", 1 => text()]
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        3 => Just(Outcome::Conformant),
        1 => Just(Outcome::NotConformant),
        1 => Just(Outcome::Partial),
        1 => Just(Outcome::Error),
        1 => Just(Outcome::Leaked),
        1 => any::<u8>().prop_map(|signal| Outcome::Interrupted { signal }),
    ]
}

fn verdict() -> impl Strategy<Value = Verdict> {
    prop_oneof![
        4 => Just(Verdict::Pass),
        1 => (text(), prop::option::of(text()))
            .prop_map(|(message, hint)| Verdict::Fail { message, hint, cause: None }),
        1 => (text(), text()).prop_map(|(reason, remedy)| Verdict::blocked(reason, remedy)),
        1 => text().prop_map(|reason| Verdict::NotApplicable { reason }),
        1 => text().prop_map(|message| {
            Verdict::known_issue(SignatureId::F28, message)
        }),
        1 => (text(), text(), text()).prop_map(|(message, wrong, reason)| {
            let cause = Attribution { wrong, ..Attribution::default() };
            let verdict = ExpectedVerdict::Fail;
            Verdict::expected(message, cause, Acceptance { verdict, reason, line: 1 })
        }),
        1 => text().prop_map(|message| Verdict::Error { message }),
        1 => Just(Verdict::Interrupted),
    ]
}

fn case() -> impl Strategy<Value = EventKind> {
    let level = prop_oneof![Just(Level::Core), Just(Level::Extended), Just(Level::Informing)];
    (id(), text(), text(), level, verdict(), any::<u64>()).prop_map(
        |(id, name, title, level, verdict, duration_ms)| {
            sample::finished(&id, &name, &title, level, verdict, duration_ms)
        },
    )
}

fn event() -> impl Strategy<Value = EventKind> {
    prop_oneof![
        1 => (0..50_usize).prop_map(sample::run_started),
        1 => (text(), any::<u64>(), prop::option::of(text())).prop_map(
            |(step, duration_ms, failure)| {
                EventKind::StepFinished(StepFinished {
                    step: step.into(), duration_ms, image_id: failure.clone(), failure,
                })
            }
        ),
        2 => id().prop_map(|id| EventKind::CaseStarted { id }),
        2 => (id(), text(), text(), text(), any::<bool>()).prop_map(
            |(id, name, expected, observed, holds)| {
                let check = TruthCheck { name, expected, observed, holds };
                EventKind::TruthChecked { id, check }
            }
        ),
        2 => (id(), text(), prop::collection::vec(text(), 0..3), any::<i32>(), text()).prop_map(
            |(id, pod, command, exit_code, output)| {
                let (stdout, stderr) = (output.clone(), output);
                let duration_ms = 1;
                EventKind::CommandFinished(CommandFinished {
                    id, pod, command, exit_code, duration_ms, stdout, stderr,
                })
            }
        ),
        2 => (id(), text(), prop::collection::vec((text(), any::<usize>()), 0..3), text()).prop_map(
            |(id, directory, files, missing)| {
                let file = |(name, bytes)| EvidenceFile { name, bytes };
                EventKind::EvidenceCollected(EvidenceCollected {
                    id,
                    directory: format!("diagnostics/{directory}"),
                    files: files.into_iter().map(file).collect(),
                    missing: vec![missing],
                    duration_ms: 1,
                })
            }
        ),
        4 => case(),
        1 => any::<u8>().prop_map(|signal| EventKind::Interrupted { signal }),
        1 => (outcome(), any::<u64>())
            .prop_map(|(outcome, duration_ms)| sample::run_finished(outcome, duration_ms)),
    ]
}

fn log() -> impl Strategy<Value = Vec<Event>> {
    prop::collection::vec(event(), 0..12).prop_map(sample::at_fixed_times)
}

fn terminal(events: &[Event]) -> String {
    let mut terminal = Terminal::new(Vec::new(), Style::default());
    for event in events {
        terminal.event(event);
    }
    terminal.finish();
    String::from_utf8(terminal.into_inner()).expect("text")
}

fn says_conformant(events: &[Event]) -> bool {
    let is_it = |event: &Event| {
        matches!(*event.event, EventKind::RunFinished { outcome: Outcome::Conformant, .. })
    };
    events.iter().any(is_it)
}

/// The log up to its end, which is all that a reporter knows when it has to say what a run came to.
fn until_finished(events: &[Event]) -> &[Event] {
    let is_end = |event: &Event| matches!(*event.event, EventKind::RunFinished { .. });
    let end = events.iter().position(is_end).map_or(events.len(), |end| end + 1);
    &events[..end]
}

fn is_contradicted(report: &Report) -> bool {
    report.cases.iter().any(|case| {
        case.case.level != Level::Informing
            && matches!(case.case.verdict, Verdict::Fail { .. } | Verdict::Error { .. })
    })
}

proptest! {
    // A failure found here becomes a test of its own, so no file of seeds is kept.
    #![proptest_config(ProptestConfig {
        cases: 128,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn junit_is_well_formed_and_agrees_with_the_outcome(events in log()) {
        let report = summarize(&events);
        for dialect in Dialect::ALL {
            let text = junit(&report, dialect).expect("JUnit can be written");
            let parsed = quick_junit::Report::deserialize_from_str(&text).expect("JUnit parses");
            prop_assert_eq!(parsed.tests, report.cases.len() + report.steps.len() + 1);
            cases(&document(&events, dialect));
        }
        let document = document(&events, Dialect::Jenkins);
        let has_failure = cases(&document).into_iter().any(|case| jenkins(case) == Seen::Failed);
        if report.outcome != Some(Outcome::Conformant) {
            prop_assert!(has_failure, "red whenever the run is not conformant");
        }
    }

    #[test]
    fn names_are_unique(events in log()) {
        let document = document(&events, Dialect::GitLab);
        let names: Vec<_> = cases(&document).iter().map(|case| case.attribute("name")).collect();
        let distinct: std::collections::HashSet<_> = names.iter().collect();
        prop_assert_eq!(names.len(), distinct.len());
    }

    #[test]
    fn conformant_is_never_shown_unless_the_log_says_so_and_its_cases_agree(events in log()) {
        let report = summarize(&events);
        let known = until_finished(&events);
        if !says_conformant(known) || is_contradicted(&summarize(known)) {
            prop_assert!(!terminal(&events).contains("Outcome Conformant"));
        }
        if !says_conformant(&events) || is_contradicted(&report) {
            prop_assert!(!headline(&report).outcome.starts_with("Conformant"));
            prop_assert!(!html(&report).contains("<title>conformant"));
            prop_assert!(markdown(&report).starts_with("## ❌"));
            let json: serde_json::Value =
                serde_json::from_str(&json(&report).expect("JSON can be written")).expect("JSON");
            prop_assert_ne!(&json["outcome"], "conformant");
            prop_assert_ne!(&json["exit_code"], 0);
        }
    }

    #[test]
    fn pods_steer_neither_the_terminal_nor_the_page(events in log()) {
        let lines = terminal(&events);
        prop_assert!(!lines.contains(|c: char| c.is_control() && !matches!(c, '\n' | '\t')));
        let page = html(&summarize(&events));
        prop_assert!(!page.contains("<script") && !page.contains("<![CDATA["));
        prop_assert_eq!(page.matches("<html").count(), 1);
    }

    #[test]
    fn each_case_is_there_once_whatever_the_log_leaves_out(events in log(), cut in 0..12_usize) {
        let prefix = &events[..cut.min(events.len())];
        let report = summarize(prefix);
        let ids: std::collections::HashSet<_> = report.cases.iter().map(|c| &c.case.id).collect();
        prop_assert_eq!(ids.len(), report.cases.len());
        prop_assert_eq!(report.counts.total(), report.cases.len());
        for case in &report.cases {
            prop_assert!(!case.cut_off || case.case.verdict == Verdict::Interrupted);
        }
    }
}
