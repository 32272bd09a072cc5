//! A variable of the environment for every option of every command.
//!
//! The names follow one rule. An option of `nestcheck run` is set by `NESTCHECK_` and its name in capitals,
//! in each command that has the same option: `NESTCHECK_PROFILE`. An option that means something else in
//! another command, or that `run` does not have, has the command's name in front: `NESTCHECK_SWEEP_ALL`.
//! Help and man page show the names, never the values: people paste help into issues.

use std::{collections::BTreeSet, env};

use clap::{Arg, ArgAction, Command, builder::BoolishValueParser, error::ContextKind};

/// The beginning of each name.
const PREFIX: &str = "NESTCHECK";

/// The command whose options need no command's name.
const MAIN_COMMAND: &str = "run";

/// Options of other commands that `run` has too, with another meaning, or that are refused without
/// another option: a variable for `run` would change or break these commands.
const OWN_NAMES: [(&str, &str); 11] = [
    // Without `--print-rbac` it is an error.
    ("preflight", "profile"),
    // Its formats are others.
    ("explain", "output"),
    ("remedy", "output"),
    // A cluster that runs go to would be taken for the one of a report.
    ("remedy", "kubeconfig"),
    ("remedy", "context"),
    // There it weakens the namespace.
    ("remedy", "namespace"),
    // Runs of other namespaces would stay.
    ("sweep", "namespace"),
    // A careful sweep must not turn the run beside it into one that tests nothing.
    ("run", "dry-run"),
    ("sweep", "dry-run"),
    // There the report is read, and has to exist.
    ("sweep", "report-dir"),
    // Without `--dry-run` it is an error.
    ("run", "output"),
];

/// Options without a variable, which print and end.
pub(super) const WITHOUT_VARIABLE: [&str; 2] = ["help", "version"];

/// The words that switch a flag off, those of clap's `BoolishValueParser`. clap would take a flag that is
/// off for one that is given, and refuse it beside those that it excludes.
const OFF: [&str; 6] = ["n", "no", "f", "false", "off", "0"];

/// Adds to every option of every command its variable. A variable that is empty is as good as unset: CI
/// systems define variables that nobody gave a value.
pub(super) fn with_environment(command: Command) -> Command {
    let of_run = options(command.find_subcommand(MAIN_COMMAND));
    command.mut_subcommands(|subcommand| {
        let name = subcommand.get_name().to_owned();
        subcommand.mut_args(|arg| with_variable(arg, &name, &of_run))
    })
}

/// The long names of a command's options.
fn options(command: Option<&Command>) -> BTreeSet<String> {
    let all = command.into_iter().flat_map(Command::get_arguments);
    all.filter_map(Arg::get_long).map(str::to_owned).collect()
}

fn with_variable(arg: Arg, command: &str, of_run: &BTreeSet<String>) -> Arg {
    let Some(variable) = variable(&arg, command, of_run) else { return arg };
    let value = env::var_os(&variable).map(|value| value.to_string_lossy().to_ascii_lowercase());
    // A flag is a word in the environment.
    let is_flag = matches!(arg.get_action(), ArgAction::SetTrue);
    let is_off = |value: &str| value.is_empty() || is_flag && OFF.contains(&value);
    let arg = if is_flag { arg.value_parser(BoolishValueParser::new()) } else { arg };
    if value.as_deref().is_some_and(is_off) {
        return arg;
    }
    arg.env(variable).hide_env_values(true)
}

/// The name of an option's variable.
fn variable(arg: &Arg, command: &str, of_run: &BTreeSet<String>) -> Option<String> {
    let long = arg.get_long().filter(|long| !WITHOUT_VARIABLE.contains(long))?;
    let is_shared = of_run.contains(long) && !OWN_NAMES.contains(&(command, long));
    let words = if is_shared { vec![PREFIX, long] } else { vec![PREFIX, command, long] };
    Some(words.join("_").to_uppercase().replace('-', "_"))
}

