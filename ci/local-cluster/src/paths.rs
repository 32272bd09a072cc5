//! Where things are: the cache of built artifacts and each cluster's state.

use std::{
    env,
    path::{Path, PathBuf},
};

use crate::{
    error::Error,
    settings::{ClusterName, User},
};

/// The variable that moves the cache somewhere else.
pub const CACHE_VARIABLE: &str = "LOCAL_CLUSTER_CACHE";

/// The folder that holds built artifacts and the state of clusters. It must be on a file system
/// that can hold overlayfs upper layers, such as ext4 or xfs.
#[derive(Clone, Debug)]
pub struct Cache(PathBuf);

impl Cache {
    /// Finds the cache: `LOCAL_CLUSTER_CACHE`, or else `target/local-cluster` of the workspace
    /// around the current folder, or else of the workspace that this program was built from.
    pub fn locate() -> Result<Self, Error> {
        let folder = match env::var_os(CACHE_VARIABLE).filter(|value| !value.is_empty()) {
            Some(value) => PathBuf::from(value),
            None => workspace()
                .ok_or_else(|| {
                    Error::other("no workspace around the current directory to cache artifacts in")
                        .with_hint(format!(
                            "run it inside the checkout, or set `{CACHE_VARIABLE}` to a directory"
                        ))
                })?
                .join("target/local-cluster"),
        };
        let folder = std::path::absolute(&folder)
            .map_err(|source| Error::path("resolve the cache directory", &folder, source))?;
        // Mount options are text that is split at commas, and lowerdir at colons.
        let path = folder.to_str().filter(|path| !path.contains([':', ',', '\\', '\n']));
        match path {
            Some(_) => Ok(Self(folder)),
            None => Err(Error::usage(format!(
                "the cache directory `{}` has a colon, a comma or a backslash, which overlayfs can't mount",
                folder.display()
            ))
            .with_hint(format!("set `{CACHE_VARIABLE}` to another directory"))),
        }
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.0
    }

    /// Built artifacts, each in a folder of its own.
    pub fn artifacts(&self) -> PathBuf {
        self.0.join("artifacts")
    }

    /// The state folders of all clusters.
    pub fn clusters(&self) -> PathBuf {
        self.0.join("clusters")
    }

    /// The state folder of one cluster.
    pub fn cluster(&self, name: &ClusterName) -> StateFolder {
        StateFolder(self.clusters().join(name.as_str()))
    }
}

/// The checkout around the current folder, or else the one that this program was built from.
pub fn workspace() -> Option<PathBuf> {
    let is_workspace = |folder: &&Path| folder.join("ci/local-cluster/Cargo.toml").is_file();
    let here = env::current_dir().ok();
    let around = here
        .as_deref()
        .and_then(|folder| folder.ancestors().find(is_workspace))
        .map(Path::to_owned);
    // The folder this program was built in is a guess: it may have moved.
    let built_in =
        || Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().find(is_workspace).map(Path::to_owned);
    around.or_else(built_in)
}

/// The state folder of one cluster.
#[derive(Clone, Debug)]
pub struct StateFolder(PathBuf);

impl StateFolder {
    /// A state folder at a path of the caller's choice.
    pub fn at(path: PathBuf) -> Self {
        Self(path)
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.0
    }

    /// What the cluster is, does and has acquired: see [`crate::state::State`].
    pub fn state_file(&self) -> PathBuf {
        self.0.join("state.json")
    }

    /// The socket for requests to the supervisor.
    pub fn control(&self) -> PathBuf {
        self.0.join("control")
    }

    /// Held by the command that starts or ends the cluster. It lies beside the folder, so that it
    /// outlives its removal.
    pub fn lock_file(&self) -> PathBuf {
        self.0.with_extension("lock")
    }

    /// A user's kubeconfig.
    pub fn kubeconfig(&self, user: User) -> PathBuf {
        match user {
            User::Admin => self.0.join("kubeconfig"),
            User::Dev => self.0.join("kubeconfig-dev"),
        }
    }

    /// Certificates and keys, visible in the node as `/etc/local-cluster/pki`.
    pub fn pki(&self) -> PathBuf {
        self.config().join("pki")
    }

    /// Configuration, visible in the node as `/etc/local-cluster`.
    pub fn config(&self) -> PathBuf {
        self.0.join("config")
    }

    /// Logs of the components, visible in the node as `/var/log/local-cluster`.
    pub fn logs(&self) -> PathBuf {
        self.0.join("logs")
    }

    /// The log of one component.
    pub fn log(&self, component: &str) -> PathBuf {
        self.logs().join(format!("{component}.log"))
    }

    /// The API server's audit log, one JSON object a line.
    pub fn audit_log(&self) -> PathBuf {
        self.log("audit")
    }

    /// Data of the components: etcd, the container runtime, the kubelet.
    pub fn data(&self, component: &str) -> PathBuf {
        self.0.join("data").join(component)
    }

    /// The disk of the kubelet's data, if it has one of its own.
    pub fn disk(&self) -> PathBuf {
        self.0.join("disk.ext4")
    }

    /// What only one of the nodes beyond the first has.
    pub fn other_node(&self, name: &str) -> Self {
        Self(self.0.join("nodes").join(name))
    }

    /// The node's root file system: `upper`, `work` and the mount point `root`.
    pub fn node(&self, part: &str) -> PathBuf {
        self.0.join("node").join(part)
    }
}
