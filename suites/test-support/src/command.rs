//! The command under test, in an environment with nothing in it.

use std::{
    ffi::OsStr,
    fs,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;

use crate::{Kubeconfig, Report};

/// How long a command may take before the test gives up and ends it: longer than any of its own
/// deadlines.
const GRACE: Duration = Duration::from_secs(300);

/// The program under test. Cargo names it to the tests of its package.
pub fn nestcheck() -> PathBuf {
    let path = std::env::var_os("CARGO_BIN_EXE_nestcheck");
    path.expect("`CARGO_BIN_EXE_nestcheck` in the environment: run the tests with cargo").into()
}

/// An empty home and working directory, and the command in it.
pub struct TestDir {
    directory: TempDir,
}

impl Default for TestDir {
    fn default() -> Self {
        Self::new()
    }
}

impl TestDir {
    /// A new one.
    pub fn new() -> Self {
        Self { directory: tempfile::tempdir().expect("a temporary directory can be made") }
    }

    /// The path of a file on the bench.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The names of what lies on the bench.
    pub fn content(&self) -> Vec<String> {
        let entries = fs::read_dir(self.directory.path()).expect("the bench can be listed");
        let name = |entry: std::io::Result<fs::DirEntry>| {
            entry.expect("the bench can be listed").file_name().to_string_lossy().into_owned()
        };
        let mut names: Vec<_> = entries.map(name).collect();
        names.sort();
        names
    }

    /// Writes a file and returns its path.
    pub fn write(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        let directory = path.parent().expect("it lies on the bench");
        fs::create_dir_all(directory).expect("the bench can be written to");
        fs::write(&path, text).expect("the bench can be written to");
        path.display().to_string()
    }

    /// Writes a kubeconfig and returns its path.
    pub fn kubeconfig(&self, kubeconfig: &Kubeconfig) -> String {
        self.write("kubeconfig", &kubeconfig.text())
    }

    /// The `nestcheck` command with these arguments, and nothing of this process's environment.
    pub fn command<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(nestcheck());
        command
            .args(arguments)
            .env_clear()
            .env("HOME", self.directory.path())
            .current_dir(self.directory.path());
        command
    }

    /// Runs `nestcheck` to its end.
    pub fn nestcheck<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Finished {
        Running::start(self.command(arguments)).finish()
    }

    /// Starts `nestcheck`.
    pub fn start<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Running {
        Running::start(self.command(arguments))
    }

    /// The report that a run without `--report-dir` has written.
    pub fn report(&self) -> Report {
        Report::read(&self.path("nestcheck-report"))
    }
}

/// A command that runs; ended by force when the test ends before it.
pub struct Running {
    child: Child,
    shown: String,
    started: Instant,
    stdout: Option<JoinHandle<Vec<u8>>>,
    lines: Receiver<String>,
    stderr: String,
}

impl Running {
    /// Starts a command.
    pub fn start(mut command: Command) -> Self {
        let shown = format!("{command:?}");
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the command starts");
        let (mut stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let stdout = thread::spawn(move || {
            let mut data = Vec::new();
            if let Some(stdout) = &mut stdout {
                stdout.read_to_end(&mut data).expect("standard output can be read");
            }
            data
        });
        let (sender, lines) = channel();
        thread::spawn(move || {
            let mut stderr = BufReader::new(stderr.expect("it is piped"));
            let mut line = Vec::new();
            while stderr.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
                let _ = sender.send(String::from_utf8_lossy(&line).into_owned());
                line.clear();
            }
        });
        let (started, stdout) = (Instant::now(), Some(stdout));
        Self { child, shown, started, stdout, lines, stderr: String::new() }
    }

    /// Waits until a line with this text comes on standard error.
    pub fn wait_for(&mut self, text: &str) {
        while let Some(line) = self.next_line() {
            if line.contains(text) {
                return;
            }
        }
        panic!("{} ended without `{text}`: {}", self.shown, self.stderr);
    }

