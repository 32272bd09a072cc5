//! Tests that run: one run of nestcheck, whose report becomes their results.

use std::{
    fs,
    io::{self, IsTerminal, Read},
    path::{Path, PathBuf},
};

use clap::Parser;
use harness::{
    Error, Result,
    engine::Case,
    report::{self, Dialect, Report, directory},
};
use jiff::Timestamp;
use tempfile::TempDir;

use super::{
    arguments::{HowToRun, ResultFormat, RunSuiteArguments, RunTestArguments},
    info::{self, ALL, SMOKE},
    lines,
    names::name,
    pretty,
    result::{Span, TestResult, results},
    spec::{self, Lifecycle},
};
use crate::command::{
    arguments::{Arguments, Command, RunArguments},
    block_on, print, print_error, run,
};

/// Where openshift-tests collects files: it sets the first one; its own comment names the second one.
const ARTIFACTS: [&str; 2] = ["EXTENSION_ARTIFACT_DIR", "EXTENSION_ARTIFACTS_DIR"];

/// The most names that are read from standard input, in bytes.
const MOST_NAMES: u64 = 1024 * 1024;

/// Runs tests by name. Each name has exactly one result, also one that is unknown.
pub(super) fn run_test(arguments: RunTestArguments, image: Option<String>) -> Result<u8> {
    let mut names = arguments.names;
    names.extend(arguments.name);
    // A caller may leave standard input open: it is read only where it must have the names.
    if names.is_empty() {
        names = names_of_stdin()?;
    }
    let mut seen = std::collections::BTreeSet::new();
    names.retain(|name| seen.insert(name.clone()));
    if names.is_empty() {
        return Err(Error::usage("no test is named")
            .with_hint("name tests with `-n NAME`; `nestcheck --ote list` shows the names"));
    }
    let known = spec::cases();
    let (mut cases, mut unknown) = (Vec::new(), Vec::new());
    for wanted in names {
        match known.iter().find(|case| name(case) == wanted) {
            Some(case) => cases.push(*case),
            None => unknown.push(wanted),
        }
    }
    let finished = run_cases(&cases, &arguments.how, image)?;
    let mut results = finished.results;
    results.extend(unknown.into_iter().map(|name| {
        let error = "nestcheck has no test of this name".to_owned();
        TestResult::failed(name, Lifecycle::Blocking, error, finished.span)
    }));
    print_results(&results, arguments.how.output)?;
    Ok(exit_code(&results, finished.code))
}

/// Runs the tests of a suite.
pub(super) fn run_suite(arguments: &RunSuiteArguments, image: Option<String>) -> Result<u8> {
    let mut cases = spec::cases();
    match arguments.suite.as_str() {
        ALL => {}
        SMOKE => cases.retain(spec::is_smoke),
        other => {
            let names: Vec<_> = info::suites().iter().map(|suite| suite.name).collect();
            return Err(Error::usage(format!("there is no suite `{other}`"))
                .with_hint(format!("the suites are {}", names.join(", "))));
        }
    }
    let finished = run_cases(&cases, &arguments.how, image)?;
    if let Some(report) = &finished.report {
        if let Some(path) = &arguments.junit_path {
            write(path, &report::junit(report, Dialect::OpenShift)?)?;
        }
        if let Some(path) = &arguments.html_path {
            write(path, &report::html(report))?;
        }
    }
    print_results(&finished.results, arguments.how.output)?;
    Ok(exit_code(&finished.results, finished.code))
}

/// What a run came to.
struct Finished {
    results: Vec<TestResult>,
    report: Option<Report>,
    /// The exit code of the run itself.
    code: u8,
    span: Span,
}

/// Runs cases together, once.
fn run_cases(cases: &[Case], how: &HowToRun, image: Option<String>) -> Result<Finished> {
    let from = Timestamp::now();
    let mut finished =
        Finished { results: Vec::new(), report: None, code: 0, span: Span { from, to: from } };
    if cases.is_empty() {
        return Ok(finished);
    }
    let directory = ReportPlace::create()?;
    let ended = block_on(run::execute(run_arguments(cases, how, image, directory.path())?));
    finished.span.to = Timestamp::now();
    match ended {
        Ok(code) => {
            let report = report::summarize(&directory::load(directory.path())?);
            finished.results = results(cases, &report, finished.span);
            finished.report = Some(report);
            finished.code = code;
        }
        // The tests did not run: each of them says why.
        Err(error) => {
            print_error(&error);
            finished.code = error.kind().exit_code();
            finished.results = cases
                .iter()
                .map(|case| {
                    let (lifecycle, error) = (Lifecycle::of(case.level), error.with_hint_line());
                    TestResult::failed(name(case), lifecycle, error, finished.span)
                })
                .collect();
        }
    }
    Ok(finished)
}

