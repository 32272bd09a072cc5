//! The results of all trials.

use std::{collections::BTreeMap, fmt};

use serde::Serialize;

use crate::{
    invariant::{Invariant, Violation},
    table,
    trial::{End, Trial},
};

/// The figures of one fault, or of all of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Figures {
    /// Runs that were struck.
    pub(crate) struck: u64,
    /// Runs that ended before the request that was to be struck; nothing is said of their verdicts.
    pub(crate) missed: u64,
    /// Of the struck, runs that were killed.
    pub(crate) kills: u64,
    /// Of these, runs whose first sweep was killed too.
    pub(crate) killed_sweeps: u64,
    /// Of the struck, runs with the same result as without a fault.
    pub(crate) overcome: u64,
    /// Of those, runs whose report shows a retry.
    pub(crate) retries_shown: u64,
    pub(crate) leaks: u64,
    pub(crate) invalid_reports: u64,
    pub(crate) lost_verdicts: u64,
    pub(crate) misjudged: u64,
    pub(crate) wrong_endings: u64,
    pub(crate) longest_run_seconds: f64,
    pub(crate) longest_sweep_seconds: f64,
}

impl Figures {
    fn add(&mut self, trial: &Trial) {
        self.struck += u64::from(trial.is_struck());
        self.missed += u64::from(trial.is_missed());
        self.kills += u64::from(trial.end == End::Killed);
        self.killed_sweeps += u64::from(trial.sweep_was_killed);
        let overcome = trial.is_struck() && trial.end == End::Exited(0);
        self.overcome += u64::from(overcome);
        self.retries_shown += u64::from(overcome && trial.shows_retry);
        let broken = |invariant| {
            let violations = trial.violations.iter();
            violations.map(|violation| u64::from(violation.invariant == invariant)).sum::<u64>()
        };
        self.leaks += broken(Invariant::Leak);
        self.invalid_reports += broken(Invariant::Report);
        self.lost_verdicts += broken(Invariant::Lost);
        self.misjudged += broken(Invariant::Misjudged);
        self.wrong_endings += broken(Invariant::Ending);
        self.longest_run_seconds = self.longest_run_seconds.max(trial.run_seconds);
        let sweep = trial.sweep_seconds.unwrap_or_default();
        self.longest_sweep_seconds = self.longest_sweep_seconds.max(sweep);
    }

    /// Whether every promise was kept.
    pub(crate) fn are_good(&self) -> bool {
        let broken = [
            self.leaks,
            self.invalid_reports,
            self.lost_verdicts,
            self.misjudged,
            self.wrong_endings,
        ];
        broken.iter().all(|count| *count == 0)
    }

    fn row(&self, name: &str) -> [String; COLUMNS] {
        [
            name.to_owned(),
            self.struck.to_string(),
            self.missed.to_string(),
            self.kills.to_string(),
            self.killed_sweeps.to_string(),
            self.overcome.to_string(),
            self.retries_shown.to_string(),
            self.leaks.to_string(),
            self.invalid_reports.to_string(),
            self.lost_verdicts.to_string(),
            self.misjudged.to_string(),
            self.wrong_endings.to_string(),
            format!("{:.1} s", self.longest_run_seconds),
            format!("{:.1} s", self.longest_sweep_seconds),
        ]
    }
}

const COLUMNS: usize = 14;

const HEAD: [&str; COLUMNS] = [
    "fault",
    "struck",
    "missed",
    "kills",
    "killed sweeps",
    "overcome",
    "retry told",
    "leaks",
    "invalid reports",
    "lost verdicts",
    "misjudged",
    "wrong endings",
    "longest run",
    "longest sweep",
];

/// A broken promise, and where.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    /// The run, the fault and the number of the request.
    pub(crate) trial: String,
    /// The request.
    pub(crate) request: Option<String>,
    #[serde(flatten)]
    pub(crate) violation: Violation,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let invariant = self.violation.invariant.name();
        let request = self.request.as_ref().map(|request| format!(" ({request})"));
        let request = request.unwrap_or_default();
        write!(f, "{invariant}: {}{request}: {}", self.trial, self.violation.what)
    }
}

/// The figures of all faults.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Summary {
    pub(crate) all: Figures,
    pub(crate) faults: BTreeMap<String, Figures>,
    pub(crate) violations: Vec<Report>,
}

