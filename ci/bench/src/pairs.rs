//! Runs of the whole profile, each followed by the simplest workload with raw API calls.

use harness::cluster::Cluster as Connected;
use serde_json::{Value, json};
use test_support::Request;

use crate::{
    Result,
    audit::{self, Client},
    child::{self, Usage},
    cluster::{Cluster, Flavour},
    ledger::Cost,
    measure::{Bench, count_of},
    raw,
    stats::Series,
    timeline::Timeline,
};

/// How much longer than its lower bound a run may take.
const RATIO: f64 = 1.2;

/// How long a run of the whole profile may take on two cores, in seconds.
const WALL: f64 = 60.0;

/// How many of the longest cases are printed.
const LONGEST: usize = 5;

/// A run of the whole profile.
struct Run {
    usage: Usage,
    /// What nestcheck sent.
    requests: Vec<Request>,
    timeline: Timeline,
    ledger: Cost,
}

/// All pairs.
#[derive(Default)]
struct Pairs {
    runs: Vec<Run>,
    /// The seconds of the simplest workload after each run; empty on OpenShift.
    floors: Series,
}

impl Pairs {
    fn series(&self, of: impl Fn(&Run) -> f64) -> Series {
        self.runs.iter().map(of).collect()
    }

    fn raw_data(&self) -> Vec<Value> {
        let run =
            |run: &Run| json!({"run": run.usage, "timeline": run.timeline, "ledger": run.ledger});
        self.runs.iter().map(run).collect()
    }
}

