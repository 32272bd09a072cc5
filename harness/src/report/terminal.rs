//! The run as it goes on, for the person who watches.

mod lines;
mod progress;

use std::{io::Write, mem};

use self::{lines::Paint, progress::Progress};
use super::{model::Summary, shown::shown};
use crate::verdict::event::{Event, EventKind};

/// How the terminal reporter may write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Style {
    /// Colour the words. Nothing depends on it: every line reads the same without.
    pub color: bool,
    /// Show what runs now, in lines that change. Only for a terminal.
    pub progress: bool,
}

/// Tells a run's events as they come, one line each, and what they came to at the end.
///
/// # Caveats
///
/// A write that fails is dropped: the run has to clean the cluster up, whether or not someone
/// reads about it. Progress goes to standard error whatever `out` is.
pub struct Terminal<W: Write> {
    out: W,
    paint: Paint,
    progress: Option<Progress>,
    summary: Summary,
    is_finished: bool,
}

impl<W: Write> Terminal<W> {
    /// A reporter that writes to `out`.
    #[must_use]
    pub fn new(out: W, style: Style) -> Self {
        Self {
            out,
            paint: Paint::new(style.color),
            progress: style.progress.then(Progress::new),
            summary: Summary::default(),
            is_finished: false,
        }
    }

    /// Tells one event.
    pub fn event(&mut self, event: &Event) {
        let shown = shown(&event.event);
        if let Some(progress) = &mut self.progress {
            progress.event(&shown);
        }
        let lines = self.paint.event(&shown);
        self.summary.add(event.at, shown);
        self.write(&lines);
        if matches!(*event.event, EventKind::RunFinished { .. }) {
            self.finish();
        }
    }

    /// Tells what the run came to, if that was not told yet: for a run whose log just ends.
    pub fn finish(&mut self) {
        if self.is_finished {
            return;
        }
        self.is_finished = true;
        self.progress = None;
        let summary = self.paint.summary(&mem::take(&mut self.summary).finish());
        self.write(&summary);
    }

    /// The writer, for who needs it back.
    #[must_use]
    pub fn into_inner(self) -> W {
        self.out
    }

    fn write(&mut self, lines: &str) {
        if lines.is_empty() {
            return;
        }
        let out = &mut self.out;
        let mut write = || {
            let _ = out.write_all(lines.as_bytes()).and_then(|()| out.flush());
        };
        match &self.progress {
            Some(progress) => progress.above(write),
            None => write(),
        }
    }
}
