//! What a sandbox is made with.

use std::time::Duration;

use super::{
    Architectures, Home, Intents, Ledger, PULL_SECRET, Placement, Scc, given,
    pod_template::EntryPoint,
};

/// A file that every pod of a run can read.
#[derive(Clone, Debug)]
pub struct File {
    /// Its path below /nestcheck.
    pub path: String,
    /// Its content.
    pub content: Vec<u8>,
    /// The architecture of the nodes that it is for; none for all of them. For each architecture one file of a
    /// path is there at most.
    pub architecture: Option<&'static str>,
}

impl File {
    /// The key in the ConfigMap: keys can't have slashes.
    pub(super) fn key(&self) -> String {
        self.path.replace('/', "__")
    }

    /// Whether it is for nodes of an architecture.
    #[must_use]
    pub fn is_for(&self, architecture: &str) -> bool {
        self.architecture.is_none_or(|own| own == architecture)
    }
}

/// What a sandbox is made with.
#[derive(Clone, Debug)]
pub struct SandboxConfig {
    /// The run's id.
    pub run: String,
    /// Where the run is.
    pub home: Home,
    /// The names of the Secrets that pods of the run need, which count in a given namespace only.
    pub secrets: Vec<String>,
    /// The image of the pods.
    pub image: String,
    /// Whether pods run the entrypoint of the image.
    pub entry_point: EntryPoint,
    /// Where the pods go, and what they ask for.
    pub placement: Placement,
    /// The files of every pod, and the probe for each architecture.
    pub files: Vec<File>,
    /// The architectures of the nodes that pods go to.
    pub architectures: Architectures,
    /// The SCC that pods are admitted by, where the cluster admits pods so.
    pub scc: Option<Scc>,
    /// How long the run may take, its teardown aside.
    pub run_timeout: Duration,
    /// Where what is created is written down before.
    pub ledger: Ledger,
    /// How long things may take that depend on the cluster's speed.
    pub timeouts: Timeouts,
}

/// How long a run waits for what depends on the cluster's speed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For a pod to become ready: an image may have to be pulled first.
    pub pod: Duration,
    /// For a namespace to end. The namespace controller alone waits 5 s before it begins
    /// (kubernetes `pkg/controller/namespace`, `namespaceDeletionGracePeriod`).
    pub teardown: Duration,
    /// For a node or a server that is away to come back, before a command that did not begin is given
    /// up.
    pub disruption: Duration,
    /// How many times as long as usual cases and their commands may take. Their limits suit two
    /// processors; a machine that emulates them is 15 times as slow.
    pub factor: u32,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            pod: Duration::from_secs(180),
            teardown: Duration::from_secs(120),
            disruption: Duration::from_secs(60),
            factor: 1,
        }
    }
}

impl SandboxConfig {
    /// What the run may create outside of its namespaces, or in the given one.
    #[must_use]
    pub fn intents(&self) -> Intents {
        let Some(namespace) = self.home.given() else {
            return Intents::of_run(&self.run, self.scc.is_some());
        };
        let pull_secret = self.placement.pull_secret.iter().map(|_| PULL_SECRET);
        let secrets = self.secrets.iter().map(String::as_str).chain(pull_secret);
        let secrets: Vec<_> = secrets.map(|name| self.name_of(name)).collect();
        Intents::in_namespace(&self.run, namespace, &given::KINDS, &secrets)
    }

    /// The files of the run's pods, the probe among them.
    pub fn own_files(&self) -> impl Iterator<Item = &File> {
        self.files.iter().filter(|file| file.is_for(&self.architectures.of_run))
    }

    /// The `ConfigMap` of files for nodes of each architecture: its name, and the files.
    pub(super) fn maps(&self) -> impl Iterator<Item = (String, Vec<&File>)> {
        self.architectures.maps().into_iter().map(|(architecture, name)| {
            (name, self.files.iter().filter(|file| file.is_for(architecture)).collect())
        })
    }

    /// The name of an object of the run in the namespace of its pods.
    #[must_use]
    pub fn name_of(&self, name: &str) -> String {
        self.home.name_of(&self.run, name)
    }
}