/// The variable that an error is about, where the option that it names has its value from there.
pub(super) fn variable_of(error: &clap::Error, command: &Command) -> Option<String> {
    let named = error.get(ContextKind::InvalidArg)?.to_string();
    let long = named.strip_prefix("--")?;
    let end = long.find(|c: char| !(c.is_ascii_alphanumeric() || c == '-')).unwrap_or(long.len());
    let long = &long[..end];
    let given = |word: &str| word == format!("--{long}") || word.starts_with(&format!("--{long}="));
    let words: Vec<_> =
        env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    if words.iter().any(|word| given(word)) {
        return None;
    }
    let subcommand = command.find_subcommand(words.first()?)?;
    let arg = subcommand.get_arguments().find(|arg| arg.get_long() == Some(long))?;
    let variable = arg.get_env()?.to_str()?.to_owned();
    env::var_os(&variable).map(|_| variable)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, ffi::OsStr, fmt::Write};

    use clap::CommandFactory;

    use super::{super::arguments::Arguments, *};

    /// Each option of each command, and its variable.
    fn variables() -> Vec<(String, String, Option<String>)> {
        let mut command = with_environment(Arguments::command());
        command.build();
        let mut found = Vec::new();
        for subcommand in command.get_subcommands() {
            for arg in subcommand.get_arguments() {
                let Some(long) = arg.get_long() else { continue };
                let variable = arg.get_env().and_then(OsStr::to_str).map(str::to_owned);
                found.push((subcommand.get_name().to_owned(), long.to_owned(), variable));
            }
        }
        found
    }

    /// Positional arguments have none: they say what a command is about.
    #[test]
    fn every_option_of_every_command_has_a_variable() {
        for (command, long, variable) in variables() {
            let is_exempt = WITHOUT_VARIABLE.contains(&long.as_str());
            assert_eq!(variable.is_none(), is_exempt, "`nestcheck {command} --{long}`");
        }
    }

    #[test]
    fn the_names_follow_the_rule_and_stay_as_they_are() {
        let mut list = String::new();
        for (command, long, variable) in variables() {
            let Some(variable) = variable else { continue };
            let option = long.to_uppercase().replace('-', "_");
            let own = format!("NESTCHECK_{}_{option}", command.to_uppercase());
            assert!(variable == format!("NESTCHECK_{option}") || variable == own, "{variable}");
            writeln!(list, "{variable:36} nestcheck {command} --{long}").expect("a text");
        }
        assert!(list.contains("NESTCHECK_IMAGE ") && !list.contains("NESTCHECK_LOG"));
        insta::assert_snapshot!(list);
    }

    /// A variable for one option that sets another one too must mean the same there.
    #[test]
    fn options_that_share_a_variable_take_the_same_values() {
        let mut command = with_environment(Arguments::command());
        command.build();
        let mut known: BTreeMap<String, (String, String)> = BTreeMap::new();
        for subcommand in command.get_subcommands() {
            for arg in subcommand.get_arguments() {
                let Some(variable) = arg.get_env().and_then(OsStr::to_str) else { continue };
                let values: Vec<_> = arg.get_possible_values();
                let names: Vec<_> =
                    values.iter().map(clap::builder::PossibleValue::get_name).collect();
                let form = format!("{:?} {:?} {names:?}", arg.get_action(), arg.get_value_names());
                let name = subcommand.get_name().to_owned();
                let first = known
                    .entry(variable.to_owned())
                    .or_insert_with(|| (name.clone(), form.clone()));
                assert_eq!(first.1, form, "{variable} of `{}` and `{name}`", first.0);
            }
        }
    }

    #[test]
    fn help_shows_the_names_and_no_values() {
        let mut command = with_environment(Arguments::command());
        let run = command.find_subcommand_mut("run").expect("a command");
        let help = run.render_long_help().to_string();
        for name in ["NESTCHECK_JOBS", "NESTCHECK_PULL_SECRET", "NESTCHECK_FAIL_FAST"] {
            assert!(help.contains(&format!("[env: {name}]")), "{name} is not in {help}");
        }
        assert!(!help.contains("NESTCHECK_JOBS="), "a value is in {help}");
    }
}
