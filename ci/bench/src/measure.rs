//! All measurements, one after the other: nothing is measured beside something else.

use std::{
    fs,
    io::{self, Write},
    path::PathBuf,
    time::Instant,
};

use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    Result, Setup,
    audit::{self, Client, Request},
    child::{self, Usage},
    cluster::{self, Cluster},
    figures::Figures,
    objects, peers,
    raw::{Raw, Route},
    recording::Recording,
    replay::{Taken, replay},
    stats::Series,
};

/// How often the cluster starts.
const STARTS: usize = 3;
/// How often `nestcheck list` runs.
const LISTS: usize = 20;
/// How often `nestcheck preflight` runs.
const PREFLIGHTS: usize = 5;
/// How many commands the cost of one command's stream is measured with.
const EXECS: usize = 20;

/// Measures everything, writes the raw data and prints the table.
pub(crate) async fn everything(setup: &Setup) -> Result<()> {
    fs::create_dir_all(&setup.output)?;
    let mut bench = Bench { setup, figures: Figures::default(), data: machine() };
    let cluster = bench.starts().await?;
    bench.keep("kubernetes", &cluster.kubernetes)?;
    bench.lists().await?;
    bench.preflights(&cluster).await?;
    bench.pairs(&cluster).await?;
    bench.execs(&cluster).await?;
    bench.peers(&cluster).await?;
    let figures = bench.figures.to_string();
    bench.keep("figures", &bench.figures.clone())?;
    let path = setup.output.join("bench.json");
    fs::write(&path, serde_json::to_string_pretty(&bench.data)?)?;
    write!(io::stdout(), "{figures}\nraw data in `{}`\n", path.display())?;
    Ok(())
}

/// What the figures depend on besides the programs.
fn machine() -> Value {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    json!({
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "kernel": read("/proc/sys/kernel/osrelease"),
        "loadAtStart": read("/proc/loadavg"),
    })
}

struct Bench<'a> {
    setup: &'a Setup,
    figures: Figures,
    data: Value,
}

/// A run of the whole profile.
struct Run {
    usage: Usage,
    requests: Vec<Request>,
    recording: Recording,
}

