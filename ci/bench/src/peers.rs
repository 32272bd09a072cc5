//! The simplest workload (namespace, pod, one command in it, all gone again) by everyone.

use std::{collections::BTreeMap, fs, path::PathBuf, process::Command};

use serde::Serialize;

use crate::{
    Result, Setup,
    audit::{self, Client},
    child::{self, Usage},
    cluster::Cluster,
    objects, raw,
    stats::Series,
};

/// The nestcheck case that is this workload: one pod, one command.
const CASE: &str = "ISO-01";

/// How often everyone does it, in turn.
const ROUNDS: usize = 3;

/// Who does it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Contender {
    Raw,
    Nestcheck,
    Kubectl,
    Chainsaw,
}

impl Contender {
    fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw API calls",
            Self::Nestcheck => "nestcheck run ISO-01",
            Self::Kubectl => "bash + kubectl",
            Self::Chainsaw => "chainsaw",
        }
    }
}

/// What one contender took.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Entry {
    pub(crate) name: &'static str,
    pub(crate) wall: Series,
    pub(crate) cpu: Series,
    pub(crate) memory: Series,
    /// Its API requests by kind, in its last round.
    pub(crate) requests: BTreeMap<String, usize>,
    /// Why it did not take part.
    pub(crate) skipped: Option<String>,
}

/// Lets everyone do it in turn.
pub(crate) async fn compare(setup: &Setup, cluster: &Cluster) -> Result<Vec<Entry>> {
    let folder = setup.output.join("peers");
    fs::create_dir_all(&folder)?;
    let folder = fs::canonicalize(folder)?;
    fs::write(folder.join("objects.json"), objects::simplest()?)?;
    fs::write(folder.join("kubectl.sh"), include_str!("../peers/kubectl.sh"))?;
    fs::write(folder.join("chainsaw-test.yaml"), include_str!("../peers/chainsaw-test.yaml"))?;
    let contest = Contest { setup, cluster, folder };
    let contenders =
        [Contender::Raw, Contender::Nestcheck, Contender::Kubectl, Contender::Chainsaw];
    let mut entries: Vec<Entry> = contenders.iter().map(|who| entry(who.name())).collect();
    for round in 0..ROUNDS {
        for (contender, entry) in contenders.iter().zip(&mut entries) {
            if entry.skipped.is_some() {
                continue;
            }
            let mark = audit::mark(&cluster.audit_log)?;
            match Box::pin(contest.run(*contender, round)).await {
                Ok(usage) => {
                    entry.wall.0.push(usage.wall);
                    // The raw calls are made by this very process.
                    if *contender != Contender::Raw {
                        entry.cpu.0.push(usage.cpu);
                        entry.memory.0.push(usage.memory);
                    }
                    let requests = audit::since(&cluster.audit_log, mark, Client::Outside)?;
                    entry.requests = audit::count(&requests);
                }
                Err(error) => entry.skipped = Some(error.to_string()),
            }
        }
    }
    Ok(entries)
}

fn entry(name: &'static str) -> Entry {
    let (wall, cpu, memory, requests) = Default::default();
    Entry { name, wall, cpu, memory, requests, skipped: None }
}

struct Contest<'a> {
    setup: &'a Setup,
    cluster: &'a Cluster,
    folder: PathBuf,
}

impl Entry {
    /// Its figures in one line; `floor` is what the raw calls took.
    pub(crate) fn show(&self, floor: f64) -> String {
        if let Some(reason) = &self.skipped {
            return format!("skipped: {reason}");
        }
        let measured = if self.cpu.0.is_empty() {
            "–, –".to_owned()
        } else {
            format!("{:.2} s, {:.0} MB", self.cpu.median(), self.memory.median())
        };
        let requests: usize = self.requests.values().sum();
        let (wall, ratio) = (self.wall.show(" s"), self.wall.median() / floor);
        format!("{wall}, {ratio:.2}, {measured}, {requests}")
    }
}

impl Contest<'_> {
    async fn run(&self, contender: Contender, round: usize) -> Result<Usage> {
        let command = match contender {
            Contender::Raw => return Box::pin(self.raw(round)).await,
            Contender::Nestcheck => self.nestcheck(),
            Contender::Kubectl => self.kubectl(round),
            Contender::Chainsaw => self.chainsaw()?,
        };
        let log = self.folder.join(format!("{contender:?}-{round}.log").to_lowercase());
        child::succeed(&log, &command).await
    }

    /// In this very process, so only its wall time says something.
    async fn raw(&self, round: usize) -> Result<Usage> {
        let cluster = self.cluster.connect().await?;
        let wall = raw::simplest(&cluster, &format!("bench-raw-{round}")).await?;
        Ok(Usage { wall, cpu: 0.0, memory: 0.0, exit: 0 })
    }

    fn nestcheck(&self) -> Command {
        let mut command = self.cluster.program(&self.setup.nestcheck);
        command.args(["run", CASE, "--report-dir"]).arg(self.folder.join("report"));
        command
    }

    fn kubectl(&self, round: usize) -> Command {
        let mut command = self.cluster.program("bash".as_ref());
        command
            .arg(self.folder.join("kubectl.sh"))
            .env("KUBECTL", &self.cluster.kubectl)
            .env("NAMESPACE", format!("bench-kubectl-{round}"))
            .env("OBJECTS", self.folder.join("objects.json"));
        command
    }

    fn chainsaw(&self) -> Result<Command> {
        let program = self.setup.chainsaw.as_ref().ok_or("it is not in PATH")?;
        let tools = self.cluster.kubectl.parent().ok_or("kubectl has no parent directory")?;
        let mut path = tools.as_os_str().to_owned();
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_default());
        let mut command = self.cluster.program(program);
        command.args(["test", "--no-color"]).arg(&self.folder).env("PATH", path);
        Ok(command)
    }
}
