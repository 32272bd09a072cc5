//! The reports of a run where a CI system looks for them.

use std::{
    env,
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Write},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf, absolute},
};

use clap::{Args, ValueEnum};
use harness::{
    Error, Result,
    report::{
        Dialect, Report,
        directory::{self, PreparedDir},
        html, in_toto, json, junit, markdown, prometheus, summarize,
    },
};

use super::{
    arguments::{ReportFormat, dialect},
    delivery::ReportArchive,
    new_file::{NewFile, partial},
};

/// The file to which a job of GitHub appends its summary.
const GITHUB_SUMMARY: &str = "GITHUB_STEP_SUMMARY";

/// The most that GitHub takes of a step's summary, in bytes; it drops a longer one
/// (<https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands>).
const GITHUB_LIMIT: usize = 1024 * 1024;

/// The end of a summary that is too long.
const AND_MORE: &str = "\n\n… and more in the full report: GitHub takes at most 1 MiB\n";

/// The directory whose files Prow keeps.
const PROW_ARTIFACTS: &str = "ARTIFACT_DIR";

/// The text of a report in a format.
///
/// # Errors
///
/// A statement of in-toto about a run whose image is unknown.
pub(super) fn text(report: &Report, format: ReportFormat, dialect: Dialect) -> Result<String> {
    match format {
        ReportFormat::Junit => junit(report, dialect),
        ReportFormat::Json => json(report),
        ReportFormat::Html => Ok(html(report)),
        ReportFormat::Markdown => Ok(markdown(report)),
        ReportFormat::Prometheus => Ok(prometheus(report)),
        ReportFormat::InToto => in_toto(report),
    }
}

/// Where reports of a run go, other than into the report directory.
#[derive(Debug, Args)]
#[command(next_help_heading = "Reports for CI systems")]
pub(super) struct OutputArguments {
    /// Write this report to a file too, or to standard output with `-`: junit, json, html, markdown,
    /// prometheus or in-toto; may be given several times
    #[arg(long, value_name = "FORMAT=FILE", value_parser = ReportOutput::parse)]
    report: Vec<ReportOutput>,
    /// The dialect of JUnit: jenkins, gitlab or openshift [default: jenkins; openshift for the file in
    /// `$ARTIFACT_DIR`]
    #[arg(long, value_name = "NAME", value_parser = dialect)]
    dialect: Option<Dialect>,
    /// Don't append the Markdown summary to the file `$GITHUB_STEP_SUMMARY`, and don't copy the JUnit
    /// and HTML reports into the directory `$ARTIFACT_DIR`, where these variables are set
    #[arg(long)]
    no_ci: bool,
}

/// A report and its target; none is standard output.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ReportOutput {
    format: ReportFormat,
    file: Option<PathBuf>,
}

impl ReportOutput {
    fn parse(text: &str) -> std::result::Result<Self, String> {
        let formats = || {
            let names =
                ReportFormat::value_variants().iter().filter_map(ValueEnum::to_possible_value);
            names.map(|value| value.get_name().to_owned()).collect::<Vec<_>>().join(", ")
        };
        let (format, file) = text.split_once('=').filter(|(_, file)| !file.is_empty()).ok_or_else(
            || {
                format!(
                    "not a format and a file\nhint: write it as `junit=FILE`, or `junit=-` for standard \
                     output; the formats are {}",
                    formats()
                )
            },
        )?;
        let format = ReportFormat::from_str(format, false).map_err(|_| {
            format!("unknown format `{format}`\nhint: the formats are {}", formats())
        })?;
        Ok(Self { format, file: (file != "-").then(|| file.into()) })
    }
}

impl OutputArguments {
    /// The dialect of `junit.xml` in the report directory.
    pub(super) fn dialect(&self) -> Dialect {
        self.dialect.unwrap_or_default()
    }

    /// The files that reports go to.
    pub(super) fn files(&self) -> impl Iterator<Item = &Path> {
        self.report.iter().filter_map(|output| output.file.as_deref())
    }