impl Bench<'_> {
    fn keep(&mut self, name: &str, value: &impl Serialize) -> Result<()> {
        self.data[name] = serde_json::to_value(value)?;
        Ok(())
    }

    fn say(text: &str) {
        let _ = writeln!(io::stderr(), "measuring: {text}");
    }

    fn log(&self, name: &str) -> PathBuf {
        self.setup.output.join(format!("{name}.log"))
    }

    async fn starts(&mut self) -> Result<Cluster> {
        Self::say("warm starts of the cluster");
        let mut seconds = Series::default();
        let mut last = None;
        for _ in 0..STARTS {
            let (cluster, taken) =
                cluster::up(&self.setup.local_cluster, &self.setup.cluster).await?;
            seconds.0.push(taken);
            last = Some(cluster);
        }
        let name = "warm `local-cluster up` to Ready";
        self.figures.limited(name, seconds.show(" s"), seconds.median(), 20.0, " s");
        self.keep("clusterStarts", &seconds)?;
        last.ok_or_else(|| "no start".into())
    }

    async fn lists(&mut self) -> Result<()> {
        Self::say("`nestcheck list`");
        let mut command = std::process::Command::new(&self.setup.nestcheck);
        command.arg("list").env("KUBECONFIG", "/nonexistent");
        let mut milliseconds = Series::default();
        for _ in 0..LISTS {
            let usage = child::succeed(&self.log("list"), &command).await?;
            milliseconds.0.push(usage.wall * 1000.0);
        }
        let name = "`nestcheck list`, without a cluster";
        self.figures.limited(name, milliseconds.show(" ms"), milliseconds.median(), 30.0, " ms");
        self.keep("listMilliseconds", &milliseconds)
    }

    async fn preflights(&mut self, cluster: &Cluster) -> Result<()> {
        Self::say("`nestcheck preflight`");
        let mut command = cluster.program(&self.setup.nestcheck);
        command.arg("preflight");
        let mut milliseconds = Series::default();
        let mut mark = 0;
        for _ in 0..PREFLIGHTS {
            mark = audit::mark(&cluster.audit_log)?;
            let usage = child::succeed(&self.log("preflight"), &command).await?;
            milliseconds.0.push(usage.wall * 1000.0);
        }
        let requests = audit::since(&cluster.audit_log, mark, Client::Agent("nestcheck/"))?;
        self.figures.told("`nestcheck preflight`", milliseconds.show(" ms"));
        self.figures.told("… its API requests", requests.len().to_string());
        self.keep("preflightMilliseconds", &milliseconds)?;
        self.keep("preflightRequests", &audit::count(&requests))
    }

    /// Runs of the profile and their replays in turn.
    async fn pairs(&mut self, cluster: &Cluster) -> Result<()> {
        Self::say("a run that is not counted");
        self.run(cluster, "warm").await?;
        let client = cluster.client().await?;
        let (mut ratios, mut walls, mut floors) = <(Series, Series, Series)>::default();
        let mut kept = Vec::new();
        let mut last = None;
        for pair in 0..self.setup.pairs {
            Self::say(&format!("pair {} of {}", pair + 1, self.setup.pairs));
            let run = self.run(cluster, &format!("run-{pair}")).await?;
            let name = format!("bench-replay-{pair}");
            let taken = replay(&client, &name, Route::Api, &run.recording, self.setup.jobs).await?;
            ratios.0.push(run.usage.wall / taken.total);
            walls.0.push(run.usage.wall);
            floors.0.push(taken.total);
            kept.push(json!({
                "run": run.usage, "runPhases": run.recording.phases, "replay": taken,
            }));
            last = Some(run);
        }
        let run = last.ok_or("no pairs")?;
        self.keep("pairs", &kept)?;
        let name = "run ÷ raw replay of the same pods and commands";
        self.figures.limited(name, ratios.show(""), ratios.median(), 1.15, "");
        self.figures.told("… the run", walls.show(" s"));
        self.figures.told("… its replay", floors.show(" s"));
        self.figures.told("… commands in it", run.recording.commands().to_string());
        self.phases(&kept);
        self.requests(&run)?;
        let memory = run.usage.memory;
        let name = "peak memory of a run";
        self.figures.limited(name, format!("{memory:.1} MB"), memory, 60.0, " MB");
        self.figures
            .told("processor time of nestcheck in a run", format!("{:.2} s", run.usage.cpu));
        Self::say("a replay below the API server");
        let route = Route::Node(cluster.node_init);
        let below: Taken =
            replay(&client, "bench-replay-node", route, &run.recording, self.setup.jobs).await?;
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

    fn requests(&mut self, run: &Run) -> Result<()> {
        let counts = audit::count(&run.requests);
        let execs = run.requests.iter().filter(|request| request.is_exec()).count();
        self.figures.told("API requests of a run", run.requests.len().to_string());
        self.figures.told("… of them streams of commands", execs.to_string());
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

    async fn run(&self, cluster: &Cluster, name: &str) -> Result<Run> {
        let report = self.setup.output.join(name);
        let mut command = cluster.program(&self.setup.nestcheck);
        let jobs = self.setup.jobs.to_string();
        command.args(["run", "--profile", "kubernetes", "--jobs", &jobs, "--report-dir"]);
        command.arg(&report);
        let mark = audit::mark(&cluster.audit_log)?;
        let usage = child::succeed(&self.log(name), &command).await?;
        let requests = audit::since(&cluster.audit_log, mark, Client::Agent("nestcheck/"))?;
        Ok(Run { usage, requests, recording: Recording::read(&report)? })
    }

    /// What the way of a command into a pod costs, above and below the API server.
    async fn execs(&mut self, cluster: &Cluster) -> Result<()> {
        Self::say("the cost of one command's stream");
        let client = cluster.client().await?;
        for (name, route) in [
            ("one command in a pod, by the API", Route::Api),
            ("… by `crun exec` on the node", Route::Node(cluster.node_init)),
        ] {
            let raw = Raw::create(&client, &format!("bench-exec-{}", name.len()), route).await?;
            let measured = series_of_execs(&raw).await;
            raw.delete().await?;
            let milliseconds = measured?;
            self.figures.told(name, milliseconds.show(" ms"));
            self.keep(name, &milliseconds)?;
        }
        Ok(())
    }

    async fn peers(&mut self, cluster: &Cluster) -> Result<()> {
        Self::say("the simplest workload, by everyone");
        let entries = peers::compare(self.setup, cluster).await?;
        let floor = entries.first().map_or(1.0, |raw| raw.wall.median());
        self.figures
            .told("namespace + pod + command + all gone:", "wall, ÷ raw, CPU, memory, requests");
        for entry in &entries {
            self.figures.told(format!("    {}", entry.name), entry.show(floor));
        }
        if let Some(nestcheck) = entries.get(1) {
            let preflight = &self.data["preflightRequests"];
            let own = nestcheck.requests.iter().filter(|(kind, _)| {
                !kind.ends_with("(dry run)") && preflight.get(kind.as_str()).is_none()
            });
            let own: usize = own.map(|(_, count)| count).sum();
            let name = "API requests of a case with a pod of its own, preflight aside";
            self.figures.limited(name, own.to_string(), count_of(own), 12.0, "");
            let of_the_pod = [
                "create pods",
                "watch pods",
                "list pods",
                "watch events",
                "list events",
                "get pods/exec",
            ];
            let pod: usize =
                of_the_pod.iter().filter_map(|kind| nestcheck.requests.get(*kind)).sum();
            self.figures.told("… of them for the pod and its commands", pod.to_string());
        }
        self.keep("peers", &entries)
    }
}

async fn series_of_execs(raw: &Raw) -> Result<Series> {
    let pod = raw.pod(&objects::pod(&fixtures::WORKSPACE)?).await?;
    let command = ["/nestcheck/probe", "print", "x"].map(str::to_owned);
    let mut milliseconds = Series::default();
    for _ in 0..EXECS {
        let started = Instant::now();
        let exit = raw.exec(&pod, &command).await?;
        if exit != 0 {
            return Err(format!("the probe exited with {exit}").into());
        }
        milliseconds.0.push(started.elapsed().as_secs_f64() * 1000.0);
    }
    Ok(milliseconds)
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn count_of(number: usize) -> f64 {
    number as f64
}
