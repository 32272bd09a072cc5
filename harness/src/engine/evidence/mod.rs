//! The evidence of a failed case: what can only be seen while its pods are there, written to files
//! of their own, since it is more than a log bears.
//!
//! A file's name and its directory's come from this program and the case's registry entry, never from
//! a pod or a server. What is in it is as untrusted as any text from a pod, so it is bounded and
//! redacted before it is written.

mod gather;
mod store;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures::future::join_all;
pub(crate) use store::remove;
use tokio::sync::{
    OnceCell,
    mpsc::{UnboundedSender, unbounded_channel},
};
use tokio_util::sync::CancellationToken;

use crate::{
    base::redact,
    facts::Facts,
    sandbox::Sandbox,
    verdict::event::{EVIDENCE_DIRECTORY, EvidenceCollected, EvidenceFile},
    workload::Workload,
};

/// How long the evidence of one case may take: a command in a pod that hangs must not hold the
/// run up.
const DEADLINE: Duration = Duration::from_secs(45);

/// The most that one file holds, in bytes.
const FILE_LIMIT: usize = 128 * 1024;

/// The most that the files of one case hold together.
const CASE_LIMIT: usize = 512 * 1024;

/// The most that all files of a run hold together.
const RUN_LIMIT: usize = 64 * 1024 * 1024;

/// A part of the evidence: the name of its file, and its text or why it could not be had.
struct Piece {
    name: String,
    text: Result<String, String>,
}

/// What is looked at.
pub(crate) enum Subject {
    /// The pod of this name.
    Pod(String),
    /// The machine of nestcheck itself.
    Machine(Arc<Workload>),
}

impl Subject {
    /// A pod of this name, which is ready or not; the machine may stand in for one.
    pub(crate) fn of(name: String, pod: Option<Arc<Workload>>) -> Self {
        pod.filter(|pod| pod.is_machine()).map_or(Self::Pod(name), Self::Machine)
    }

    /// Sends all that can be seen of it, the `number`th of its case.
    async fn look(&self, sandbox: &Sandbox, number: usize, pieces: &UnboundedSender<Piece>) {
        match self {
            Self::Pod(name) => gather::pod(sandbox, name, number, pieces).await,
            Self::Machine(machine) => gather::machine(machine, number, pieces).await,
        }
    }
}

/// What was collected of a pod that never got ready, for all cases that wanted it.
type Shared = Arc<OnceCell<Option<EvidenceCollected>>>;

/// Collects the evidence of failed cases.
#[derive(Clone, Debug)]
pub struct Collector {
    directory: Option<PathBuf>,
    /// The iteration whose evidence is collected, where cases run several times.
    iteration: Option<u32>,
    skip: CancellationToken,
    left: Arc<AtomicUsize>,
    shared: Arc<Mutex<BTreeMap<&'static str, Shared>>>,
}

impl Collector {
    /// Collects nothing.
    #[must_use]
    pub fn nowhere() -> Self {
        Self::new(None)
    }

    /// Writes into this directory, which is made when there is something to write.
    #[must_use]
    pub fn into_directory(path: PathBuf) -> Self {
        Self::new(Some(path))
    }

    fn new(directory: Option<PathBuf>) -> Self {
        Self {
            directory,
            iteration: None,
            skip: CancellationToken::new(),
            left: Arc::new(AtomicUsize::new(RUN_LIMIT)),
            shared: Arc::default(),
        }
    }

    /// The collector of an iteration: each has directories of its own, and all share one limit.
    #[must_use]
    pub(crate) fn of_iteration(&self, iteration: Option<u32>) -> Self {
        Self { iteration, shared: Arc::default(), ..self.clone() }
    }

    /// The name of a case's directory.
    fn name_of(&self, case: &str) -> String {
        match self.iteration {
            Some(number) => format!("{case}-iteration-{number}"),
            None => case.to_owned(),
        }
    }

    /// Ends what is being collected, and collects no more: somebody is in a hurry.
    pub fn skip(&self) {
        self.skip.cancel();
    }