    /// Makes sure that the files can be written, before there is anything to write.
    ///
    /// # Errors
    ///
    /// A file that cannot be made, a file that is named twice, or more than one report for standard
    /// output.
    pub(super) fn open(&self, archive: Option<&ReportArchive>) -> Result<OpenOutputs> {
        let has_archive = matches!(archive, Some(ReportArchive::Stdout | ReportArchive::Log));
        let for_stdout = self.report.iter().filter(|output| output.file.is_none()).count();
        if for_stdout + usize::from(has_archive) > 1 {
            return Err(Error::usage("only one report can go to standard output")
                .with_hint("give files to the others, such as `--report junit=FILE`"));
        }
        let mut taken = match archive {
            Some(ReportArchive::File(path)) => names_of(path).to_vec(),
            _ => Vec::new(),
        };
        let mut opened = Vec::new();
        for output in &self.report {
            if let Some(path) = &output.file {
                let names = names_of(path);
                if taken.iter().any(|name| names.contains(name)) {
                    return Err(Error::usage(format!("two reports go to `{}`", path.display()))
                        .with_hint(
                            "give each `--report` and `--report-archive` a file of its own",
                        ));
                }
                taken.extend(names);
            }
            opened.push(OpenOutput::open(output)?);
        }
        let variable = |name| {
            let value = env::var_os(name).filter(|value| !self.no_ci && !value.is_empty());
            value.map(PathBuf::from)
        };
        Ok(OpenOutputs {
            opened,
            dialect: self.dialect,
            github: variable(GITHUB_SUMMARY),
            prow: variable(PROW_ARTIFACTS),
        })
    }
}

/// A report that can be written.
struct OpenOutput {
    format: ReportFormat,
    /// None for standard output.
    file: Option<NewFile>,
}

impl OpenOutput {
    fn open(output: &ReportOutput) -> Result<Self> {
        let open = |path: &PathBuf| {
            let file = NewFile::create(path).map_err(|error| cannot_write(path, &error))?;
            if path.is_dir() {
                return Err(cannot_write(path, &io::Error::from(io::ErrorKind::IsADirectory)));
            }
            Ok(file)
        };
        Ok(Self { format: output.format, file: output.file.as_ref().map(open).transpose()? })
    }

    fn write(&mut self, text: &str) -> Result<()> {
        let Some(file) = &mut self.file else { return super::print(text.as_bytes()).map(drop) };
        let path = file.target().to_owned();
        let put =
            |file: &mut File| file.write_all(text.as_bytes()).and_then(|()| keep_mode(&path, file));
        file.write(put).map_err(|error| cannot_write(&path, &error))
    }
}

/// Refuses files that are the event log or the ledger of the run: every report is made from the log, and
/// the ledger knows of leftovers.
///
/// # Errors
///
/// Such a file.
pub(super) fn refuse_own<'a>(
    mut files: impl Iterator<Item = &'a Path>,
    directory: &PreparedDir,
) -> Result<()> {
    let is_own = |file: &&Path| names_of(file).iter().any(|name| directory.has_own(name));
    let Some(file) = files.find(is_own) else { return Ok(()) };
    Err(Error::usage(format!("a report would replace `{}`, which the run writes", file.display()))
        .with_hint("give the report another file"))
}

/// What can be written to where a file of this name is made: itself, and the file in which it grows.
/// Each has one spelling, however the path is written.
fn names_of(path: &Path) -> [PathBuf; 2] {
    let whole = absolute(path).unwrap_or_else(|_| path.to_owned());
    let directory = whole.parent().and_then(|parent| fs::canonicalize(parent).ok());
    let whole = match (directory, whole.file_name()) {
        (Some(directory), Some(name)) => directory.join(name),
        _ => whole,
    };
    [partial(&whole), whole]
}

/// Gives a new file the mode of that which it replaces, if that is one of ours: whoever reads it, such
/// as the node exporter, still can.
fn keep_mode(replaced: &Path, file: &File) -> io::Result<()> {
    match fs::symlink_metadata(replaced) {
        Ok(before) if before.is_file() && before.uid() == file.metadata()?.uid() => {
            file.set_permissions(Permissions::from_mode(before.mode() & 0o777))
        }
        _ => Ok(()),
    }
}