impl Bench<'_> {
    /// Measures pairs and adds their figures.
    pub(crate) async fn pairs(&mut self, cluster: &Cluster) -> Result<()> {
        let pairs = Box::pin(self.measure_pairs(cluster)).await?;
        self.keep("pairs", &pairs.raw_data())?;
        self.keep("floors", &pairs.floors)?;
        self.wall(&pairs)?;
        self.phases(&pairs);
        let memory = pairs.series(|run| run.usage.memory);
        let median = memory.median();
        self.figures.limited("peak memory of a run", memory.show(" MB"), median, 60.0, " MB");
        let cpu = pairs.series(|run| run.usage.cpu);
        self.figures.plain("processor time of nestcheck in a run", cpu.show(" s"));
        let percents = pairs.series(|run| run.ledger.percent_of(run.usage.wall));
        let last = pairs.runs.last().ok_or("no pairs")?;
        self.ledger(&percents, &last.ledger);
        self.requests(last)
    }

    async fn measure_pairs(&self, cluster: &Cluster) -> Result<Pairs> {
        Self::say("a run that is not counted");
        let connected = cluster.connect().await?;
        self.run(cluster, &connected, "warm").await?;
        let mut pairs = Pairs::default();
        for pair in 0..self.setup.pairs {
            Self::say(&format!("pair {} of {}", pair + 1, self.setup.pairs));
            pairs.runs.push(self.run(cluster, &connected, &format!("run-{pair}")).await?);
            if self.setup.kind.flavour == Flavour::Kubernetes {
                let name = format!("bench-floor-{pair}");
                pairs.floors.0.push(Box::pin(raw::simplest(&connected, &name)).await?);
            }
        }
        Ok(pairs)
    }

    /// The wall time, beside the least that it could be.
    fn wall(&mut self, pairs: &Pairs) -> Result<()> {
        let jobs = self.setup.jobs;
        let last = &pairs.runs.last().ok_or("no pairs")?.timeline;
        let ratios = pairs.series(|run| run.usage.wall / run.timeline.lower_bound(jobs));
        let name = "run ÷ lower bound: its critical path, or its cases without a pause";
        self.figures.limited(name, ratios.show(""), ratios.median(), RATIO, "");
        self.figures.plain("… pairs", pairs.runs.len().to_string());
        let walls = pairs.series(|run| run.usage.wall);
        // The operator's own time is neither nestcheck's nor the cluster's alone.
        let operator = pairs.series(|run| run.timeline.slowest_workspace()).median();
        let wall = walls.median() - operator;
        let name = format!("… the run of {} cases", last.planned);
        self.figures.limited(name, walls.show(" s"), wall, WALL, " s");
        if operator > 0.0 {
            let name = "… of it the operator's own time, for the workspaces of one case";
            self.figures.plain(name, format!("{operator:.1} s (not in the limit)"));
        }
        let path = pairs.series(|run| run.timeline.critical_path().1);
        let name = format!("… its critical path, pods + {} + teardown", last.critical_path().0);
        self.figures.plain(name, path.show(" s"));
        let packed = pairs.series(|run| run.timeline.packed(jobs));
        self.figures
            .plain(format!("… its cases on {jobs} workers without a pause"), packed.show(" s"));
        if !pairs.floors.0.is_empty() {
            let floor = pairs.floors.median();
            let name = "floor of the cluster: raw namespace + pod + command + all gone";
            self.figures.plain(name, pairs.floors.show(" s"));
            self.figures.plain("… run ÷ floor", format!("{:.1}", walls.median() / floor));
            let alone = count_of(last.cases.len()) * floor / walls.median();
            self.figures.plain("… a floor for each case ÷ run", format!("{alone:.1}"));
        }
        Ok(())
    }

    /// Where the time goes.
    fn phases(&mut self, pairs: &Pairs) {
        let ready = pairs.series(|run| run.timeline.pods);
        self.figures.plain("… until all shared pods are ready", ready.show(" s"));
        let middle = pairs.series(|run| run.timeline.middle);
        self.figures.plain("… from then to the teardown", middle.show(" s"));
        let teardown = pairs.series(|run| run.timeline.teardown);
        self.figures.plain("… teardown, until the namespaces are gone", teardown.show(" s"));
        let Some(Run { timeline: last, .. }) = pairs.runs.last() else { return };
        let cases: f64 = last.cases.iter().map(|case| case.seconds).sum();
        let commands =
            format!("{}, {:.1} s of the cases' {cases:.1} s", last.commands, last.command_seconds);
        self.figures.plain("… commands in pods, added up", commands);
        for case in last.cases.iter().take(LONGEST) {
            let name = format!("    {}, one of the longest cases", case.id);
            self.figures.plain(name, format!("{:.1} s", case.seconds));
        }
    }

    /// What the ledger costs: its share of each run, and the parts of the last run's.
    fn ledger(&mut self, percents: &Series, last: &Cost) {
        let Cost { entries, disk, requests, cluster, sent } = last;
        let name = "ledger ÷ run: the entries written again + the Lease's requests";
        self.figures.limited(name, percents.show(" %"), percents.median(), 2.0, " %");
        let milliseconds = |seconds: &f64| format!("{:.1} ms", seconds * 1000.0);
        let name = format!("… {entries} entries, one after the other, after the last run");
        self.figures.plain(name, milliseconds(disk));
        let name = format!("… {requests} requests, in the server and a round trip each");
        self.figures.plain(name, milliseconds(cluster));
        let name = "… in the run, from each entry to the receipt of its request, added up";
        self.figures.plain(name, milliseconds(sent));
    }

    fn requests(&mut self, run: &Run) -> Result<()> {
        let counts = audit::count(&run.requests);
        let execs = run.requests.iter().filter(|request| request.is_exec()).count();
        self.figures.plain("API requests of a run", run.requests.len().to_string());
        self.figures.plain("… of them exec streams", execs.to_string());
        let each = count_of(run.requests.len()) / count_of(run.timeline.planned.max(1));
        self.figures.plain("… per case", format!("{each:.1}"));
        for (account, count) in &audit::count_by_account(&run.requests) {
            self.figures.plain(format!("    as {account}"), count.to_string());
        }
        for (kind, count) in &counts {
            self.figures.plain(format!("    {kind}"), count.to_string());
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
        let timeline = Timeline::read(&report, &all)?;
        let ledger = Cost::of(connected, &report, &timeline.run, &requests).await?;
        Ok(Run { usage, requests, timeline, ledger })
    }
}