/// The arguments of `nestcheck run` for these cases.
fn run_arguments(
    cases: &[Case],
    how: &HowToRun,
    image: Option<String>,
    directory: &Path,
) -> Result<RunArguments> {
    let directory = directory.display().to_string();
    let mut words = vec!["nestcheck".to_owned(), "run".to_owned()];
    // Artifacts are those of the whole suite: see `ReportPlace`.
    words.push("--no-ci".to_owned());
    words.extend([format!("--report-dir={directory}"), format!("--jobs={}", how.max_concurrency)]);
    words.extend(how.timeout.map(|timeout| format!("--timeout={}ms", timeout.as_millis())));
    words.extend(image.map(|image| format!("--image={image}")));
    words.extend(cases.iter().map(|case| case.id.to_owned()));
    match Arguments::try_parse_from(words).map(|arguments| arguments.command) {
        Ok(Command::Run(arguments)) => Ok(*arguments),
        Ok(_) => Err(Error::usage("not a run")),
        Err(error) => {
            let text = error.render().to_string();
            Err(Error::usage(text.lines().next().unwrap_or_default().to_owned()))
        }
    }
}

/// Where the report of the run goes: a directory of its own among the artifacts, or one that is
/// removed at the end.
enum ReportPlace {
    Kept(PathBuf),
    Temporary(TempDir),
}

impl ReportPlace {
    fn create() -> Result<Self> {
        let artifacts = ARTIFACTS
            .iter()
            .find_map(|name| std::env::var_os(name).filter(|value| !value.is_empty()));
        let cannot = |error: io::Error, place: &Path| {
            Error::usage(format!("failed to create a directory in `{}`: {error}", place.display()))
                .with_hint(format!("set `{}` to a directory that can be written", ARTIFACTS[0]))
        };
        let builder = || {
            let mut builder = tempfile::Builder::new();
            builder.prefix("nestcheck-");
            builder
        };
        let Some(artifacts) = artifacts.map(PathBuf::from) else {
            let place = std::env::temp_dir();
            let temporary = builder().tempdir_in(&place).map_err(|error| cannot(error, &place))?;
            return Ok(Self::Temporary(temporary));
        };
        fs::create_dir_all(&artifacts)
            .and_then(|()| builder().tempdir_in(&artifacts))
            .map(|directory| Self::Kept(directory.keep()))
            .map_err(|error| cannot(error, &artifacts))
    }

    fn path(&self) -> &Path {
        match self {
            Self::Kept(path) => path,
            Self::Temporary(directory) => directory.path(),
        }
    }
}

/// Names on standard input, one a line, unless a person sits there.
fn names_of_stdin() -> Result<Vec<String>> {
    let stdin = io::stdin();
    if stdin.is_terminal() {
        return Ok(Vec::new());
    }
    let mut text = String::new();
    stdin.lock().take(MOST_NAMES).read_to_string(&mut text).map_err(|error| {
        Error::usage(format!("failed to read names from standard input: {error}"))
            .with_hint("name tests with `-n NAME`")
    })?;
    Ok(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect())
}

fn print_results(results: &[TestResult], format: ResultFormat) -> Result<u8> {
    let data = match format {
        ResultFormat::Json => pretty(results)?,
        ResultFormat::Jsonl => lines(results)?,
    };
    print(&data)
}

/// The exit code: that of the run where it was interrupted or broke, 1 for a failed test.
fn exit_code(results: &[TestResult], run: u8) -> u8 {
    match run {
        // The results say more than the run: its cases may be static, extended or known issues.
        0 | 1 | 3 => u8::from(results.iter().any(TestResult::fails)),
        code => code,
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).map_err(|error| {
        Error::infrastructure(format!("failed to write `{}`: {error}", path.display()))
    })
}