    fn next_line(&mut self) -> Option<String> {
        match self.lines.recv_timeout(GRACE) {
            Ok(line) => {
                self.stderr.push_str(&line);
                Some(line)
            }
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => {
                panic!("{} is silent for {GRACE:?}: {}", self.shown, self.stderr)
            }
        }
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id()).expect("process ids are positive");
        kill(Pid::from_raw(id), signal).expect("the command runs");
    }

    /// Waits for its end.
    pub fn finish(mut self) -> Finished {
        while self.next_line().is_some() {}
        let stdout = self.stdout.take().map(|reader| reader.join().expect("the reader is well"));
        let status = self.child.wait().expect("the command can be waited for");
        Finished {
            shown: std::mem::take(&mut self.shown),
            code: status.code(),
            stdout: String::from_utf8_lossy(&stdout.unwrap_or_default()).into_owned(),
            stderr: std::mem::take(&mut self.stderr),
            took: self.started.elapsed(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail where it has ended and was waited for, as it should have.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a command came to.
#[derive(Debug)]
pub struct Finished {
    shown: String,
    /// The exit code; none where a signal ended it.
    pub code: Option<i32>,
    /// What it printed.
    pub stdout: String,
    /// What it said.
    pub stderr: String,
    /// How long it took.
    pub took: Duration,
}

impl Finished {
    /// Expects this exit code.
    #[track_caller]
    pub fn exits(&self, code: i32) -> &Self {
        assert_eq!(self.code, Some(code), "{self}");
        self.shows_no_panic()
    }

    /// Expects one of the exit codes that the help documents, and no panic.
    #[track_caller]
    pub fn exits_as_documented(&self) -> &Self {
        assert!(matches!(self.code, Some(0..=5 | 129 | 130 | 143)), "{self}");
        self.shows_no_panic()
    }

    #[track_caller]
    fn shows_no_panic(&self) -> &Self {
        for text in ["panicked at", "RUST_BACKTRACE", "\u{1b}["] {
            assert!(!self.stderr.contains(text), "{text:?} in {self}");
        }
        self
    }

    /// Expects a refusal as the design wants it: the exit code, one line `error: …` with all these
    /// words, at least one line `hint: …`, and nothing else.
    #[track_caller]
    pub fn refuses(&self, code: i32, words: &[&str]) -> &Self {
        self.exits(code);
        assert_eq!(self.stdout, "", "{self}");
        let mut lines = self.stderr.lines();
        let error = lines.next().unwrap_or_default();
        assert!(error.starts_with("error: ") && !error.ends_with('.'), "{self}");
        for word in words {
            assert!(error.contains(word), "`{word}` is not in the error of {self}");
        }
        let hints: Vec<_> = lines.collect();
        assert!(!hints.is_empty(), "no hint in {self}");
        for hint in hints {
            assert!(hint.starts_with("hint: ") && hint.len() > "hint: ".len() + 8, "{self}");
        }
        self
    }

    /// Expects these words in a hint.
    #[track_caller]
    pub fn hints(&self, words: &[&str]) -> &Self {
        let hints: Vec<_> = self.stderr.lines().filter(|line| line.starts_with("hint: ")).collect();
        for word in words {
            assert!(hints.iter().any(|hint| hint.contains(word)), "no hint has `{word}` in {self}");
        }
        self
    }

    /// Expects these words on standard error.
    #[track_caller]
    pub fn says(&self, words: &[&str]) -> &Self {
        for word in words {
            assert!(self.stderr.contains(word), "`{word}` is missing in {self}");
        }
        self
    }

    /// Expects an end within this time.
    #[track_caller]
    pub fn within(&self, limit: Duration) -> &Self {
        assert!(self.took < limit, "it took {:?}: {self}", self.took);
        self
    }
}

impl std::fmt::Display for Finished {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { shown, code, stdout, stderr, took } = self;
        write!(
            f,
            "{shown}\nexit code {code:?} after {took:?}\nstandard output:\n{stdout}\nstandard \
             error:\n{stderr}"
        )
    }
}

/// The permission bits of a file.
pub fn mode_of(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;

    fs::metadata(path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        .permissions()
        .mode()
        & 0o7777
}
