//! Compares verdicts with what a scenario expects.

use harness::verdict::Verdict;

use crate::scenario::{Kill, Mutant, Scenario};

/// The verdict of a case.
#[derive(Clone, Debug)]
pub(crate) struct Observed {
    /// The case's id.
    pub(crate) id: String,
    /// Its verdict.
    pub(crate) verdict: Verdict,
}

impl Observed {
    /// Whether the case is red: it failed, or it is blocked, with which no run is green.
    #[must_use]
    pub(crate) fn is_red(&self) -> bool {
        matches!(self.verdict, Verdict::Fail { .. } | Verdict::Blocked { .. })
    }
}

/// How a case and a mutant relate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// The case failed because of this mutant, as it must.
    Killed,
    /// The case is red because it needs what is broken.
    AlsoAffected,
    /// The case is not red.
    Alive,
}

/// The result of a scenario: the marks of its mutants, and its deviations.
#[derive(Clone, Debug, Default)]
pub(crate) struct Evaluation {
    /// For each mutant, in order, its cases with their marks.
    pub(crate) columns: Vec<Vec<(String, Mark)>>,
    /// What differs from the expectation, as sentences.
    pub(crate) deviations: Vec<String>,
}

/// Compares verdicts with the scenario's expectations. `baseline` has the cases that are red
/// without any mutant: they may be red here too, and nothing can kill them.
#[must_use]
pub(crate) fn evaluate(
    scenario: &Scenario,
    observed: &[Observed],
    baseline: &[String],
) -> Evaluation {
    let comparison = Comparison { scenario, baseline };
    let mut evaluation = Evaluation::default();
    for mutant in scenario.mutants {
        evaluation
            .columns
            .push(observed.iter().map(|case| comparison.mark(mutant, case)).collect());
        for kill in mutant.kills {
            let case = observed.iter().find(|case| case.id == kill.0);
            evaluation.deviations.extend(comparison.survival(mutant, *kill, case));
        }
    }
    evaluation.deviations.extend(observed.iter().filter_map(|case| comparison.surprise(case)));
    evaluation
}

/// What verdicts are compared with.
struct Comparison<'a> {
    scenario: &'a Scenario,
    baseline: &'a [String],
}

impl Comparison<'_> {
    fn mark(&self, mutant: &Mutant, case: &Observed) -> (String, Mark) {
        let kill = mutant.kills.iter().find(|kill| kill.0 == case.id);
        let mark = match kill {
            Some(kill) if self.survival(mutant, *kill, Some(case)).is_none() => Mark::Killed,
            None if case.is_red() && self.depends(&case.id) => Mark::AlsoAffected,
            _ => Mark::Alive,
        };
        (case.id.clone(), mark)
    }

    /// Why a mutant did not kill a case; none where it did.
    fn survival(
        &self,
        mutant: &Mutant,
        Kill(id, words): Kill,
        case: Option<&Observed>,
    ) -> Option<String> {
        let name = mutant.name;
        let Some(case) = case else { return Some(format!("{id} did not run with `{name}`")) };
        if self.is_red_without_mutant(id) {
            return Some(format!("{id} is red without `{name}` too: {}", describe(case)));
        }
        let message = reported(&case.verdict);
        let is_killed = match case.verdict {
            Verdict::Fail { .. } => true,
            // A case that was not judged has shown nothing, unless that is all that it can show.
            Verdict::Blocked { .. } => self.scenario.blocked.contains(&id),
            _ => false,
        };
        if !is_killed {
            return Some(format!("{id} survives `{name}`: it is {}", describe(case)));
        }
        (!has(&message, words))
            .then(|| format!("{id} is red with `{name}`, but not with `{words}`: {message}"))
    }

    /// What is wrong with a case that no mutant is to kill.
    fn surprise(&self, case: &Observed) -> Option<String> {
        let id = case.id.as_str();
        let mut mutants = self.scenario.mutants.iter();
        if mutants.any(|mutant| mutant.kills.iter().any(|kill| kill.0 == id)) {
            return None;
        }
        if self.depends(id) {
            return (!case.is_red())
                .then(|| format!("{id} is listed as a dependent, but it is {}", describe(case)));
        }
        let is_unjudged = matches!(case.verdict, Verdict::Error { .. } | Verdict::Interrupted);
        (is_unjudged || (case.is_red() && !self.is_red_without_mutant(id)))
            .then(|| format!("{id} is not a dependent, but it is {}", describe(case)))
    }

    fn depends(&self, id: &str) -> bool {
        self.scenario.also_affected.contains(&id)
    }

    fn is_red_without_mutant(&self, id: &str) -> bool {
        self.baseline.iter().any(|known| known == id)
    }
}

/// The message of a verdict with its hint, which has the cause.
fn reported(verdict: &Verdict) -> String {
    let message = verdict.message().unwrap_or_default();
    match verdict {
        Verdict::Fail { hint: Some(hint), .. } => format!("{message}; {hint}"),
        _ => message.to_owned(),
    }
}

/// Whether a message has words, one after the other.
fn has(message: &str, words: &str) -> bool {
    let mut parts = words.split(" … ");
    parts.try_fold(message, |rest, part| rest.split_once(part).map(|(_, rest)| rest)).is_some()
}

