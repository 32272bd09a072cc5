//! An event as reports show it. Its texts are clean already; here they are cut to what a reader
//! reads.

use super::text::{LINE_LIMIT, MESSAGE_LIMIT, NAME_LIMIT, OUTPUT_LIMIT, block, line};
use crate::{
    base::redact::{TextKind, Texts},
    verdict::event::{CommandFinished, EventKind, EvidenceCollected, is_plain},
};

/// Programs get more arguments than a reader reads, as `sh -c` with a script.
const MOST_WORDS: usize = 64;

/// More than any case has.
const MOST_FILES: usize = 100;

/// The event with its texts bounded, and names and lines on one line.
pub(super) fn shown(event: &EventKind) -> EventKind {
    let mut event = event.clone();
    match &mut event {
        EventKind::CommandFinished(command) => cut_command(command),
        EventKind::EvidenceCollected(evidence) => cut_evidence(evidence),
        _ => {}
    }
    event.each(&mut |kind, text| {
        *text = match kind {
            TextKind::Name => line(text, NAME_LIMIT),
            TextKind::Line | TextKind::Argument | TextKind::Secret => line(text, LINE_LIMIT),
            TextKind::Block => block(text, MESSAGE_LIMIT),
            TextKind::Stream => return,
        };
    });
    event
}

fn cut_command(command: &mut CommandFinished) {
    let half = OUTPUT_LIMIT / 2;
    // What one stream leaves unused, the other may use.
    let for_stderr = OUTPUT_LIMIT - command.stdout.len().min(half);
    command.stderr = block(&command.stderr, for_stderr);
    command.stdout = block(&command.stdout, OUTPUT_LIMIT - command.stderr.len());
    if command.command.len() > MOST_WORDS {
        command.command.truncate(MOST_WORDS);
        command.command.push("…".to_owned());
    }
}

/// Leaves out what is not a file of a case's own directory: reports link to it.
fn cut_evidence(evidence: &mut EvidenceCollected) {
    evidence.files.retain(|file| is_plain(&file.name));
    evidence.files.truncate(MOST_FILES);
    evidence.missing.truncate(MOST_FILES);
}
