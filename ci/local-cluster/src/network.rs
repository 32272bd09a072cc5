//! The veth pair that connects the host with a node, and the addresses on it.

use std::{
    net::Ipv4Addr,
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixListener},
    },
    process::Command,
};

use serde::{Deserialize, Serialize};

use crate::{
    command,
    components::{API_PORT, API_SERVICE},
    error::Error,
    node::place::Place,
};

/// The addresses of one cluster: `10.99.N.0/24`, the host is `.1`, the first node `.2`.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Subnet(u8);

impl Subnet {
    /// Addresses that no cluster gets, for tests.
    #[cfg(test)]
    pub const UNUSED: Self = Self(0);

    /// The host's address.
    pub fn host(self) -> Ipv4Addr {
        self.address(1)
    }

    /// The first node's address, on which the API server listens.
    pub fn node(self) -> Ipv4Addr {
        self.address(2)
    }

    /// The address with this last part.
    pub fn address(self, last: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 99, self.0, last)
    }
}

/// A subnet that no other cluster of this machine has. The claim is a socket in the abstract
/// namespace (unix(7)): it is exclusive in the whole network namespace, whatever cache the other
/// cluster uses, and ends with its process.
#[derive(Debug)]
pub struct Claim {
    subnet: Subnet,
    _socket: UnixListener,
}

impl Claim {
    /// Claims the first free subnet.
    pub fn first_free() -> Result<Self, Error> {
        let taken = interface_addresses();
        let claim =
            (1..=254).map(Subnet).filter(|subnet| is_free(*subnet, &taken)).find_map(Self::of);
        claim.ok_or_else(|| {
            Error::other("no free subnet in `10.99.0.0/16`")
                .with_hint("end other clusters with `local-cluster down --all`")
        })
    }

    fn of(subnet: Subnet) -> Option<Self> {
        let name = format!("local-cluster/subnet/{}", subnet.0);
        let address = SocketAddr::from_abstract_name(name).ok()?;
        let socket = UnixListener::bind_addr(&address).ok()?;
        Some(Self { subnet, _socket: socket })
    }

    /// The claimed subnet.
    pub fn subnet(&self) -> Subnet {
        self.subnet
    }
}

/// The name of the host's end of the pair. Names of interfaces have at most 15 bytes; the cluster's
/// id makes it a name that nobody else has.
pub fn interface_name(id: &str) -> String {
    format!("lc-{id}")
}

/// Makes the veth pair: `interface` on the host, `eth0` in the network namespace of the process
/// `node`, and gives the host's end its address.
pub fn connect(interface: &str, subnet: Subnet, node: i32) -> Result<(), Error> {
    let node = node.to_string();
    // The peer is created in the other namespace: there is no moment at which the host has an
    // `eth0` too many.
    ip(&["link", "add", interface, "type", "veth", "peer", "name", "eth0", "netns", &node])?;
    ip(&["address", "add", &format!("{}/24", subnet.host()), "dev", interface])?;
    ip(&["link", "set", interface, "up"])
}

/// Makes the link of another node with the first one: a veth pair, `eth0` in the other. Both ends
/// are in network namespaces of nodes, so the link ends with them and the host has none of it.
pub fn connect_nodes(other: Place, first_node: i32, other_node: i32) -> Result<(), Error> {
    let (first_node, other_node) = (first_node.to_string(), other_node.to_string());
    let link = other.link();
    let end = ["link", "add", &link, "netns", &first_node, "type", "veth"];
    ip(&[&end[..], &["peer", "name", "eth0", "netns", &other_node]].concat())
}

/// What `ip -batch` is to do inside a node. The others of the cluster have links with the first.
pub fn node_batch(place: Place, subnet: Subnet) -> String {
    let (own, first) = (place.address(subnet), subnet.node());
    if !place.is_first() {
        return format!(
            "link set lo up\n\
             address add {own}/32 dev eth0\n\
             link set eth0 up\n\
             route add {first}/32 dev eth0\n\
             route add default via {first}\n"
        );
    }
    format!(
        "link set lo up\n\
         address add {own}/24 dev eth0\n\
         link set eth0 up\n\
         route add default via {host}\n",
        host = subnet.host()
    )
}

