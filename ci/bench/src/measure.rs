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
    audit::{self, Client},
    child,
    cluster::{self, Cluster, Flavour},
    detection,
    figures::Figures,
    many_nodes, objects, peers,
    raw::{Raw, Route},
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
    bench.keep("cluster", &cluster.describe())?;
    bench.preflights(&cluster).await?;
    Bench::say("`nestcheck preflight` of many nodes");
    let log = bench.log("many-nodes");
    many_nodes::measure(&setup.nestcheck, &log, &mut bench.figures).await?;
    Box::pin(bench.pairs(&cluster)).await?;
    Box::pin(bench.sweeps(&cluster)).await?;
    if setup.kind.flavour == Flavour::Kubernetes {
        bench.lists().await?;
        Box::pin(bench.execs(&cluster)).await?;
        Box::pin(bench.peers(&cluster)).await?;
    }
    bench.figures.plain("load of the machine: at the start, now", loads(&bench.data));
    let figures = bench.figures.to_string();
    bench.keep("figures", &bench.figures.clone())?;
    let path = setup.output.join("bench.json");
    fs::write(&path, serde_json::to_string_pretty(&bench.data)?)?;
    let title = cluster.describe();
    write!(io::stdout(), "{title}\n\n{figures}\nraw data in `{}`\n", path.display())?;
    Ok(())
}

/// How many processes wanted to run in the minute before the start, and in the last one.
fn loads(data: &Value) -> String {
    let now = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let first = |text: &str| text.split_whitespace().next().unwrap_or("?").to_owned();
    let start = data["loadAtStart"].as_str().unwrap_or_default();
    let cores = &data["cores"];
    format!("{}, {} on {cores} cores", first(start), first(&now))
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

pub(crate) struct Bench<'a> {
    pub(crate) setup: &'a Setup,
    pub(crate) figures: Figures,
    data: Value,
}

impl Bench<'_> {
    pub(crate) fn keep(&mut self, name: &str, value: &impl Serialize) -> Result<()> {
        self.data[name] = serde_json::to_value(value)?;
        Ok(())
    }

    pub(crate) fn say(text: &str) {
        let _ = writeln!(io::stderr(), "measuring: {text}");
    }

    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.setup.output.join(format!("{name}.log"))
    }

    async fn starts(&mut self) -> Result<Cluster> {
        Self::say("warm starts of the cluster");
        let mut seconds = Series::default();
        let mut last = None;
        for _ in 0..STARTS {
            let (cluster, taken) =
                cluster::up(&self.setup.local_cluster, &self.setup.cluster, &self.setup.kind)
                    .await?;
            seconds.0.push(taken);
            last = Some(cluster);
        }
        let name = "warm `local-cluster up` to Ready";
        match self.setup.kind.flavour {
            Flavour::Kubernetes => {
                self.figures.limited(name, seconds.show(" s"), seconds.median(), 20.0, " s");
            }
            Flavour::OpenShift => self.figures.plain(name, seconds.show(" s")),
        }
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
        let client = cluster.connect().await?.admin().clone();
        let nestcheck = &self.setup.nestcheck;
        let waves = detection::waves(&client, &self.log("depth"), |kubeconfig| {
            let mut command = std::process::Command::new(nestcheck);
            command.args(["preflight", "--kubeconfig"]).arg(kubeconfig);
            command
        })
        .await?;
        self.figures.plain("`nestcheck preflight`", milliseconds.show(" ms"));
        let count = count_of(requests.len());
        self.figures.limited("… API requests", requests.len().to_string(), count, 12.0, "");
        let sizes: Vec<_> = waves.iter().map(ToString::to_string).collect();
        let shown = format!("{} ({})", waves.len(), sizes.join(" + "));
        self.figures.limited("… round trips deep", shown, count_of(waves.len()), 3.0, "");
        self.keep("preflightWaves", &waves)?;
        self.keep("preflightMilliseconds", &milliseconds)?;
        self.keep("preflightRequests", &audit::count(&requests))
    }

    /// What the way of a command into a pod costs, above and below the API server.
    async fn execs(&mut self, cluster: &Cluster) -> Result<()> {
        Self::say("the cost of one command's stream");
        let connected = cluster.connect().await?;
        for (name, route) in [
            ("one command in a pod, by the API", Route::Api),
            ("… by `crun exec` on the node", Route::Node(cluster.node_init)),
        ] {
            let raw = Raw::create(&connected, &format!("bench-exec-{}", name.len()), route).await?;
            let measured = series_of_execs(&raw).await;
            raw.delete().await?;
            let milliseconds = measured?;
            self.figures.plain(name, milliseconds.show(" ms"));
            self.keep(name, &milliseconds)?;
        }
        Ok(())
    }

    async fn peers(&mut self, cluster: &Cluster) -> Result<()> {
        Self::say("the simplest workload, by everyone");
        let entries = Box::pin(peers::compare(self.setup, cluster)).await?;
        let floor = entries.first().map_or(1.0, |raw| raw.wall.median());
        self.figures
            .plain("namespace + pod + command + all gone:", "wall, ÷ raw, CPU, memory, requests");
        for entry in &entries {
            self.figures.plain(format!("    {}", entry.name), entry.show(floor));
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
            self.figures.plain("… of them for the pod and its commands", pod.to_string());
        }
        self.keep("peers", &entries)
    }
}

async fn series_of_execs(raw: &Raw) -> Result<Series> {
    let pod = raw.pod(&objects::pod(&suites::fixtures::NESTED_POD)?).await?;
    let mut milliseconds = Series::default();
    for _ in 0..EXECS {
        let started = Instant::now();
        let exit = raw.exec(&pod, &["/nestcheck/probe", "print", "x"]).await?;
        if exit != 0 {
            return Err(format!("the probe exited with {exit}").into());
        }
        milliseconds.0.push(started.elapsed().as_secs_f64() * 1000.0);
    }
    Ok(milliseconds)
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
pub(crate) fn count_of(number: usize) -> f64 {
    number as f64
}
