//! Runs of the whole profile and their replays, in turn.

use std::collections::BTreeSet;

use harness::cluster::Cluster as Connected;
use serde_json::{Value, json};

use crate::{
    Result,
    audit::{self, Client, Request},
    calls::Calls,
    child::{self, Usage},
    cluster::{Cluster, Flavour},
    ledger::Cost,
    measure::{Bench, count_of},
    raw::Route,
    recording::Recording,
    replay::{Taken, Terrain, replay},
    stats::Series,
    steps::Script,
};

/// How much longer than its replay a run may take.
const RATIO: f64 = 1.2;

/// How long a run of the whole profile may take on two cores, in seconds.
const WALL: f64 = 60.0;

/// A run of the whole profile.
struct Run {
    usage: Usage,
    requests: Vec<Request>,
    /// How many cases its plan had.
    planned: usize,
    /// As in [`Recording`].
    phases: [f64; 3],
    script: Script,
    ledger: Cost,
}

/// What all pairs came to.
#[derive(Default)]
struct Pairs {
    ratios: Series,
    walls: Series,
    floors: Series,
    /// The most that the operator took for a case's workspaces in each replay.
    operator: Series,
    memory: Series,
    /// What the ledger cost, in percent of each run.
    ledger: Series,
    /// The rest of the raw data, by pair.
    kept: Vec<Value>,
    /// The last run, and the requests of its replay.
    last: Option<(Run, Vec<Request>)>,
    differing: BTreeSet<String>,
}