    /// Collects what can be seen of these pods of the run's namespace. None where there is nothing
    /// to tell.
    pub(crate) async fn collect(
        &self,
        case: &'static str,
        pods: &[Subject],
        sandbox: &Sandbox,
        facts: &Facts,
    ) -> Option<EvidenceCollected> {
        let directory = self.directory.as_deref()?;
        if self.skip.is_cancelled() {
            return None;
        }
        let started = Instant::now();
        let (pieces, mut received) = unbounded_channel();
        let all =
            join_all(pods.iter().zip(1..).map(|(pod, number)| pod.look(sandbox, number, &pieces)));
        let mut missing = Vec::new();
        tokio::select! {
            _ = all => {}
            () = tokio::time::sleep(DEADLINE) => {
                missing.push(format!("what took longer than {} s", DEADLINE.as_secs()));
            }
            () = self.skip.cancelled() => missing.push("the rest, for lack of time".to_owned()),
        }
        let nodes = (!sandbox.is_nowhere()).then(|| gather::nodes(facts));
        let mut found: Vec<_> = nodes.into_iter().collect();
        while let Ok(piece) = received.try_recv() {
            found.push(piece);
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        let name = self.name_of(case);
        let files = self.write(directory, &name, found, &mut missing);
        Some(EvidenceCollected {
            id: case.to_owned(),
            directory: format!("{EVIDENCE_DIRECTORY}/{name}"),
            files,
            missing: missing.iter().map(|text| redact::clean(text.as_bytes(), 400)).collect(),
            duration_ms: super::millis(started.elapsed()),
        })
    }

    /// As [`Self::collect`], of a pod that never got ready: it is the same for all cases that
    /// wanted it, so the first collects and the others are pointed to that.
    pub(crate) async fn collect_once(
        &self,
        case: &'static str,
        template: &'static str,
        sandbox: &Sandbox,
        facts: &Facts,
    ) -> Option<EvidenceCollected> {
        let shared = {
            let mut all = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(all.entry(template).or_default())
        };
        let pods = [Subject::Pod(template.to_owned())];
        let collected = shared.get_or_init(|| self.collect(case, &pods, sandbox, facts)).await;
        let collected = collected.clone()?;
        Some(EvidenceCollected { id: case.to_owned(), ..collected })
    }

    fn write(
        &self,
        directory: &std::path::Path,
        case: &str,
        found: Vec<Piece>,
        missing: &mut Vec<String>,
    ) -> Vec<EvidenceFile> {
        let mut files = Vec::new();
        let mut room = CASE_LIMIT;
        for Piece { name, text } in found {
            let written = text.and_then(|text| {
                let text = redact::clean(text.as_bytes(), FILE_LIMIT);
                if text.len() > room || !self.take(text.len()) {
                    return Err("too much was collected before".to_owned());
                }
                room -= text.len();
                store::write(directory, case, &name, &text).map_err(|error| error.to_string())?;
                Ok(text.len())
            });
            match written {
                Ok(bytes) => files.push(EvidenceFile { name, bytes }),
                Err(reason) => missing.push(format!("{name}: {reason}")),
            }
        }
        files
    }

    /// Takes bytes of what the run may write.
    fn take(&self, bytes: usize) -> bool {
        let take = |left: usize| left.checked_sub(bytes);
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(name: &str, text: &str) -> Piece {
        Piece { name: name.to_owned(), text: Ok(text.to_owned()) }
    }

    #[test]
    fn files_are_bounded_each_and_together_and_hold_no_token() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let collector = Collector::into_directory(directory.path().join(EVIDENCE_DIRECTORY));
        let flood = "x".repeat(10 * FILE_LIMIT);
        let mut found: Vec<_> = (0..9).map(|i| piece(&format!("{i}.log"), &flood)).collect();
        found.insert(0, piece("token.txt", "Bearer eyJhbGciOi.eyJzdWIiOi.c2lnbmF0dXJl"));
        let mut missing = Vec::new();
        let path = directory.path().join(EVIDENCE_DIRECTORY);
        let files = collector.write(&path, "POD-03", found, &mut missing);
        let total: usize = files.iter().map(|file| file.bytes).sum();
        assert!(total <= CASE_LIMIT && files.len() >= 4, "{files:?}");
        assert!(!missing.is_empty() && missing.iter().all(|text| text.contains("too much")));
        let text = std::fs::read_to_string(path.join("POD-03/token.txt")).expect("it is there");
        assert_eq!(text, "Bearer [redacted]");
    }

    #[test]
    fn a_run_has_a_limit_of_its_own() {
        let collector = Collector::nowhere();
        assert!(collector.take(RUN_LIMIT) && !collector.take(1));
    }
}
