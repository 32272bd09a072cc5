//! What a run is about to create, written down before it does.
//!
//! Twice, because either may be lost: in the report directory, durably, for whoever has this machine;
//! and in the cluster, as one Lease a run, for whoever has only the cluster. What a run creates
//! carries its label; what the label alone says is not believed: an object is the run's only if
//! its ledger names it too.

use std::{
    fs::OpenOptions,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{LEASE_NAMESPACE, given::KINDS, home::is_name_of, namespace_of};
use crate::{Error, Result};

/// The version of the ledger's format.
const SCHEMA: u32 = 1;

/// The kind of Secrets.
pub(super) const SECRET: &str = "Secret";

/// An object that a run may create.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// Its kind, such as `Namespace`.
    pub kind: String,
    /// Its namespace; none outside of namespaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Its name, or the beginning of it followed by `*`.
    pub name: String,
}

impl std::fmt::Display for Intent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{} `{namespace}/{}`", self.kind, self.name),
            None => write!(f, "{} `{}`", self.kind, self.name),
        }
    }
}

impl Intent {
    fn new(kind: &str, name: impl Into<String>) -> Self {
        Self { kind: kind.to_owned(), namespace: None, name: name.into() }
    }

    /// Whether an object in this namespace, or outside of namespaces, is meant.
    fn covers(&self, kind: &str, namespace: Option<&str>, name: &str) -> bool {
        self.namespace.as_deref() == namespace && self.kind == kind && fits(&self.name, name)
    }
}

/// Whether a name is this one, or begins as a pattern that ends with `*`.
pub(super) fn fits(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => pattern == name,
    }
}

/// All that a run may create outside of its namespaces, its namespaces among them: what is in them
/// ends with them. Of a run in a given namespace all that it may create there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intents(Vec<Intent>);

impl Intents {
    /// The intents of a run.
    #[must_use]
    pub fn of_run(run: &str, with_scc: bool) -> Self {
        let name = namespace_of(run);
        let mut intents = vec![
            Intent::new("Namespace", &name),
            // Second namespaces, such as the one that enforces level baseline.
            Intent::new("Namespace", format!("{name}-*")),
        ];
        if with_scc {
            intents.push(Intent::new("ClusterRole", &name));
            intents.push(Intent::new("SecurityContextConstraints", name));
        }
        Self(intents)
    }

    /// The intents of a run in a given namespace: objects of these kinds with any name of the run, and
    /// these Secrets. A run may not list Secrets there, so each is known by its name.
    #[must_use]
    pub(super) fn in_namespace(
        run: &str,
        namespace: &str,
        kinds: &[&str],
        secrets: &[String],
    ) -> Self {
        let name = namespace_of(run);
        let patterns = kinds.iter().map(|kind| Intent::new(kind, format!("{name}-*")));
        let secrets = secrets.iter().map(|secret| Intent::new(SECRET, secret));
        let in_namespace = |intent| Intent { namespace: Some(namespace.to_owned()), ..intent };
        Self(patterns.chain(secrets).map(in_namespace).collect())
    }

    /// Whether an object in this namespace, or outside of namespaces, is the run's.
    #[must_use]
    pub fn contains(&self, kind: &str, namespace: Option<&str>, name: &str) -> bool {
        self.0.iter().any(|intent| intent.covers(kind, namespace, name))
    }

    /// The given namespace of the run, if it has one.
    pub(super) fn given_namespace(&self) -> Option<&str> {
        self.0.iter().find_map(|intent| intent.namespace.as_deref())
    }

    /// The names of the run's Secrets in a given namespace.
    pub(super) fn secrets(&self) -> impl Iterator<Item = &str> {
        let secrets = self.0.iter().filter(|intent| intent.kind == SECRET);
        secrets.map(|intent| intent.name.as_str()).filter(|name| !name.ends_with('*'))
    }

    /// The intents without Secrets: their names in a record prove nothing.
    pub(super) fn without_secrets(&self) -> Self {
        Self(self.0.iter().filter(|intent| intent.kind != SECRET).cloned().collect())
    }

    /// Whether objects of a kind were meant to be created at all.
    #[must_use]
    pub fn has(&self, kind: &str) -> bool {
        self.0.iter().any(|intent| intent.kind == kind)
    }

    /// Reads what [`Self::to_text`] wrote for a run in a Lease of this namespace. Names that no run of
    /// this id would give are left out, whoever wrote them there, and so is what a run with such a Lease
    /// does not create: who may write Leases in one namespace decides nothing outside of it.
    #[must_use]
    pub fn parse(run: &str, lease_namespace: &str, text: &str) -> Option<Self> {
        let Self(mut intents) = serde_json::from_str(text).ok()?;
        let name = namespace_of(run);
        let of_run = |other: &str| {
            other.strip_prefix(&name).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        };
        let given = Some(lease_namespace).filter(|namespace| *namespace != LEASE_NAMESPACE);
        intents.retain(|intent| of_run(&intent.name) && intent.namespace.as_deref() == given);
        Some(Self(intents))
    }

