//! The arguments of the command, with the texts of its help and man page.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum, builder::NonEmptyStringValueParser};
use harness::{
    Error,
    base::build,
    cluster::ConnectOptions,
    engine::{Keep, Profile, plan::Shard},
    facts::ChosenRoute,
    report::Dialect,
    sandbox::{
        pod_template::EntryPoint,
        rbac::{ACCOUNT, Addition},
    },
};
use oci_spec::distribution::{ParseError, Reference};

use super::{
    compare::CompareArguments,
    delivery::ReportArchive,
    execution::{ExecutionArguments, ExtentArguments},
    expect::{ExpectArguments, ExpectationArguments},
    last_report::LastReportArguments,
    outputs::OutputArguments,
    placement::{self, PlacementArguments},
    remedy::RemedyArguments,
    report_configmap,
    selection::SelectionArguments,
    sweep::SweepArguments,
    version,
};
use crate::session::SccSource;

/// Proves on a live cluster that rootless containers work inside a pod, for an ordinary user
///
/// Exit codes: 0 conformant, 1 not conformant, 2 usage or bad input, 3 partial (a core case was
/// blocked, or the cluster is unsupported), 4 error (the cluster can't be reached, the
/// infrastructure broke), 5 leaked, 129, 130 and 143 interrupted by SIGHUP, SIGINT or SIGTERM.
#[derive(Debug, Parser)]
#[command(name = "nestcheck", version = build::version(), long_version = version::long_version(),
    arg_required_else_help = true)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Show what the cluster can do; writes nothing to it
    Preflight(PreflightArguments),
    /// Print what would fix what is unmet on the cluster, or failed in a run: manifests, lines for the
    /// Containerfile, files and commands, each with its cost. Applies nothing
    Remedy(RemedyArguments),
    /// List the cases; needs no cluster
    List(ListArguments),
    /// Explain what a case asserts, why it matters, and how to fix a failure; needs no cluster
    Explain(ExplainArguments),
    /// Run the cases and write a report
    Run(Box<RunArguments>),
    /// Run the cases that need no API here: in a workspace's terminal, or in a container of an image
    Inside(InsideArguments),
    /// List the images that the nodes pull, or how they find them in a mirror; needs no cluster
    Images(ImagesArguments),
    /// Remove leftovers of runs that did not clean up after themselves
    Sweep(SweepArguments),
    /// Generate a report again from the event log of a run, or one of several runs; the exit code is
    /// that of the run, or of all runs together
    Report(ReportArguments),
    /// Write a file of expectations from the failures of a run, to be completed and used with `run
    /// --expect`
    Expect(ExpectArguments),
    /// Compare runs of any clusters and days: what got worse, what got better, what else changed. Exit
    /// code 0: nothing got worse; 1: something did; 2: bad input
    Compare(CompareArguments),
    /// Print the completions of a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the man page
    Man,
}

/// Which cluster.
#[derive(Debug, Args)]
pub(super) struct ClusterArguments {
    /// The kubeconfig [default: `$KUBECONFIG` or `~/.kube/config`, and in a pod without them its
    /// service account]
    #[arg(long, value_name = "FILE")]
    pub(super) kubeconfig: Option<PathBuf>,
    /// The context in the kubeconfig [default: the current one]
    #[arg(long, value_name = "NAME")]
    pub(super) context: Option<String>,
    /// Act as this user, such as `alice` or `system:serviceaccount:NAMESPACE:NAME`
    #[arg(long = "as", value_name = "USER", value_parser = NonEmptyStringValueParser::new())]
    impersonate: Option<String>,
    /// A group of the user of `--as`; may be given several times
    #[arg(long = "as-group", value_name = "GROUP", requires = "impersonate",
        value_parser = NonEmptyStringValueParser::new())]
    impersonate_groups: Vec<String>,
}

impl From<ClusterArguments> for ConnectOptions {
    fn from(arguments: ClusterArguments) -> Self {
        Self {
            kubeconfig: arguments.kubeconfig,
            context: arguments.context,
            impersonate: arguments.impersonate,
            impersonate_groups: arguments.impersonate_groups,
        }
    }
}

/// The format of printed data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum OutputFormat {
    /// For people
    Text,
    /// For programs
    Json,
}

/// When the run's objects stay in the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum KeepWhen {
    /// Delete all objects
    Never,
    /// Keep the objects when a case fails or breaks
    OnFailure,
}

