//! What a disturbed run got wrong. Pure: events in, findings out.

use std::{collections::BTreeMap, fmt};

use harness::verdict::event::{CaseFinished, Event, EventKind};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::fault::{Kind, Struck};
use crate::invariant::{Invariant, Verdicts, Violation, finished};

/// The `--disruption-timeout` of nestcheck: a longer fault may leave cases undecided.
const DISRUPTION_TIMEOUT: SignedDuration = SignedDuration::from_secs(60);

/// How much of a message is printed; the event log has all of it.
const LONGEST_MESSAGE: usize = 300;

/// A difference from the undisturbed run, or another mistake.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Finding {
    pub(crate) what: What,
    pub(crate) case: Option<String>,
    pub(crate) message: String,
    /// The last fault before it.
    pub(crate) fault: Option<Struck>,
}

/// The kinds of findings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum What {
    /// An invariant was violated.
    Violated(Invariant),
    /// A case was not decided.
    Undecided {
        /// Whether that is right, because nestcheck was disturbed too long or twice.
        is_excused: bool,
    },
}

impl Finding {
    /// Whether a run may have it.
    pub(crate) fn is_allowed(&self) -> bool {
        self.what == What::Undecided { is_excused: true }
    }

    pub(crate) fn kind(&self) -> Option<Kind> {
        self.fault.as_ref().map(|fault| fault.kind)
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Violated(invariant) => invariant.name(),
            Self::Undecided { is_excused: true } => "undecided, excused",
            Self::Undecided { is_excused: false } => "undecided",
        })
    }
}

/// The findings in words, those of one cause as one.
pub(crate) fn in_words(findings: &[Finding]) -> Vec<String> {
    let mut cases: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for finding in findings {
        let fault = finding.fault.as_ref().map(Struck::to_string);
        let fault =
            fault.map_or_else(|| "before any fault".to_owned(), |fault| format!("after {fault}"));
        let message: String = finding.message.chars().take(LONGEST_MESSAGE).collect();
        let text = format!("{}, {fault}: {message}", finding.what);
        cases.entry(text).or_default().extend(finding.case.as_deref());
    }
    let in_words = |(text, cases): (String, Vec<&str>)| match cases.as_slice() {
        [] => text,
        cases => format!("{text} ({} cases: {})", cases.len(), cases.join(", ")),
    };
    cases.into_iter().map(in_words).collect()
}

/// Relates violations to the faults before them, and adds the cases that were not decided.
pub(crate) fn findings(
    violations: Vec<Violation>,
    expected: &Verdicts,
    events: &[Event],
    faults: &[Struck],
) -> Vec<Finding> {
    let violated = violations.into_iter().map(|violation| {
        let ended = violation.case.as_deref().and_then(|id| end_of(events, id));
        Finding {
            what: What::Violated(violation.invariant),
            case: violation.case,
            message: violation.what,
            fault: last_before(faults, ended).cloned(),
        }
    });
    let is_undecided = |case: &&CaseFinished| {
        let is_expected = expected.get(&case.id).is_none_or(|verdict| verdict == "error");
        case.verdict.name() == "error" && !is_expected
    };
    let undecided = finished(events).filter(is_undecided).map(|case| {
        let ended = end_of(events, &case.id);
        let message = case.verdict.message().unwrap_or_default();
        Finding {
            what: What::Undecided { is_excused: is_excused(events, &case.id, faults) },
            case: Some(case.id.clone()),
            message: message.to_owned(),
            fault: last_before(faults, ended).cloned(),
        }
    });
    violated.chain(undecided).collect()
}

/// The last fault that began before a moment, or at all.
pub(crate) fn last_before(faults: &[Struck], moment: Option<Timestamp>) -> Option<&Struck> {
    let began = faults.iter().filter(|fault| moment.is_none_or(|moment| fault.begin <= moment));
    began.max_by_key(|fault| fault.begin)
}

/// A case is tried twice: it may be undecided where each attempt met a fault, or one that lasted.
fn is_excused(events: &[Event], id: &str, faults: &[Struck]) -> bool {
    let (Some(begin), Some(end)) = (begin_of(events, id), end_of(events, id)) else { return false };
    let met = faults.iter().filter(|fault| fault.begin <= end && fault.end >= begin);
    let lasted = |fault: &Struck| fault.end.duration_since(fault.begin) > DISRUPTION_TIMEOUT;
    met.clone().count() > 1 || met.clone().any(lasted)
}

