//! The command line.

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::{
    commands::{build, derive, disturb, down, export_image, inspect, load, restart, up},
    console,
    disturbance::{Disturbance, LONGEST_DISTURBANCE, Link},
    error::Error,
    node::init,
    selection::Selection,
    settings::{
        Addition, Additions, ClusterName, DeviceAnnotations, Gates, MOST_NODES, Settings, User,
        openshift::{FeatureSet, ZStream},
    },
    supervisor, timeout,
};

/// A real cluster of Kubernetes or OpenShift, of one node or a few, on this machine, in Linux namespaces and
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
        selection: Selection,
        /// The feature set of OpenShift, for flavour `openshift` [default: Default]. With the
        /// release it decides about the feature gates, the definition of SCCs
        /// and the objects that name both.
        #[arg(long, value_enum)]
        feature_set: Option<FeatureSet>,
        /// Which patch releases of the release, for flavour `openshift` [default: latest]. The SCCs
        /// that 4.20 ships had another form at first.
        #[arg(long, value_enum)]
        z_stream: Option<ZStream>,
        /// Which feature gates of user namespaces are on, and where [default: `all` for flavour
        /// `kubernetes`, what the release and the feature set have for `openshift`]. From
        /// Kubernetes 1.36 on they are locked.
        #[arg(long, value_enum)]
        gates: Option<Gates>,
        /// What the cluster gets beyond its distribution; can be given several times. `kernel-log` is for
        /// flavour `openshift`.
        #[arg(long, value_enum, value_name = "ADDITION")]
        with: Vec<Addition>,
        /// By which annotations pods get devices, for flavour `openshift` [default: v1]:
        /// `io.kubernetes.cri-o.Devices` (v1), `devices.crio.io` (v2), both or none.
        #[arg(long, value_enum, value_name = "ANNOTATIONS")]
        device_annotations: Option<DeviceAnnotations>,
        /// How many nodes the cluster has. Each has a container runtime, a kubelet and a network of its
        /// own; the first has the control plane too.
        #[arg(long, value_name = "N", default_value = "1",
            value_parser = clap::value_parser!(u8).range(1..=i64::from(MOST_NODES)))]
        nodes: u8,
        /// Which feature gates of user namespaces are on in the kubelets of the other nodes [default:
        /// as on the first]: so nodes differ.
        #[arg(long, value_enum, value_name = "GATES")]
        other_node_gates: Option<Gates>,
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
    /// Print the path of a kubeconfig.
    Kubeconfig {
        #[command(flatten)]
        name: Name,
        /// Whose it is.
        #[arg(long, value_enum, default_value_t)]
        user: User,
    },
    /// Print a component's log.
    Logs {
        /// The component, such as `kubelet`.
        component: String,
        #[command(flatten)]
        name: Name,
    },
    /// Kill components at once and start them again as they were, in this order.
    Restart {
        /// The components, such as `etcd` and `kube-apiserver`.
        #[arg(required = true, value_name = "COMPONENT")]
        components: Vec<String>,
        #[command(flatten)]
        name: Name,
    },
    /// Disturb a cluster for some time. The cluster's supervisor ends the disturbance when its time is
    /// over, also if this command is killed meanwhile.
    Disturb {
        #[command(flatten)]
        disturbance: DisturbanceArguments,
        /// How long, in seconds.
        #[arg(long = "for", value_name = "SECONDS")]
        #[arg(value_parser = clap::value_parser!(u64).range(1..=LONGEST_DISTURBANCE))]
        seconds: u64,
        #[command(flatten)]
        name: Name,
    },
    /// Make a root file system an image of the node.
    Load {
        /// A directory, or a tar archive of one.
        tree: PathBuf,
        #[command(flatten)]
        name: Name,
        /// The image's name; without it `localhost/`, the tree's file name, `:1`.
        #[arg(long)]
        tag: Option<String>,
    },
    /// Make images of the node that differ from the workspace image: each recipe is a shell script,
    /// which is run as root in that image's root file system, for ten minutes at most; what it
    /// leaves in the background ends with it. A file beside it with its name and the ending `.json`
    /// says how a container of the image starts, as `fixtures/images/workspace/start.json` does.
    /// Prints their names: `localhost/`, the recipe's file name, `:1`.
    Derive {
        /// The shell scripts.
        #[arg(required = true, value_name = "RECIPE")]
        recipes: Vec<PathBuf>,
        #[command(flatten)]
        name: Name,
    },
    /// Write the workspace image as an OCI archive, for other clusters: `kind load image-archive`,
    /// `podman load`, or a registry. Prints its name.
    ExportImage {
        /// The archive.
        file: PathBuf,
        /// The image's name [default: localhost/workspace:1].
        #[arg(long)]
        tag: Option<String>,
    },
    /// Build what clusters are made of, without starting one.
    Build {
        #[command(flatten)]
        selection: Selection,
    },
    /// The owner of a cluster; started by `up`.
    #[command(hide = true)]
    Supervise {
        /// Shows in lists of processes.
        cluster: String,
    },
    /// The first process of a node; started by the supervisor.
    #[command(hide = true)]
    NodeInit {
        /// Shows in lists of processes.
        cluster: String,
    },
}

