//! How a report leaves the machine or the pod in which the run was.

use std::{
    fs::OpenOptions,
    io::{self, Write},
    path::{Path, PathBuf},
};

use data_encoding::BASE64;
use harness::{
    Error, Result,
    base::text::bound,
    cluster::is_in_pod,
    report::{ARCHIVE_LINE as LINE, directory, headline, summarize, write_archive},
};

use super::new_file::NewFile;

/// How many bytes of an archive are in one line of a log: CRI-O and containerd split lines of more
/// than 16 KiB.
const LINE_BYTES: usize = 6 * 1024;

/// Where a pod says in one line how it ended, for `kubectl describe`.
const TERMINATION_LOG: &str = "/dev/termination-log";

/// The most that Kubernetes keeps of it, in bytes.
const TERMINATION_LIMIT: usize = 4096;

/// Where the archive of a report goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ReportArchive {
    /// Standard output.
    Stdout,
    /// Standard output, in lines of text, for a pod's log.
    Log,
    /// A file.
    File(PathBuf),
}

impl ReportArchive {
    /// Understands `-`, `log`, and the path of a file.
    ///
    /// # Errors
    ///
    /// An empty text.
    pub(super) fn parse(text: &str) -> std::result::Result<Self, String> {
        match text {
            "" => Err("the name of a file is missing\nhint: give a file, `-` or `log`".to_owned()),
            "-" => Ok(Self::Stdout),
            "log" => Ok(Self::Log),
            path => Ok(Self::File(path.into())),
        }
    }

    /// The file that it goes to.
    pub(super) fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Stdout | Self::Log => None,
        }
    }

    /// Makes sure that the archive can be written, before there is anything to write: a run of many
    /// minutes must not end without its report.
    ///
    /// # Errors
    ///
    /// A file that cannot be made.
    pub(super) fn open(&self) -> Result<OpenArchive> {
        let Self::File(path) = self else {
            return Ok(OpenArchive { to: self.clone(), file: None });
        };
        let file = NewFile::create(path).map_err(|error| cannot_write(path, &error))?;
        Ok(OpenArchive { to: self.clone(), file: Some(file) })
    }
}

/// An archive that can be written.
#[derive(Debug)]
pub(super) struct OpenArchive {
    to: ReportArchive,
    file: Option<NewFile>,
}

impl OpenArchive {
    /// Writes the report of a directory.
    ///
    /// # Errors
    ///
    /// A report that cannot be read, or a target that cannot be written to.
    pub(super) fn write(self, directory: &Path) -> Result<()> {
        match (&self.to, self.file) {
            (_, Some(mut file)) => file
                .write(|file| write_archive(directory, file).map(drop))
                .map_err(|error| cannot_write(file.target(), &error)),
            (ReportArchive::Log, None) => write_archive(directory, Vec::new())
                .and_then(|archive| write_lines(&archive, &mut io::stdout().lock()))
                .map_err(|error| cannot_print(&error)),
            (_, None) => write_archive(directory, io::stdout().lock())
                .and_then(|mut stdout| stdout.flush())
                .map_err(|error| cannot_print(&error)),
        }
    }
}

fn cannot_write(path: &Path, error: &io::Error) -> Error {
    Error::usage(format!("failed to write the report's archive `{}`: {error}", path.display()))
        .with_hint("give a file that you may write with `--report-archive FILE`")
}

fn cannot_print(error: &io::Error) -> Error {
    Error::infrastructure(format!("failed to write the report's archive: {error}"))
        .with_hint("the report is in the directory of `--report-dir` too")
}

/// Writes an archive as lines of text, each with the same beginning.
fn write_lines(archive: &[u8], out: &mut impl Write) -> io::Result<()> {
    for part in archive.chunks(LINE_BYTES) {
        writeln!(out, "{LINE}{}", BASE64.encode(part))?;
    }
    out.flush()
}

/// Tells the kubelet how a run in a pod ended, if there is a report: the outcome and the counts.
pub(super) fn report_end_of_pod(ended: &Result<u8>, report: &Path) {
    if !is_in_pod() || !Path::new(TERMINATION_LOG).is_file() {
        return;
    }
    let message = message(ended, report);
    // It is there for comfort only: the exit code and the log say the same.
    let _ = OpenOptions::new()
        .write(true)
        .truncate(true)
        .open(TERMINATION_LOG)
        .and_then(|mut file| file.write_all(message.as_bytes()));
}

