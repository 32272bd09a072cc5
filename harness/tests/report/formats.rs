//! Every format, as a reader sees it.

use harness::{
    report::{Dialect, Style, Terminal, headline, html, json, junit, markdown, summarize},
    verdict::{
        Cause, ExpectationReport, Outcome, Verdict,
        event::{Event, EventKind, RunStarted},
    },
};

use crate::sample::{self, runs};

fn terminal(events: &[Event], style: Style) -> String {
    let mut terminal = Terminal::new(Vec::new(), style);
    for event in events {
        terminal.event(event);
    }
    terminal.finish();
    String::from_utf8(terminal.into_inner()).expect("text")
}

#[test]
fn a_heartbeat_is_one_line_until_the_end() {
    let events = sample::every_verdict();
    let mut terminal = Terminal::new(Vec::new(), Style::default());
    let (last, others) = events.split_last().expect("events");
    for event in others {
        terminal.event(event);
    }
    terminal.heartbeat(last.at);
    terminal.event(last);
    terminal.heartbeat(last.at);
    let text = String::from_utf8(terminal.into_inner()).expect("text");
    let lines: Vec<_> = text.lines().filter(|line| line.contains("Running ")).collect();
    assert_eq!(lines.len(), 1, "{text}");
    assert!(lines[0].contains(" cases"), "{lines:?}");
}

#[test]
fn junit_dialects() {
    for dialect in Dialect::ALL {
        let report = summarize(&sample::every_verdict());
        let xml = junit(&report, dialect).expect("JUnit can be written");
        insta::assert_snapshot!(format!("junit-{}", dialect.name()), xml);
    }
}

#[test]
fn json_document() {
    let text = json(&summarize(&sample::every_verdict())).expect("JSON can be written");
    insta::assert_snapshot!("json", text);
}

#[test]
fn markdown_summaries() {
    for (name, events) in runs() {
        insta::assert_snapshot!(format!("markdown-{name}"), markdown(&summarize(&events)));
    }
}

#[test]
fn terminal_lines() {
    for (name, events) in runs() {
        insta::assert_snapshot!(format!("terminal-{name}"), terminal(&events, Style::default()));
    }
}

#[test]
fn html_page() {
    for (name, events) in runs() {
        let page = html(&summarize(&events));
        let body = page.split_once("</style>").expect("the page has a style").1;
        // An element a line, for those who review a change.
        insta::assert_snapshot!(format!("html-{name}"), body.replace("><", ">\n<"));
        if let Ok(directory) = std::env::var("NESTCHECK_SAMPLES") {
            std::fs::write(format!("{directory}/{name}.html"), page)
                .expect("the directory is there");
        }
    }
}

#[test]
fn the_causes_of_the_log_are_reported_unless_they_contradict_its_cases() {
    let computed = summarize(&sample::not_conformant()).causes;
    let ids: Vec<_> = computed.iter().map(|cause| cause.id.as_str()).collect();
    assert_eq!(computed.len(), 3, "{ids:?}");
    assert_eq!(computed[1].cases, ["POD-07", "POD-08"], "most core cases first: {ids:?}");
    let with = |causes: Vec<Cause>| {
        let mut events = sample::not_conformant();
        let last = events.pop().expect("the run ends");
        let finished = sample::run_finished_by(Outcome::NotConformant, 1, causes);
        events.push(Event { event: finished.into(), ..last });
        summarize(&events).causes
    };
    let mut recorded = computed.clone();
    recorded[0].wrong = "what the run found".to_owned();

    assert_eq!(with(recorded.clone()), recorded);
    recorded[0].cases.pop();
    assert_eq!(with(recorded), computed);
}

#[test]
fn a_run_without_its_image_says_little_else() {
    let events = sample::without_image();

    let lines = terminal(&events, Style::default());

    insta::assert_snapshot!("terminal-without-image", lines);
    assert!(lines.lines().count() <= 25, "{lines}");
    assert_eq!(lines.matches("localhost/nowhere:1").count(), 3, "at once, and in the cause");
    let report = summarize(&events);
    assert_eq!((report.causes.len(), report.causes[0].cases.len()), (2, 40));
}

#[test]
fn equal_errors_are_one_entry_in_markdown() {
    let page = markdown(&summarize(&sample::without_image()));
    assert_eq!(page.matches("<details>").count(), 1, "{page}");
    assert!(page.contains(" and 39 cases with the same error (POD-02, POD-03, "), "{page}");
    let page = markdown(&summarize(&sample::not_conformant()));
    assert_eq!(page.matches("<details>").count(), 3, "failures are not errors: {page}");
}

#[test]
fn a_case_that_misses_the_image_before_the_shared_pods_do_says_little_else_too() {
    let mut events = sample::without_image();
    let is_broken = |event: &Event| {
        matches!(&*event.event, EventKind::CaseFinished(case)
            if matches!(case.verdict, Verdict::Error { .. }))
    };
    let broken = events.iter().position(is_broken).expect("a case without the image");
    let broken = events.remove(broken);
    events.insert(1, broken);

    let lines = terminal(&events, Style::default());

    assert!(lines.lines().count() <= 25, "{lines}");
}

