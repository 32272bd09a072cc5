//! The `MachineConfigPools` of nodes (OpenShift), by which their settings are changed.

use std::collections::BTreeSet;

use super::{Facts, Flavour, Node};

/// The pool of nodes that are in no other.
pub(crate) const WORKER: &str = "worker";

/// The pool of the control plane. Where its nodes run workspaces, as the only node of a cluster does, they
/// are in this one, whatever their other roles are (machine-config-operator, `docs/custom-pools.md`).
const MASTER: &str = "master";

const ROLES_OF_CONTROL_PLANE: [&str; 2] =
    ["node-role.kubernetes.io/master", "node-role.kubernetes.io/control-plane"];

impl Node {
    /// The node's pool: that of its rendered `MachineConfig`, `rendered-POOL-HASH` (machine-config-operator,
    /// `pkg/controller/render`), or else that of its role.
    pub(super) fn pool(&self) -> &str {
        let rendered = self.machine_config.as_deref().and_then(|name| {
            let (pool, _) = name.strip_prefix("rendered-")?.rsplit_once('-')?;
            Some(pool).filter(|pool| !pool.is_empty())
        });
        let is_master = ROLES_OF_CONTROL_PLANE.iter().any(|role| self.labels.contains_key(*role));
        rendered.unwrap_or(if is_master { MASTER } else { WORKER })
    }
}

/// The pools of the nodes that take the pods of workspaces, or of all nodes where none does; none where
/// there are no pools.
pub(super) fn pools(facts: &Facts) -> Vec<String> {
    let (Some(Flavour::OpenShift), Some(nodes)) = (facts.flavour.value(), facts.nodes.value())
    else {
        return Vec::new();
    };
    let takes_none = !nodes.iter().any(|node| node.takes_pods);
    let nodes = nodes.iter().filter(|node| node.takes_pods || takes_none);
    let pools: BTreeSet<_> = nodes.map(|node| node.pool().to_owned()).collect();
    pools.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::Fact;

    fn node(rendered: Option<&str>, roles: &[&str], takes_pods: bool) -> Node {
        let role = |role: &&str| (format!("node-role.kubernetes.io/{role}"), String::new());
        Node {
            machine_config: rendered.map(str::to_owned),
            labels: roles.iter().map(role).collect(),
            takes_pods,
            ..Node::default()
        }
    }

    fn of(nodes: Vec<Node>, flavour: Flavour) -> Vec<String> {
        let flavour = Fact::known(flavour, "test");
        pools(&Facts { nodes: Fact::known(nodes, "nodes"), flavour, ..Facts::default() })
    }

    #[test]
    fn a_node_is_in_the_pool_of_its_configuration_or_of_its_role() {
        for (node, pool) in [
            (node(Some("rendered-worker-0f3a"), &["worker"], true), "worker"),
            (node(Some("rendered-team-a-gpu-0f3a"), &["worker"], true), "team-a-gpu"),
            (node(Some("rendered-master-0f3a"), &["worker"], true), "master"),
            (node(None, &["worker", "control-plane"], true), "master"),
            (node(None, &["master"], true), "master"),
            (node(None, &["worker"], true), "worker"),
            (node(Some("rendered--1"), &[], true), "worker"),
            (node(Some("other"), &[], true), "worker"),
        ] {
            assert_eq!(node.pool(), pool, "{node:?}");
        }
    }

    #[test]
    fn only_pools_whose_nodes_take_workspaces_count() {
        let nodes = |masters| {
            vec![
                node(Some("rendered-master-1"), &["master"], masters),
                node(Some("rendered-worker-1"), &["worker"], true),
                node(Some("rendered-gpu-1"), &["worker"], true),
            ]
        };
        assert_eq!(of(nodes(false), Flavour::OpenShift), ["gpu", "worker"]);
        assert_eq!(of(nodes(true), Flavour::OpenShift), ["gpu", "master", "worker"]);
        let single = || vec![node(Some("rendered-master-1"), &["master", "worker"], false)];
        assert_eq!(of(single(), Flavour::OpenShift), ["master"]);
        assert_eq!(of(single(), Flavour::MicroShift), [""; 0]);
    }
}
