//! Proof that a command ended: the report of `probe exec` at the end of its standard error.

use std::sync::{Arc, Mutex, PoisonError};

use probe::{ExecReport, ProgramEnd};

/// The most that is kept of one output stream; the rest is counted and dropped.
pub(super) const CAPTURE_LIMIT: usize = 1024 * 1024;

/// How much of a stream's begin may be a container runtime's own words (CRI-O passes on what `crun
/// exec` itself writes) and the mark that the command begins.
const BEGIN_LIMIT: usize = 4096;

/// An output stream as it arrives: counted, and kept where it is of interest.
#[derive(Debug, Default)]
pub(super) struct Capture {
    kept: Vec<u8>,
    tail: Vec<u8>,
    total: u64,
}

impl Capture {
    /// Takes the next bytes.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.total += bytes.len() as u64;
        let room = (CAPTURE_LIMIT + BEGIN_LIMIT).saturating_sub(self.kept.len()).min(bytes.len());
        self.kept.extend_from_slice(&bytes[..room]);
        let newest = &bytes[bytes.len().saturating_sub(ExecReport::LIMIT)..];
        let excess = (self.tail.len() + newest.len()).saturating_sub(ExecReport::LIMIT);
        self.tail.drain(..excess);
        self.tail.extend_from_slice(newest);
    }

    /// Where the mark is that the command begins. None where it has not arrived.
    pub(super) fn begin(&self, nonce: &str) -> Option<Mark> {
        let mark = ExecReport::begun(nonce);
        let head = &self.kept[..self.kept.len().min(BEGIN_LIMIT)];
        let at = head.windows(mark.len()).position(|window| window == mark.as_bytes())?;
        Some(Mark { at, length: mark.len() })
    }

    /// The first bytes without the mark, for whoever looks at output that proves nothing.
    pub(super) fn head(&self, nonce: &str) -> Vec<u8> {
        let mut head = self.kept[..self.kept.len().min(BEGIN_LIMIT)].to_vec();
        if let Some(mark) = self.begin(nonce) {
            head.drain(mark.at..mark.at + mark.length);
        }
        head
    }

    /// The first bytes, at most so many.
    pub(super) fn into_bounded(mut self, limit: u64) -> Vec<u8> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX).min(CAPTURE_LIMIT);
        self.kept.truncate(limit);
        self.kept
    }
}

/// The end of what a command has written so far, to both streams, for whoever waits for its end in
/// vain. A lock, because the reader of the streams and who waits for it both have it; held to copy.
#[derive(Clone, Debug, Default)]
pub(super) struct Written(Arc<Mutex<Vec<u8>>>);

impl Written {
    /// The most that is kept.
    const LIMIT: usize = 8 * 1024;

    /// Takes the next bytes of a stream.
    pub(super) fn push(&self, bytes: &[u8]) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend_from_slice(&bytes[bytes.len().saturating_sub(Self::LIMIT)..]);
        let excess = kept.len().saturating_sub(Self::LIMIT);
        kept.drain(..excess);
    }

    /// The text, without the mark that the command begins.
    pub(super) fn text(&self, nonce: &str) -> String {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&kept).replace(&ExecReport::begun(nonce), "")
    }
}

/// The mark that a command begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    at: usize,
    length: usize,
}

/// What a command that ended came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Proven {
    /// How it ended.
    pub(super) end: ProgramEnd,
    /// Its standard output, bounded.
    pub(super) stdout: Vec<u8>,
    /// Its standard error, bounded, without the report.
    pub(super) stderr: Vec<u8>,
}

/// Why output does not prove that a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NoProof {
    /// There is no report at its end.
    NoReport,
    /// The report counts other bytes than those that arrived.
    Bytes {
        /// Which stream.
        stream: &'static str,
        /// How many bytes the command wrote.
        written: u64,
        /// How many arrived.
        arrived: u64,
    },
}

impl std::fmt::Display for NoProof {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoReport => f.write_str("it did not report its end"),
            Self::Bytes { stream, written, arrived } => {
                write!(f, "{arrived} of {written} bytes of its {stream} arrived")
            }
        }
    }
}

/// What the probe says where it could not do its own work, in place of a report. Without the mark
/// that the command begins, nothing but the probe and the container runtime has written yet.
pub(super) fn own_failure(stderr: &Capture, nonce: &str) -> Option<String> {
    if stderr.begin(nonce).is_some() {
        return ExecReport::parse_failure(&stderr.tail, nonce).map(str::to_owned);
    }
    let written = String::from_utf8_lossy(&stderr.kept);
    written.lines().find_map(|line| line.strip_prefix("probe: ")).map(str::to_owned)
}

