//! The components that only OpenShift has, or configures in another way.

use serde_json::{Value, json};

use super::{CONFIG, control_plane};
use crate::network::Subnet;
use crate::node::init::LOGS;
use crate::node::protocol::Program;
use crate::settings::{Additions, GateValues};

/// The name of the API server's configuration file.
pub const APISERVER_CONFIG: &str = "kube-apiserver.json";

/// Where the configuration of the components folder has certificates and keys.
const PKI: &str = "/etc/kubernetes/pki/";

/// The API server, which OpenShift configures by a file.
pub fn apiserver() -> Program {
    let arguments = [format!("--openshift-config={CONFIG}/{APISERVER_CONFIG}")];
    control_plane::program(
        "kube-apiserver",
        control_plane::executable("kube-apiserver"),
        arguments,
        true,
    )
}

/// The controller that gives namespaces their ranges of user ids and their labels
/// of Pod Security.
pub fn policy_controller() -> Program {
    let arguments = [format!("--kubeconfig={CONFIG}/{}", control_plane::KUBECONFIG)];
    control_plane::program(
        "cluster-policy-controller",
        control_plane::executable("cluster-policy-controller"),
        arguments,
        false,
    )
}

/// The API server's configuration file: that of the components folder with this
/// cluster's address, gates, certificates and audit log.
pub fn apiserver_config(
    mut template: Value,
    subnet: Subnet,
    gates: GateValues,
    with: Additions,
) -> String {
    relocate(&mut template);
    let arguments = &mut template["apiServerArguments"];
    arguments["advertise-address"] = json!([subnet.node().to_string()]);
    arguments["feature-gates"] = json!(gates.by_name().map(|(name, on)| format!("{name}={on}")));
    arguments["audit-policy-file"] = json!([format!("{CONFIG}/audit-policy.json")]);
    arguments["audit-log-path"] = json!([format!("{LOGS}/audit.log")]);
    arguments["audit-log-maxsize"] = json!([control_plane::AUDIT_LOG_LARGEST]);
    if with.devworkspace_operator {
        admit_by_policies(arguments);
    }
    format!("{template:#}\n")
}

/// Lets policies change what is created: the operator's pods are changed by one, see
/// `crate::operator`.
fn admit_by_policies(arguments: &mut Value) {
    let mut add = |name: &str, value: &str| {
        if !arguments[name].is_array() {
            arguments[name] = json!([]);
        }
        if let Some(values) = arguments[name].as_array_mut() {
            values.push(value.into());
        }
    };
    add("feature-gates", "MutatingAdmissionPolicy=true");
    add("enable-admission-plugins", "MutatingAdmissionPolicy");
    add("runtime-config", "admissionregistration.k8s.io/v1alpha1=true");
}

/// Turns paths of certificates and keys into those of this node.
fn relocate(value: &mut Value) {
    match value {
        Value::String(text) => {
            if let Some(name) = text.strip_prefix(PKI) {
                *text = format!("{CONFIG}/pki/{name}");
            }
        }
        Value::Array(list) => list.iter_mut().for_each(relocate),
        Value::Object(map) => map.values_mut().for_each(relocate),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Gates;

    fn config(gates: Gates, with: Additions) -> Value {
        let template = json!({
            "apiServerArguments": {
                "advertise-address": ["10.99.77.2"],
                "client-ca-file": ["/etc/kubernetes/pki/ca.crt"],
                "feature-gates": ["@@GATES@@"],
            },
            "servingInfo": {"certFile": "/etc/kubernetes/pki/apiserver.crt"},
        });
        let text = apiserver_config(template, Subnet::UNUSED, gates.apiserver(), with);
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn the_template_becomes_this_clusters() {
        let config = config(Gates::All, Additions::default());
        assert_eq!(config["servingInfo"]["certFile"], "/etc/local-cluster/pki/apiserver.crt");
        let arguments = &config["apiServerArguments"];
        assert_eq!(arguments["client-ca-file"][0], "/etc/local-cluster/pki/ca.crt");
        assert_eq!(arguments["advertise-address"][0], Subnet::UNUSED.node().to_string());
        assert_eq!(arguments["audit-log-path"][0], "/var/log/local-cluster/audit.log");
    }

    #[test]
    fn gates_are_given_one_by_one() {
        let gates = &config(Gates::NoApiserver, Additions::default())["apiServerArguments"]["feature-gates"];
        assert_eq!(gates.as_array().unwrap().len(), 3);
        assert_eq!(gates[0], "UserNamespacesSupport=false");
    }

    #[test]
    fn only_with_the_operator_policies_change_pods() {
        let arguments = |with| config(Gates::All, with)["apiServerArguments"].clone();
        assert_eq!(arguments(Additions::default())["runtime-config"], Value::Null);
        let arguments =
            arguments(Additions { devworkspace_operator: true, ..Additions::default() });
        assert_eq!(arguments["feature-gates"].as_array().unwrap().len(), 4);
        assert_eq!(arguments["enable-admission-plugins"][0], "MutatingAdmissionPolicy");
    }
}