/// The beginning of a page, up to a failure where possible, with a line that says so; the page where it
/// fits.
fn bounded(page: String, limit: usize) -> String {
    if page.len() <= limit {
        return page;
    }
    let room = page.floor_char_boundary(limit.saturating_sub(AND_MORE.len()));
    let beginning = &page[..room];
    let end = beginning.rfind("\n<details>\n").or_else(|| beginning.rfind('\n'));
    format!("{}{AND_MORE}", &beginning[..end.unwrap_or(0)])
}

/// What became of the reports.
#[derive(Default)]
pub(super) struct Written {
    /// What could not be written to files that nobody named: the CI system did, and a run does not fail
    /// by them.
    pub warnings: Vec<String>,
    /// What could not be read, made, or written where a person wants it.
    pub errors: Vec<Error>,
}

/// The reports that can be written.
#[derive(Default)]
pub(super) struct OpenOutputs {
    opened: Vec<OpenOutput>,
    dialect: Option<Dialect>,
    github: Option<PathBuf>,
    prow: Option<PathBuf>,
}

impl OpenOutputs {
    /// Writes the reports of a report directory. One that fails takes no other with it.
    pub(super) fn write(mut self, directory: &Path) -> Written {
        let mut written = Written::default();
        if self.opened.is_empty() && self.github.is_none() && self.prow.is_none() {
            return written;
        }
        let report = match directory::load(directory) {
            Ok(events) => summarize(&events),
            Err(error) => {
                written.errors.push(error);
                return written;
            }
        };
        for output in &mut self.opened {
            let text = text(&report, output.format, self.dialect.unwrap_or_default());
            written.errors.extend(text.and_then(|text| output.write(&text)).err());
        }
        let mut warn = |name: &str, path: &Path, error: &io::Error| {
            let path = path.display();
            let warning = format!("warning: failed to write to `{path}` of `${name}`: {error}\n");
            written.warnings.push(warning);
        };
        if let Some(path) = &self.github {
            append_summary(path, &report)
                .unwrap_or_else(|error| warn(GITHUB_SUMMARY, path, &error));
        }
        if let Some(path) = &self.prow {
            let dialect = self.dialect.unwrap_or(Dialect::OpenShift);
            copy_artifacts(path, &report, dialect)
                .unwrap_or_else(|error| warn(PROW_ARTIFACTS, path, &error));
        }
        written
    }
}

/// Appends to the summary of a step of GitHub, to which earlier commands may have written.
fn append_summary(path: &Path, report: &Report) -> io::Result<()> {
    let mut file = OpenOptions::new().append(true).create(true).open(path)?;
    let used = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
    let page = bounded(markdown(report), GITHUB_LIMIT.saturating_sub(used));
    file.write_all(page.as_bytes())
}

fn copy_artifacts(directory: &Path, report: &Report, dialect: Dialect) -> io::Result<()> {
    let junit = junit(report, dialect).map_err(io::Error::other)?;
    // The name by which Prow and Sippy find the file, whatever its dialect.
    fs::write(directory.join(Dialect::OpenShift.file_name(report)), junit)?;
    fs::write(directory.join("nestcheck.html"), html(report))
}

fn cannot_write(path: &Path, error: &io::Error) -> Error {
    Error::usage(format!("failed to write report `{}`: {error}", path.display()))
        .with_hint("give a file that you may write with `--report FORMAT=FILE`")
}

#[cfg(test)]
mod tests {
    use harness::{
        report::directory::ReportDir,
        verdict::event::{Event, EventKind},
    };

    use super::*;

    fn arguments(report: &[String]) -> OutputArguments {
        let parse = |text: &String| ReportOutput::parse(text).expect("a report");
        OutputArguments { report: report.iter().map(parse).collect(), dialect: None, no_ci: true }
    }

    /// Writes the reports, each of which can be.
    fn write(open: OpenOutputs, report: &Path) -> Vec<String> {
        let Written { warnings, errors } = open.write(report);
        assert!(errors.is_empty(), "{errors:?}");
        warnings
    }