impl From<KeepWhen> for Keep {
    fn from(when: KeepWhen) -> Self {
        match when {
            KeepWhen::Never => Self::Never,
            KeepWhen::OnFailure => Self::OnFailure,
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct PreflightArguments {
    #[command(flatten)]
    pub(super) cluster: ClusterArguments,
    /// Print the permissions that a run needs instead, as YAML for `kubectl apply -f -`. They are
    /// granted to USER (`alice`, `system:serviceaccount:NAMESPACE:NAME`) or, without it, to a new
    /// service account
    #[arg(
        long,
        value_name = "USER",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = ACCOUNT,
        value_parser = NonEmptyStringValueParser::new(),
        conflicts_with = "output"
    )]
    pub(super) print_rbac: Option<String>,
    /// Print the permissions for this profile (openshift, microshift or kubernetes) without a
    /// cluster
    #[arg(long, value_name = "NAME", value_parser = profile, requires = "print_rbac")]
    pub(super) profile: Option<Profile>,
    /// The namespace of `nestcheck run --namespace`: the dry run is there, and `--print-rbac` prints what
    /// such a run needs
    #[arg(long, short, value_name = "NAME", value_parser = placement::namespace,
        conflicts_with = "with")]
    pub(super) namespace: Option<String>,
    /// Print this too: guard (an admission policy that confines the user to the namespaces of runs) or
    /// kubelet-metrics (the permission to read the gates of the kubelets, which also permits commands
    /// in every pod)
    #[arg(
        long,
        value_name = "WHAT",
        value_delimiter = ',',
        value_parser = str::parse::<Addition>,
        requires = "print_rbac"
    )]
    pub(super) with: Vec<Addition>,
    /// How pods request /dev/fuse and /dev/net/tun: annotation, runtime-class:NAME,
    /// cdi:VENDOR/CLASS=NAME, resource:DOMAIN/NAME or none. Names after `cdi:` and `resource:` may be
    /// several, separated by commas [default: CRI-O's annotation on OpenShift, MicroShift and nodes
    /// with CRI-O, elsewhere a RuntimeClass, or the resources of a device plugin]
    #[arg(long, value_name = "ROUTE", value_parser = str::parse::<ChosenRoute>)]
    pub(super) devices: Option<ChosenRoute>,
    /// The format of the facts
    #[arg(long, short, value_enum, default_value = "text")]
    pub(super) output: OutputFormat,
}

/// The format of explanations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum ExplainFormat {
    /// Text for a terminal
    Text,
    /// The catalogue page
    Markdown,
}

#[derive(Debug, Args)]
pub(super) struct ExplainArguments {
    /// A case's id (`POD-03`), a suite (`podman`) or the beginning of a name (`podman::build`);
    /// `!` excludes; without it every case
    #[arg(value_name = "FILTER")]
    pub(super) filters: Vec<String>,
    /// The format of the texts
    #[arg(long, short, value_enum, default_value = "text")]
    pub(super) output: ExplainFormat,
}

#[derive(Debug, Args)]
pub(super) struct ListArguments {
    #[command(flatten)]
    pub(super) selection: SelectionArguments,
    /// The format of the list
    #[arg(long, short, value_enum, default_value = "text")]
    pub(super) output: OutputFormat,
}