#[derive(Args, Debug)]
struct Name {
    /// The cluster's name.
    #[arg(long, default_value = "nestcheck")]
    name: ClusterName,
}

/// A disturbance; one of them is required.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
struct DisturbanceArguments {
    /// Stop the processes of these components (SIGSTOP), then let them continue.
    #[arg(long, value_name = "COMPONENT", value_delimiter = ',')]
    freeze: Vec<String>,
    /// Drop all packets between the API server and the node, or the client.
    #[arg(long, value_enum, value_name = "PEER")]
    cut_network: Option<Link>,
    /// Drop every other packet at random: TCP sends it again, so that it arrives late.
    #[arg(long, value_enum, value_name = "PEER")]
    delay_network: Option<Link>,
    /// Fill the disk of the kubelet's data, in a cluster with `own-disk`.
    #[arg(long)]
    fill_disk: bool,
}

impl DisturbanceArguments {
    fn disturbance(self) -> Disturbance {
        if self.fill_disk {
            return Disturbance::FullDisk;
        }
        let network = |link, all| Disturbance::Network { link, all };
        let cut = self.cut_network.map(|link| network(link, true));
        let late = self.delay_network.map(|link| network(link, false));
        cut.or(late).unwrap_or(Disturbance::Freeze { components: self.freeze })
    }
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
            // Help and version go to stdout and are not failures.
            let code = if error.use_stderr() { 2 } else { 0 };
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    match timeout::read_factor().and_then(|()| execute(cli.command)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            console::error(&error);
            ExitCode::from(error.exit_code())
        }
    }
}

fn execute(command: Command) -> Result<(), Error> {
    match command {
        Command::Up {
            name,
            selection,
            feature_set,
            z_stream,
            gates,
            with,
            device_annotations,
            nodes,
            other_node_gates,
        } => {
            let distribution = selection.distribution(feature_set, z_stream)?;
            let mut settings = Settings::new(distribution, gates)?
                .with(Additions::of(&with))?
                .with_device_annotations(device_annotations)?
                .with_nodes(nodes, other_node_gates)?;
            let source = selection.source(distribution, settings.with)?;
            settings.real = source.real();
            up::run(&name.name, settings, &source)
        }
        Command::Down { all: true, .. } => down::run_all(),
        Command::Down { name, .. } => down::run(&name.name),
        Command::Status { name, output } => inspect::status(&name.name, output),
        Command::Kubeconfig { name, user } => inspect::kubeconfig(&name.name, user),
        Command::Logs { component, name } => inspect::logs(&name.name, &component),
        Command::Restart { components, name } => restart::run(&name.name, components),
        Command::Disturb { disturbance, seconds, name } => {
            disturb::run(&name.name, disturbance.disturbance(), seconds)
        }
        Command::Load { tree, name, tag } => load::run(&name.name, &tree, tag.as_deref()),
        Command::Derive { recipes, name } => derive::run(&name.name, &recipes),
        Command::ExportImage { file, tag } => export_image::run(&file, tag.as_deref()),
        Command::Build { selection } => build::run(&selection.sources()?),
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
        let Command::Up { name, selection, feature_set, z_stream, gates, .. } = cli.command else {
            panic!("not `up`");
        };
        assert_eq!(name.name.as_str(), "nestcheck");
        let distribution = selection.distribution(feature_set, z_stream).unwrap();
        assert_eq!(Settings::new(distribution, gates).unwrap(), Settings::default());
    }

    #[test]
    fn nonsense_is_refused() {
        for line in [
            &["local-cluster"][..],
            &["local-cluster", "up", "--gates", "some"],
            &["local-cluster", "up", "--kubernetes", "1.0"],
            &["local-cluster", "up", "--name", "../x"],
            &["local-cluster", "up", "--feature-set", "default"],
            &["local-cluster", "up", "--release", "4.17"],
            &["local-cluster", "up", "--kubernetes", "1.34.4"],
            &["local-cluster", "up", "--z-stream", "old"],
            &["local-cluster", "up", "--with", "che"],
            &["local-cluster", "up", "--nodes", "0"],
            &["local-cluster", "up", "--nodes", "9"],
            &["local-cluster", "kubeconfig", "--user", "root"],
            &["local-cluster", "restart"],
            &["local-cluster", "disturb", "--for", "5"],
            &["local-cluster", "disturb", "--freeze", "kubelet"],
            &["local-cluster", "disturb", "--freeze", "kubelet", "--for", "3600"],
            &[
                "local-cluster",
                "disturb",
                "--freeze",
                "etcd",
                "--cut-network",
                "node",
                "--for",
                "5",
            ],
            &["local-cluster", "down", "--all", "--name", "x"],
        ] {
            assert!(Cli::try_parse_from(line).is_err(), "{line:?}");
        }
    }
}
