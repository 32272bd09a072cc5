//! Proves that every core case of nestcheck can fail.
//!
//! A case that can't fail is worse than none. So this breaks one thing at a time, and the cases
//! about it must fail for that reason. The cases and the engine are nestcheck's own. Broken is what
//! they look at: the image (programs that come before its own in PATH), the manifests of pods, the
//! files in them, the SCC, objects of the cluster, a cluster without feature gates, or the facts.
//!
//! A scenario breaks several unrelated things. All other cases must keep their verdict, except for
//! the dependants that it names. All cases run where programs of the image are broken, all static
//! checks where facts are. The other scenarios run `Scenario::cases`, which has most of the suites
//! of the killed cases, and a sample of all suites.

mod changes;
mod evaluate;
mod event_log;
mod external_writer;
mod faults;
mod inputs;
mod object_patch;
mod objects;
mod policy;
mod runner;
mod scenario;
mod scenarios;
mod table;

use std::{
    fmt::Write as _,
    io::{self, Write},
    ops::ControlFlow,
    path::PathBuf,
    process::ExitCode,
};

use clap::{Parser, ValueEnum};
use evaluate::{Evaluation, evaluate};
use harness::{
    Error, Result,
    engine::Case,
    facts::{Flavour, requirement::InstalledWorkspaceOperator},
    verdict::{Level, Outcome},
};
use runner::Runner;
use scenario::Scenario;
use table::Column;

/// Break one thing at a time and expect that exactly the cases about it fail
///
/// Prints a table of cases and mutants. Exit codes: 0 mutants killed every core case, and no other
/// case was red; 1 a core case survived, or another case was red; 2 usage; 4 a scenario could not
/// run; 128 plus the number of a signal, after everything is restored.
#[derive(Debug, Parser)]
#[command(name = "mutants")]
pub struct Arguments {
    /// Which cases must be killed: those of every cluster, or those that only OpenShift has
    #[arg(long, value_enum)]
    place: Place,
    /// The administrator's kubeconfig
    #[arg(long, value_name = "FILE", env = "KUBECONFIG")]
    kubeconfig: PathBuf,
    /// The kubeconfig of a broken cluster: `without-gates=FILE`
    #[arg(long, value_name = "NAME=FILE", value_parser = broken)]
    broken: Vec<(String, PathBuf)>,
    /// The image of the pods
    #[arg(long, value_name = "REF", default_value = "localhost/workspace:1")]
    image: String,
    /// Where the event logs are kept
    #[arg(long, value_name = "DIR", default_value = "target/mutants")]
    output_dir: PathBuf,
    /// Run only these scenarios, or the scenarios with these mutants
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Vec<String>,
}

fn broken(text: &str) -> std::result::Result<(String, PathBuf), String> {
    let (name, file) = text.split_once('=').ok_or("expected `NAME=FILE`")?;
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
    /// Whether the case must be killed here. What a Kubernetes cluster shows is not shown again. The
    /// one of the mutants has no DevWorkspace Operator.
    fn has(self, case: &Case) -> bool {
        let is_everywhere = case.flavours.contains(&Flavour::Kubernetes)
            && !case.needs::<InstalledWorkspaceOperator>();
        match self {
            Self::Kubernetes => is_everywhere,
            Self::Openshift => !is_everywhere && case.flavours.contains(&Flavour::OpenShift),
        }
    }
}

/// Runs the command line.
///
/// # Errors
///
/// A scenario that could not run.
pub fn main(arguments: &Arguments) -> Result<ExitCode> {
    tracing_subscriber::fmt().with_max_level(tracing_subscriber::filter::LevelFilter::OFF).init();
    let runtime = tokio::runtime::Runtime::new()
        .map_err(|error| Error::infrastructure(format!("failed to start: {error}")))?;
    let scenarios = scenarios::of(arguments.place)?;
    let scenarios = selected(&scenarios, &arguments.only)?;
    match runtime.block_on(run_all(&scenarios, arguments))? {
        ControlFlow::Continue(results) => conclude(arguments, &results),
        ControlFlow::Break(signal) => {
            Ok(ExitCode::from(Outcome::Interrupted { signal }.exit_code()))
        }
    }
}