/// What `ip -batch` is to do inside the first node about another one: that one and its pods are
/// behind the link.
pub fn link_batch(other: Place, subnet: Subnet) -> String {
    let (link, address) = (other.link(), other.address(subnet));
    format!(
        "link set {link} up\n\
         route add {address}/32 dev {link} src {first}\n\
         route add {pods} via {address} dev {link}\n",
        first = subnet.node(),
        pods = other.pods()
    )
}

/// The command that makes the API's service reachable from pods, inside the node. No proxy of
/// services runs there, and the API server's is the only one that programs in pods need.
pub fn api_service(subnet: Subnet) -> Vec<String> {
    let target = format!("{}:{API_PORT}", subnet.node());
    [
        "iptables",
        "--wait",
        "5",
        "--table",
        "nat",
        "--append",
        "PREROUTING",
        "--destination",
        API_SERVICE,
        "--protocol",
        "tcp",
        "--dport",
        "443",
        "--jump",
        "DNAT",
        "--to-destination",
        &target,
    ]
    .map(str::to_owned)
    .to_vec()
}

/// Removes the host's end of the pair, and with it the other end.
pub fn disconnect(interface: &str) -> Result<(), Error> {
    match ip(&["link", "delete", interface]) {
        // The kernel removes the pair by itself some time after the node's network namespace has
        // lost its last process, so only a failure to delete what is still there counts.
        Err(error) if exists(interface) => Err(error),
        _ => Ok(()),
    }
}

fn exists(interface: &str) -> bool {
    std::path::Path::new("/sys/class/net").join(interface).exists()
}

fn ip(arguments: &[&str]) -> Result<(), Error> {
    command::output(Command::new("ip").args(arguments)).map(drop)
}

fn interface_addresses() -> Vec<Ipv4Addr> {
    let Ok(interfaces) = nix::ifaddrs::getifaddrs() else {
        return Vec::new();
    };
    interfaces.filter_map(|interface| Some(interface.address?.as_sockaddr_in()?.ip())).collect()
}

fn is_free(subnet: Subnet, taken: &[Ipv4Addr]) -> bool {
    let prefix = |address: Ipv4Addr| address.octets()[..3].to_vec();
    !taken.iter().any(|&address| prefix(address) == prefix(subnet.host()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interface_names_fit_into_the_kernels_limit() {
        assert!(interface_name("0123456789").len() <= 15);
    }

    #[test]
    fn a_subnet_with_a_foreign_address_is_not_free() {
        let taken = [Ipv4Addr::LOCALHOST, Ipv4Addr::new(10, 99, 3, 77)];
        assert!(!is_free(Subnet(3), &taken));
        assert!(is_free(Subnet(4), &taken));
    }

    #[test]
    fn a_claim_is_exclusive_and_ends_with_its_owner() {
        // 255 is never handed out, so a cluster on this machine can't hold it.
        let first = Claim::of(Subnet(255)).unwrap();
        assert!(Claim::of(Subnet(255)).is_none());
        drop(first);
        assert!(Claim::of(Subnet(255)).is_some());
    }

    #[test]
    fn the_node_routes_through_the_host() {
        let batch = node_batch(Place::FIRST, Subnet(7));
        assert!(batch.contains("address add 10.99.7.2/24 dev eth0"));
        assert!(batch.contains("route add default via 10.99.7.1"));
    }

    #[test]
    fn another_node_and_its_pods_are_behind_its_link() {
        let settings = crate::settings::Settings::default().with_nodes(2, None).unwrap();
        let other = Place::others(settings).next().unwrap();
        let batch = node_batch(other, Subnet(7));
        assert!(batch.contains("address add 10.99.7.3/32 dev eth0"), "{batch}");
        assert!(batch.contains("route add default via 10.99.7.2"), "{batch}");
        let link = link_batch(other, Subnet(7));
        assert!(link.contains("route add 10.99.7.3/32 dev eth1 src 10.99.7.2"), "{link}");
        assert!(link.contains("route add 10.86.0.0/16 via 10.99.7.3 dev eth1"), "{link}");
    }
}
