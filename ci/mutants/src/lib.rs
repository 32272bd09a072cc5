//! Proves that every core case of nestcheck can fail.
//!
//! A case that can't fail is worse than none. So one thing is broken at a time, and the cases that
//! are about it must fail, for this reason. The cases and the engine are nestcheck's own; what is
//! broken is what they look at: the image (by programs that stand before its own in PATH), the pods'
//! manifests, the files in them, the SCC, objects of the cluster, a cluster without feature
//! gates, or the facts that were read.
//!
//! A scenario breaks several things that have nothing to do with each other. Whatever else runs in it
//! must be as on the unbroken cluster, except for the dependants that it names. What runs is every
//! case where programs of the image are broken, every case that judges facts where facts are; in the
//! other scenarios it is what `Scenario::cases` names, most of the suites of the killed cases, and a
//! sample of all suites.

mod alteration;
mod damage;
mod intruder;
mod log;
pub mod mutant;
mod objects;
mod policy;
mod scenarios;
pub mod stage;
pub mod table;

use std::{
    fmt::Write as _,
    io::{self, Write},
    ops::ControlFlow,
    path::PathBuf,
    process::ExitCode,
};

use clap::{Parser, ValueEnum};
use harness::{
    Error, Result,
    case::Case,
    facts::Flavour,
    outcome::{Level, Outcome},
};

use mutant::{Judged, Scenario, judge};
use stage::Theatre;
use table::Column;

/// Breaks one thing after the other and expects that its cases fail, and no others that run with them
///
/// Prints a table of cases and mutants. Exit codes: 0 every core case was killed by a mutant, and
/// no other case that ran was red; 1 one survived, or another was red; 2 usage; 4 a scenario could not be
/// played; 128 and the number of a signal that broke it off, after everything is whole again.
#[derive(Debug, Parser)]
#[command(name = "mutants")]
pub struct Arguments {
    /// Which cases must be killed: those of a Kubernetes cluster, or those that only OpenShift has
    #[arg(long, value_enum)]
    place: Place,
    /// The administrator's kubeconfig
    #[arg(long, value_name = "FILE", env = "KUBECONFIG")]
    kubeconfig: PathBuf,
    /// The kubeconfig of a cluster that is broken itself: `without-gates=FILE`
    #[arg(long, value_name = "NAME=FILE", value_parser = broken)]
    broken: Vec<(String, PathBuf)>,
    /// The image of the pods
    #[arg(long, value_name = "REF", default_value = "localhost/workspace:1")]
    image: String,
    /// Where the event logs are kept
    #[arg(long, value_name = "DIR", default_value = "target/mutants")]
    output_dir: PathBuf,
    /// Play only these scenarios, or the whole scenarios that these mutants are in
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Vec<String>,
}

fn broken(text: &str) -> std::result::Result<(String, PathBuf), String> {
    let (name, file) = text.split_once('=').ok_or("it is not `NAME=FILE`")?;
    Ok((name.to_owned(), PathBuf::from(file)))
}

/// A kind of cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Place {
    /// Kubernetes.
    Kubernetes,
    /// OpenShift.
    Openshift,
}

impl Place {
    /// The cases that have to be killed here: what a Kubernetes cluster shows is not shown again.
    fn has(self, case: &Case) -> bool {
        let is_everywhere = case.flavours.contains(&Flavour::Kubernetes);
        match self {
            Self::Kubernetes => is_everywhere,
            Self::Openshift => !is_everywhere && case.flavours.contains(&Flavour::OpenShift),
        }
    }
}

/// Does what the command line says.
///
/// # Errors
///
/// A scenario that could not be played.
pub fn main(arguments: &Arguments) -> Result<ExitCode> {
    tracing_subscriber::fmt().with_max_level(tracing_subscriber::filter::LevelFilter::OFF).init();
    let runtime = tokio::runtime::Runtime::new()
        .map_err(|error| Error::infrastructure(format!("failed to start: {error}")))?;
    let scenarios = scenarios::of(arguments.place);
    let scenarios = asked_for(&scenarios, &arguments.only)?;
    match runtime.block_on(play(&scenarios, arguments))? {
        ControlFlow::Continue(season) => conclude(arguments, &season),
        ControlFlow::Break(signal) => {
            Ok(ExitCode::from(Outcome::Interrupted { signal }.exit_code()))
        }
    }
}

/// What all scenarios came to.
#[derive(Default)]
struct Season {
    columns: Vec<Column>,
    deviations: Vec<String>,
}

