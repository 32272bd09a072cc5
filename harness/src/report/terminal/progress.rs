//! The lines that show what runs now.

use std::{borrow::Cow, collections::BTreeMap, time::Duration};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::running::Round;
use crate::verdict::event::EventKind;

/// Often enough for a clock of seconds, seldom enough for a slow connection.
const TICK: Duration = Duration::from_millis(200);

/// How many running cases get a line; a terminal is not high.
const MOST_LINES: usize = 12;

/// How far the run is, and one line a running case. Gone when dropped.
pub(super) struct Progress {
    lines: MultiProgress,
    total: ProgressBar,
    round: Round,
    running: BTreeMap<String, ProgressBar>,
}

impl Progress {
    pub(super) fn new() -> Self {
        let lines = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        let total = lines.add(ProgressBar::new(0));
        total.set_style(style("{prefix:>12} [{elapsed_precise}] {bar:24} {pos}/{len} {msg}"));
        total.set_prefix("Running");
        Self { lines, total, round: Round::default(), running: BTreeMap::new() }
    }

    pub(super) fn event(&mut self, iteration: Option<u32>, event: &EventKind) {
        let done = usize::try_from(self.total.position()).unwrap_or(usize::MAX);
        let now = self.round.enter(iteration, done);
        if now != done {
            self.total.set_position(u64::try_from(now).unwrap_or(u64::MAX));
        }
        match event {
            EventKind::RunStarted(run) => {
                self.total.set_length(u64::try_from(run.cases).unwrap_or(u64::MAX));
                self.total.enable_steady_tick(TICK);
            }
            EventKind::CaseStarted { id } => self.start(id),
            EventKind::CaseFinished(case) => {
                if let Some(bar) = self.running.remove(&case.id) {
                    bar.finish_and_clear();
                    self.lines.remove(&bar);
                }
                self.total.inc(1);
            }
            EventKind::Interrupted { .. } => self.total.set_prefix("Stopping"),
            _ => {}
        }
        let hidden = self.running.len().saturating_sub(MOST_LINES);
        let iteration =
            self.round.iteration.map_or_else(String::new, |it| format!("iteration {it} "));
        let message: Cow<'static, str> = match hidden {
            0 => iteration.into(),
            more => format!("{iteration}({more} more run)").into(),
        };
        self.total.set_message(message);
    }

    fn start(&mut self, id: &str) {
        let bar = if self.running.len() < MOST_LINES {
            let bar = self.lines.add(ProgressBar::new_spinner());
            bar.set_style(style("{spinner:>12} [{elapsed_precise}] {msg}"));
            bar.set_message(id.to_owned());
            bar.enable_steady_tick(TICK);
            bar
        } else {
            ProgressBar::hidden()
        };
        if let Some(before) = self.running.insert(id.to_owned(), bar) {
            before.finish_and_clear();
        }
    }

    /// Writes above the lines, which are out of the way meanwhile.
    pub(super) fn above(&self, write: impl FnOnce()) {
        self.lines.suspend(write);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        for bar in self.running.values().chain([&self.total]) {
            bar.finish_and_clear();
        }
        // A terminal that can't be written to needs no clearing.
        let _ = self.lines.clear();
    }
}

/// A style without colour, since indicatif would decide about colour by itself.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("━╸ ")
        .tick_chars("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏ ")
}
