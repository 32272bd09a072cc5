//! The report directory: the event log as it grows, and the reports that are made from it.

use std::{
    fs::{self, DirBuilder, File},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
};

use crate::{
    Error, Result,
    base::private::{make_private, private_file, remove},
    engine::evidence::{self, Collector},
    report::{self, Dialect},
    sandbox::{self, Ledger, OpenRun},
    verdict::event::{EVIDENCE_DIRECTORY, Event, EventKind, read_log},
};

/// The event log's name in the directory.
pub(super) const LOG: &str = "events.jsonl";

/// The ledger's name in the directory.
const LEDGER: &str = "ledger.jsonl";

/// The names of the reports that are made from it.
const REPORTS: [&str; 3] = ["junit.xml", "report.json", "index.html"];

/// A directory in which a report can be made. What an earlier run has written is still there.
#[derive(Debug)]
pub struct PreparedDir {
    path: PathBuf,
    is_new: bool,
}

impl PreparedDir {
    /// Begins a new log. The reports of an earlier run are removed: a run that is killed must not leave
    /// them to be taken for its own.
    ///
    /// # Errors
    ///
    /// A directory that can't be written to.
    pub fn begin(self) -> Result<ReportDir> {
        let Self { path, is_new } = self;
        let cannot = |error: io::Error| cannot_use(&path, &error);
        remove_evidence(&path);
        make_private(&path.join(LEDGER)).map_err(cannot)?;
        // An earlier run's log is replaced, not mixed with.
        let log = private_file(&path.join(LOG)).map_err(cannot)?;
        for name in REPORTS {
            remove(&path.join(name)).map_err(cannot)?;
        }
        Ok(ReportDir { path, is_new, log, broken: None })
    }

    /// Takes the directory away if it was made for the report.
    pub fn discard(self) {
        if self.is_new {
            // If somebody put something into it, it stays.
            let _ = fs::remove_dir(&self.path);
        }
    }

    /// Whether a file is the log or the ledger, which no report may replace. The path is absolute, and that
    /// of its directory has no links.
    #[must_use]
    pub fn has_own(&self, file: &Path) -> bool {
        let directory = fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        [LOG, LEDGER].iter().any(|name| directory.join(name) == file)
    }
}

/// A report directory that is being written. Only its owner can read what is in it.
///
/// A directory that is there already keeps its permissions, which are its owner's business: a CI system
/// may need them. The files in it are private all the same; see [`ReportDir::is_open_to_others`].
#[derive(Debug)]
pub struct ReportDir {
    path: PathBuf,
    /// Whether the directory was made for this report.
    is_new: bool,
    log: File,
    /// The first write that failed: told once at the end, the run goes on without a log.
    broken: Option<io::Error>,
}

impl ReportDir {
    /// Makes the directory, where needed: other files can go into it from then on.
    ///
    /// # Errors
    ///
    /// A directory that can't be made.
    pub fn prepare(path: &Path) -> Result<PreparedDir> {
        let is_new = !path.exists();
        let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.map_err(|error| cannot_use(path, &error))?;
        Ok(PreparedDir { path: path.to_owned(), is_new })
    }

    /// Makes the directory, where needed, and begins a new log in it; see [`PreparedDir::begin`].
    ///
    /// # Errors
    ///
    /// A directory that can't be made or written to.
    pub fn create(path: &Path) -> Result<Self> {
        Self::prepare(path)?.begin()
    }

    /// Takes the log away again, and the directory if it was made for it: nothing ran.
    pub fn discard(self) {
        // What can't be removed is an empty file in a directory of our own: nothing to tell about.
        let _ = remove(&self.path.join(LOG));
        if self.is_new {
            let _ = fs::remove_dir(&self.path);
        }
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether others than the owner can list the directory, or even put something into it.
    #[must_use]
    pub fn is_open_to_others(&self) -> bool {
        fs::metadata(&self.path).is_ok_and(|directory| directory.permissions().mode() & 0o077 != 0)
    }

    /// Where the run writes down what it is about to create.
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        Ledger::at(self.path.join(LEDGER))
    }

    /// Where the evidence of failed cases is collected.
    #[must_use]
    pub fn diagnostics(&self) -> Collector {
        Collector::into_directory(self.path.join(EVIDENCE_DIRECTORY))
    }

    /// Writes an event to the log. It is with the operating system when this returns, so that a
    /// killed run loses nothing.
    pub fn append(&mut self, event: &Event) {
        let line = serde_json::to_vec(event).map_err(io::Error::other);
        let written = line.and_then(|mut line| {
            line.push(b'\n');
            self.log.write_all(&line)
        });
        if let Err(error) = written {
            self.broken.get_or_insert(error);
        }
    }

