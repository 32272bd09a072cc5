//! The event log of a scenario, which tells why a case was red.

use std::{
    fs::{self, File},
    io::Write,
    path::Path,
};

use harness::{Error, Result, verdict::event::Event};

/// A log of events, one per line.
pub(crate) struct EventLog {
    file: File,
}

impl EventLog {
    /// Creates the log `events.jsonl` in a folder.
    pub(crate) fn create(folder: &Path) -> Result<Self> {
        let failed = |error: std::io::Error| {
            Error::infrastructure(format!("failed to write to `{}`: {error}", folder.display()))
        };
        fs::create_dir_all(folder).map_err(failed)?;
        let file = File::create(folder.join("events.jsonl")).map_err(failed)?;
        Ok(Self { file })
    }

    /// Adds an event. The verdicts do not depend on it, so a full disk loses only the log.
    pub(crate) fn append(&mut self, event: &Event) {
        if let Ok(mut line) = serde_json::to_vec(event) {
            line.push(b'\n');
            let _ = self.file.write_all(&line);
        }
    }
}