    /// A report directory of a run that was interrupted.
    fn interrupted(path: &Path) {
        let mut report = ReportDir::create(path).expect("a directory");
        report.append(&Event::now(EventKind::Interrupted { signal: 15 }));
        report.finish(Dialect::default()).expect("reports");
    }

    #[test]
    fn a_report_is_a_format_and_a_file() {
        for name in ["junit", "json", "html", "markdown", "prometheus", "in-toto"] {
            let output = ReportOutput::parse(&format!("{name}=a=b")).expect(name);
            assert_eq!(output.file, Some("a=b".into()));
        }
        assert_eq!(ReportOutput::parse("json=-").expect("a report").file, None);
        for bad in ["", "junit", "junit=", "=a", "pdf=a", "JUnit=a"] {
            let error = ReportOutput::parse(bad).expect_err(bad);
            assert!(error.contains("\nhint: ") && error.contains("prometheus"), "{error}");
        }
    }

    #[test]
    fn each_report_is_written_whole_to_its_file() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let at = |name: &str| directory.path().join(name);
        interrupted(&at("report"));
        let named = |format: &str, name: &str| format!("{format}={}", at(name).display());
        let arguments = arguments(&[named("json", "a.json"), named("prometheus", "a.prom")]);
        fs::write(at("a.json"), "earlier").expect("it can be written");

        drop(arguments.open(None).expect("they can be made"));
        assert_eq!(fs::read(at("a.json")).expect("it is there"), b"earlier");
        let warnings = write(arguments.open(None).expect("they can be made"), &at("report"));