    /// Makes the reports from the log, JUnit in this dialect.
    ///
    /// # Errors
    ///
    /// A log or a report that could not be written whole.
    pub fn finish(self, dialect: Dialect) -> Result<()> {
        if let Some(error) = self.broken {
            return Err(Error::infrastructure(format!(
                "failed to write the event log in `{}`: {error}",
                self.path.display()
            )));
        }
        self.log.sync_all().map_err(|error| cannot_write(&self.path.join(LOG), &error))?;
        let report = report::summarize(&load(&self.path)?);
        let junit = report::junit(&report, dialect)?;
        let texts = [junit, report::json(&report)?, report::html(&report)];
        for (name, text) in REPORTS.into_iter().zip(texts) {
            let path = self.path.join(name);
            private_file(&path)
                .and_then(|mut file| file.write_all(text.as_bytes()))
                .map_err(|error| cannot_write(&path, &error))?;
        }
        Ok(())
    }
}

/// Reads which runs the ledger of a report directory says are not closed: id, and whether it brought a
/// SCC along.
///
/// # Errors
///
/// A ledger that can't be read; a directory without one has no such runs.
pub fn open_runs(path: &Path) -> Result<Vec<OpenRun>> {
    let ledger = path.join(LEDGER);
    match fs::read_to_string(&ledger) {
        Ok(text) => Ok(sandbox::open_runs(&text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(Error::usage(format!("failed to read `{}`: {error}", ledger.display()))
            .with_hint("give the directory of a run with `--report-dir DIR`")),
    }
}

/// Reads the event log of a report directory.
///
/// # Errors
///
/// A directory without a log, or a log that can't be read.
pub fn load(path: &Path) -> Result<Vec<Event>> {
    let log = path.join(LOG);
    let text = fs::read_to_string(&log).map_err(|error| {
        Error::usage(format!("failed to read `{}`: {error}", log.display()))
            .with_hint("give a directory that `nestcheck run` has written")
    })?;
    read_log(&text).map_err(|error| {
        Error::usage(format!("failed to read `{}`: {error}", log.display()))
            .with_hint("read it with the nestcheck that wrote it, or run again")
    })
}

fn cannot_use(path: &Path, error: &io::Error) -> Error {
    Error::usage(format!("failed to write to report directory `{}`: {error}", path.display()))
        .with_hint("give a directory that you may write to with `--report-dir DIR`")
}

fn cannot_write(path: &Path, error: &io::Error) -> Error {
    Error::infrastructure(format!("failed to write `{}`: {error}", path.display()))
}

/// Removes the evidence that an earlier run has left. What a log does not name that can be read is
/// not known to be ours.
fn remove_evidence(path: &Path) {
    let earlier = fs::read_to_string(path.join(LOG)).ok();
    let earlier = earlier.and_then(|text| read_log(&text).ok()).unwrap_or_default();
    let collected = earlier.iter().filter_map(|event| match &*event.event {
        EventKind::EvidenceCollected(collected) => Some(collected),
        _ => None,
    });
    evidence::remove(path, collected);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_survives_and_the_reports_follow_from_it() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("new/report");
        let mut report = ReportDir::create(&path).expect("the directory can be made");
        report.append(&Event::now(EventKind::Interrupted { signal: 15 }));
        report.finish(Dialect::default()).expect("the reports can be written");
        assert_eq!(load(&path).expect("the log is there").len(), 1);
        for name in [LOG, "junit.xml", "report.json", "index.html"] {
            let mode = fs::metadata(path.join(name)).expect(name).permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
    }

    #[test]
    fn what_was_there_before_is_made_private_or_kept_out() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (path, outside) = (directory.path().join("report"), directory.path().join("outside"));
        fs::create_dir(&path).expect("it can be made");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it is ours");
        for name in [LOG, "junit.xml", LEDGER] {
            fs::write(path.join(name), "").expect("it can be written");
            let open = fs::Permissions::from_mode(0o666);
            fs::set_permissions(path.join(name), open).expect("it is ours");
        }
        std::os::unix::fs::symlink(&outside, path.join("index.html")).expect("a link can be made");
        let report = ReportDir::create(&path).expect("the directory can be used");
        assert!(report.is_open_to_others(), "its permissions are as they were");
        report.finish(Dialect::GitLab).expect("the reports can be written");
        for name in [LOG, LEDGER, "junit.xml", "report.json", "index.html"] {
            let file = fs::symlink_metadata(path.join(name)).expect(name);
            assert!(file.is_file() && file.permissions().mode() & 0o777 == 0o600, "{name}");
        }
        assert!(!outside.exists(), "nothing is written through a link");
    }

    #[test]
    fn a_ledger_that_is_a_link_is_not_written_through() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let outside = directory.path().join("outside");
        fs::write(&outside, "mine").expect("it can be written");
        let path = directory.path().join("report");
        fs::create_dir(&path).expect("it can be made");
        std::os::unix::fs::symlink(&outside, path.join(LEDGER)).expect("a link can be made");
        ReportDir::create(&path).expect("the directory can be used");
        assert!(!path.join(LEDGER).exists());
        assert_eq!(fs::read_to_string(&outside).expect("it is there"), "mine");
    }

    #[test]
    fn a_directory_that_is_a_file_is_refused_by_name() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        let error = ReportDir::create(file.path()).expect_err("it is a file");
        assert!(error.to_string().contains(&file.path().display().to_string()));
        assert_eq!(error.kind().exit_code(), 2);
    }

    #[test]
    fn a_directory_without_a_log_is_refused() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        assert!(load(directory.path()).expect_err("no log").to_string().contains(LOG));
    }
}
