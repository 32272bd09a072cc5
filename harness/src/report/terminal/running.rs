//! The cases that run now, for who watches a run without a terminal.

use std::{collections::BTreeMap, fmt::Write as _};

use jiff::{SignedDuration, Timestamp};

use crate::{
    base::text::{bound, one_line},
    report::text::counted,
    verdict::event::EventKind,
};

/// The most that is shown of a command.
const COMMAND_LIMIT: usize = 120;

/// How many running cases are named in one line.
const MOST_NAMES: usize = 4;

/// The iteration that goes on, and how many cases had a verdict before the first one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Round {
    pub(super) iteration: Option<u32>,
    once: usize,
}

impl Round {
    /// How many cases have a verdict in the iteration of an event, of so many before it.
    pub(super) fn enter(&mut self, iteration: Option<u32>, done: usize) -> usize {
        if iteration.is_none() || iteration == self.iteration {
            return done;
        }
        if self.iteration.is_none() {
            self.once = done;
        }
        self.iteration = iteration;
        self.once
    }
}

/// What runs, and how far the run is.
#[derive(Debug, Default)]
pub(super) struct Running {
    planned: usize,
    done: usize,
    /// How often the cases run, where they run several times.
    repeat: Option<u32>,
    round: Round,
    cases: BTreeMap<String, RunningCase>,
}

#[derive(Debug)]
struct RunningCase {
    since: Timestamp,
    /// The command that ended last, and when.
    last_command: Option<(String, Timestamp)>,
}

impl Running {
    pub(super) fn event(&mut self, at: Timestamp, iteration: Option<u32>, event: &EventKind) {
        self.done = self.round.enter(iteration, self.done);
        match event {
            EventKind::RunStarted(run) => (self.planned, self.repeat) = (run.cases, run.repeat),
            EventKind::CaseStarted { id } => {
                let case = RunningCase { since: at, last_command: None };
                self.cases.insert(id.clone(), case);
            }
            EventKind::CommandFinished(command) => {
                if let Some(case) = self.cases.get_mut(&command.id) {
                    let words = one_line(&command.command.join(" "));
                    case.last_command = Some((bound(&words, COMMAND_LIMIT), at));
                }
            }
            EventKind::CaseFinished(case) => {
                self.cases.remove(&case.id);
                self.done += 1;
            }
            _ => {}
        }
    }

    /// One line: how many cases have a verdict, and which run for how long, the longest first.
    pub(super) fn line(&self, now: Timestamp) -> String {
        let mut line = format!("{} of {}", self.done, counted(self.planned, "case"));
        if let (Some(number), Some(all)) = (self.round.iteration, self.repeat) {
            let _ = write!(line, " in iteration {number} of {all}");
        }
        let by_age = self.by_age();
        for (number, (id, case)) in by_age.iter().take(MOST_NAMES).enumerate() {
            let word = if number == 0 { "; running " } else { ", " };
            let _ = write!(line, "{word}{id} for {}", seconds(case.since, now));
        }
        if let Some(more @ 1..) = by_age.len().checked_sub(MOST_NAMES) {
            let _ = write!(line, " and {more} more");
        }
        line
    }

    /// A line a running case, with its last command.
    pub(super) fn lines(&self, now: Timestamp) -> Vec<String> {
        let of_case = |(id, case): (&str, &RunningCase)| {
            let age = seconds(case.since, now);
            match &case.last_command {
                Some((command, ended)) => {
                    let ended = seconds(*ended, now);
                    format!("{id} for {age}; last command: `{command}`, which ended {ended} ago")
                }
                None => format!("{id} for {age}; no command has ended yet"),
            }
        };
        self.by_age().into_iter().map(of_case).collect()
    }

    fn by_age(&self) -> Vec<(&str, &RunningCase)> {
        let mut cases: Vec<_> = self.cases.iter().map(|(id, case)| (id.as_str(), case)).collect();
        cases.sort_by_key(|(_, case)| case.since);
        cases
    }
}