/// What the nodes pull.
#[derive(Debug, Args)]
pub(super) struct ImagesArguments {
    /// The workspace image. It is the only one: the cases build all others in its pods
    #[arg(long, value_name = "REF", value_parser = image)]
    pub(super) image: String,
    /// Print the `ImageDigestMirrorSet` of OpenShift that finds it here instead
    #[arg(long, value_name = "HOST/NAME", value_parser = image)]
    pub(super) mirror: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct RunArguments {
    #[command(flatten)]
    pub(super) cluster: ClusterArguments,
    #[command(flatten)]
    pub(super) selection: SelectionArguments,
    /// Run only cases that did not pass in this report: those that failed, broke, were interrupted,
    /// blocked or never began, without known issues. Its profile is the default of `--profile`
    #[arg(long, value_name = "DIR")]
    pub(super) rerun: Option<PathBuf>,
    #[command(flatten)]
    pub(super) settings: RunSettings,
    /// Test this SCC (OpenShift, MicroShift), of a file, or of the cluster with cluster:NAME: the run
    /// applies a copy with a unique name
    #[arg(long, value_name = "FILE", value_parser = SccSource::parse)]
    pub(super) scc: Option<SccSource>,
    /// Test workspaces with the settings of the cluster in place of the run's (OpenShift): those of the
    /// DevWorkspace Operator, the SCC and, without `--image`, the image that Che names. The same as
    /// `--profile as-configured`
    #[arg(long, conflicts_with = "profile")]
    pub(super) as_configured: bool,
    /// The directory of the report; files of an earlier report in it are replaced
    #[arg(long, value_name = "DIR", default_value = "nestcheck-report")]
    pub(super) report_dir: PathBuf,
    /// Write the report as an archive (tar.gz) too: to a file, to standard output with `-`, or, with
    /// `log`, as lines of text for the log of a pod
    #[arg(long, value_name = "FILE", value_parser = ReportArchive::parse)]
    pub(super) report_archive: Option<ReportArchive>,
    /// Write the report to this ConfigMap too, as far as it fits (1 MiB): in the namespace of
    /// `--namespace`, or in that of the pod in which nestcheck runs
    #[arg(long, value_name = "[NAMESPACE/]NAME", value_parser = report_configmap::Target::parse)]
    pub(super) report_configmap: Option<report_configmap::Target>,
    #[command(flatten)]
    pub(super) execution: ExecutionArguments,
    #[command(flatten)]
    pub(super) last_report: LastReportArguments,
    #[command(flatten)]
    pub(super) placement: PlacementArguments,
    #[command(flatten)]
    pub(super) expectations: ExpectationArguments,
    #[command(flatten)]
    pub(super) outputs: OutputArguments,
}

#[derive(Debug, Args)]
pub(super) struct InsideArguments {
    /// A case's id (`POD-03`), a suite (`podman`) or the beginning of a name (`podman::build`);
    /// `!` excludes
    #[arg(value_name = "FILTER")]
    pub(super) filters: Vec<String>,
    /// The directory of the report; files of an earlier report in it are replaced
    #[arg(long, value_name = "DIR", default_value = "nestcheck-report")]
    pub(super) report_dir: PathBuf,
    /// The number of cases that run at once
    #[arg(long, value_name = "N", default_value = "4", value_parser = clap::value_parser!(u8).range(1..=64))]
    pub(super) jobs: u8,
    /// The time limit of the run, such as 10m; unfinished cases are errors
    #[arg(long, value_name = "DURATION", default_value = "30m", value_parser = duration)]
    pub(super) timeout: Duration,
    #[command(flatten)]
    pub(super) extent: ExtentArguments,
}

/// How a run goes about it.
#[derive(Debug, Args)]
pub(super) struct RunSettings {
    /// The workspace image, with podman, podman-compose and subordinate ids that fit a pod [default:
    /// with `--as-configured` that of the cluster's workspaces, on a cluster of `local-cluster` its own]
    #[arg(long, value_name = "REF", value_parser = image)]
    pub(super) image: Option<String>,
    /// Whether pods run the entrypoint of the image, as workspaces do: image or skip
    #[arg(long, value_name = "WHICH", default_value = "image", value_parser = str::parse::<EntryPoint>)]
    pub(super) entrypoint: EntryPoint,
    /// How pods request /dev/fuse and /dev/net/tun: annotation, runtime-class:NAME,
    /// cdi:VENDOR/CLASS=NAME, resource:DOMAIN/NAME or none. Names after `cdi:` and `resource:` may be
    /// several, separated by commas [default: CRI-O's annotation on OpenShift, MicroShift and nodes
    /// with CRI-O, elsewhere a RuntimeClass, or the resources of a device plugin]
    #[arg(long, value_name = "ROUTE", value_parser = str::parse::<ChosenRoute>)]
    pub(super) devices: Option<ChosenRoute>,
    /// The number of cases that run at once
    #[arg(long, value_name = "N", default_value = "4", value_parser = clap::value_parser!(u8).range(1..=64))]
    pub(super) jobs: u8,
    /// The time limit of the run, such as 10m; unfinished cases are errors
    #[arg(long, value_name = "DURATION", default_value = "30m", value_parser = duration)]
    pub(super) timeout: Duration,
    /// The time limit for a pod to become ready, including the pull of its image
    #[arg(long, value_name = "DURATION", default_value = "3m", value_parser = duration)]
    pub(super) pod_timeout: Duration,
    /// The time limit for the deletion of each throwaway namespace
    #[arg(long, value_name = "DURATION", default_value = "2m", value_parser = duration)]
    pub(super) teardown_timeout: Duration,
    /// How long a command that did not begin waits for a lost node or API server to return
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = duration)]
    pub(super) disruption_timeout: Duration,
    /// How many times as long as usual a case and each of its commands may take, for slow clusters
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(super) timeout_factor: u32,
    /// Whether the run's objects stay in the cluster for inspection when a case failed; `nestcheck sweep`
    /// removes them, or the next run once they have expired
    #[arg(long, value_name = "WHEN", default_value = "never")]
    pub(super) keep: KeepWhen,
    /// Run cases with unmet requirements too; only the results in the pods decide
    #[arg(long)]
    pub(super) no_preflight: bool,
    /// Inspect nodes too, in a privileged pod with `hostPID`; without this option the cases that
    /// need it are blocked
    #[arg(long)]
    pub(super) node_access: bool,
}

