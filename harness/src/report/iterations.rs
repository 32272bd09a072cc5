//! What the iterations of a case came to, in words that reports share.

use std::collections::BTreeSet;

use super::{
    model::{CaseReport, IterationReport, Report},
    text::{counted, names, seconds},
};
use crate::{
    diagnosis,
    verdict::{Cause, Circumstances, Outcome, Verdict, decide, event::CaseFinished},
};

/// How many iterations of a verdict are named.
const MOST_NUMBERS: usize = 10;

/// What the iterations of a case came to, and how long they took: `20 iterations: 3 fail (4, 9, 17), 17
/// pass; 1.200s to 3.400s`, for each report with iterations that was joined. None where the case ran once.
pub(super) fn iterations(case: &CaseReport) -> Option<String> {
    let of_reports = case.iterations.chunk_by(|a, b| a.report == b.report);
    let texts: Vec<_> = of_reports.filter_map(of_report).collect();
    (!texts.is_empty()).then(|| texts.join("; "))
}

/// What the iterations of one report came to.
fn of_report(iterations: &[IterationReport]) -> Option<String> {
    let first = iterations.first()?;
    let mut sorted: Vec<_> = iterations.iter().collect();
    sorted.sort_by_key(|it| (std::cmp::Reverse(it.verdict.badness()), it.number));
    let groups = sorted.chunk_by(|a, b| a.verdict.badness() == b.verdict.badness());
    let is_one = iterations.iter().all(|it| it.verdict.badness() == first.verdict.badness());
    let groups = groups.map(|group| {
        let name = group.first().map_or("", |iteration| iteration.verdict.name());
        if is_one || name == "pass" {
            return format!("{} {name}", group.len());
        }
        let numbers: Vec<_> = group.iter().map(|it| it.number.to_string()).collect();
        let numbers = names(numbers.iter().map(String::as_str), MOST_NUMBERS);
        format!("{} {name} ({numbers})", group.len())
    });
    let groups = groups.collect::<Vec<_>>().join(", ");
    let times = || iterations.iter().filter(|it| it.started.is_some()).map(|it| it.duration_ms);
    let times = times().min().zip(times().max()).map_or_else(String::new, |(short, long)| {
        format!("; {} to {}", seconds(short), seconds(long))
    });
    let place = first.report.as_ref().map(|report| format!(" in `{report}`")).unwrap_or_default();
    Some(format!("{}{place}: {groups}{times}", counted(iterations.len(), "iteration")))
}

/// The causes of all iterations of the cases: the worst iteration of a case need not have that of the
/// others.
pub(super) fn causes_of(cases: &[CaseReport]) -> Vec<Cause> {
    let mut verdicts = Vec::new();
    for case in cases {
        verdicts.push(case.case.clone());
        let others = case.iterations.iter().map(|it| &it.verdict);
        let others = others.filter(|it| **it != Verdict::Pass && **it != case.case.verdict);
        verdicts.extend(others.map(|it| CaseFinished { verdict: it.clone(), ..case.case.clone() }));
    }
    diagnosis::causes(&verdicts)
}

/// What a run came to: the worst of what its iterations came to. The worst verdict of a case need not be the
/// one that makes the worst outcome, for an error is worse than a failure there.
pub(super) fn worst_outcome(cases: &[CaseReport], circumstances: Circumstances) -> Outcome {
    let numbers = cases.iter().flat_map(|case| &case.iterations).map(|it| it.number);
    let numbers: BTreeSet<_> = numbers.collect();
    let outcome_of = |number: u32| {
        let verdicts = cases.iter().filter_map(|case| {
            let mut iterations = case.iterations.iter();
            let verdict = match iterations.len() {
                0 => &case.case.verdict,
                _ => &iterations.find(|it| it.number == number)?.verdict,
            };
            Some((case.case.level, verdict))
        });
        decide(verdicts, circumstances)
    };
    let standing = cases.iter().map(|case| (case.case.level, &case.case.verdict));
    numbers.into_iter().map(outcome_of).fold(decide(standing, circumstances), Outcome::or_worse)
}

/// How often the cases ran, where they ran several times: `20 iterations`, or `7 of 20 iterations`.
pub(super) fn repeated(report: &Report) -> Option<String> {
    let planned = report.run.as_ref()?.repeat? as usize;
    let begun = report.cases.iter().flat_map(|case| &case.iterations);
    let begun = begun.filter(|iteration| iteration.started.is_some()).map(|it| it.number).max();
    let begun = begun.unwrap_or(0) as usize;
    let all = counted(planned, "iteration");
    Some(if begun == planned { all } else { format!("{begun} of {all}") })
}

#[cfg(test)]
mod tests {
    use crate::{
        report::summarize,
        verdict::{
            Level, Verdict,
            event::{CaseFinished, Event, EventKind, RunStarted},
        },
    };

    use super::*;

    fn event(iteration: u32, kind: EventKind) -> Event {
        Event { iteration: Some(iteration), ..Event::now(kind) }
    }

    fn finished(iteration: u32, verdict: Verdict) -> [Event; 2] {
        let case = CaseFinished {
            id: "POD-03".into(),
            name: "podman::runs".into(),
            suite: "podman".into(),
            title: "It runs".into(),
            level: Level::Core,
            verdict,
            duration_ms: 1000 * u64::from(iteration),
        };
        let started = EventKind::CaseStarted { id: "POD-03".into() };
        [event(iteration, started), event(iteration, EventKind::CaseFinished(case))]
    }

    fn report(events: impl IntoIterator<Item = [Event; 2]>) -> Report {
        let run = RunStarted { repeat: Some(4), cases: 1, ..RunStarted::default() };
        let start = Event::now(EventKind::RunStarted(run));
        let events: Vec<_> = [start].into_iter().chain(events.into_iter().flatten()).collect();
        summarize(&events)
    }

    #[test]
    fn a_case_that_passed_at_times_failed_and_says_when() {
        let failed = || Verdict::fail("no", None);
        let report = report([
            finished(1, Verdict::Pass),
            finished(2, failed()),
            finished(3, Verdict::Pass),
            finished(4, failed()),
        ]);
        let [case] = report.cases.as_slice() else { panic!("one case") };
        assert_eq!((case.case.verdict.name(), case.is_flaky()), ("fail", true));
        let text = iterations(case).expect("it ran several times");
        assert_eq!(text, "4 iterations: 2 fail (2, 4), 2 pass; 1.000s to 4.000s");
        assert_eq!(repeated(&report).as_deref(), Some("4 iterations"));
        assert_eq!((report.counts.fail, report.counts.total()), (1, 1));
        assert_eq!(case.typical_ms(), 3000, "of the passes, the median");
    }

    #[test]
    fn a_log_that_ends_in_an_iteration_leaves_that_one_interrupted() {
        let [began, _] = finished(2, Verdict::Pass);
        let report = report([finished(1, Verdict::Pass), [began.clone(), began]]);
        let [case] = report.cases.as_slice() else { panic!("one case") };
        assert_eq!(case.case.verdict, Verdict::Interrupted);
        assert_eq!((case.case.suite.as_str(), case.cut_off), ("podman", true));
        assert_eq!(repeated(&report).as_deref(), Some("2 of 4 iterations"));
    }

    #[test]
    fn what_ran_once_has_no_iterations() {
        let [started, ended] =
            finished(1, Verdict::Pass).map(|event| Event { iteration: None, ..event });
        let report = summarize(&[started, ended]);
        assert_eq!((iterations(&report.cases[0]), repeated(&report)), (None, None));
        assert_eq!(report.cases[0].typical_ms(), 1000);
    }
}