impl Bench<'_> {
    /// Measures pairs and tells what they came to.
    pub(crate) async fn pairs(&mut self, cluster: &Cluster) -> Result<()> {
        let mut pairs = Box::pin(self.measure_pairs(cluster)).await?;
        self.keep("pairs", &pairs.kept)?;
        let name = "run ÷ raw replay of the same pods, commands and API calls";
        let (run, replayed) = pairs.last.take().ok_or("no pairs")?;
        self.figures.limited(name, pairs.ratios.show(""), pairs.ratios.median(), RATIO, "");
        self.figures.told("… pairs", self.setup.pairs.to_string());
        let cases = format!("… the run of {} cases", run.planned);
        // The operator's own time is not nestcheck's, nor the cluster's alone.
        let operator = pairs.operator.median();
        let wall = pairs.walls.median() - operator;
        self.figures.limited(cases, pairs.walls.show(" s"), wall, WALL, " s");
        if operator > 0.0 {
            let name = "… of it the operator's own time, for the workspaces of one case";
            self.figures.told(name, format!("{operator:.1} s (not in the limit)"));
        }
        self.figures.told("… its replay", pairs.floors.show(" s"));
        self.figures.told("… commands in it", run.script.commands().to_string());
        self.figures.told("… not replayed", left_out(&run.script.left_out));
        self.phases(&pairs.kept);
        let memory = pairs.memory.median();
        self.figures.limited("peak memory of a run", pairs.memory.show(" MB"), memory, 60.0, " MB");
        let taken = format!("{:.2} s", run.usage.cpu);
        self.figures.told("processor time of nestcheck in a run", taken);
        self.ledger(&pairs.ledger, &run.ledger);
        self.requests(&run)?;
        self.beside(&run, &replayed, &pairs.differing)?;
        match self.setup.kind.flavour {
            Flavour::Kubernetes => Box::pin(self.below(cluster, &run)).await,
            Flavour::OpenShift => Ok(()),
        }
    }

    fn terrain(&self, route: Route) -> Terrain {
        Terrain { flavour: self.setup.kind.flavour, route, jobs: self.setup.jobs }
    }

    async fn measure_pairs(&self, cluster: &Cluster) -> Result<Pairs> {
        Self::say("a run that is not counted");
        let connected = cluster.connect().await?;
        self.run(cluster, &connected, "warm").await?;
        let mut pairs = Pairs::default();
        for pair in 0..self.setup.pairs {
            Self::say(&format!("pair {} of {}", pair + 1, self.setup.pairs));
            let run = self.run(cluster, &connected, &format!("run-{pair}")).await?;
            let name = format!("bench-replay-{pair}");
            let mark = audit::mark(&cluster.audit_log)?;
            let terrain = self.terrain(Route::Api);
            let taken = Box::pin(replay(&connected, &name, terrain, &run.script)).await?;
            let replayed = audit::since(&cluster.audit_log, mark, Client::Agent("nestcheck/"))?;
            pairs.ratios.0.push(run.usage.wall / taken.total);
            pairs.walls.0.push(run.usage.wall);
            pairs.floors.0.push(taken.total);
            pairs.operator.0.push(taken.workspaces.values().copied().fold(0.0, f64::max));
            pairs.memory.0.push(run.usage.memory);
            pairs.ledger.0.push(run.ledger.percent_of(run.usage.wall));
            pairs.differing.extend(taken.differing.iter().cloned());
            pairs.kept.push(json!({
                "run": run.usage, "runPhases": run.phases, "replay": taken,
                "ledger": run.ledger,
            }));
            pairs.last = Some((run, replayed));
        }
        Ok(pairs)
    }

    /// How long the commands alone take.
    async fn below(&mut self, cluster: &Cluster, run: &Run) -> Result<()> {
        Self::say("a replay below the API server");
        let terrain = self.terrain(Route::Node(cluster.node_init));
        let (connected, name) = (cluster.connect().await?, "bench-replay-node");
        let below: Taken = Box::pin(replay(&connected, name, terrain, &run.script)).await?;
        let name = "the same commands by `crun exec` on the node";
        self.figures.told(name, format!("{:.1} s", below.total));
        self.keep("replayOnNode", &below)
    }

    /// Where the time goes: in the run and in its replay.
    fn phases(&mut self, pairs: &[Value]) {
        for (index, (name, key)) in
            [("pods ready", "ready"), ("commands", "commands"), ("teardown", "teardown")]
                .into_iter()
                .enumerate()
        {
            let of = |pointer: &str| -> Series {
                pairs.iter().filter_map(|pair| pair.pointer(pointer)?.as_f64()).collect()
            };
            let run = of(&format!("/runPhases/{index}")).median();
            let replay = of(&format!("/replay/{key}")).median();
            self.figures
                .told(format!("… {name}: run, replay"), format!("{run:.2} s, {replay:.2} s"));
        }
    }

    /// What the ledger costs: its share of each run, and the parts of the last run's.
    fn ledger(&mut self, percents: &Series, last: &Cost) {
        let Cost { entries, disk, requests, cluster, sent } = last;
        let name = "ledger ÷ run: the entries written again + the Lease's requests";
        self.figures.limited(name, percents.show(" %"), percents.median(), 2.0, " %");
        let milliseconds = |seconds: &f64| format!("{:.1} ms", seconds * 1000.0);
        let name = format!("… {entries} entries, one after the other, after the last run");
        self.figures.told(name, milliseconds(disk));
        let name = format!("… {requests} requests, in the server and a round trip each");
        self.figures.told(name, milliseconds(cluster));
        let name = "… in the run, from each entry to the receipt of its request, added up";
        self.figures.told(name, milliseconds(sent));
    }

    fn requests(&mut self, run: &Run) -> Result<()> {
        let counts = audit::count(&run.requests);
        let execs = run.requests.iter().filter(|request| request.is_exec()).count();
        self.figures.told("API requests of a run", run.requests.len().to_string());
        self.figures.told("… of them streams of commands", execs.to_string());
        let each = count_of(run.requests.len()) / count_of(run.planned.max(1));
        self.figures.told("… a case", format!("{each:.1}"));
        for (kind, count) in &counts {
            self.figures.told(format!("    {kind}"), count.to_string());
        }
        let again = audit::read_again(&run.requests);
        let names = if again.is_empty() {
            "none".to_owned()
        } else {
            again.iter().cloned().collect::<Vec<_>>().join(", ")
        };
        self.figures.limited("objects read more than once", names, count_of(again.len()), 0.0, "");
        self.keep("requests", &counts)
    }

    /// What the replay does not do as the run did.
    fn beside(
        &mut self,
        run: &Run,
        replayed: &[Request],
        differing: &BTreeSet<String>,
    ) -> Result<()> {
        let (all, part) = (audit::count(&run.requests), audit::count(replayed));
        self.figures.told("API requests of its replay", replayed.len().to_string());
        for (kind, run, replay) in audit::differences(&all, &part) {
            self.figures.told(format!("    {kind}: run, replay"), format!("{run}, {replay}"));
        }
        let name = "answers in a replay with another status";
        self.figures.told(name, differing.len().to_string());
        for answer in differing {
            self.figures.told(format!("    {answer}"), "");
        }
        self.keep("replayedRequests", &part)
    }

    async fn run(&self, cluster: &Cluster, connected: &Connected, name: &str) -> Result<Run> {
        let report = self.setup.output.join(name);
        let mut command = cluster.program(&self.setup.nestcheck);
        let (jobs, profile) = (self.setup.jobs.to_string(), self.setup.kind.flavour.name());
        command.args(["run", "--profile", profile, "--jobs", &jobs, "--report-dir"]);
        command.arg(&report);
        let mark = audit::mark(&cluster.audit_log)?;
        let usage = child::succeed(&self.log(name), &command).await?;
        let requests = audit::since(&cluster.audit_log, mark, Client::Agent("nestcheck/"))?;
        let all = audit::since(&cluster.audit_log, mark, Client::Any)?;
        let recording = Recording::read(&report, &requests)?;
        let ledger = Cost::of(connected, &report, &recording.run, &requests).await?;
        let (planned, phases) = (recording.planned, recording.phases);
        let calls = Calls::of(&recording.run, &requests, &all);
        Ok(Run { usage, requests, planned, phases, script: Script::of(recording, calls), ledger })
    }
}

/// What a replay does without, from an entry for each command: it makes the floor lower.
fn left_out(cases: &[String]) -> String {
    let ids: BTreeSet<_> = cases.iter().map(String::as_str).collect();
    match ids.len() {
        0 => "none".to_owned(),
        _ => format!("{} commands of {}", cases.len(), Vec::from_iter(ids).join(", ")),
    }
}