fn describe(case: &Observed) -> String {
    let message = case.verdict.message().map(|message| format!(": {message}"));
    format!("{}{}", case.verdict.name(), message.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCENARIO: Scenario = Scenario {
        name: "test",
        mutants: &[
            Mutant { name: "one", breaks: "One thing", kills: &[Kill("POD-01", "storage")] },
            Mutant { name: "two", breaks: "Another thing", kills: &[Kill("POD-02", "network")] },
        ],
        also_affected: &["POD-03"],
        ..Scenario::NEW
    };

    fn case(id: &str, verdict: Verdict) -> Observed {
        Observed { id: id.to_owned(), verdict }
    }

    fn fail(message: &str) -> Verdict {
        Verdict::fail(message, None)
    }

    fn as_expected() -> Vec<Observed> {
        vec![
            case("POD-01", fail("storage driver: expected overlay")),
            case("POD-02", fail("network backend: expected netavark")),
            case("POD-03", fail("no storage")),
            case("POD-04", Verdict::Pass),
        ]
    }

    #[test]
    fn each_mutant_has_its_own_kills() {
        let evaluation = evaluate(&SCENARIO, &as_expected(), &[]);
        assert_eq!(evaluation.deviations, [""; 0]);
        let marks: Vec<_> = evaluation.columns[0].iter().map(|(_, mark)| *mark).collect();
        assert_eq!(marks, [Mark::Killed, Mark::Alive, Mark::AlsoAffected, Mark::Alive]);
    }

    #[test]
    fn words_are_looked_for_one_after_the_other() {
        let message = "in the pod: expected refused with EPERM, observed allowed";
        assert!(has(message, "expected refused"));
        assert!(has(message, "in the pod: expected … observed allowed"));
        assert!(!has(message, "observed allowed … in the pod"));
        assert!(!has(message, "in the pod … observed refused"));
    }

    #[test]
    fn a_case_that_survives_is_reported() {
        let mut observed = as_expected();
        observed[1].verdict = Verdict::Pass;
        let evaluation = evaluate(&SCENARIO, &observed, &[]);
        assert!(evaluation.deviations[0].contains("POD-02 survives `two`"), "{evaluation:?}");
    }

    fn blocked(reason: &str) -> Verdict {
        Verdict::blocked(reason, "none")
    }

    #[test]
    fn a_case_that_is_blocked_is_killed_only_where_nothing_else_can_be_expected() {
        let mut observed = as_expected();
        observed[0].verdict = blocked("storage is not here");
        let evaluation = evaluate(&SCENARIO, &observed, &[]);
        assert!(
            evaluation.deviations[0].contains("POD-01 survives `one`: it is blocked"),
            "{evaluation:?}"
        );
        assert_eq!(evaluation.columns[0][0].1, Mark::Alive);
        let static_checks = Scenario { blocked: &["POD-01"], ..SCENARIO };
        let evaluation = evaluate(&static_checks, &observed, &[]);
        assert_eq!(evaluation.deviations, [""; 0]);
        assert_eq!(evaluation.columns[0][0].1, Mark::Killed);
    }

    #[test]
    fn a_case_that_is_red_without_the_mutant_is_not_a_kill() {
        let evaluation = evaluate(&SCENARIO, &as_expected(), &["POD-01".to_owned()]);
        assert!(
            evaluation.deviations[0].contains("POD-01 is red without `one` too"),
            "{evaluation:?}"
        );
        assert_eq!(evaluation.columns[0][0].1, Mark::Alive);
    }

    #[test]
    fn a_case_without_a_verdict_is_reported_even_if_it_is_always_red() {
        let mut observed = as_expected();
        for verdict in [Verdict::Error { message: "lost".to_owned() }, Verdict::Interrupted] {
            observed[3].verdict = verdict;
            let evaluation = evaluate(&SCENARIO, &observed, &["POD-04".to_owned()]);
            assert!(evaluation.deviations[0].contains("POD-04"), "{evaluation:?}");
        }
    }

    #[test]
    fn a_case_that_is_red_for_another_reason_is_not_a_kill() {
        let mut observed = as_expected();
        observed[0].verdict = fail("the pod is gone");
        let evaluation = evaluate(&SCENARIO, &observed, &[]);
        assert!(evaluation.deviations[0].contains("not with `storage`"), "{evaluation:?}");
        assert_eq!(evaluation.columns[0][0].1, Mark::Alive);
    }

    #[test]
    fn a_red_case_that_nothing_should_kill_is_reported_unless_it_is_always_red() {
        let mut observed = as_expected();
        observed[3].verdict = fail("no");
        assert!(evaluate(&SCENARIO, &observed, &[]).deviations[0].contains("POD-04"));
        assert_eq!(evaluate(&SCENARIO, &observed, &["POD-04".to_owned()]).deviations, [""; 0]);
    }

    #[test]
    fn a_green_case_that_must_be_also_affected_is_reported() {
        let mut observed = as_expected();
        observed[2].verdict = Verdict::Pass;
        assert!(evaluate(&SCENARIO, &observed, &[]).deviations[0].contains("POD-03"));
    }

    #[test]
    fn a_case_that_did_not_run_is_reported() {
        let evaluation = evaluate(&SCENARIO, &as_expected()[1..], &[]);
        assert!(evaluation.deviations[0].contains("POD-01 did not run"), "{evaluation:?}");
    }
}
