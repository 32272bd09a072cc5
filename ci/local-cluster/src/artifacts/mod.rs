//! What clusters are made of: built once, kept in the cache, never modified.

mod golang;
mod pause;
pub mod seed;
mod store;
pub mod tree;

use std::path::PathBuf;
use std::thread;

use crate::error::Error;
use crate::paths::Cache;
use crate::settings::KubernetesVersion;
use store::{Recipe, Store};

/// The artifacts of one cluster, as folders in the cache.
#[derive(Clone, Debug)]
pub struct Artifacts {
    /// The programs of Kubernetes.
    pub kubernetes: PathBuf,
    /// The programs of containerd.
    pub containerd: PathBuf,
    /// The node's root file system.
    pub node_tree: PathBuf,
    /// containerd's data with the images already in it.
    pub containerd_seed: PathBuf,
}

struct Recipes {
    kubernetes: Recipe,
    containerd: Recipe,
    node_tree: Recipe,
    workspace: Recipe,
    pause: Recipe,
    seed: Recipe,
}

impl Recipes {
    fn of(version: KubernetesVersion) -> Self {
        let containerd = golang::containerd_recipe();
        let node_tree = tree::node_recipe();
        let workspace = tree::workspace_recipe();
        let pause = pause::recipe();
        let seed = seed::recipe(&[&containerd, &node_tree, &workspace, &pause]);
        Self {
            kubernetes: golang::kubernetes_recipe(version),
            containerd,
            node_tree,
            workspace,
            pause,
            seed,
        }
    }

    fn needed(&self) -> [&Recipe; 4] {
        [&self.kubernetes, &self.containerd, &self.node_tree, &self.seed]
    }
}

/// Whether a cluster of this version needs something that was not built yet.
pub fn missing(cache: &Cache, version: KubernetesVersion) -> bool {
    let store = Store::new(cache);
    Recipes::of(version).needed().into_iter().any(|recipe| store.find(recipe).is_none())
}

/// Builds what is missing and returns all artifacts.
///
/// # Errors
///
/// Fails when a build does; the error names the log.
pub fn ensure(cache: &Cache, version: KubernetesVersion) -> Result<Artifacts, Error> {
    let store = Store::new(cache);
    let recipes = Recipes::of(version);
    let find = || {
        let [kubernetes, containerd, node_tree, seed] =
            recipes.needed().map(|recipe| store.find(recipe));
        Some(Artifacts {
            kubernetes: kubernetes?,
            containerd: containerd?,
            node_tree: node_tree?,
            containerd_seed: seed?,
        })
    };
    if let Some(artifacts) = find() {
        return Ok(artifacts);
    }
    build(&store, &recipes, version)?;
    find().ok_or_else(|| Error::other("a built artifact has gone from the cache"))
}

fn build(store: &Store, recipes: &Recipes, version: KubernetesVersion) -> Result<(), Error> {
    // The Go builds need the processor and the trees the network and the disk,
    // so they overlap well even on two cores.
    thread::scope(|scope| {
        let trees = scope.spawn(|| {
            let node_tree = store.ensure(&recipes.node_tree, tree::build_node)?;
            let workspace = store.ensure(&recipes.workspace, tree::build_workspace)?;
            let pause = store.ensure(&recipes.pause, pause::build)?;
            Ok((node_tree, workspace, pause))
        });
        let containerd = store.ensure(&recipes.containerd, golang::build_containerd);
        let kubernetes = store
            .ensure(&recipes.kubernetes, |workspace| golang::build_kubernetes(workspace, version));
        let trees: Result<_, Error> = trees
            .join()
            .unwrap_or_else(|_| Err(Error::other("the thread that builds trees ended early")));
        let (node_tree, workspace, pause) = trees?;
        kubernetes?;
        let parts = seed::Parts { containerd: containerd?, node_tree, workspace, pause };
        store.ensure(&recipes.seed, |build| seed::build(build, &parts))?;
        Ok(())
    })
}