/// Plays scenarios, or breaks off with the number of the signal that asked for it.
async fn play(scenarios: &[&Scenario], arguments: &Arguments) -> Result<ControlFlow<u8, Season>> {
    // From here on a signal ends the process only after what it broke is whole again.
    let mut signals = suites::signals::signals()?;
    let theatre = Theatre {
        kubeconfig: arguments.kubeconfig.clone(),
        broken: arguments.broken.iter().cloned().collect(),
        image: arguments.image.clone(),
        folder: arguments.output_dir.clone(),
    };
    let mut season = Season::default();
    for scenario in scenarios {
        let begun = std::time::Instant::now();
        let observed = match theatre.play(scenario, &mut signals).await? {
            ControlFlow::Continue(observed) => observed,
            ControlFlow::Break(signal) => return Ok(ControlFlow::Break(signal)),
        };
        let mut baseline = match theatre.red_before(scenario, &mut signals).await? {
            ControlFlow::Continue(baseline) => baseline,
            ControlFlow::Break(signal) => return Ok(ControlFlow::Break(signal)),
        };
        let unbroken = scenarios::red_without_mutant(arguments.place);
        baseline.extend(unbroken.iter().map(|id| (*id).to_owned()));
        let judged = judge(scenario, &observed, &baseline);
        say(&format!(
            "{}: {} mutants, {} cases, {:.1} s{}\n",
            scenario.name,
            scenario.mutants.len(),
            observed.len(),
            begun.elapsed().as_secs_f64(),
            if judged.deviations.is_empty() { "" } else { ", not as it must be" },
        ));
        season.add(scenario, judged);
    }
    Ok(ControlFlow::Continue(season))
}

impl Season {
    fn add(&mut self, scenario: &Scenario, judged: Judged) {
        let deviations = judged.deviations.iter().map(|it| format!("{}: {it}", scenario.name));
        self.deviations.extend(deviations);
        let columns = scenario.mutants.iter().zip(judged.columns);
        self.columns.extend(
            columns.map(|(mutant, marks)| Column {
                mutant: *mutant,
                marks: marks.into_iter().collect(),
            }),
        );
    }
}

/// The scenarios that are named, or have a mutant that is named; all of them if nothing is.
///
/// # Errors
///
/// A name that nothing has: a scenario that is not played shows nothing.
fn asked_for<'a>(scenarios: &'a [Scenario], only: &[String]) -> Result<Vec<&'a Scenario>> {
    let has = |scenario: &Scenario, name: &str| {
        scenario.name == name || scenario.mutants.iter().any(|mutant| mutant.name == name)
    };
    for name in only {
        if !scenarios.iter().any(|scenario| has(scenario, name)) {
            let names: Vec<_> = scenarios.iter().map(|it| format!("`{}`", it.name)).collect();
            return Err(Error::usage(format!("no scenario and no mutant here is named `{name}`"))
                .with_hint(format!("the scenarios are {}", names.join(", "))));
        }
    }
    let is_asked_for =
        |scenario: &&Scenario| only.is_empty() || only.iter().any(|name| has(scenario, name));
    Ok(scenarios.iter().filter(is_asked_for).collect())
}

fn conclude(arguments: &Arguments, season: &Season) -> Result<ExitCode> {
    let Season { columns, deviations } = season;
    let (place, is_whole) = (arguments.place, arguments.only.is_empty());
    let cases: Vec<_> = suites::cases().into_iter().filter(|case| place.has(case)).collect();
    let survivors = if is_whole { table::survivors(&cases, columns) } else { Vec::new() };
    let core = cases.iter().filter(|case| case.level == Level::Core).count();
    let mut text = table::render(&cases, columns);
    // Writing to a string can't fail.
    if is_whole {
        let (killed, mutants) = (core - survivors.len(), columns.len());
        let _ = writeln!(text, "\n{killed} of {core} core cases killed by {mutants} mutants");
    }
    for id in &survivors {
        let _ = writeln!(text, "error: no mutant kills {id}");
    }
    for deviation in deviations {
        let _ = writeln!(text, "error: {deviation}");
    }
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
        .map_err(|error| Error::infrastructure(format!("failed to print: {error}")))?;
    let is_good = survivors.is_empty() && deviations.is_empty();
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// Tells what happens meanwhile.
fn say(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(only: &[&str]) -> Result<Vec<&'static str>> {
        let scenarios = scenarios::of(Place::Kubernetes);
        let only: Vec<_> = only.iter().map(|name| (*name).to_owned()).collect();
        Ok(asked_for(&scenarios, &only)?.iter().map(|scenario| scenario.name).collect())
    }

    #[test]
    fn a_scenario_is_asked_for_by_its_name_or_by_a_mutants() {
        assert_eq!(names(&["skew", "token"]).expect("both are there"), ["workspace", "skew"]);
        assert_eq!(names(&[]).expect("all").len(), scenarios::of(Place::Kubernetes).len());
    }

    #[test]
    fn a_name_that_nothing_has_is_an_error_that_names_it() {
        let error = names(&["skew", "tokken"]).expect_err("a typo");
        assert!(error.to_string().contains("`tokken`"), "{error}");
        assert_eq!(error.kind().exit_code(), 2);
        assert!(error.hint().is_some_and(|hint| hint.contains("`workspace`")));
    }
}
