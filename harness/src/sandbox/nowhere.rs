//! A sandbox for runs without a cluster.

use std::sync::Arc;

use super::{
    DevWorkspaces, Namespaces, Sandbox, SandboxConfig, create::Creator, identities::Identities,
};
use crate::{cluster::Cluster, facts::Facts};

impl Sandbox {
    /// A sandbox in no cluster: whatever is asked of the API there is an error.
    #[must_use]
    pub(crate) fn nowhere(config: SandboxConfig) -> Self {
        let (cluster, config) = (Cluster::nowhere(), Arc::new(config));
        let user = cluster.admin().clone();
        let creator = Creator { admin: user.clone(), config: Arc::clone(&config), owner: None };
        Self {
            namespaces: Namespaces::new(creator.clone(), user.clone(), false),
            workspaces: DevWorkspaces::new(creator.clone(), &Facts::default(), None),
            identities: Identities::of(cluster, creator, user),
            scc: None,
            selinux_level: None,
            device_route: None,
            keeps_isolation: false,
            keys: Vec::new(),
            owner: None,
            is_nowhere: true,
            config,
        }
    }

    /// Whether there is no cluster, so that nothing of one can be lost.
    #[must_use]
    pub(crate) fn is_nowhere(&self) -> bool {
        self.is_nowhere
    }
}