        assert_eq!(warnings, [""; 0]);
        assert!(fs::read_to_string(at("a.json")).expect("a report").contains("\"schema\": 1"));
        assert!(fs::read_to_string(at("a.prom")).expect("a report").starts_with("# HELP"));
        assert_eq!(fs::read_dir(directory.path()).expect("a directory").count(), 3, "no parts");
    }

    #[test]
    fn a_report_that_cannot_be_made_takes_no_other_with_it() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let at = |name: &str| directory.path().join(name);
        interrupted(&at("report"));
        // No pod became ready, so nobody knows the image.
        let named = |format: &str, name: &str| format!("{format}={}", at(name).display());
        let arguments = arguments(&[named("in-toto", "a.intoto"), named("json", "a.json")]);
        let mut open = arguments.open(None).expect("they can be made");
        open.github = Some(at("summary"));

        let Written { warnings, errors } = open.write(&at("report"));

        assert_eq!(warnings, [""; 0]);
        assert_eq!(errors.len(), 1);
        assert!(errors[0].to_string().contains("which image ran"), "{errors:?}");
        assert!(at("a.json").is_file() && at("summary").is_file());
        assert_eq!(fs::read_dir(directory.path()).expect("a directory").count(), 3, "no parts");
    }

    #[test]
    fn a_replaced_report_keeps_its_mode_and_nothing_in_the_way_is_written_through() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let at = |name: &str| directory.path().join(name);
        interrupted(&at("report"));
        fs::write(at("theirs"), "earlier").expect("it can be written");
        std::os::unix::fs::symlink(at("theirs"), at("new.prom.part")).expect("a link");
        for (name, mode) in [("old.prom", 0o644), ("new.json.part", 0o666)] {
            fs::write(at(name), "earlier").expect("it can be written");
            fs::set_permissions(at(name), Permissions::from_mode(mode)).expect("a mode");
        }
        let named = |format: &str, name: &str| format!("{format}={}", at(name).display());
        let reports = [
            named("prometheus", "old.prom"),
            named("prometheus", "new.prom"),
            named("json", "new.json"),
        ];

        write(arguments(&reports).open(None).expect("they can be made"), &at("report"));

        let mode = |name: &str| fs::symlink_metadata(at(name)).expect(name).mode() & 0o777;
        assert_eq!([mode("old.prom"), mode("new.prom"), mode("new.json")], [0o644, 0o600, 0o600]);
        assert_eq!(fs::read(at("theirs")).expect("it is there"), b"earlier");
    }

    #[test]
    fn a_long_summary_ends_before_a_failure_and_says_so() {
        let failure = "\n<details>\nä\n</details>\n";
        let page = format!("## ❌\n{}", failure.repeat(50));
        assert_eq!(bounded(page.clone(), page.len()), page);
        for limit in [0, 1, 200, 500, page.len() - 1] {
            let short = bounded(page.clone(), limit);
            assert!(short.len() <= limit.max(AND_MORE.len()), "{limit}: {short}");
            assert!(short.ends_with(AND_MORE), "{short}");
            let count = |tag: &str| short.matches(tag).count();
            assert_eq!(count("<details>"), count("</details>"), "{short}");
        }
    }

    #[test]
    fn what_cannot_be_written_is_refused_before_anything_runs() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let here = directory.path().display();
        let name = directory.path().file_name().and_then(|name| name.to_str()).expect("a name");
        for (reports, words) in [
            (vec![format!("json={here}/no/a")], "failed to write report"),
            (vec![format!("json={here}")], "failed to write report"),
            (vec![format!("json={here}/a"), format!("html={here}/a")], "two reports go to"),
            (vec![format!("json={here}/a"), format!("html={here}/./a")], "two reports go to"),
            (vec![format!("json={here}/a.part"), format!("html={here}/a")], "two reports go to"),
            (vec!["json=-".to_owned(), "html=-".to_owned()], "only one report"),
        ] {
            let error = arguments(&reports).open(None).err().expect("an error");
            assert!(error.to_string().contains(words), "{error}");
            assert_eq!(error.kind().exit_code(), 2);
        }
        let archive = ReportArchive::File(directory.path().join("a"));
        let error = arguments(&[format!("json={here}/../{name}/a")]).open(Some(&archive)).err();
        assert!(error.expect("the archive goes there").to_string().contains("two reports go to"));
        let error = arguments(&["json=-".to_owned()]).open(Some(&ReportArchive::Log)).err();
        assert!(error.is_some(), "the archive goes there");
        assert_eq!(fs::read_dir(directory.path()).expect("a directory").count(), 0);
    }

    #[test]
    fn ci_systems_get_a_summary_and_artifacts() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let at = |name: &str| directory.path().join(name);
        interrupted(&at("report"));
        fs::create_dir(at("artifacts")).expect("it can be made");
        fs::write(at("summary"), "earlier\n").expect("it can be written");
        let open = |github: PathBuf, prow: PathBuf| OpenOutputs {
            opened: Vec::new(),
            dialect: None,
            github: Some(github),
            prow: Some(prow),
        };

        let warnings = write(open(at("summary"), at("artifacts")), &at("report"));

        assert_eq!(warnings, [""; 0]);
        let summary = fs::read_to_string(at("summary")).expect("a summary");
        assert!(summary.starts_with("earlier\n## "), "{summary}");
        let names = fs::read_dir(at("artifacts")).expect("a directory");
        let mut names: Vec<_> =
            names.map(|entry| entry.expect("an entry").file_name().into_string()).collect();
        names.sort();
        assert_eq!(names.len(), 2);
        let junit = names[0].clone().expect("a name");
        assert!(junit.starts_with("junit_nestcheck_"), "{junit}");
        let junit = fs::read_to_string(at("artifacts").join(junit)).expect("a report");
        assert!(junit.contains("lp-ocp-compat--"), "{junit}");

        let warnings = write(open(at("no/summary"), at("no/artifacts")), &at("report"));
        assert_eq!(warnings.len(), 2, "the run counts");

        fs::write(at("summary"), "x".repeat(GITHUB_LIMIT - AND_MORE.len() - 10)).expect("a file");
        write(open(at("summary"), at("artifacts")), &at("report"));
        let summary = fs::read_to_string(at("summary")).expect("a summary");
        assert!(summary.len() <= GITHUB_LIMIT && summary.ends_with(AND_MORE), "{}", summary.len());
    }
}