    /// As JSON, for an annotation.
    #[must_use]
    pub fn to_text(&self) -> String {
        // Texts alone always are JSON; nothing at all would let sweep touch nothing.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// A line of the ledger in the report directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "entry")]
pub enum Entry {
    /// A run begins.
    Run {
        /// Its id.
        run: String,
        /// The API server.
        server: String,
        /// Whether it brings an SCC along. Older ledgers have this name too.
        #[serde(rename = "with_constraint")]
        with_scc: bool,
        /// The namespace that it was given, if it was.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        namespace: Option<String>,
    },
    /// An object is about to be created.
    Intended(Intent),
    /// Everything is gone again.
    Closed {
        /// The run's id.
        run: String,
    },
}

#[derive(Serialize)]
struct Line<'a> {
    schema: u32,
    at: Timestamp,
    #[serde(flatten)]
    entry: &'a Entry,
}

/// The ledger in the report directory; clones write to the same file.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    path: Option<PathBuf>,
    /// What this run intended. A lock, because creations run side by side; held to add one.
    intended: Arc<Mutex<Vec<Intent>>>,
}

impl Ledger {
    /// The ledger of a run that has no report directory: the one in the cluster must do.
    #[must_use]
    pub fn nowhere() -> Self {
        Self::default()
    }

    /// The ledger in this file, which is made with the first entry. A file that is there is
    /// continued: what an earlier run has left is not forgotten.
    #[must_use]
    pub fn at(path: PathBuf) -> Self {
        Self { path: Some(path), ..Self::default() }
    }

    /// Writes down that an object is about to be created. It is on the disk when this returns.
    ///
    /// # Errors
    ///
    /// It can't be written: then the object must not be created.
    pub async fn intend(&self, kind: &str, namespace: Option<&str>, name: &str) -> Result<()> {
        let (kind, name) = (kind.to_owned(), name.to_owned());
        let namespace = namespace.map(str::to_owned);
        let intent = Intent { kind, namespace, name };
        self.write(Entry::Intended(intent.clone())).await?;
        self.intended.lock().unwrap_or_else(PoisonError::into_inner).push(intent);
        Ok(())
    }

    /// What was written down until now.
    #[must_use]
    pub fn intended(&self) -> Vec<Intent> {
        self.intended.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Writes an entry. It is on the disk when this returns.
    ///
    /// # Errors
    ///
    /// It can't be written.
    pub async fn write(&self, entry: Entry) -> Result<()> {
        let Some(path) = self.path.clone() else { return Ok(()) };
        let written = tokio::task::spawn_blocking(move || append(&path, &entry)).await;
        written.unwrap_or_else(|error| Err(io::Error::other(error))).map_err(|error| {
            Error::infrastructure(format!("failed to write the ledger: {error}"))
                .with_hint("make room where the report directory is: nothing is created unrecorded")
        })
    }
}

fn append(path: &Path, entry: &Entry) -> io::Result<()> {
    let line = Line { schema: SCHEMA, at: Timestamp::now(), entry };
    let mut line = serde_json::to_vec(&line)?;
    line.push(b'\n');
    // One write in append mode: lines of several tasks don't mix.
    let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    file.write_all(&line)?;
    file.sync_data()
}

/// A run that a ledger says is not closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenRun {
    /// Its id.
    pub run: String,
    /// What it may have created.
    pub intents: Intents,
}

