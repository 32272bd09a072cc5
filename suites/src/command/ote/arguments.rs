//! The arguments of the contract's verbs.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::{Environment, info::COMPONENT};
use crate::command::arguments::{duration, image};

/// nestcheck as an extension of openshift-tests
#[derive(Debug, Parser)]
#[command(name = "nestcheck --ote", arg_required_else_help = true)]
pub(super) struct OteArguments {
    /// The workspace image; `--ote=REF` names it too
    #[arg(long, global = true, value_name = "REF", env = "NESTCHECK_IMAGE", value_parser = image)]
    pub(super) image: Option<String>,
    #[command(subcommand)]
    pub(super) command: OteCommand,
}

#[derive(Debug, Subcommand)]
pub(super) enum OteCommand {
    /// Print what this extension is
    Info {
        #[command(flatten)]
        component: ComponentArgument,
    },
    /// List the tests that fit a cluster; needs no cluster
    List {
        /// What is listed
        #[arg(value_enum, default_value = "tests")]
        what: ListWhat,
        #[command(flatten)]
        component: ComponentArgument,
        /// The format of the list
        #[arg(long, short, value_enum, default_value = "json")]
        output: OutputFormat,
        #[command(flatten)]
        environment: Box<Environment>,
    },
    /// Run tests by name
    RunTest(RunTestArguments),
    /// Run all tests of a suite
    RunSuite(RunSuiteArguments),
    /// List the images that the tests pull
    Images {
        #[command(flatten)]
        component: ComponentArgument,
    },
    /// Add new tests to the file of first names; fails if a test lost its name
    Update {
        /// The file
        #[arg(default_value = "suites/ote-names.json")]
        file: PathBuf,
    },
}

/// Which component, in a binary that may hold several.
#[derive(Debug, Args)]
pub(super) struct ComponentArgument {
    /// The component
    #[arg(long, value_name = "NAME", default_value = "default", value_parser = ["default", COMPONENT])]
    component: String,
}

/// What `list` lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum ListWhat {
    /// Tests
    Tests,
    /// Suites
    Suites,
    /// Components
    Components,
}

/// How data is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum OutputFormat {
    /// One JSON value
    Json,
    /// One JSON object a line
    Jsonl,
    /// One name a line
    Names,
}

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum ResultFormat {
    /// One JSON value
    Json,
    /// One JSON object a line
    Jsonl,
}

#[derive(Debug, Args)]
pub(super) struct RunTestArguments {
    /// The name of a test; several are run at once. Without one, standard input has them, one a line
    #[arg(long = "names", short = 'n', value_name = "NAME")]
    pub(super) names: Vec<String>,
    /// One more name
    #[arg(value_name = "NAME")]
    pub(super) name: Option<String>,
    #[command(flatten)]
    pub(super) how: HowToRun,
}

#[derive(Debug, Args)]
pub(super) struct RunSuiteArguments {
    /// The name of the suite
    #[arg(value_name = "SUITE")]
    pub(super) suite: String,
    /// Where to write JUnit
    #[arg(long, value_name = "FILE")]
    pub(super) junit_path: Option<PathBuf>,
    /// Where to write the HTML page
    #[arg(long, value_name = "FILE")]
    pub(super) html_path: Option<PathBuf>,
    #[command(flatten)]
    pub(super) how: HowToRun,
}

/// How tests are run.
#[derive(Debug, Args)]
pub(super) struct HowToRun {
    #[command(flatten)]
    component: ComponentArgument,
    /// The format of the results
    #[arg(long, short, value_enum, default_value = "jsonl")]
    pub(super) output: ResultFormat,
    /// How many tests run at once
    #[arg(long, short = 'c', value_name = "N", default_value = "4", value_parser = clap::value_parser!(u8).range(1..=64))]
    pub(super) max_concurrency: u8,
    /// The time limit, such as 15m
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(super) timeout: Option<std::time::Duration>,
}
