//! nestcheck as an extension of openshift-tests (contract v1.1), behind the first argument `--ote`.
//!
//! openshift-tests extracts a gzipped binary from an image, and calls `info`, `list`, `run-test` and
//! `images`. `run-suite` and `update` are for people. `list` gets no kubeconfig. Source of the
//! contract: openshift-eng/openshift-tests-extension, `pkg/cmd` and `pkg/extension`, and
//! openshift/origin, `pkg/test/extensions/binary.go`.

mod arguments;
mod info;
mod names;
mod result;
mod run;
mod spec;

use std::{ffi::OsString, fs, process::ExitCode};

use arguments::{ListWhat, OteArguments, OteCommand, OutputFormat};
use clap::Parser;
use harness::{Error, Result};
use serde::Serialize;
use spec::{Environment, Spec};

use super::{print, print_error, print_usage_error};

/// The argument that selects these verbs instead of the command's own. The annotation of an
/// `ImageStreamTag`, `testextension.redhat.io/binary: PATH.gz [--argument=value]`, can hold it.
const SWITCH: &str = "--ote";

/// That argument, with the image under test if it names one.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Switch {
    image: Option<String>,
}

impl Switch {
    /// Reads the first argument; none if it is another one.
    pub(super) fn read(first: Option<&OsString>) -> Option<Self> {
        let rest = first?.to_str()?.strip_prefix(SWITCH)?;
        let image = rest.strip_prefix('=');
        (rest.is_empty() || image.is_some())
            .then(|| Self { image: image.filter(|image| !image.is_empty()).map(str::to_owned) })
    }
}

/// Runs a verb of the contract and returns its exit code.
pub(super) fn main(switch: Switch, arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let program = OsString::from("nestcheck --ote");
    let arguments = match OteArguments::try_parse_from(std::iter::once(program).chain(arguments)) {
        Ok(arguments) => arguments,
        Err(error) => return print_usage_error(&error),
    };
    let image = arguments.image.or(switch.image);
    match execute(arguments.command, image) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            print_error(&error);
            ExitCode::from(error.kind().exit_code())
        }
    }
}

fn execute(command: OteCommand, image: Option<String>) -> Result<u8> {
    match command {
        OteCommand::Info { .. } => print(&pretty(&info::info(image.as_deref()))?),
        OteCommand::Images { .. } => print(&pretty(&info::images(image.as_deref()))?),
        OteCommand::List { what, output, environment, .. } => match what {
            ListWhat::Tests => list(&spec::specs(&environment), output),
            ListWhat::Suites => print(&pretty(&info::suites())?),
            ListWhat::Components => print(&pretty(&[info::component()])?),
        },
        OteCommand::RunTest(arguments) => run::run_test(arguments, image),
        OteCommand::RunSuite(arguments) => run::run_suite(&arguments, image),
        OteCommand::Update { file } => update(&file),
    }
}

fn list(specs: &[Spec], output: OutputFormat) -> Result<u8> {
    let data = match output {
        OutputFormat::Json => pretty(specs)?,
        OutputFormat::Jsonl => lines(specs)?,
        OutputFormat::Names => specs.iter().fold(Vec::new(), |mut names, spec| {
            names.extend_from_slice(spec.name.as_bytes());
            names.push(b'\n');
            names
        }),
    };
    print(&data)
}

/// Writes the names of today into the file that keeps the first name of each test.
fn update(file: &std::path::Path) -> Result<u8> {
    let cannot = |error: std::io::Error| {
        Error::usage(format!("failed to update `{}`: {error}", file.display()))
            .with_hint("run it at the top of nestcheck's source, or name the file")
    };
    let frozen = names::Frozen::parse(&fs::read_to_string(file).map_err(cannot)?)
        .map_err(|error| cannot(error.into()))?;
    let updated = frozen.updated(&crate::cases())?;
    fs::write(file, updated.text()).map_err(cannot)?;
    Ok(0)
}

fn pretty<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>> {
    let mut text = serde_json::to_vec_pretty(value).map_err(|error| not_json(&error))?;
    text.push(b'\n');
    Ok(text)
}

/// One object a line: readers drop lines that do not begin with `{`.
fn lines<T: Serialize>(values: &[T]) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    for value in values {
        serde_json::to_writer(&mut text, value).map_err(|error| not_json(&error))?;
        text.push(b'\n');
    }
    Ok(text)
}

fn not_json(error: &serde_json::Error) -> Error {
    Error::infrastructure(format!("failed to write JSON: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(first: &str) -> Option<Switch> {
        Switch::read(Some(&OsString::from(first)))
    }

    #[test]
    fn only_the_first_argument_selects_the_contract() {
        let image = Some("host/a:1".to_owned());
        assert_eq!(read("--ote"), Some(Switch { image: None }));
        assert_eq!(read("--ote=host/a:1"), Some(Switch { image }));
        assert_eq!(read("--ote="), Some(Switch { image: None }));
        assert_eq!(read("--oter"), None);
        assert_eq!(read("list"), None);
        assert_eq!(Switch::read(None), None);
    }
}
