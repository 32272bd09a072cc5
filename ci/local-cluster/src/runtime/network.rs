//! The network of pods, which is the same for every runtime.

use serde_json::json;

/// The configuration of the pod network: a bridge in the node, for pods with these addresses.
pub fn network_config(pods: &str) -> String {
    let config = json!({
        "cniVersion": "1.0.0",
        "name": "bridge",
        "plugins": [
            {"type": "loopback"},
            {
                "type": "bridge",
                "bridge": "cni0",
                "isGateway": true,
                "ipMasq": false,
                "hairpinMode": true,
                "ipam": {
                    "type": "host-local",
                    "ranges": [[{"subnet": pods}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
        ],
    });
    format!("{config:#}\n")
}