#[test]
fn a_cause_is_reported_once() {
    let report = sample::not_conformant();
    let fix = "rebuild the image with `setcap";
    assert_eq!(terminal(&report, Style::default()).matches(fix).count(), 1);
    assert_eq!(markdown(&summarize(&report)).matches(fix).count(), 1);
    let page = html(&summarize(&report));
    assert_eq!(page.matches("rebuild the image with").count(), 1);
}

#[test]
fn the_terminal_uses_control_characters_only_when_asked() {
    for (_, events) in runs() {
        let plain = terminal(&events, Style::default());
        assert!(!plain.contains(|c: char| c.is_control() && c != '\n'), "{plain:?}");
        let coloured = terminal(&events, Style { color: true, progress: false });
        assert!(coloured.contains("\u{1b}["));
        assert_eq!(console::strip_ansi_codes(&coloured), plain, "the same words in colour");
    }
}

#[test]
fn progress_leaves_the_lines_alone() {
    let events = sample::every_verdict();
    let with = terminal(&events, Style { color: false, progress: true });
    assert_eq!(with, terminal(&events, Style::default()));
}

#[test]
fn the_page_fetches_nothing_and_runs_nothing() {
    for (_, events) in runs() {
        let page = html(&summarize(&events));
        for forbidden in ["<script", "<img", "<link", "http://", "https://", "@import", "url("] {
            assert!(!page.contains(forbidden), "{forbidden}");
        }
    }
}

#[test]
fn the_page_shows_facts_as_prose() {
    let mut events = sample::every_verdict();
    for event in &mut events {
        if let EventKind::RunStarted(run) = &*event.event {
            let mut run = run.clone();
            for (name, value) in [
                ("storage by", "StorageClass `local`"),
                ("Pod Security gate", "UserNamespacesPodSecurityStandards: observed on (metric)"),
                ("node node", "kubelet v1.32.5"),
                ("node <worker>", "kubelet v1.32.6"),
            ] {
                run.cluster.push((name.to_owned(), value.to_owned()));
            }
            event.event = EventKind::RunStarted(run).into();
        }
    }
    let page = html(&summarize(&events));
    for expected in [
        "<dd>StorageClass <code>local</code></dd>",
        "<dd>User<wbr>Namespaces<wbr>Pod<wbr>Security<wbr>Standards: observed on (metric)</dd>",
        "<dt>node</dt><dd>kubelet v1.32.5</dd>",
        "<dt>node <code>&lt;worker&gt;</code></dt>",
    ] {
        assert!(page.contains(expected), "{expected}");
    }
}

#[test]
fn a_blocked_reason_is_a_headline() {
    let page = html(&summarize(&sample::every_verdict()));
    assert!(page.contains("<h3>The gate <code>User<wbr>Namespaces<wbr>Support</code> is off</h3>"));
}

#[test]
fn a_dialect_is_known_by_its_name() {
    for dialect in Dialect::ALL {
        assert_eq!(dialect.name().parse::<Dialect>().expect("a dialect"), dialect);
    }
    let error = "bamboo".parse::<Dialect>().expect_err("no dialect");
    assert_eq!(error.to_string(), "`bamboo` is not a JUnit dialect");
}

#[test]
fn prow_finds_the_file() {
    let report = summarize(&sample::conformant());
    let name = Dialect::OpenShift.file_name(&report);
    assert_eq!(name, "junit_nestcheck_20261124-093000.xml");
    assert_eq!(Dialect::Jenkins.file_name(&report), "junit.xml");
}

#[test]
fn what_somebody_else_put_into_the_namespace_is_shown_with_the_cluster() {
    let mut events = sample::conformant();
    let last = events.last_mut().expect("an event");
    let EventKind::RunFinished { outcome, duration_ms, .. } = *last.event else {
        panic!("the run has an end")
    };
    let fact = ("quota".to_owned(), "ResourceQuota `compute`: pods 3 of 10".to_owned());
    let (causes, namespace) = (Vec::new(), vec![fact]);
    let expectations = ExpectationReport::default();
    last.event =
        EventKind::RunFinished { outcome, duration_ms, causes, namespace, expectations }.into();

    let report = summarize(&events);

    let junit = junit(&report, Dialect::Jenkins).expect("JUnit can be written");
    let json = json(&report).expect("JSON can be written");
    for text in [html(&report), markdown(&report), terminal(&events, Style::default()), junit, json]
    {
        assert!(text.contains("pods 3 of 10"), "{text}");
    }
    assert_eq!(report.outcome, Some(Outcome::Conformant), "a quota with room changes nothing");
}

#[test]
fn a_part_of_a_profile_is_never_reported_as_the_whole() {
    let mut events = sample::conformant();
    for event in &mut events {
        if let EventKind::RunStarted(run) = &*event.event {
            let run = RunStarted { is_part: true, ..run.clone() };
            event.event = EventKind::RunStarted(run).into();
        }
    }
    let report = summarize(&events);
    assert_eq!(
        headline(&report).to_string(),
        "Conformant as far as asked: the selected cases pass"
    );
    for text in [html(&report), markdown(&report), terminal(&events, Style::default())] {
        assert!(text.contains("the selected cases pass"), "{text}");
        assert!(!text.contains("containers work here"), "{text}");
    }
}
