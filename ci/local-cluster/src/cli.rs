//! The command line.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::commands::{build, down, inspect, load, up};
use crate::console;
use crate::error::Error;
use crate::node::init;
use crate::settings::{ClusterName, Gates, KubernetesVersion, Settings};
use crate::supervisor;

/// A real one-node Kubernetes cluster on this machine, in Linux namespaces and
/// without a container engine.
#[derive(Debug, Parser)]
#[command(name = "local-cluster", version, about, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start a cluster and wait until it is ready for pods.
    Up {
        #[command(flatten)]
        name: Name,
        #[command(flatten)]
        version: Version,
        /// Which feature gates of user namespaces are on, and where.
        #[arg(long, value_enum, default_value_t)]
        gates: Gates,
    },
    /// End a cluster and leave nothing of it.
    Down {
        #[command(flatten)]
        name: Name,
        /// End all clusters of this cache.
        #[arg(long, conflicts_with = "name")]
        all: bool,
    },
    /// Show a cluster's state; exit status 0 only if all of it runs.
    Status {
        #[command(flatten)]
        name: Name,
        /// The format.
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
    },
    /// Print the path of the administrator's kubeconfig.
    Kubeconfig {
        #[command(flatten)]
        name: Name,
    },
    /// Print a component's log.
    Logs {
        /// The component, such as `kubelet`.
        component: String,
        #[command(flatten)]
        name: Name,
    },
    /// Make a root file system an image of the node.
    Load {
        /// A folder, or a tar archive of one.
        tree: PathBuf,
        #[command(flatten)]
        name: Name,
        /// The image's name; without it `localhost/`, the tree's file name, `:1`.
        #[arg(long)]
        tag: Option<String>,
    },
    /// Build what clusters are made of, without starting one.
    Build {
        #[command(flatten)]
        version: Version,
    },
    /// The owner of a cluster; started by `up`.
    #[command(hide = true)]
    Supervise {
        /// For whoever reads a list of processes.
        cluster: String,
    },
    /// The first process of a node; started by the supervisor.
    #[command(hide = true)]
    NodeInit {
        /// For whoever reads a list of processes.
        cluster: String,
    },
}

#[derive(Args, Debug)]
struct Name {
    /// The cluster's name.
    #[arg(long, default_value = "nestcheck")]
    name: ClusterName,
}

#[derive(Args, Debug)]
struct Version {
    /// The version of Kubernetes.
    #[arg(long = "kubernetes", value_enum, default_value_t)]
    kubernetes: KubernetesVersion,
}

/// How `status` prints.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// Runs the program.
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version go to stdout and are no failure.
            let code = if error.use_stderr() { 2 } else { 0 };
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    match execute(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            console::error(&error);
            ExitCode::from(error.exit_code())
        }
    }
}

fn execute(command: Command) -> Result<(), Error> {
    match command {
        Command::Up { name, version, gates } => {
            let settings = Settings { kubernetes: version.kubernetes, gates };
            up::run(&name.name, settings)
        }
        Command::Down { all: true, .. } => down::run_all(),
        Command::Down { name, .. } => down::run(&name.name),
        Command::Status { name, output } => inspect::status(&name.name, output),
        Command::Kubeconfig { name } => inspect::kubeconfig(&name.name),
        Command::Logs { component, name } => inspect::logs(&name.name, &component),
        Command::Load { tree, name, tag } => load::run(&name.name, &tree, tag.as_deref()),
        Command::Build { version } => build::run(version.kubernetes),
        Command::Supervise { .. } => supervisor::run(),
        Command::NodeInit { .. } => init::run(),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_defaults_are_those_of_the_documentation() {
        let cli = Cli::try_parse_from(["local-cluster", "up"]).unwrap();
        let Command::Up { name, version, gates } = cli.command else {
            panic!("not `up`");
        };
        assert_eq!(name.name.as_str(), "nestcheck");
        assert_eq!(version.kubernetes, KubernetesVersion::V1_32_5);
        assert_eq!(gates, Gates::All);
    }

    #[test]
    fn nonsense_is_refused() {
        for line in [
            &["local-cluster"][..],
            &["local-cluster", "up", "--gates", "some"],
            &["local-cluster", "up", "--kubernetes", "1.0"],
            &["local-cluster", "up", "--name", "../x"],
            &["local-cluster", "down", "--all", "--name", "x"],
        ] {
            assert!(Cli::try_parse_from(line).is_err(), "{line:?}");
        }
    }
}
