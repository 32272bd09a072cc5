//! Reads reports that people name: directories, event logs, and archives, which may come from
//! anywhere. An archive is read as a stream, and nothing of it is written to disk.

use std::{
    borrow::Cow,
    fs::File,
    io::{self, Read},
    path::{Component, Path},
};

use data_encoding::BASE64;
use flate2::read::GzDecoder;
use tar::{Archive, Entry, EntryType};

use super::{archive::ARCHIVE_LINE, directory::LOG};
use crate::{
    Error, Result,
    verdict::event::{Event, EventKind, LogError, read_log},
};

/// The most that is read of an event log, of an archive, and of what an archive unpacks to. A report
/// has some megabytes.
const LIMIT: u64 = 256 * 1024 * 1024;

/// What is at the beginning of a file that gzip has compressed.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Why a file is not a report that can be read.
#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error("{0}")]
    Unreadable(#[from] io::Error),
    #[error("it is larger than {} MiB", LIMIT / 1024 / 1024)]
    TooLarge,
    #[error("it is not UTF-8 text")]
    NotText,
    #[error("{0}")]
    Log(#[from] LogError),
    #[error("the event log is empty")]
    Empty,
    #[error("the event log does not hold the start of the run")]
    NoStart,
    #[error("it is `report.json`, not an event log")]
    ReportJson,
    #[error("the archive is damaged: {0}")]
    Damaged(io::Error),
    #[error("the archive in the log is damaged: {0}")]
    BadLine(data_encoding::DecodeError),
    #[error("the archive has the member `{0}`, whose path leads outside of it")]
    Outside(String),
    #[error("the archive has the member `{0}`, which is neither a file nor a directory")]
    NotAFile(String),
    #[error("the archive has no `{LOG}`")]
    NoLog,
    #[error("the archive has several `{LOG}`")]
    SeveralLogs,
}

impl Problem {
    fn hint(&self) -> &'static str {
        match self {
            Self::Log(_) => "read it with the nestcheck that wrote it, or run again",
            Self::ReportJson => "give its directory, or the file `events.jsonl` in it",
            _ => {
                "give a directory that `nestcheck run` has written, its `events.jsonl`, or an archive \
                 of `--report-archive`"
            }
        }
    }
}

/// Reads the events of a report: of a directory, an event log, an archive of `--report-archive`, or a
/// pod's log with such an archive.
///
/// # Errors
///
/// Anything else, a log of a newer format, and a log without the start of its run.
pub fn read(path: &Path) -> Result<Vec<Event>> {
    let file = if path.is_dir() { path.join(LOG) } else { path.to_owned() };
    read_with(&file, events_of)
}

/// As [`read`]; the log may be empty, or lack the start of its run: a report is all that is known of a run
/// that died.
///
/// # Errors
///
/// Anything else, and a log of a newer format.
pub fn read_what_is_known(path: &Path) -> Result<Vec<Event>> {
    // What is not there would be a directory.
    let is_file = path.exists() && !path.is_dir();
    let file = if is_file { path.to_owned() } else { path.join(LOG) };
    read_with(&file, |content| log_of(content).and_then(|log| parse(&log)))
}

fn read_with(
    file: &Path,
    events_of: impl FnOnce(&[u8]) -> Result<Vec<Event>, Problem>,
) -> Result<Vec<Event>> {
    let events = read_file(file).and_then(|content| events_of(&content));
    events.map_err(|problem| {
        Error::usage(format!("failed to read `{}`: {problem}", file.display()))
            .with_hint(problem.hint())
    })
}

fn read_file(path: &Path) -> Result<Vec<u8>, Problem> {
    let file = File::open(path)?;
    // A pipe or a device may never end.
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a file").into());
    }
    read_whole(file)
}

/// Reads to the end, which must come in time.
fn read_whole(from: impl Read) -> Result<Vec<u8>, Problem> {
    let mut content = Vec::new();
    from.take(LIMIT + 1).read_to_end(&mut content)?;
    if content.len() as u64 > LIMIT { Err(Problem::TooLarge) } else { Ok(content) }
}

/// The event log in a file: the file itself, or what is in an archive.
fn log_of(content: &[u8]) -> Result<Cow<'_, [u8]>, Problem> {
    if content.starts_with(&GZIP) {
        return log_of_archive(content).map(Cow::Owned);
    }
    if let Some(archive) = archive_of_log(content) {
        return log_of_archive(&archive?).map(Cow::Owned);
    }
    Ok(Cow::Borrowed(content))
}

fn parse(log: &[u8]) -> Result<Vec<Event>, Problem> {
    let text = str::from_utf8(log).map_err(|_| Problem::NotText)?;
    read_log(text).map_err(|error| {
        if is_report_json(text) { Problem::ReportJson } else { Problem::Log(error) }
    })
}

