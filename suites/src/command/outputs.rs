//! The reports of a run where a CI system looks for them.

use std::{
    env,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use clap::{Args, ValueEnum};
use harness::{
    Error, Result,
    report::{
        Dialect, Report, directory, html, in_toto, json, junit, markdown, prometheus, summarize,
    },
};

use super::{
    arguments::{ReportFormat, dialect},
    delivery::{ReportArchive, partial},
};

/// The file to which a job of GitHub appends its summary.
const GITHUB_SUMMARY: &str = "GITHUB_STEP_SUMMARY";

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
        let mut opened = Vec::new();
        for (index, output) in self.report.iter().enumerate() {
            let is_repeated = |other: &ReportOutput| other.file == output.file;
            if let Some(path) = &output.file
                && self.report[..index].iter().any(is_repeated)
            {
                return Err(Error::usage(format!("two reports go to `{}`", path.display()))
                    .with_hint("give each `--report` a file of its own"));
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
    /// The file, the one beside it in which the report grows, and its handle.
    file: Option<(PathBuf, PathBuf, File)>,
}

impl OpenOutput {
    fn open(output: &ReportOutput) -> Result<Self> {
        let open = |path: &PathBuf| {
            let part = partial(path);
            let mut options = OpenOptions::new();
            let file = options.write(true).create(true).truncate(true).mode(0o600).open(&part);
            let file = file.map_err(|error| cannot_write(path, &error))?;
            if path.is_dir() {
                let _ = fs::remove_file(&part);
                return Err(cannot_write(path, &io::Error::from(io::ErrorKind::IsADirectory)));
            }
            Ok((path.clone(), part, file))
        };
        Ok(Self { format: output.format, file: output.file.as_ref().map(open).transpose()? })
    }

    fn write(&mut self, text: &str) -> Result<()> {
        match self.file.take() {
            None => super::print(text.as_bytes()).map(drop),
            Some((path, part, mut file)) => file
                .write_all(text.as_bytes())
                .and_then(|()| fs::rename(&part, &path))
                .map_err(|error| {
                    let _ = fs::remove_file(&part);
                    cannot_write(&path, &error)
                }),
        }
    }
}

impl Drop for OpenOutput {
    fn drop(&mut self) {
        if let Some((_, part, _)) = &self.file {
            // Nothing ran, or the report could not be made.
            let _ = fs::remove_file(part);
        }
    }
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
    /// Writes the reports of a report directory. Returns warnings about files that nobody named: the CI
    /// system did, and a run does not fail by them.
    ///
    /// # Errors
    ///
    /// A log that cannot be read, or a report that cannot be written where a person wants it.
    pub(super) fn write(mut self, directory: &Path) -> Result<Vec<String>> {
        if self.opened.is_empty() && self.github.is_none() && self.prow.is_none() {
            return Ok(Vec::new());
        }
        let report = summarize(&directory::load(directory)?);
        for output in &mut self.opened {
            output.write(&text(&report, output.format, self.dialect.unwrap_or_default())?)?;
        }
        let mut warnings = Vec::new();
        let mut warn = |name: &str, path: &Path, error: &io::Error| {
            let path = path.display();
            warnings.push(format!("warning: failed to write to `{path}` of `${name}`: {error}\n"));
        };
        if let Some(path) = &self.github {
            let append = || {
                let mut file = OpenOptions::new().append(true).create(true).open(path)?;
                file.write_all(markdown(&report).as_bytes())
            };
            append().unwrap_or_else(|error| warn(GITHUB_SUMMARY, path, &error));
        }
        if let Some(path) = &self.prow {
            let dialect = self.dialect.unwrap_or(Dialect::OpenShift);
            let junit = junit(&report, dialect)?;
            // The name by which Prow and Sippy find the file, whatever its dialect.
            let files = [
                (Dialect::OpenShift.file_name(&report), junit),
                ("nestcheck.html".to_owned(), html(&report)),
            ];
            let copy =
                || files.iter().try_for_each(|(name, text)| fs::write(path.join(name), text));
            copy().unwrap_or_else(|error| warn(PROW_ARTIFACTS, path, &error));
        }
        Ok(warnings)
    }
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
        let warnings = arguments.open(None).and_then(|open| open.write(&at("report")));

        assert_eq!(warnings.expect("they can be written"), [""; 0]);
        assert!(fs::read_to_string(at("a.json")).expect("a report").contains("\"schema\": 1"));
        assert!(fs::read_to_string(at("a.prom")).expect("a report").starts_with("# HELP"));
        assert_eq!(fs::read_dir(directory.path()).expect("a directory").count(), 3, "no parts");
    }

    #[test]
    fn what_cannot_be_written_is_refused_before_anything_runs() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let here = directory.path().display();
        for (reports, words) in [
            (vec![format!("json={here}/no/a")], "failed to write report"),
            (vec![format!("json={here}")], "failed to write report"),
            (vec![format!("json={here}/a"), format!("html={here}/a")], "two reports go to"),
            (vec!["json=-".to_owned(), "html=-".to_owned()], "only one report"),
        ] {
            let error = arguments(&reports).open(None).err().expect("an error");
            assert!(error.to_string().contains(words), "{error}");
            assert_eq!(error.kind().exit_code(), 2);
        }
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

        let warnings = open(at("summary"), at("artifacts")).write(&at("report"));

        assert_eq!(warnings.expect("they can be written"), [""; 0]);
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

        let warnings = open(at("no/summary"), at("no/artifacts")).write(&at("report"));
        assert_eq!(warnings.expect("the run counts").len(), 2);
    }
}