/// The format of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum ReportFormat {
    /// JUnit XML
    Junit,
    /// JSON
    Json,
    /// One HTML page
    Html,
    /// Markdown, for a job's summary
    Markdown,
    /// Metrics in the text format of Prometheus
    Prometheus,
    /// A statement of in-toto about the image, with the predicate of test results
    InToto,
}

#[derive(Debug, Args)]
pub(super) struct ReportArguments {
    /// The directory that `nestcheck run` wrote. Several, such as those of shards and reruns of one
    /// cluster, are joined: the worst result of each case stands
    #[arg(value_name = "DIR", required = true)]
    pub(super) directories: Vec<PathBuf>,
    /// The format
    #[arg(long, value_enum, default_value = "junit")]
    pub(super) format: ReportFormat,
    /// The dialect of JUnit: jenkins, gitlab or openshift
    #[arg(long, value_name = "NAME", default_value = "jenkins", value_parser = dialect)]
    pub(super) dialect: Dialect,
    /// End with exit code 0 where a report was printed, whatever the outcome of the run
    #[arg(long)]
    pub(super) exit_zero: bool,
}

pub(super) fn profile(name: &str) -> Result<Profile, String> {
    Profile::parse(name).map_err(|error| error.with_hint_line())
}

pub(super) fn shard(text: &str) -> Result<Shard, String> {
    Shard::parse(text).map_err(|error| error.with_hint_line())
}

pub(super) fn dialect(name: &str) -> Result<Dialect, String> {
    name.parse().map_err(|error: Error| error.with_hint_line())
}

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let parsed: Result<jiff::SignedDuration, _> = text.parse();
    parsed
        .ok()
        .and_then(|duration| Duration::try_from(duration).ok())
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| "not a duration above zero\nhint: write `90s`, `10m` or `1h30m`".to_owned())
}

/// Refuses a text that is not an image reference before nestcheck creates anything. Only the node can
/// tell whether the image exists.
pub(super) fn image(text: &str) -> Result<String, String> {
    // As it was written: the parser adds a registry and a tag.
    text.parse::<Reference>().map(|_| text.to_owned()).map_err(|error| {
        let reason = match error {
            ParseError::ReferenceInvalidFormat => String::new(),
            error => format!(": {error}"),
        };
        format!(
            "not an image reference{reason}\nhint: write it as `HOST/NAME:TAG` or `HOST/NAME@DIGEST`"
        )
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn image_references_are_reported_from_other_texts() {
        let digest = format!("host:5000/a/b@sha256:{:0>64}", "abc");
        for good in ["localhost/workspace:1", "busybox", &digest, "a/b:V1_"] {
            assert_eq!(image(good).as_deref(), Ok(good));
        }
        for bad in [
            "",
            " ",
            "a b",
            "localhost/Workspace:1",
            "a/:1",
            "/a",
            "a/",
            "a:",
            "é",
            "-a",
            "https://a/b",
            "user:password@host/image:1",
            "user:password@host:5000/image",
            "user:password@host:5000",
            "host/a@sha256:abc",
        ] {
            assert!(image(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations_are_read_as_people_write_them() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("1h30m"), Ok(Duration::from_secs(5400)));
        for bad in ["", "0s", "-5m", "soon", "5"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