/// The events of a log that has the start of its run.
fn events_of(content: &[u8]) -> Result<Vec<Event>, Problem> {
    let events = parse(&log_of(content)?)?;
    if events.is_empty() {
        return Err(Problem::Empty);
    }
    let starts = |event: &Event| matches!(&*event.event, EventKind::RunStarted(_));
    if events.iter().any(starts) { Ok(events) } else { Err(Problem::NoStart) }
}

fn is_report_json(text: &str) -> bool {
    let document: Option<serde_json::Value> = serde_json::from_str(text).ok();
    document.is_some_and(|document| document.get("outcome").is_some())
}

/// The archive in the lines of a pod's log, if there is one. Other lines may be between them.
fn archive_of_log(content: &[u8]) -> Option<Result<Vec<u8>, Problem>> {
    let lines = content.split(|byte| *byte == b'\n');
    let lines = lines.filter_map(|line| line.strip_prefix(ARCHIVE_LINE.as_bytes()));
    let mut lines = lines.map(<[u8]>::trim_ascii).peekable();
    lines.peek()?;
    let parts: Result<Vec<_>, _> = lines.map(|line| BASE64.decode(line)).collect();
    Some(parts.map(|parts| parts.concat()).map_err(Problem::BadLine))
}

/// The event log in an archive. Every member is looked at, and the checksum at the end.
fn log_of_archive(archive: &[u8]) -> Result<Vec<u8>, Problem> {
    let mut unpacked = Bounded { inner: GzDecoder::new(archive), left: LIMIT };
    let found = {
        let mut archive = Archive::new(&mut unpacked);
        find_log(&mut archive)
    };
    let found = found.and_then(|log| {
        // tar ends before the stream does.
        io::copy(&mut unpacked, &mut io::sink()).map_err(Problem::Damaged)?;
        Ok(log)
    });
    match found {
        Err(Problem::Damaged(_)) if unpacked.left == 0 => Err(Problem::TooLarge),
        other => other?.ok_or(Problem::NoLog),
    }
}

fn find_log(archive: &mut Archive<impl Read>) -> Result<Option<Vec<u8>>, Problem> {
    let mut found = None;
    for entry in archive.entries().map_err(Problem::Damaged)? {
        let mut entry = entry.map_err(Problem::Damaged)?;
        if !is_log(&entry)? {
            continue;
        }
        let mut log = Vec::new();
        entry.read_to_end(&mut log).map_err(Problem::Damaged)?;
        if found.replace(log).is_some() {
            return Err(Problem::SeveralLogs);
        }
    }
    Ok(found)
}

/// Whether a member is the event log: at the top, or in the one directory of all. The others are not
/// read, but they show whether this is an archive of a report.
fn is_log(entry: &Entry<'_, impl Read>) -> Result<bool, Problem> {
    let path = entry.path().map_err(Problem::Damaged)?;
    let name = || path.display().to_string();
    let mut parts = Vec::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::Normal(part) => parts.push(part),
            Component::Prefix(_) | Component::RootDir | Component::ParentDir => {
                return Err(Problem::Outside(name()));
            }
        }
    }
    match entry.header().entry_type() {
        EntryType::Directory | EntryType::XGlobalHeader => Ok(false),
        EntryType::Regular | EntryType::Continuous if entry.size() > LIMIT => {
            Err(Problem::TooLarge)
        }
        EntryType::Regular | EntryType::Continuous => {
            Ok(parts.len() <= 2 && parts.last().is_some_and(|last| *last == LOG))
        }
        _ => Err(Problem::NotAFile(name())),
    }
}

