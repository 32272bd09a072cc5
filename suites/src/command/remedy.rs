//! `nestcheck remedy`: what would fix what is unmet or failed. It applies nothing.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum, builder::NonEmptyStringValueParser};
use harness::{
    Result,
    cluster::Cluster,
    facts::{self, Facts, Platform},
    remedy::{self, Access, Circumstances, Problem},
    report::{input, summarize},
    verdict::event::RunStarted,
};

use super::{arguments::ClusterArguments, placement, print};
use crate::fixtures::declarations;

/// The format of remedies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum RemedyFormat {
    /// All of it, for people
    Text,
    /// The manifests alone, for `kubectl apply -f -`
    Yaml,
    /// The lines for the Containerfile of the image alone
    Containerfile,
    /// For programs
    Json,
}

#[derive(Debug, Args)]
pub(super) struct RemedyArguments {
    /// The report of a run: a directory that `nestcheck run` wrote, its `events.jsonl`, or an archive.
    /// Then a cluster is asked only if `--kubeconfig` or `--context` names one. Faults of an image show
    /// in a report alone
    #[arg(value_name = "REPORT")]
    report: Option<PathBuf>,
    #[command(flatten)]
    cluster: ClusterArguments,
    /// The namespace in which somebody is to have nested containers
    #[arg(long, value_name = "NAME", value_parser = placement::namespace)]
    namespace: Option<String>,
    /// Who is to have them there, such as `alice` or `system:serviceaccount:NAMESPACE:NAME`: print the
    /// role and the binding for the SCC too (OpenShift, MicroShift)
    #[arg(long, value_name = "USER", requires = "namespace",
        value_parser = NonEmptyStringValueParser::new())]
    user: Option<String>,
    /// The format
    #[arg(long, short, value_enum, default_value = "text")]
    output: RemedyFormat,
}

pub(super) async fn execute(arguments: RemedyArguments) -> Result<u8> {
    let RemedyArguments { report, cluster, namespace, user, output } = arguments;
    let asks_cluster =
        report.is_none() || cluster.kubeconfig.is_some() || cluster.context.is_some();
    let (mut problems, run) = match &report {
        Some(path) => of_report(path)?,
        None => (Vec::new(), None),
    };
    let facts = if asks_cluster { Some(read(cluster).await?) } else { None };
    if let (Some(path), Some(run), Some(facts)) = (&report, &run, &facts) {
        remedy::check_origin(&path.display().to_string(), run, facts)?;
    }
    let mut platform = run.and_then(|run| run.platform).unwrap_or_default();
    if let Some(facts) = &facts {
        platform = Platform::of(facts);
        problems.extend(remedy::of_facts(facts, user.is_some()));
    }
    let declarations = declarations()?;
    let circumstances = Circumstances {
        platform,
        devices: facts.as_ref().and_then(|facts| facts.device_route.value().cloned().flatten()),
        scc: facts.as_ref().and_then(remedy::scc_for_nested_containers),
        access: namespace.map(|namespace| Access { namespace, user }),
        declarations: &declarations,
    };
    let remedies = remedy::remedies(problems, &circumstances);
    let text = match output {
        RemedyFormat::Text => remedy::text(&remedies)?,
        RemedyFormat::Yaml => remedy::manifests(&remedies)?,
        RemedyFormat::Containerfile => remedy::containerfile(&remedies),
        RemedyFormat::Json => remedy::json(&remedies, &circumstances.platform)?,
    };
    print(text.as_bytes())
}

async fn read(cluster: ClusterArguments) -> Result<Facts> {
    facts::gather(&Cluster::connect(&cluster.into()).await?).await
}

/// What failed in a run, and what is known of the run.
fn of_report(path: &Path) -> Result<(Vec<Problem>, Option<RunStarted>)> {
    let report = summarize(&input::read_what_is_known(path)?);
    let cases = report.cases.iter().map(|case| &case.case);
    let problems = remedy::of_causes(&path.display().to_string(), &report.causes, cases);
    Ok((problems, report.run))
}