/// Reads the runs that a ledger says are not closed.
///
/// Lines that are torn, as the last may be after a crash, are passed over.
#[must_use]
pub fn open_runs(text: &str) -> Vec<OpenRun> {
    let mut open: Vec<OpenRun> = Vec::new();
    for line in text.lines() {
        match serde_json::from_str(line) {
            Ok(Entry::Run { run, with_scc, namespace, .. }) => {
                let intents = match namespace {
                    None => Intents::of_run(&run, with_scc),
                    Some(namespace) => Intents::in_namespace(&run, &namespace, &KINDS, &[]),
                };
                open.push(OpenRun { run, intents });
            }
            Ok(Entry::Closed { run }) => open.retain(|other| other.run != run),
            Ok(Entry::Intended(intent)) => {
                // Of the run that began last; only Secrets are not found by a label.
                if let Some(OpenRun { run, intents }) = open.last_mut()
                    && intent.kind == SECRET
                    && is_name_of(run, &intent.name)
                    && intent.namespace.as_deref() == intents.given_namespace()
                {
                    intents.0.push(intent);
                }
            }
            Err(_) => {}
        }
    }
    open
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ledger_of_an_older_version_can_be_read() {
        let line = r#"{"entry":"run","run":"abc","server":"s","with_constraint":true}"#;
        let entry: Entry = serde_json::from_str(line).expect("an entry");
        let (run, server) = ("abc".into(), "s".into());
        assert_eq!(entry, Entry::Run { run, server, with_scc: true, namespace: None });
    }

    #[test]
    fn only_the_runs_own_names_are_covered() {
        let intents = Intents::of_run("abc", true);
        assert!(intents.contains("Namespace", None, "nestcheck-abc"));
        assert!(intents.contains("Namespace", None, "nestcheck-abc-baseline"));
        assert!(intents.contains("SecurityContextConstraints", None, "nestcheck-abc"));
        assert!(!intents.contains("Namespace", None, "nestcheck-abcd"));
        assert!(!intents.contains("Namespace", None, "default"));
        assert!(!intents.contains("ClusterRole", None, "nestcheck-abc-x"));
        assert!(!Intents::of_run("abc", false).has("ClusterRole"));
    }

    fn given() -> Intents {
        Intents::in_namespace("abc", "team-a", &["Pod"], &["nestcheck-abc-word".to_owned()])
    }

    #[test]
    fn in_a_given_namespace_only_the_runs_own_names_are_covered() {
        let intents = given();
        assert!(intents.contains("Pod", Some("team-a"), "nestcheck-abc-workspace"));
        assert!(!intents.contains("Pod", Some("team-b"), "nestcheck-abc-workspace"));
        assert!(!intents.contains("Pod", None, "nestcheck-abc-workspace"));
        assert!(!intents.contains("Pod", Some("team-a"), "workspace"));
        assert!(!intents.contains("ConfigMap", Some("team-a"), "nestcheck-abc-x"));
        assert!(!intents.has("Namespace"));
        assert_eq!(intents.secrets().collect::<Vec<_>>(), ["nestcheck-abc-word"]);
    }

    #[test]
    fn a_lease_decides_nothing_outside_of_its_namespace() {
        let text = given().to_text();
        assert_eq!(Intents::parse("abc", "team-a", &text), Some(given()));
        let of_others = ["team-b", LEASE_NAMESPACE];
        for place in of_others {
            assert_eq!(Intents::parse("abc", place, &text), Some(Intents::default()), "{place}");
        }
        let of_the_cluster = Intents::of_run("abc", true).to_text();
        assert_eq!(Intents::parse("abc", "team-a", &of_the_cluster), Some(Intents::default()));
    }

    #[test]
    fn intents_survive_an_annotation() {
        let intents = Intents::of_run("abc", true);
        let parse = |run, text| Intents::parse(run, LEASE_NAMESPACE, text);
        let text = intents.to_text();
        assert_eq!(parse("abc", &text), Some(intents.clone()));
        assert_eq!(parse("abc", "torn"), None);
        let foreign = parse("ab", &text).expect("it can be read");
        assert!(!foreign.contains("Namespace", None, "nestcheck-abc"), "another run's");
    }

    #[tokio::test]
    async fn a_ledger_reports_the_runs_that_are_not_closed() {
        let directory = tempfile::tempdir().expect("a directory can be made");
        let path = directory.path().join("ledger.jsonl");
        for run in ["one", "two"] {
            let ledger = Ledger::at(path.clone());
            let namespace = (run == "two").then(|| "team-a".to_owned());
            let (run, server) = (run.to_owned(), "s".to_owned());
            let entry = Entry::Run { run, server, with_scc: false, namespace };
            ledger.write(entry).await.expect("it can be written");
            ledger.intend("Namespace", None, "n").await.expect("it can be written");
            let secret = ledger.intend(SECRET, Some("team-a"), "nestcheck-two-word");
            secret.await.expect("it can be written");
        }
        let ledger = Ledger::at(path.clone());
        ledger.write(Entry::Closed { run: "one".into() }).await.expect("it can be written");
        let text = std::fs::read_to_string(&path).expect("it can be read");
        let torn = &text[..text.len() - 3];
        let secrets = ["nestcheck-two-word".to_owned()];
        let intents = Intents::in_namespace("two", "team-a", &KINDS, &secrets);
        assert_eq!(open_runs(&text), [OpenRun { run: "two".to_owned(), intents }]);
        assert_eq!(open_runs(torn).len(), 2, "a torn line says nothing");
    }
}
