//! Where a node is among the nodes of its cluster: its names, folders and addresses.
//!
//! The first node has the control plane too, and the link to the host. Each other node is linked
//! with the first one, in network namespaces that only the two of them have.

use std::net::Ipv4Addr;

use crate::{components::NODE_NAME, network::Subnet, paths::StateFolder, settings::Settings};

/// A node's place, from 1.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Place(u8);

impl Place {
    /// The place of the first node.
    pub const FIRST: Self = Self(1);

    /// The places of the other nodes of a cluster.
    pub fn others(settings: Settings) -> impl Iterator<Item = Self> {
        (2..=settings.others.count.saturating_add(1)).map(Self)
    }

    /// The places of all nodes of a cluster.
    pub fn all(settings: Settings) -> impl Iterator<Item = Self> {
        [Self::FIRST].into_iter().chain(Self::others(settings))
    }

    /// Its position in lists of all nodes.
    pub fn index(self) -> usize {
        usize::from(self.0).saturating_sub(1)
    }

    /// Whether it is the first.
    pub fn is_first(self) -> bool {
        self == Self::FIRST
    }

    /// The node's name.
    pub fn name(self) -> String {
        if self.is_first() { NODE_NAME.to_owned() } else { format!("{NODE_NAME}-{}", self.0) }
    }

    /// The name of a component that runs there, unique in the cluster.
    pub fn component(self, name: &str) -> String {
        if self.is_first() { name.to_owned() } else { format!("{name}-{}", self.name()) }
    }

    /// The folder of what only this node has.
    pub fn folder(self, cluster: &StateFolder) -> StateFolder {
        if self.is_first() { cluster.clone() } else { cluster.other_node(&self.name()) }
    }

    /// Its control group, below that of the cluster: it is given back with that one.
    pub fn cgroup(self, cluster: &str) -> String {
        if self.is_first() { cluster.to_owned() } else { format!("{cluster}/{}", self.name()) }
    }

    /// Its address.
    pub fn address(self, subnet: Subnet) -> Ipv4Addr {
        subnet.address(self.0.saturating_add(1))
    }

    /// The addresses of its pods. Each cluster is a network of its own, so all use the same.
    pub fn pods(self) -> String {
        format!("10.{}.0.0/16", self.0.saturating_add(84))
    }

    /// The name of the first node's end of the link with it.
    pub fn link(self) -> String {
        format!("eth{}", self.index())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_node_has_what_a_cluster_of_one_has() {
        assert_eq!(Place::FIRST.name(), "node");
        assert_eq!(Place::FIRST.component("kubelet"), "kubelet");
        assert_eq!(Place::FIRST.address(Subnet::UNUSED), Subnet::UNUSED.node());
        assert_eq!(Place::FIRST.pods(), "10.85.0.0/16");
        assert_eq!(Place::others(Settings::default()).count(), 0);
    }

    #[test]
    fn nodes_share_nothing_that_must_be_their_own() {
        let settings = Settings::default().with_nodes(3, None).unwrap();
        let places: Vec<_> = Place::all(settings).collect();
        let folder = StateFolder::at("/x".into());
        let own = |place: &Place| {
            vec![
                place.name(),
                place.component("kubelet"),
                place.folder(&folder).root().display().to_string(),
                place.cgroup("group"),
                place.address(Subnet::UNUSED).to_string(),
                place.pods(),
                place.link(),
            ]
        };
        for (number, place) in places.iter().enumerate() {
            assert_eq!(place.index(), number);
            for other in &places[..number] {
                assert!(own(place).iter().zip(own(other)).all(|(one, two)| *one != two));
            }
        }
        assert_eq!(places[1].name(), "node-2");
        assert!(places[1].cgroup("group").starts_with("group/"));
    }
}