/// A stream that fails where it has given more than it may.
struct Bounded<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.left = self.left.saturating_sub(read as u64);
        if self.left == 0 && read > 0 {
            return Err(io::Error::other("it is too large"));
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::{Compression, write::GzEncoder};
    use tar::{Builder, Header};

    use super::*;

    const EVENTS: &str = concat!(
        r#"{"schema":1,"at":"2026-01-02T03:04:05Z","event":{"kind":"run-started","run":"a","#,
        r#""version":"0.1.0","profile":"smoke","image":"i","cases":1,"cluster":[]}}"#,
        "\n"
    );

    fn compressed(tar: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(tar).expect("it is in memory");
        encoder.finish().expect("it is in memory")
    }

    /// An archive with these members, by their raw paths.
    fn archive(members: &[(&str, EntryType, &str)]) -> Vec<u8> {
        let mut builder = Builder::new(Vec::new());
        for (path, kind, content) in members {
            let mut header = Header::new_ustar();
            header.set_entry_type(*kind);
            header.set_size(content.len() as u64);
            header.set_mode(0o600);
            let name = &mut header.as_old_mut().name;
            name[..path.len()].copy_from_slice(path.as_bytes());
            if kind.is_symlink() || kind.is_hard_link() {
                header.set_link_name("/etc/passwd").expect("a short name");
            }
            header.set_cksum();
            builder.append(&header, content.as_bytes()).expect("it is in memory");
        }
        compressed(&builder.into_inner().expect("it is in memory"))
    }

    fn problem(content: &[u8]) -> String {
        events_of(content).expect_err("not a report").to_string()
    }

    #[test]
    fn a_log_an_archive_and_a_log_of_a_pod_give_the_same_events() {
        let events = events_of(EVENTS.as_bytes()).expect("a log");
        assert_eq!(events.len(), 1);
        let kind = EntryType::Regular;
        for path in ["nestcheck-report/events.jsonl", "./events.jsonl", "events.jsonl"] {
            let archive = archive(&[("a", EntryType::Directory, ""), (path, kind, EVENTS)]);
            assert_eq!(events_of(&archive).expect(path), events);
            let half = archive.len() / 2;
            let lines = [&archive[..half], &archive[half..]].map(|part| BASE64.encode(part));
            let log =
                format!("other\nreport.tar.gz {}\nother\nreport.tar.gz {}\r\n", lines[0], lines[1]);
            assert_eq!(events_of(log.as_bytes()).expect(path), events);
        }
    }

    #[test]
    fn an_archive_that_reaches_outside_or_has_no_single_log_is_refused() {
        let log = ("events.jsonl", EntryType::Regular, EVENTS);
        for (member, expected) in [
            (("../events.jsonl", EntryType::Regular, EVENTS), "leads outside"),
            (("/etc/events.jsonl", EntryType::Regular, EVENTS), "leads outside"),
            (("a/../../b", EntryType::Directory, ""), "leads outside"),
            (("link", EntryType::Symlink, ""), "neither a file nor a directory"),
            (("link", EntryType::Link, ""), "neither a file nor a directory"),
            (("pipe", EntryType::Fifo, ""), "neither a file nor a directory"),
            (("a/events.jsonl", EntryType::Regular, EVENTS), "several `events.jsonl`"),
        ] {
            let problem = problem(&archive(&[log, member]));
            assert!(problem.contains(expected), "{member:?}: {problem}");
        }
        assert!(problem(&archive(&[("report.json", EntryType::Regular, "{}")])).contains("has no"));
        let deep = archive(&[("a/b/events.jsonl", EntryType::Regular, EVENTS)]);
        assert!(problem(&deep).contains("has no"));
    }

    #[test]
    fn a_damaged_archive_is_refused_wherever_it_is_cut() {
        let whole = archive(&[("events.jsonl", EntryType::Regular, EVENTS)]);
        for length in 2..whole.len() {
            assert!(events_of(&whole[..length]).is_err(), "{length} of {} bytes", whole.len());
        }
        let mut changed = whole.clone();
        let checksum = changed.len() - 6;
        changed[checksum] ^= 1;
        assert!(problem(&changed).contains("damaged"));
        assert!(problem(b"report.tar.gz %%%\n").contains("damaged"));
    }

    #[test]
    fn an_archive_that_unpacks_to_too_much_is_refused() {
        let mut header = Header::new_ustar();
        header.set_path("events.jsonl").expect("a short name");
        header.set_size(LIMIT + 1);
        header.set_cksum();
        assert!(problem(&compressed(header.as_bytes())).contains("larger than 256 MiB"));
        let mut bounded = Bounded { inner: io::repeat(0), left: 1000 };
        assert!(io::copy(&mut bounded, &mut io::sink()).is_err());
    }

    #[test]
    fn what_is_not_a_report_is_refused_with_the_reason() {
        for (content, expected) in [
            ("", "is empty"),
            ("{\"schema\":1", "is empty"),
            ("hello\n", "line 1"),
            ("{\n \"schema\": 1,\n \"outcome\": \"conformant\"\n}\n", "`report.json`"),
        ] {
            assert!(problem(content.as_bytes()).contains(expected), "{content}");
        }
        assert_eq!(problem(&[0xff, b'\n']), "it is not UTF-8 text");
        let newer = EVENTS.replace("\"schema\":1", "\"schema\":2");
        assert!(problem(newer.as_bytes()).contains("newer"));
        let tail =
            r#"{"schema":1,"at":"2026-01-02T03:04:05Z","event":{"kind":"interrupted","signal":2}}"#;
        assert!(problem(format!("{tail}\n").as_bytes()).contains("start of the run"));
    }

    #[test]
    fn a_directory_without_a_log_and_a_device_are_named() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let error = read(directory.path()).expect_err("there is no log");
        assert!(error.to_string().contains("events.jsonl") && error.hint().is_some());
        assert_eq!(error.kind().exit_code(), 2);
        assert!(
            read(Path::new("/dev/zero"))
                .expect_err("it has no end")
                .to_string()
                .contains("not a file")
        );
    }
}
