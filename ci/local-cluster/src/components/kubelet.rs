//! The kubelet.

use std::net::Ipv4Addr;

use serde_json::{Map, Value, json};

use super::{CONFIG, control_plane};
use crate::{
    network::Subnet,
    node::{place::Place, protocol::Program},
    runtime::Runtime,
    settings::{GateValues, KubernetesVersion, RealProgram, RealPrograms},
};

/// The kubelet's data, in the node.
pub const DATA: &str = "/var/lib/kubelet";

/// The file name of the kubeconfig that the kubelet uses.
pub const KUBECONFIG: &str = "node.kubeconfig";

/// The port of `/healthz` (the kubelet's default).
pub const HEALTH_PORT: u16 = 10248;

/// The kubelet's command line.
pub fn program(place: Place, subnet: Subnet, real: RealPrograms) -> Program {
    let arguments = [
        format!("--config={CONFIG}/kubelet.json"),
        format!("--kubeconfig={CONFIG}/{KUBECONFIG}"),
        format!("--hostname-override={}", place.name()),
        format!("--node-ip={}", place.address(subnet)),
        "--v=2".to_owned(),
    ];
    let executable = control_plane::executable("kubelet", RealProgram::Kubelet, real);
    control_plane::program(&place.component("kubelet"), executable, arguments, true)
}

/// The kubelet's configuration file. `cgroup` is the group, from the root of each hierarchy, below
/// which pods are.
pub fn config(
    address: Ipv4Addr,
    cgroup: &str,
    gates: GateValues,
    version: KubernetesVersion,
    runtime: Runtime,
) -> String {
    let gates: Map<String, Value> =
        gates.by_name(version).into_iter().map(|(name, on)| (name.to_owned(), on.into())).collect();
    let config = json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": false},
            "x509": {"clientCAFile": format!("{CONFIG}/pki/ca.crt")},
            "webhook": {"enabled": false},
        },
        "authorization": {"mode": "AlwaysAllow"},
        "tlsCertFile": format!("{CONFIG}/pki/node.crt"),
        "tlsPrivateKeyFile": format!("{CONFIG}/pki/node.key"),
        "featureGates": gates,
        "containerRuntimeEndpoint": runtime.socket,
        "cgroupDriver": "cgroupfs",
        // Since 1.35 a kubelet refuses the first version of control groups by default (KEP-5573).
        "failCgroupV1": false,
        "cgroupRoot": format!("/{cgroup}"),
        "cgroupsPerQOS": true,
        // The machine has other users: nothing is reserved for the node.
        "enforceNodeAllocatable": [],
        "failSwapOn": false,
        "healthzBindAddress": address.to_string(),
        "healthzPort": HEALTH_PORT,
        // The disk is the developer's: evict late, and never collect the image that cases use,
        // because it can't be pulled again.
        "evictionHard": {"memory.available": "50Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "localStorageCapacityIsolation": false,
        "serializeImagePulls": false,
        "resolvConf": format!("{CONFIG}/resolv.conf"),
        "clusterDNS": ["10.96.0.10"],
        "clusterDomain": "cluster.local",
    });
    format!("{config:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Gates;

    #[test]
    fn the_kubelet_takes_its_own_gates() {
        let gates = Gates::NoKubelet.kubelet();
        let version = KubernetesVersion::V1_32_5;
        let text = config(Ipv4Addr::LOCALHOST, "group", gates, version, &crate::runtime::CRIO);
        let config: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(config["featureGates"]["UserNamespacesSupport"], false);
        assert_eq!(config["cgroupRoot"], "/group");
        assert_eq!(config["containerRuntimeEndpoint"], "unix:///run/crio/crio.sock");
    }
}
