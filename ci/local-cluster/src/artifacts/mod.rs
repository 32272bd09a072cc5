//! What clusters are made of: built once, kept in the cache, never modified.

pub mod api;
mod golang;
pub mod handover;
pub mod openshift;
pub mod operator;
mod pause;
pub mod seed;
mod store;
pub mod tree;

use std::path::PathBuf;
use std::thread;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::paths::Cache;
use crate::runtime::Runtime;
use crate::settings::openshift::Release;
use crate::settings::{Additions, KubernetesVersion};
use handover::Components;
use store::{Recipe, Store};

/// The artifacts of one cluster, as folders in the cache.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Artifacts {
    /// The programs of the control plane, and the kubelet.
    pub control_plane: PathBuf,
    /// The programs of upstream Kubernetes, for their `kubectl`.
    pub kubernetes: PathBuf,
    /// The programs of the container runtime.
    pub runtime: PathBuf,
    /// The node's root file system.
    pub node_tree: PathBuf,
    /// The runtime's data with the images already in it.
    pub seed: PathBuf,
    /// The objects of OpenShift's API, for that flavour.
    pub api: Option<PathBuf>,
    /// The DevWorkspace Operator, where the cluster gets it. Its images are in the seed.
    #[serde(default)]
    pub operator: Option<PathBuf>,
}

/// What the artifacts are to be of.
#[derive(Clone, Debug)]
pub enum Source {
    /// Upstream Kubernetes.
    Kubernetes(KubernetesVersion),
    /// A release of OpenShift, with the folder that has its programs, and what it gets
    /// from there beyond them.
    Openshift(Release, Components, Additions),
}

impl Source {
    fn runtime(&self) -> Runtime {
        match self {
            Self::Kubernetes(_) => Runtime::Containerd,
            Self::Openshift(..) => Runtime::Crio,
        }
    }

    /// The version of upstream Kubernetes that is built. OpenShift brings no
    /// `kubectl`; that of the default version may be one minor version off (the
    /// version skew policy of Kubernetes), which all releases here are.
    fn kubernetes(&self) -> KubernetesVersion {
        match self {
            Self::Kubernetes(version) => *version,
            Self::Openshift(..) => KubernetesVersion::default(),
        }
    }
}

struct Recipes {
    kubernetes: Recipe,
    /// The control plane and the API objects of OpenShift.
    openshift: Option<[Recipe; 2]>,
    runtime: Recipe,
    node_tree: Recipe,
    workspace: Recipe,
    pause: Recipe,
    seed: Recipe,
    /// The DevWorkspace Operator, and the seed with its images.
    operator: Option<[Recipe; 2]>,
}

impl Recipes {
    fn of(source: &Source) -> Result<Self, Error> {
        let (runtime, openshift) = match source {
            Source::Kubernetes(_) => (golang::containerd_recipe(), None),
            Source::Openshift(release, components, _) => {
                let control_plane = openshift::control_plane_recipe(components, *release)?;
                let crio = openshift::crio_recipe(components)?;
                (crio, Some([control_plane, api::recipe(*release)]))
            }
        };
        let node_tree = tree::node_recipe(source.runtime());
        let workspace = tree::workspace_recipe();
        let pause = pause::recipe();
        let seed = match source.runtime() {
            Runtime::Containerd => {
                seed::recipe(Runtime::Containerd, &[&runtime, &node_tree, &workspace, &pause])
            }
            Runtime::Crio => seed::recipe(Runtime::Crio, &[&node_tree, &workspace, &pause]),
        };
        let kubernetes = golang::kubernetes_recipe(source.kubernetes());
        let operator = match source {
            Source::Openshift(_, components, with) if with.devworkspace_operator => {
                let operator = operator::recipe(components)?;
                let seed = seed::extended_recipe(&[&seed, &operator]);
                Some([operator, seed])
            }
            _ => None,
        };
        Ok(Self { kubernetes, openshift, runtime, node_tree, workspace, pause, seed, operator })
    }

    fn find(&self, store: &Store) -> Option<Artifacts> {
        let kubernetes = store.find(&self.kubernetes)?;
        let (control_plane, api) = match &self.openshift {
            None => (kubernetes.clone(), None),
            Some([control_plane, api]) => (store.find(control_plane)?, Some(store.find(api)?)),
        };
        let (operator, seed) = match &self.operator {
            None => (None, store.find(&self.seed)?),
            Some([operator, seed]) => (Some(store.find(operator)?), store.find(seed)?),
        };
        Some(Artifacts {
            control_plane,
            kubernetes,
            runtime: store.find(&self.runtime)?,
            node_tree: store.find(&self.node_tree)?,
            seed,
            api,
            operator,
        })
    }
}

/// Whether a cluster of this source needs something that was not built yet.
///
/// # Errors
///
/// Fails when the components folder can't be read.
pub fn missing(cache: &Cache, source: &Source) -> Result<bool, Error> {
    Ok(Recipes::of(source)?.find(&Store::new(cache)).is_none())
}

/// Builds what is missing and returns all artifacts.
///
/// # Errors
///
/// Fails when a build does; the error names the log.
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
///
/// # Errors
///
/// Fails when the build does; the error names the log.
pub fn workspace(cache: &Cache) -> Result<PathBuf, Error> {
    Store::new(cache).ensure(&tree::workspace_recipe(), tree::build_workspace)
}

fn build(store: &Store, recipes: &Recipes, source: &Source) -> Result<(), Error> {
    // The Go builds need the processor and the trees the network and the disk,
    // so they overlap well even on two cores.
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
        let programs = Some(programs?).filter(|_| kind == Runtime::Containerd);
        let parts = seed::Parts { kind, programs, node_tree: node_tree.clone(), workspace, pause };
        let seed = store.ensure(&recipes.seed, |build| seed::build(build, &parts))?;
        let (Source::Openshift(_, components, _), Some([operator, extended])) =
            (source, &recipes.operator)
        else {
            return Ok(());
        };
        let operator = store.ensure(operator, |build| operator::build(build, components))?;
        store.ensure(extended, |build| seed::extend(build, &seed, &node_tree, &operator))?;
        Ok(())
    })
}

/// Builds the programs and returns the folder of the runtime's.
fn build_programs(store: &Store, recipes: &Recipes, source: &Source) -> Result<PathBuf, Error> {
    let runtime = match source {
        Source::Kubernetes(_) => store.ensure(&recipes.runtime, golang::build_containerd)?,
        Source::Openshift(_, components, _) => {
            store.ensure(&recipes.runtime, |build| openshift::build_crio(build, components))?
        }
    };
    if let (Source::Openshift(release, components, _), Some([control_plane, objects])) =
        (source, &recipes.openshift)
    {
        store.ensure(control_plane, |build| {
            openshift::build_control_plane(build, components, *release)
        })?;
        store.ensure(objects, |build| api::build(build, *release))?;
    }
    let version = source.kubernetes();
    store.ensure(&recipes.kubernetes, |build| golang::build_kubernetes(build, version))?;
    Ok(runtime)
}