impl Summary {
    /// Adds a trial and returns its violations.
    pub(crate) fn add(&mut self, trial: &Trial) -> &[Report] {
        let kind = trial.fault.map_or("none", |fault| fault.kind.name());
        self.faults.entry(kind.to_owned()).or_default().add(trial);
        self.all.add(trial);
        let at = trial.fault.map(|fault| format!(" at request {}", fault.at));
        let name = format!("`{}`, {kind}{}", trial.target, at.unwrap_or_default());
        let reports = trial.violations.iter().map(|violation| Report {
            trial: name.clone(),
            request: trial.seen.struck.clone(),
            violation: violation.clone(),
        });
        let before = self.violations.len();
        self.violations.extend(reports);
        &self.violations[before..]
    }

    /// Takes in what belongs to no trial.
    pub(crate) fn add_leak(&mut self, what: String) {
        self.all.leaks += 1;
        let violation = Violation::new(Invariant::Leak, what);
        self.violations.push(Report { trial: "all runs".to_owned(), request: None, violation });
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = self.faults.iter().map(|(name, figures)| figures.row(name));
        let all = self.all.row("all");
        writeln!(f, "{}", table::of_figures(HEAD, rows.chain([all])))
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::{
        fault::{Fault, FaultKind},
        invariant::Verdicts,
        proxy::Seen,
    };

    fn trial(end: End, violations: Vec<Violation>) -> Trial {
        let struck = Some("GET /x".to_owned());
        Trial {
            target: "smoke".into(),
            fault: Some(Fault { kind: FaultKind::Cut, at: 7 }),
            seen: Seen { requests: 7, struck, ..Seen::default() },
            end,
            run: None,
            verdicts: Verdicts::new(),
            shows_retry: false,
            run_seconds: 1.5,
            sweep_was_killed: false,
            sweep_seconds: None,
            violations,
            folder: PathBuf::new(),
        }
    }

    #[test]
    fn the_table_has_a_row_per_fault_and_one_for_all_and_its_figures_line_up() {
        let mut summary = Summary::default();
        summary.add(&trial(End::Exited(0), Vec::new()));
        let table = summary.to_string();
        let lines: Vec<_> = table.lines().collect();
        let [head, cut, all] = lines.as_slice() else { panic!("{table}") };
        assert!(
            head.starts_with("fault  struck  missed  kills  killed sweeps  overcome"),
            "{table}"
        );
        assert!(cut.starts_with("cut         1       0      0 "), "{table}");
        assert!(
            all.starts_with("all         1       0      0 ")
                && all.ends_with("1.5 s          0.0 s")
        );
        assert!(head.len() > 150 && head.len() == cut.len(), "{table}");
    }

    #[test]
    fn a_violated_invariant_is_counted_and_reported_with_its_place() {
        let mut summary = Summary::default();
        assert!(summary.add(&trial(End::Exited(0), Vec::new())).is_empty());
        assert!(summary.all.are_good());
        let leak = Violation::new(Invariant::Leak, "Namespace n");
        let reports = summary.add(&trial(End::Exited(5), vec![leak]));
        let expected = "leak: `smoke`, cut at request 7 (GET /x): Namespace n";
        assert_eq!(reports[0].to_string(), expected);
        assert!(!summary.all.are_good());
        assert_eq!((summary.all.struck, summary.all.overcome, summary.all.leaks), (2, 1, 1));
    }

    #[test]
    fn a_run_that_ended_before_it_was_killed_is_no_kill() {
        let fault = Some(Fault { kind: FaultKind::KillAfter, at: 7 });
        let escaped = Trial { fault, ..trial(End::Exited(0), Vec::new()) };
        assert!(escaped.is_struck() && !escaped.is_hit());
        assert!(Trial { fault, ..trial(End::Killed, Vec::new()) }.is_hit());
        assert!(trial(End::Exited(0), Vec::new()).is_hit(), "a cut does not end a run");
    }

    #[test]
    fn a_run_that_ended_before_its_fault_is_missed() {
        let mut summary = Summary::default();
        let mut missed = trial(End::Exited(1), Vec::new());
        missed.seen.struck = None;
        summary.add(&missed);
        let whole = Trial { fault: None, ..missed };
        summary.add(&whole);
        assert_eq!((summary.all.struck, summary.all.missed), (0, 1));
        assert!(summary.all.are_good());
    }

    #[test]
    fn a_leak_of_no_trial_counts_too() {
        let mut summary = Summary::default();
        summary.add_leak("run x".to_owned());
        assert!(!summary.all.are_good());
    }

    #[test]
    fn the_columns_of_the_table_line_up() {
        let mut summary = Summary::default();
        summary.add(&trial(End::Killed, Vec::new()));
        let table = summary.to_string();
        let lengths: Vec<_> = table.lines().map(str::len).collect();
        assert_eq!(lengths.len(), 3);
        assert!(lengths.iter().all(|length| *length == lengths[0]), "{table}");
    }
}
