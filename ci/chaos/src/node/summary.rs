//! The figures of all runs.

use std::{collections::BTreeMap, fmt};

use serde::Serialize;

use super::{
    findings::{What, last_before},
    trial::Trial,
};
use crate::{invariant::Invariant, table};

/// The figures of one kind of fault, or of all of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Figures {
    faults: u64,
    wrong_verdicts: u64,
    undecided: u64,
    /// Of these, cases that met two faults, or one that lasted.
    excused: u64,
    retries: u64,
    leftovers: u64,
    /// Lost verdicts included.
    invalid_reports: u64,
    wrong_endings: u64,
    longest_run_seconds: f64,
}

const COLUMNS: usize = 10;

const HEAD: [&str; COLUMNS] = [
    "fault",
    "faults",
    "wrong verdicts",
    "undecided",
    "excused",
    "retries",
    "leftovers",
    "invalid reports",
    "wrong endings",
    "longest run",
];

impl Figures {
    fn add(&mut self, what: What) {
        let counter = match what {
            What::Violated(Invariant::Misjudged) => &mut self.wrong_verdicts,
            What::Violated(Invariant::Leak) => &mut self.leftovers,
            What::Violated(Invariant::Report | Invariant::Lost) => &mut self.invalid_reports,
            What::Violated(Invariant::Ending) => &mut self.wrong_endings,
            What::Undecided { is_excused } => {
                self.excused += u64::from(is_excused);
                &mut self.undecided
            }
        };
        *counter += 1;
    }

    fn row(&self, name: &str) -> [String; COLUMNS] {
        [
            name.to_owned(),
            self.faults.to_string(),
            self.wrong_verdicts.to_string(),
            self.undecided.to_string(),
            self.excused.to_string(),
            self.retries.to_string(),
            self.leftovers.to_string(),
            self.invalid_reports.to_string(),
            self.wrong_endings.to_string(),
            format!("{:.0} s", self.longest_run_seconds),
        ]
    }
}

/// The figures by fault.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Summary {
    all: Figures,
    faults: BTreeMap<String, Figures>,
    #[serde(skip)]
    is_violated: bool,
}

impl Summary {
    /// Adds a run. What it shows is counted with the last fault before.
    pub(crate) fn add(&mut self, trial: &Trial) {
        for fault in &trial.faults {
            self.count(Some(fault.kind.to_string()), |figures| {
                figures.faults += 1;
                figures.longest_run_seconds = figures.longest_run_seconds.max(trial.run_seconds);
            });
        }
        for retried in &trial.retries {
            let fault = last_before(&trial.faults, Some(*retried));
            let name = fault.map(|fault| fault.kind.to_string());
            self.count(name, |figures| figures.retries += 1);
        }
        for finding in &trial.findings {
            let name = finding.kind().map(|kind| kind.to_string());
            self.count(name, |figures| figures.add(finding.what));
            self.is_violated |= !finding.is_allowed();
        }
    }

    fn count(&mut self, name: Option<String>, add: impl Fn(&mut Figures)) {
        add(&mut self.all);
        add(self.faults.entry(name.unwrap_or_else(|| "before any".to_owned())).or_default());
    }

    /// Whether every invariant held.
    pub(crate) fn is_good(&self) -> bool {
        !self.is_violated
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
    use jiff::Timestamp;

    use super::*;
    use crate::{
        node::{
            fault::{Kind, Part, Struck},
            findings::Finding,
        },
        trial::End,
    };

    fn trial(what: Option<What>) -> Trial {
        let time = |second| Timestamp::from_second(second).expect("a time");
        let kind = Kind::Kill(Part::Etcd);
        let fault = Struck { kind, begin: time(1), end: time(2), cases: Vec::new() };
        let finding = what.map(|what| Finding {
            what,
            case: None,
            message: String::new(),
            fault: Some(fault.clone()),
        });
        Trial {
            end: End::Exited(0),
            faults: vec![fault],
            findings: finding.into_iter().collect(),
            retries: vec![time(0), time(3)],
            run_seconds: 70.0,
        }
    }

    #[test]
    fn the_table_has_a_row_per_fault_and_one_for_all() {
        let mut summary = Summary::default();
        summary.add(&trial(None));

        let table = summary.to_string();
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let lines: Vec<_> = table.lines().map(words).collect();
        assert_eq!(lines[1][..7], ["before", "any", "0", "0", "0", "0", "1"], "{table}");
        let expected = ["kill", "etcd", "1", "0", "0", "0", "1", "0", "0", "0", "70", "s"];
        assert_eq!(lines[2], expected);
        assert_eq!(lines[3][..6], ["all", "1", "0", "0", "0", "2"], "{table}");
        assert!(summary.is_good());
    }

    #[test]
    fn only_an_excused_undecided_case_is_good() {
        let is_good = |what| {
            let mut summary = Summary::default();
            summary.add(&trial(Some(what)));
            summary.is_good()
        };

        assert!(is_good(What::Undecided { is_excused: true }));
        assert!(!is_good(What::Undecided { is_excused: false }));
        assert!(!is_good(What::Violated(Invariant::Misjudged)));
    }
}
