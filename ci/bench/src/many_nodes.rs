//! What `nestcheck preflight` takes on a recorded cluster of many nodes.

use std::path::Path;

use suites::fixtures::clusters::RecordedCluster;
use test_support::{Kubeconfig, ServerBehaviour, TestDir, many_nodes, serve};

use crate::{Result, child, figures::Figures, stats::Series};

/// The recorded cluster, of which every node is one.
const CLUSTER: &str = "openshift-4.20";
/// How many nodes it has.
const NODES: usize = 1000;
/// How many nodes it is compared with.
const FEW: usize = 3;
/// How often it is read.
const TIMES: usize = 5;

/// What was measured.
struct Taken {
    seconds: Series,
    megabytes: Series,
    requests: usize,
}

/// Measures, and adds the figures with their limits.
pub(crate) async fn measure(nestcheck: &Path, log: &Path, figures: &mut Figures) -> Result<()> {
    let few = preflights(nestcheck, log, FEW).await?;
    let many = preflights(nestcheck, log, NODES).await?;
    let name = format!("`nestcheck preflight` of a recorded cluster of {NODES} nodes");
    figures.limited(name, many.seconds.show(" s"), many.seconds.median(), 2.0, " s");
    let megabytes = many.megabytes.show(" MB");
    figures.limited("… peak memory", megabytes, many.megabytes.median(), 60.0, " MB");
    let more = many.requests.saturating_sub(few.requests);
    let name = format!("… API requests more than with {FEW} nodes");
    figures.limited(name, more.to_string(), f64::from(u32::try_from(more)?), 20.0, "");
    figures.plain(format!("… with {FEW} nodes"), few.seconds.show(" s"));
    Ok(())
}

async fn preflights(nestcheck: &Path, log: &Path, nodes: usize) -> Result<Taken> {
    let cluster = RecordedCluster::all()?.into_iter().find(|cluster| cluster.name == CLUSTER);
    let cluster = cluster.ok_or("the recorded cluster is not there")?;
    let nodes = many_nodes(&cluster, nodes);
    let (address, requests) =
        serve(cluster, ServerBehaviour { nodes, ..ServerBehaviour::default() });
    let dir = TestDir::new();
    let mut command = std::process::Command::new(nestcheck);
    command.args(["preflight", "--kubeconfig"]).arg(dir.kubeconfig(&Kubeconfig::to(&address)));
    let (mut seconds, mut megabytes) = (Series::default(), Series::default());
    for _ in 0..TIMES {
        let usage = child::succeed(log, &command).await?;
        seconds.0.push(usage.wall);
        megabytes.0.push(usage.memory);
    }
    let requests = requests.lock().requests.len() / TIMES;
    Ok(Taken { seconds, megabytes, requests })
}