/// The cases that ran at a moment.
pub(crate) fn cases_at(events: &[Event], moment: Timestamp) -> Vec<String> {
    let mut cases = Vec::new();
    for event in events.iter().take_while(|event| event.at <= moment) {
        match &*event.event {
            EventKind::CaseStarted { id } => cases.push(id.clone()),
            EventKind::CaseFinished(ended) => cases.retain(|id| *id != ended.id),
            _ => {}
        }
    }
    cases
}

/// When cases were retried.
pub(crate) fn retries(events: &[Event]) -> Vec<Timestamp> {
    let is_retry = |event: &&Event| matches!(*event.event, EventKind::CaseRetried(_));
    events.iter().filter(is_retry).map(|event| event.at).collect()
}

fn begin_of(events: &[Event], case: &str) -> Option<Timestamp> {
    let begins =
        |event: &&Event| matches!(&*event.event, EventKind::CaseStarted { id } if id == case);
    events.iter().find(begins).map(|event| event.at)
}

fn end_of(events: &[Event], case: &str) -> Option<Timestamp> {
    let ends = |event: &&Event| matches!(&*event.event, EventKind::CaseFinished(ended) if ended.id == case);
    events.iter().find(ends).map(|event| event.at)
}

#[cfg(test)]
mod tests {
    use harness::verdict::Verdict;

    use super::*;
    use crate::{invariant::tests::case, node::fault::Part};

    fn at(second: i64, event: Event) -> Event {
        Event { at: Timestamp::from_second(second).expect("a time"), ..event }
    }

    fn started(second: i64, id: &str) -> Event {
        at(second, Event::now(EventKind::CaseStarted { id: id.into() }))
    }

    fn ended(second: i64, id: &str, verdict: Verdict) -> Event {
        at(second, case(id, verdict))
    }

    fn fault(begin: i64, end: i64) -> Struck {
        let time = |second| Timestamp::from_second(second).expect("a time");
        let kind = Kind::Freeze(Part::Kubelet);
        Struck { kind, begin: time(begin), end: time(end), cases: Vec::new() }
    }

    fn undecided(faults: &[Struck]) -> Vec<Finding> {
        let error = Verdict::Error { message: "reset".into() };
        let events = [started(10, "A-1"), started(11, "A-2"), ended(30, "A-1", error)];
        let expected = Verdicts::from([("A-1".into(), "pass".into())]);
        findings(Vec::new(), &expected, &events, faults)
    }

    #[test]
    fn the_cases_that_ran_at_a_moment_are_known() {
        let events = [started(10, "A-1"), started(12, "A-2"), ended(14, "A-1", Verdict::Pass)];
        let cases = |second| cases_at(&events, Timestamp::from_second(second).expect("a time"));

        assert_eq!(cases(9), [""; 0]);
        assert_eq!(cases(13), ["A-1", "A-2"]);
        assert_eq!(cases(15), ["A-2"]);
    }

    #[test]
    fn an_undecided_case_is_no_violation_and_excused_only_after_a_long_fault_or_two() {
        let is_allowed = |faults: &[Struck]| undecided(faults)[0].is_allowed();

        assert_eq!(undecided(&[fault(12, 15)]).len(), 1);
        assert!(!is_allowed(&[fault(12, 15)]));
        assert!(!is_allowed(&[fault(1, 5), fault(12, 15)]), "the first one was over");
        assert!(is_allowed(&[fault(8, 12), fault(14, 15)]));
        assert!(is_allowed(&[fault(12, 73)]));
    }

    #[test]
    fn a_finding_names_the_last_fault_before_the_end_of_its_case() {
        let found = undecided(&[fault(12, 15), fault(20, 21), fault(31, 40)]);

        let begin = found[0].fault.as_ref().expect("a fault").begin;
        assert_eq!(begin.as_second(), 20);
    }

    #[test]
    fn findings_of_one_cause_are_printed_once_with_their_cases() {
        let one = undecided(&[fault(12, 15)]).remove(0);
        let other = Finding { case: Some("A-2".into()), ..one.clone() };

        let printed = in_words(&[one, other]);

        let [line] = printed.as_slice() else { panic!("{printed:?}") };
        assert!(line.starts_with("undecided, after `freeze kubelet` for 3.0 s at "), "{line}");
        assert!(line.ends_with(": reset (2 cases: A-1, A-2)"), "{line}");
    }

    #[test]
    fn a_violation_without_a_case_belongs_to_the_last_fault() {
        let leak = Violation::new(Invariant::Leak, "Namespace n");
        let faults = [fault(12, 15), fault(20, 21)];

        let found = findings(vec![leak], &Verdicts::new(), &[], &faults);

        assert!(!found[0].is_allowed());
        assert_eq!(found[0].fault.as_ref().expect("a fault").begin.as_second(), 20);
    }
}