/// The results of all scenarios.
#[derive(Default)]
struct Results {
    columns: Vec<Column>,
    deviations: Vec<String>,
}

/// Runs scenarios, or stops with the number of a signal.
async fn run_all(
    scenarios: &[&Scenario],
    arguments: &Arguments,
) -> Result<ControlFlow<u8, Results>> {
    // From here on a signal ends the process only after the cluster is restored.
    let mut signals = suites::signals::signals()?;
    let runner = Runner {
        kubeconfig: arguments.kubeconfig.clone(),
        broken: arguments.broken.iter().cloned().collect(),
        image: arguments.image.clone(),
        folder: arguments.output_dir.clone(),
    };
    let unbroken = scenarios::red_without_mutant(arguments.place)?;
    let mut results = Results::default();
    for scenario in scenarios {
        let started = std::time::Instant::now();
        let observed = match Box::pin(runner.run(scenario, &mut signals)).await? {
            ControlFlow::Continue(observed) => observed,
            ControlFlow::Break(signal) => return Ok(ControlFlow::Break(signal)),
        };
        let mut baseline = match runner.red_before(scenario, &mut signals).await? {
            ControlFlow::Continue(baseline) => baseline,
            ControlFlow::Break(signal) => return Ok(ControlFlow::Break(signal)),
        };
        baseline.extend(unbroken.iter().map(|id| (*id).to_owned()));
        let evaluation = evaluate(scenario, &observed, &baseline);
        log(&format!(
            "{}: {} mutants, {} cases, {:.1} s{}\n",
            scenario.name,
            scenario.mutants.len(),
            observed.len(),
            started.elapsed().as_secs_f64(),
            if evaluation.deviations.is_empty() { "" } else { ", with deviations" },
        ));
        results.add(scenario, evaluation);
    }
    Ok(ControlFlow::Continue(results))
}

impl Results {
    fn add(&mut self, scenario: &Scenario, evaluation: Evaluation) {
        let deviations = evaluation.deviations.iter().map(|it| format!("{}: {it}", scenario.name));
        self.deviations.extend(deviations);
        let columns = scenario.mutants.iter().zip(evaluation.columns);
        self.columns.extend(
            columns.map(|(mutant, marks)| Column {
                mutant: *mutant,
                marks: marks.into_iter().collect(),
            }),
        );
    }
}

/// The scenarios with one of these names, or with a mutant of such a name; all if there is no name.
///
/// # Errors
///
/// A name that nothing has.
fn selected<'a>(scenarios: &'a [Scenario], only: &[String]) -> Result<Vec<&'a Scenario>> {
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
    let is_selected =
        |scenario: &&Scenario| only.is_empty() || only.iter().any(|name| has(scenario, name));
    Ok(scenarios.iter().filter(is_selected).collect())
}

fn conclude(arguments: &Arguments, results: &Results) -> Result<ExitCode> {
    let Results { columns, deviations } = results;
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

/// Reports progress.
fn log(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(only: &[&str]) -> Result<Vec<&'static str>> {
        let scenarios = scenarios::of(Place::Kubernetes)?;
        let only: Vec<_> = only.iter().map(|name| (*name).to_owned()).collect();
        Ok(selected(&scenarios, &only)?.iter().map(|scenario| scenario.name).collect())
    }

    #[test]
    fn a_scenario_is_selected_by_its_name_or_by_a_mutants() {
        assert_eq!(names(&["skew", "token"]).expect("both are there"), ["workspace", "skew"]);
        let all = scenarios::of(Place::Kubernetes).expect("valid expectations");
        assert_eq!(names(&[]).expect("all").len(), all.len());
    }

    #[test]
    fn an_unknown_name_is_an_error_that_names_it() {
        let error = names(&["skew", "tokken"]).expect_err("a typo");
        assert!(error.to_string().contains("`tokken`"), "{error}");
        assert_eq!(error.kind().exit_code(), 2);
        assert!(error.hint().is_some_and(|hint| hint.contains("`workspace`")));
    }
}
