//! The command line: arguments in, exit code out. Data goes to standard output, everything else
//! to standard error.

mod arguments;
mod compare;
mod delivery;
mod dry_run;
mod environment;
mod execution;
mod expect;
mod explain;
mod images;
mod inside;
mod last_report;
mod list;
mod new_file;
mod ote;
mod outputs;
mod placement;
mod preflight;
mod remedy;
mod report;
mod report_configmap;
mod rerun;
mod run;
mod selection;
mod sweep;
mod version;

use std::{
    io::{self, IsTerminal, Write},
    process::ExitCode,
};

use arguments::{Arguments, Command};
use clap::{CommandFactory, FromArgMatches, error::ErrorKind as ClapErrorKind};
use harness::{Error, Result, base::redact};
pub use preflight::json_schema as preflight_schema;
use tracing_subscriber::EnvFilter;

/// The exit code of a command line that can't be understood.
const USAGE: u8 = 2;

/// The most that is shown of one entry of the log, in bytes.
const LOG_ENTRY_LIMIT: usize = 64 * 1024;

/// Runs the command and returns its exit code.
#[must_use]
pub fn main() -> ExitCode {
    redact_panics();
    if let Some(switch) = ote::Switch::read(std::env::args_os().nth(1).as_ref()) {
        start_logging();
        return ote::main(switch, std::env::args_os().skip(2));
    }
    let parsed = command_line().try_get_matches();
    let arguments = match parsed.and_then(|matches| Arguments::from_arg_matches(&matches)) {
        Ok(arguments) => arguments,
        Err(error) => return print_usage_error(&error),
    };
    start_logging();
    match execute(arguments.command) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            print_error(&error);
            ExitCode::from(error.kind().exit_code())
        }
    }
}

/// The command line with the variables of the environment.
fn command_line() -> clap::Command {
    environment::with_environment(Arguments::command())
}

fn execute(command: Command) -> Result<u8> {
    match command {
        Command::Preflight(arguments) => block_on(preflight::execute(arguments)),
        Command::Remedy(arguments) => block_on(remedy::execute(arguments)),
        Command::List(arguments) => list::execute(&arguments),
        Command::Explain(arguments) => explain::execute(&arguments),
        Command::Images(arguments) => images::execute(&arguments),
        Command::Run(arguments) => block_on(run::execute(*arguments)),
        Command::Inside(arguments) => block_on(inside::execute(arguments)),
        Command::Sweep(arguments) => block_on(sweep::execute(arguments)),
        Command::Report(arguments) => report::execute(&arguments),
        Command::Expect(arguments) => expect::execute(&arguments),
        Command::Compare(arguments) => compare::execute(&arguments),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut command_line(), "nestcheck", &mut script);
            print(&script)
        }
        Command::Man => {
            let mut page = Vec::new();
            clap_mangen::Man::new(command_line())
                .render(&mut page)
                .map_err(|error| Error::infrastructure(format!("failed to render: {error}")))?;
            print(&page)
        }
    }
}

fn block_on(work: impl Future<Output = Result<u8>>) -> Result<u8> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        // Everything here waits for the cluster; more threads only cost memory.
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Error::infrastructure(format!("failed to start: {error}")))?;
    runtime.block_on(work)
}

/// Writes what a cluster may have a part in to standard output.
fn print_text(text: &str) -> Result<u8> {
    print(redact::clean_text(text).as_bytes())
}

/// Writes data to standard output. A reader that has seen enough, such as `head`, is no error.
fn print(data: &[u8]) -> Result<u8> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(data).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Error::infrastructure(format!("failed to write to standard output: {error}"))
                .with_hint("make room where it is written to"))
        }
        _ => Ok(0),
    }
}

