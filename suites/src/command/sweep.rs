//! `nestcheck sweep`: what runs have left.

use std::{fmt::Write, path::PathBuf};

use clap::Args;
use harness::{
    Error, Result,
    cluster::Cluster,
    report::directory,
    sandbox::{LEASE_NAMESPACE, Sweep, SweepResult, sweep},
    verdict::Outcome,
};

use super::{arguments::ClusterArguments, placement, print_text};

#[derive(Debug, Args)]
pub(super) struct SweepArguments {
    #[command(flatten)]
    cluster: ClusterArguments,
    #[command(flatten)]
    which: WhichRuns,
    /// Sweep the runs of this namespace, which `nestcheck run --namespace` was given
    #[arg(long, short, value_name = "NAME", value_parser = placement::namespace)]
    namespace: Option<String>,
    /// Only print what would be removed
    #[arg(long)]
    dry_run: bool,
    /// The directory of a report, whose ledger may know of runs that the cluster has no record of
    #[arg(long, value_name = "DIR")]
    report_dir: Option<PathBuf>,
}

/// Which runs are swept.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct WhichRuns {
    /// The run with this id
    #[arg(long, value_name = "ID")]
    run: Option<String>,
    /// Runs whose lease has expired
    #[arg(long)]
    expired: bool,
    /// Every run, also those that still continue
    #[arg(long)]
    all: bool,
}

pub(super) async fn execute(arguments: SweepArguments) -> Result<u8> {
    let which = which(arguments.which)?;
    let also = arguments.report_dir.as_deref().map(directory::open_runs).transpose()?;
    let cluster = Cluster::connect(&arguments.cluster.into()).await?;
    let also = also.unwrap_or_default();
    let place = arguments.namespace.as_deref().unwrap_or(LEASE_NAMESPACE);
    let swept = sweep(cluster.admin(), place, &which, &also, arguments.dry_run).await?;
    print_text(&text(&swept, arguments.dry_run))?;
    let is_done = swept.iter().all(|run| run.failure.is_none());
    let outcome = if is_done { Outcome::Conformant } else { Outcome::Error };
    Ok(outcome.exit_code())
}

fn which(runs: WhichRuns) -> Result<Sweep> {
    match runs {
        WhichRuns { run: Some(run), .. } if is_run_id(&run) => Ok(Sweep::Run(run)),
        WhichRuns { run: Some(run), .. } => {
            Err(Error::usage(format!("`{run}` is not the id of a run"))
                .with_hint("the report and the label `nestcheck/run` have it, such as `k3v9xq2m`"))
        }
        WhichRuns { expired: true, .. } => Ok(Sweep::Expired),
        WhichRuns { .. } => Ok(Sweep::All),
    }
}

/// What can be the value of a label and part of a name. Anything else would ask the server for
/// something else.
fn is_run_id(text: &str) -> bool {
    (1..=32).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

fn text(swept: &[SweepResult], is_dry_run: bool) -> String {
    let mut text = String::new();
    let done = if is_dry_run { "would remove" } else { "removed" };
    // Writing to a string can't fail.
    for SweepResult { run, owner, removed, left_alone, failure } in swept {
        // What it was that did not go, the failure says.
        let verb = if failure.is_some() { "tried to remove" } else { done };
        let _ = writeln!(text, "run {run} of {owner}");
        for found in removed {
            let _ = writeln!(text, "  {verb} {found}");
        }
        if removed.is_empty() && failure.is_none() {
            let _ = writeln!(text, "  only its record remained");
        }
        if let Some(failure) = failure {
            let _ = writeln!(text, "  failed: {failure}");
        }
        for found in left_alone {
            let why = if found.is_recorded {
                "the run's record names it, but it does not belong to the record"
            } else {
                "it carries the run's label, but the run did not record it"
            };
            let _ = writeln!(text, "  left alone {found}: {why}");
        }
    }
    if swept.is_empty() {
        text.push_str("nothing to sweep\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_run_id_is_refused() {
        for good in ["k3v9xq2m", "a", "7"] {
            assert!(is_run_id(good), "{good}");
        }
        for bad in ["", "A", "a,b", "a=b", "../a", "a b", "!", "é"] {
            assert!(!is_run_id(bad), "{bad}");
        }
    }

    #[test]
    fn nothing_to_sweep_is_said() {
        assert_eq!(text(&[], false), "nothing to sweep\n");
    }
}