/// One line that says how a run ended.
fn message(ended: &Result<u8>, report: &Path) -> String {
    let text = match ended {
        Err(error) => format!("error: {error} (exit code {})", error.kind().exit_code()),
        Ok(code) => match directory::load(report) {
            Ok(events) => {
                let report = summarize(&events);
                let counts = report.counts.entries().into_iter().filter(|(_, count)| *count > 0);
                let counts: Vec<_> =
                    counts.map(|(name, count)| format!("{count} {name}")).collect();
                format!("{}; {} (exit code {code})", headline(&report), counts.join(", "))
            }
            Err(_) => format!("exit code {code}"),
        },
    };
    bound(&text, TERMINATION_LIMIT)
}

#[cfg(test)]
mod tests {
    use harness::{
        report::{Dialect, directory::ReportDir},
        verdict::event::{Event, EventKind},
    };

    use super::*;
    use crate::command::new_file::partial;

    #[test]
    fn the_target_is_standard_output_a_log_or_a_file() {
        assert_eq!(ReportArchive::parse("-"), Ok(ReportArchive::Stdout));
        assert_eq!(ReportArchive::parse("log"), Ok(ReportArchive::Log));
        assert_eq!(ReportArchive::parse("./log"), Ok(ReportArchive::File("./log".into())));
        assert!(ReportArchive::parse("").is_err());
    }

    #[test]
    fn the_lines_of_a_log_give_the_archive_back() {
        let archive: Vec<u8> = (0..=255).cycle().take(2 * LINE_BYTES + 1).collect();
        let mut log = Vec::new();
        write_lines(&archive, &mut log).expect("it can be written");
        let log = String::from_utf8(log).expect("it is text");
        // As the documented `sed -n 's/^report.tar.gz //p' | base64 -d` does.
        let lines: Vec<_> = log.lines().filter_map(|line| line.strip_prefix(LINE)).collect();
        assert!(lines.len() == 3 && lines.iter().all(|line| line.len() < 16 * 1024));
        let read: Vec<u8> =
            lines.iter().flat_map(|line| BASE64.decode(line.as_bytes()).expect("base64")).collect();
        assert_eq!(read, archive);
    }

    #[test]
    fn a_file_is_replaced_only_by_a_whole_archive() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (report, file) = (directory.path().join("report"), directory.path().join("a.tar.gz"));
        let dir = ReportDir::create(&report).expect("a report");
        dir.finish(Dialect::default()).expect("a report");
        std::fs::write(&file, "earlier").expect("it can be written");
        let target = ReportArchive::File(file.clone());

        drop(target.open().expect("it can be made"));

        assert_eq!(std::fs::read(&file).expect("it is there"), b"earlier");
        target.open().and_then(|open| open.write(&report)).expect("it can be written");
        assert_eq!(std::fs::read(&file).expect("it is there")[..2], [0x1f, 0x8b]);
        assert!(!partial(&file).exists());
        let error = ReportArchive::File(directory.path().join("no/a")).open().expect_err("no such");
        assert_eq!(error.kind().exit_code(), 2);
    }

    #[test]
    fn a_file_in_the_way_is_not_written_through() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let at = |name: &str| directory.path().join(name);
        std::fs::write(at("theirs"), "earlier").expect("it can be written");
        std::os::unix::fs::symlink(at("theirs"), at("a.tar.gz.part")).expect("a link");

        let open = ReportArchive::File(at("a.tar.gz")).open().expect("it can be made");

        assert_eq!(std::fs::read(at("theirs")).expect("it is there"), b"earlier");
        assert!(at("a.tar.gz.part").symlink_metadata().expect("a file").is_file());
        drop(open);
    }

    #[test]
    fn an_archive_that_cannot_be_written_leaves_no_part_of_it() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let target = ReportArchive::File(directory.path().join("a.tar.gz"));
        let missing = directory.path().join("report");

        let written = target.open().and_then(|open| open.write(&missing));

        assert!(written.is_err());
        let left = std::fs::read_dir(directory.path()).expect("it is there").count();
        assert_eq!(left, 0, "the file with the part of the archive is removed");
    }

    #[test]
    fn a_pod_says_its_outcome_in_one_short_line() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut report = ReportDir::create(directory.path()).expect("a report");
        report.append(&Event::now(EventKind::Interrupted { signal: 15 }));
        let text = message(&Ok(143), directory.path());
        assert!(text.ends_with("(exit code 143)") && text.lines().count() == 1, "{text}");
        let refused = message(&Err(Error::usage("x".repeat(5000))), directory.path());
        assert!(refused.len() <= TERMINATION_LIMIT, "{}", refused.len());
        assert!(refused.ends_with("(exit code 2)"), "{refused}");
    }
}
