//! The run as it goes on, for the person who watches.

mod lines;
mod progress;
mod running;

use std::{collections::HashSet, io::Write, mem};

use jiff::Timestamp;

use self::{lines::Paint, progress::Progress, running::Running};
use super::{causes::lacks_image, model::Summary, shown::shown};
use crate::{
    diagnosis::{self, Diagnosis, Symptom},
    verdict::{
        Attribution, SignatureId, Step, Verdict,
        event::{Event, EventKind, StepFinished},
    },
};

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
    running: Running,
    summary: Summary,
    /// The reasons that were reported already.
    reported: HashSet<String>,
    /// What is not written before a pod is ready. A run that never gets a pod, because its image is
    /// missing, must not hide that between what is well without one.
    held: Option<String>,
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
            running: Running::default(),
            summary: Summary::default(),
            reported: HashSet::new(),
            held: Some(String::new()),
            is_finished: false,
        }
    }

    /// Tells one event.
    pub fn event(&mut self, event: &Event) {
        let shown = shown(&event.event);
        if let Some(progress) = &mut self.progress {
            progress.event(event.iteration, &shown);
        }
        self.running.event(event.at, event.iteration, &shown);
        let is_reported = reason(&shown).is_some_and(|reason| !self.reported.insert(reason));
        let lines = self.paint.event(&shown, event.iteration, is_reported);
        let order = Hold::of(&shown, is_reported);
        self.summary.add(event.at, event.iteration, shown);
        match (&mut self.held, order) {
            (Some(held), Hold::Back) => held.push_str(&lines),
            (Some(_), Hold::Until) if !lines.is_empty() => {
                self.release();
                self.write(&lines);
            }
            _ => self.write(&lines),
        }
        if matches!(*event.event, EventKind::RunFinished { .. }) {
            self.finish();
        }
    }

    /// Tells how far the run is, in one line, where no lines of progress show it: a slow run differs
    /// from one that hangs.
    pub fn heartbeat(&mut self, now: Timestamp) {
        if self.progress.is_none() && !self.is_finished {
            let line = self.paint.running(&self.running.line(now));
            self.write(&line);
        }
    }

    /// Tells how far the run is, and what runs now with its last command.
    pub fn list_running(&mut self, now: Timestamp) {
        if self.is_finished {
            return;
        }
        let mut text = self.paint.running(&self.running.line(now));
        for line in self.running.lines(now) {
            text.push_str(&self.paint.running(&line));
        }
        self.write(&text);
    }

    /// Tells what the run came to, if that was not reported yet: for a run whose log just ends.
    pub fn finish(&mut self) {
        if self.is_finished {
            return;
        }
        self.is_finished = true;
        self.progress = None;
        let report = mem::take(&mut self.summary).finish();
        if !(self.held.is_some() && lacks_image(&report)) {
            self.release();
        }
        let summary = self.paint.summary(&report);
        self.write(&summary);
    }

    /// Writes what was held back, and holds nothing back any more.
    fn release(&mut self) {
        if let Some(held) = self.held.take() {
            self.write(&held);
        }
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

/// What becomes of an event's lines before a pod is ready.
enum Hold {
    /// They are written, and change nothing.
    Not,
    /// They are held back.
    Back,
    /// They are written after what was held back.
    Until,
}

impl Hold {
    fn of(event: &EventKind, is_reported: bool) -> Self {
        match event {
            EventKind::RunStarted(_) | EventKind::RunFinished { .. } => Self::Not,
            EventKind::CaseFinished(case) => match case.verdict {
                Verdict::Pass => Self::Back,
                Verdict::Error { .. } if is_reported => Self::Back,
                // A case that makes a pod of its own may be the first that misses the image.
                Verdict::Error { ref message } if is_missing_image(message) => Self::Not,
                _ => Self::Until,
            },
            EventKind::StepFinished(step) => match (&step.step, &step.failure) {
                (Step::Pod { .. }, None) => Self::Until,
                (Step::Pod { .. }, Some(_)) if !is_reported => Self::Not,
                (Step::Pod { .. }, Some(_)) | (_, None) => Self::Back,
                (_, Some(_)) => Self::Until,
            },
            _ => Self::Until,
        }
    }
}

/// Whether something broke because the nodes can't pull the image.
fn is_missing_image(message: &str) -> bool {
    known(message).is_some_and(|known| known.id == SignatureId::F55)
}

/// Why something failed: what is wrong where that is known, or else the message. A reason that was
/// reported once is not reported again.
fn reason(event: &EventKind) -> Option<String> {
    match event {
        EventKind::StepFinished(StepFinished { failure, .. }) => failure.as_deref().map(of_error),
        EventKind::CaseFinished(case) => match (&case.verdict, case.verdict.cause()) {
            (Verdict::Fail { .. }, Some(Attribution { signature: Some(id), wrong, .. })) => {
                Some(format!("{id}: {wrong}"))
            }
            (Verdict::Fail { message, .. }, _) => Some(message.clone()),
            (Verdict::Error { message }, _) => Some(of_error(message)),
            _ => None,
        },
        _ => None,
    }
}

/// Why something broke: the known failure, or else the message.
fn of_error(message: &str) -> String {
    known(message).map_or_else(|| message.to_owned(), |known| known.to_string())
}

fn known(message: &str) -> Option<Diagnosis> {
    diagnosis::diagnose(Symptom::Error(message), None)
}
