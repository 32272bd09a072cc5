//! What clusters are made of: built once, kept in the cache, never modified.

pub mod api;
pub mod bootstrap_cache;
mod golang;
mod json;
pub mod operator;
mod pause;
pub mod real;
mod store;
pub mod tree;

use std::{path::PathBuf, thread};

pub use json::read_json;
use real::Components;
use serde::{Deserialize, Serialize};
use store::{Recipe, Store};

use crate::{
    error::Error,
    paths::Cache,
    runtime::{self, Runtime},
    settings::{Additions, KubernetesVersion, RealProgram, RealPrograms, openshift::Release},
};

/// The artifacts of one cluster, as folders in the cache.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Artifacts {
    /// The programs of Kubernetes, with the stand-ins for OpenShift's components.
    pub kubernetes: PathBuf,
    /// The programs of a real cluster that take the place of those.
    #[serde(default)]
    pub real: Option<PathBuf>,
    /// The programs of the container runtime.
    pub runtime: PathBuf,
    /// The node's root file system.
    pub node_tree: PathBuf,
    /// The runtime's data with the images already in it.
    #[serde(alias = "seed")]
    pub bootstrap_cache: PathBuf,
    /// The objects of OpenShift's API, for that flavour.
    pub api: Option<PathBuf>,
    /// The objects of the DevWorkspace Operator, where the cluster gets it. The images of the real
    /// one are in the bootstrap cache.
    #[serde(default)]
    pub operator: Option<PathBuf>,
}

impl Artifacts {
    /// The directories of all of them.
    pub fn paths(self) -> impl Iterator<Item = PathBuf> {
        [self.kubernetes, self.runtime, self.node_tree, self.bootstrap_cache]
            .into_iter()
            .chain(self.real)
            .chain(self.api)
            .chain(self.operator)
    }
}

/// What the artifacts are to be of.
#[derive(Clone, Debug)]
pub struct Source {
    kubernetes: KubernetesVersion,
    release: Option<Release>,
    components: Option<Components>,
    with: Additions,
}

impl Source {
    /// Upstream Kubernetes, and what it gets beyond that.
    pub fn kubernetes(kubernetes: KubernetesVersion, with: Additions) -> Self {
        Self { kubernetes, release: None, components: None, with }
    }

    /// A release of OpenShift, with the real programs that somebody has, and what it gets beyond
    /// them.
    pub fn openshift(release: Release, components: Option<Components>, with: Additions) -> Self {
        Self { kubernetes: release.control_plane(), release: Some(release), components, with }
    }

    /// The real programs.
    pub fn real(&self) -> RealPrograms {
        let mut real = self.components.as_ref().map(Components::programs).unwrap_or_default();
        if !self.with.devworkspace_operator {
            real = real.without(RealProgram::Operator);
        }
        real
    }

    fn runtime(&self) -> Runtime {
        runtime::of(self.real())
    }

    /// The components folder, if it has a program.
    fn components_with(&self, program: RealProgram) -> Option<&Components> {
        self.components.as_ref().filter(|_| self.real().has(program))
    }
}

struct Recipes {
    kubernetes: Recipe,
    real: Option<Recipe>,
    /// The API objects of OpenShift.
    api: Option<Recipe>,
    runtime: Recipe,
    node_tree: Recipe,
    workspace: Recipe,
    pause: Recipe,
    bootstrap_cache: Recipe,
    operator: Option<Recipe>,
    /// The bootstrap cache with the images of the real operator.
    extended_cache: Option<Recipe>,
}

impl Recipes {
    fn of(source: &Source) -> Result<Self, Error> {
        let kind = source.runtime();
        let runtime = match source.components_with(RealProgram::Crio) {
            Some(components) => real::crio_recipe(components)?,
            None => golang::containerd_recipe(),
        };
        let node_tree = tree::node_recipe(kind);
        let workspace = tree::workspace_recipe();
        let pause = pause::recipe();
        let parts = [&runtime, &node_tree, &workspace, &pause];
        // Without the daemon its programs do not matter.
        let bootstrap_cache =
            bootstrap_cache::recipe(kind, &parts[usize::from(!kind.daemon_imports)..]);
        let real_operator = source.components_with(RealProgram::Operator);
        let operator = match (source.with.devworkspace_operator, real_operator) {
            (false, _) => None,
            (true, None) => Some(operator::double_recipe()),
            (true, Some(components)) => Some(operator::recipe(components)?),
        };
        let extended_cache = operator
            .as_ref()
            .filter(|_| real_operator.is_some())
            .map(|operator| bootstrap_cache::extended_recipe(kind, &[&bootstrap_cache, operator]));
        Ok(Self {
            kubernetes: golang::kubernetes_recipe(source.kubernetes),
            real: source.components.as_ref().map(real::recipe).transpose()?.flatten(),
            api: source.release.map(api::recipe),
            runtime,
            node_tree,
            workspace,
            pause,
            bootstrap_cache,
            operator,
            extended_cache,
        })
    }