/// How long something takes, in whole seconds; none where the clock was set back.
fn seconds(since: Timestamp, now: Timestamp) -> String {
    let passed = now.duration_since(since).max(SignedDuration::ZERO);
    format!("{} s", passed.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::{
        Level, Verdict,
        event::{CaseFinished, CommandFinished, RunStarted},
    };

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + second).expect("a time")
    }

    fn started(running: &mut Running, second: i64, id: &str) {
        running.event(at(second), None, &EventKind::CaseStarted { id: id.to_owned() });
    }

    fn of_three_cases() -> Running {
        let mut running = Running::default();
        let run = RunStarted {
            run: "abc".to_owned(),
            version: "1".to_owned(),
            profile: "smoke".to_owned(),
            image: "image".to_owned(),
            cases: 3,
            is_part: false,
            profile_cases: None,
            planned: Vec::new(),
            proofs: Vec::new(),
            cluster_id: None,
            repeat: None,
            platform: None,
            cluster: Vec::new(),
        };
        running.event(at(0), None, &EventKind::RunStarted(run));
        started(&mut running, 1, "POD-03");
        started(&mut running, 0, "VOL-04");
        running
    }

    fn finished(id: &str) -> EventKind {
        EventKind::CaseFinished(CaseFinished {
            id: id.to_owned(),
            name: String::new(),
            suite: String::new(),
            title: String::new(),
            level: Level::Core,
            verdict: Verdict::Pass,
            duration_ms: 0,
        })
    }

    #[test]
    fn the_line_has_the_longest_case_first() {
        let mut running = of_three_cases();
        assert_eq!(running.line(at(41)), "0 of 3 cases; running VOL-04 for 41 s, POD-03 for 40 s");
        running.event(at(42), None, &finished("VOL-04"));
        assert_eq!(running.line(at(43)), "1 of 3 cases; running POD-03 for 42 s");
        // A clock that was set back.
        assert_eq!(running.line(at(-5)), "1 of 3 cases; running POD-03 for 0 s");
    }

    #[test]
    fn each_iteration_is_counted_from_its_begin() {
        let mut running = Running::default();
        let run = RunStarted { cases: 3, repeat: Some(20), ..RunStarted::default() };
        running.event(at(0), None, &EventKind::RunStarted(run));
        running.event(at(0), None, &finished("PRE-01"));
        for (number, expected) in [(1, 3), (2, 3)] {
            for id in ["POD-03", "POD-04"] {
                running.event(at(1), Some(number), &finished(id));
            }
            let line = running.line(at(2));
            assert_eq!(line, format!("{expected} of 3 cases in iteration {number} of 20"));
        }
    }

    #[test]
    fn many_cases_are_counted() {
        let mut running = Running::default();
        for number in 0..6 {
            started(&mut running, number, &format!("C-{number}"));
        }
        assert!(running.line(at(9)).ends_with("C-3 for 6 s and 2 more"), "{}", running.line(at(9)));
        assert_eq!(running.lines(at(9)).len(), 6);
    }

    #[test]
    fn each_case_has_its_last_command() {
        let mut running = of_three_cases();
        let command = CommandFinished {
            id: "POD-03".to_owned(),
            pod: "workspace".to_owned(),
            command: vec!["podman".to_owned(), "build\n.".to_owned()],
            exit_code: 0,
            duration_ms: 0,
            stdout: String::new(),
            stderr: String::new(),
        };
        running.event(at(10), None, &EventKind::CommandFinished(command));
        let lines = running.lines(at(12));
        assert_eq!(lines[0], "VOL-04 for 12 s; no command has ended yet");
        assert!(lines[1].starts_with("POD-03 for 11 s; last command: `podman build"), "{lines:?}");
        assert!(lines[1].ends_with("`, which ended 2 s ago"), "{lines:?}");
    }
}