/// Logs go to standard error; `NESTCHECK_LOG=debug` shows more of them.
fn start_logging() {
    let filter = EnvFilter::try_from_env("NESTCHECK_LOG")
        .unwrap_or_else(|_| EnvFilter::new("warn,kube_client=off"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| RedactedStderr)
        // What is cleaned loses its colours too.
        .with_ansi(false)
        .without_time()
        .init();
}

/// Standard error, for logs: libraries log what they like, on the highest level whole requests.
struct RedactedStderr;

impl Write for RedactedStderr {
    /// One entry of the log, which `tracing_subscriber::fmt` writes whole.
    fn write(&mut self, entry: &[u8]) -> io::Result<usize> {
        io::stderr().write_all(redact::clean(entry, LOG_ENTRY_LIMIT).as_bytes())?;
        Ok(entry.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// Installs a panic hook that redacts secrets. A panic in a case also becomes its verdict.
fn redact_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let _ = writeln!(RedactedStderr, "{panic}");
    }));
}

/// Whether standard error may be coloured: a terminal, and `NO_COLOR` unset or empty.
fn color() -> bool {
    io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Prints an error and its hint. A closed standard error does not change the exit code.
fn print_error(error: &Error) {
    let _ = io::stderr().write_all(format!("error: {}\n", error.with_hint_line()).as_bytes());
}

/// Prints what clap found: help and version as they are, an error on one line with a hint.
fn print_usage_error(error: &clap::Error) -> ExitCode {
    let text = error.render().to_string();
    match error.kind() {
        ClapErrorKind::DisplayHelp | ClapErrorKind::DisplayVersion => {
            print(text.as_bytes()).map_or(ExitCode::from(USAGE), ExitCode::from)
        }
        ClapErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            print_error(&Error::usage("no command given").with_hint(
                "the commands are `preflight`, `remedy`, `list`, `explain`, `run`, `inside`, `images`, \
                 `sweep`, `report`, `compare`, `expect`, `completions` and `man`; `nestcheck --help` \
                 shows more",
            ));
            ExitCode::from(USAGE)
        }
        _ => {
            let (message, hint) = take_apart(&text);
            let message = match environment::variable_of(error, &command_line()) {
                Some(variable) => format!("`{variable}` of the environment: {message}"),
                None => message,
            };
            print_error(&Error::usage(message).with_hint(hint));
            ExitCode::from(USAGE)
        }
    }
}

/// Takes clap's text apart: the message, and what the reader can do. clap puts the error into the
/// first paragraph, and tips and usage into others; a hint of our own is a line of the error.
fn take_apart(text: &str) -> (String, &str) {
    const HINT: &str = "`nestcheck --help` and `nestcheck COMMAND --help` show what there is";
    let (mut message, mut hint) = (Vec::new(), None);
    for line in text.lines().map(str::trim).take_while(|line| !line.is_empty()) {
        match line.strip_prefix("hint: ") {
            Some(ours) => hint = Some(ours),
            None => message.push(line),
        }
    }
    let message = message.join(" ");
    let message = message.strip_prefix("error: ").unwrap_or(&message);
    // What may be given several times: `<DIR>...`.
    let message = message.strip_suffix("...").unwrap_or(message).to_owned();
    let tip = || text.lines().find_map(|line| line.trim().strip_prefix("tip: "));
    (message, hint.or_else(tip).unwrap_or(HINT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_is_taken_from_the_message_the_tip_or_the_help() {
        let own = "error: invalid value 'x' for '--shard <I/N>': no shard\nhint: such as 1/3\n\n\
                   For more information, try '--help'.\n";
        let (message, hint) = take_apart(own);
        assert_eq!(message, "invalid value 'x' for '--shard <I/N>': no shard");
        assert_eq!(hint, "such as 1/3");
        let tip = "error: unrecognized subcommand 'rn'\n\n  tip: a similar subcommand exists: \
                   'run'\n\nUsage: nestcheck <COMMAND>\n";
        let (message, hint) = take_apart(tip);
        assert_eq!(message, "unrecognized subcommand 'rn'");
        assert_eq!(hint, "a similar subcommand exists: 'run'");
        let (message, hint) = take_apart("error: a value is required\n  [possible values: a]\n");
        assert_eq!(message, "a value is required [possible values: a]");
        assert!(hint.contains("--help"));
    }
}
