//! The permissions to read the facts. Each stands beside its reader; here is their order in roles.

use super::{
    devspaces, dry_run, feature_gate, gather, node, release, rollout, scc, storage, webhook,
};
use crate::cluster::permission::Rules;

/// To read what every cluster has.
pub(crate) const EVERYWHERE: &[Rules] = &[
    gather::PERMISSIONS,
    node::PERMISSIONS,
    storage::PERMISSIONS,
    webhook::PERMISSIONS,
    dry_run::PERMISSIONS,
    devspaces::PERMISSIONS,
];

/// To read what else OpenShift has.
pub(crate) const ON_OPENSHIFT: &[Rules] =
    &[release::ON_OPENSHIFT, feature_gate::PERMISSIONS, rollout::PERMISSIONS];

/// To read what else MicroShift has.
pub(crate) const ON_MICROSHIFT: &[Rules] = &[release::ON_MICROSHIFT];

/// To read about SCCs, where there are any.
pub(crate) const OF_SCCS: Rules = scc::PERMISSIONS;

/// To find the DevWorkspace Operator, for cases in workspaces.
pub(crate) const OF_WORKSPACE_OPERATOR: Rules = devspaces::OF_OPERATOR;