    fn find(&self, store: &Store) -> Option<Artifacts> {
        // Absent where it is not wanted, `None` as a whole where it is wanted and not built.
        let optional = |recipe: &Option<Recipe>| match recipe {
            None => Some(None),
            Some(recipe) => store.find(recipe).map(Some),
        };
        Some(Artifacts {
            kubernetes: store.find(&self.kubernetes)?,
            real: optional(&self.real)?,
            runtime: store.find(&self.runtime)?,
            node_tree: store.find(&self.node_tree)?,
            bootstrap_cache: store
                .find(self.extended_cache.as_ref().unwrap_or(&self.bootstrap_cache))?,
            api: optional(&self.api)?,
            operator: optional(&self.operator)?,
        })
    }
}

/// Whether a cluster of this source needs something that was not built yet.
pub fn missing(cache: &Cache, source: &Source) -> Result<bool, Error> {
    Ok(Recipes::of(source)?.find(&Store::new(cache)).is_none())
}

/// Builds what is missing and returns all artifacts.
pub fn ensure(cache: &Cache, source: &Source) -> Result<Artifacts, Error> {
    let store = Store::new(cache);
    let recipes = Recipes::of(source)?;
    if let Some(artifacts) = recipes.find(&store) {
        return Ok(artifacts);
    }
    build(&store, &recipes, source)?;
    recipes.find(&store).ok_or_else(|| Error::other("a built artifact has gone from the cache"))
}

/// The artifact of the workspace image's layer, built if need be.
pub fn workspace(cache: &Cache) -> Result<PathBuf, Error> {
    Store::new(cache).ensure(&tree::workspace_recipe(), tree::build_workspace)
}

fn build(store: &Store, recipes: &Recipes, source: &Source) -> Result<(), Error> {
    // The Go builds need the processor and the trees the network and the disk, so they overlap well
    // even on two cores.
    thread::scope(|scope| {
        let trees = scope.spawn(|| {
            let runtime = source.runtime();
            let node_tree =
                store.ensure(&recipes.node_tree, |build| tree::build_node(build, runtime))?;
            let workspace = store.ensure(&recipes.workspace, tree::build_workspace)?;
            let pause = store.ensure(&recipes.pause, pause::build)?;
            Ok((node_tree, workspace, pause))
        });
        let programs = build_programs(store, recipes, source);
        let trees: Result<_, Error> = trees
            .join()
            .unwrap_or_else(|_| Err(Error::other("the thread that builds trees ended early")));
        let (node_tree, workspace, pause) = trees?;
        let kind = source.runtime();
        let programs = Some(programs?).filter(|_| kind.daemon_imports);
        let parts = bootstrap_cache::Parts { kind, programs, node_tree, workspace, pause };
        let bootstrap_cache = store
            .ensure(&recipes.bootstrap_cache, |build| bootstrap_cache::build(build, &parts))?;
        build_operator(store, recipes, source, &parts, &bootstrap_cache)
    })
}

/// Builds the programs and returns the folder of the runtime's.
fn build_programs(store: &Store, recipes: &Recipes, source: &Source) -> Result<PathBuf, Error> {
    let runtime = match source.components_with(RealProgram::Crio) {
        Some(components) => {
            store.ensure(&recipes.runtime, |build| real::build_crio(build, components))?
        }
        None => store.ensure(&recipes.runtime, golang::build_containerd)?,
    };
    if let (Some(components), Some(recipe)) = (&source.components, &recipes.real) {
        store.ensure(recipe, |build| real::build(build, components))?;
    }
    if let (Some(release), Some(recipe)) = (source.release, &recipes.api) {
        store.ensure(recipe, |build| api::build(build, release))?;
    }
    let version = source.kubernetes;
    store.ensure(&recipes.kubernetes, |build| golang::build_kubernetes(build, version))?;
    Ok(runtime)
}

/// Builds what the cluster needs of the DevWorkspace Operator, the double or the real one.
fn build_operator(
    store: &Store,
    recipes: &Recipes,
    source: &Source,
    parts: &bootstrap_cache::Parts,
    bootstrap_cache: &std::path::Path,
) -> Result<(), Error> {
    let Some(recipe) = &recipes.operator else {
        return Ok(());
    };
    let components = source.components_with(RealProgram::Operator);
    let (Some(components), Some(extended)) = (components, &recipes.extended_cache) else {
        return store.ensure(recipe, operator::build_double).map(drop);
    };
    let operator = store.ensure(recipe, |build| operator::build(build, components))?;
    store
        .ensure(extended, |build| bootstrap_cache::extend(build, parts, bootstrap_cache, &operator))
        .map(drop)
}