/// Takes the report out of a command's output, and compares it with what arrived.
///
/// # Errors
///
/// There is no report, or bytes are missing.
pub(super) fn prove(stdout: Capture, mut stderr: Capture, nonce: &str) -> Result<Proven, NoProof> {
    let mark = stderr.begin(nonce).ok_or(NoProof::NoReport)?;
    let (report, length) = ExecReport::parse(&stderr.tail, nonce).ok_or(NoProof::NoReport)?;
    let frame = (mark.at + mark.length + length) as u64;
    let arrived = stderr.total.checked_sub(frame).ok_or(NoProof::NoReport)?;
    let counts = [
        ("standard output", report.stdout, stdout.total),
        ("standard error", report.stderr, arrived),
    ];
    for (stream, written, arrived) in counts {
        if written != arrived {
            return Err(NoProof::Bytes { stream, written, arrived });
        }
    }
    stderr.kept.drain(mark.at..mark.at + mark.length);
    Ok(Proven {
        end: report.end,
        stdout: stdout.into_bounded(report.stdout),
        stderr: stderr.into_bounded(mark.at as u64 + report.stderr),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONCE: &str = "0123456789abcdef";

    fn capture(chunks: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Capture {
        let mut capture = Capture::default();
        for chunk in chunks {
            capture.push(chunk.as_ref());
        }
        capture
    }

    fn stderr_of(stdout: &[u8], stderr: &[u8], end: ProgramEnd) -> Vec<u8> {
        let report = ExecReport { end, stdout: stdout.len() as u64, stderr: stderr.len() as u64 };
        let begun = ExecReport::begun(NONCE);
        [begun.as_bytes(), stderr, report.ended(NONCE).as_bytes()].concat()
    }

    #[test]
    fn the_report_is_read_however_the_stream_is_split() {
        let framed = stderr_of(b"out", b"err", ProgramEnd::Exited(42));
        for size in [1, 2, 7, 100, framed.len()] {
            let proven =
                prove(capture([b"out"]), capture(framed.chunks(size)), NONCE).expect("a report");
            assert_eq!(proven.end, ProgramEnd::Exited(42));
            assert_eq!((&*proven.stdout, &*proven.stderr), (&b"out"[..], &b"err"[..]));
        }
    }

    #[test]
    fn output_that_is_cut_anywhere_proves_nothing() {
        let framed = stderr_of(b"out", b"err", ProgramEnd::Exited(0));
        for length in 0..framed.len() {
            let cut = capture([&framed[..length]]);
            assert_eq!(prove(capture([b"out"]), cut, NONCE), Err(NoProof::NoReport), "{length}");
        }
        let missing = NoProof::Bytes { stream: "standard output", written: 3, arrived: 2 };
        assert_eq!(prove(capture([b"ou"]), capture([&framed]), NONCE), Err(missing));
    }

    #[test]
    fn bytes_that_are_missing_in_between_prove_nothing() {
        let mut framed = stderr_of(b"", b"error", ProgramEnd::Exited(0));
        framed.remove(ExecReport::begun(NONCE).len() + 2);
        let missing = NoProof::Bytes { stream: "standard error", written: 5, arrived: 4 };
        assert_eq!(prove(Capture::default(), capture([&framed]), NONCE), Err(missing));
    }

    #[test]
    fn another_commands_report_proves_nothing() {
        let framed = stderr_of(b"", b"", ProgramEnd::Exited(0));
        let proven = prove(Capture::default(), capture([&framed]), "fedcba9876543210");
        assert_eq!(proven, Err(NoProof::NoReport));
        assert_eq!(prove(Capture::default(), Capture::default(), NONCE), Err(NoProof::NoReport));
    }

    #[test]
    fn a_failure_of_the_probe_itself_is_not_mistaken_for_the_commands() {
        let begun = ExecReport::begun(NONCE);
        let failed = ExecReport::failed(NONCE, "no room for a thread");
        let stderr = |text: &[&str]| capture([text.concat()]);
        let own = |text: &[&str]| own_failure(&stderr(text), NONCE);
        assert_eq!(own(&[&begun, "err", &failed]).as_deref(), Some("no room for a thread"));
        assert_eq!(own(&["warning\nprobe: no nonce\nusage\n"]).as_deref(), Some("no nonce"));
        assert_eq!(own(&[&begun, "probe: connection refused\n"]), None, "the command's own");
        assert_eq!(own(&["warning\n"]), None);
        assert_eq!(own(&[]), None);
        let proven = prove(Capture::default(), stderr(&[&begun, "err", &failed]), NONCE);
        assert_eq!(proven, Err(NoProof::NoReport));
    }

    #[test]
    fn a_runtimes_words_before_the_command_stay_and_do_not_count() {
        let framed = stderr_of(b"", b"err", ProgramEnd::Exited(1));
        let proven = prove(Capture::default(), capture([&b"warning\n"[..], &framed]), NONCE);
        assert_eq!(proven.expect("a report").stderr, b"warning\nerr");
    }

    #[test]
    fn what_was_written_is_kept_from_its_end_without_the_mark() {
        let written = Written::default();
        written.push(ExecReport::begun(NONCE).as_bytes());
        written.push(b"first\n");
        assert_eq!(written.text(NONCE), "first\n");
        written.push(&vec![b'x'; 2 * Written::LIMIT]);
        written.push(b"last");
        let text = written.text(NONCE);
        assert!(text.ends_with("xlast") && text.len() == Written::LIMIT, "{}", text.len());
    }

    #[test]
    fn output_over_the_limit_is_counted_and_bounded() {
        let flood = vec![b'x'; CAPTURE_LIMIT + 10_000];
        let framed = stderr_of(&flood, &flood, ProgramEnd::Exited(0));
        let proven = prove(capture(flood.chunks(1000)), capture(framed.chunks(999)), NONCE)
            .expect("a report");
        assert_eq!((proven.stdout.len(), proven.stderr.len()), (CAPTURE_LIMIT, CAPTURE_LIMIT));
        assert!(proven.stderr.iter().all(|byte| *byte == b'x'));
        let cut = capture(flood[1..].chunks(1000));
        assert!(prove(cut, capture([&framed]), NONCE).is_err());
    }
}
