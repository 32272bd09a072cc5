//! The components that only OpenShift has, or configures in another way.

use serde_json::{Value, json};

use super::{
    API_PORT, CONFIG, SERVICE_SUBNET,
    control_plane::{self, AUDIT_LOG_LARGEST, ETCD_CLIENTS},
};
use crate::{
    network::Subnet,
    node::{init::LOGS, protocol::Program},
    settings::{
        Additions, GateValues, KubernetesVersion, RealProgram, RealPrograms, openshift::Release,
    },
};

/// The file name of the configuration of admission plugins.
pub const ADMISSION_CONFIG: &str = "admission.json";

/// The file name of the configuration of OpenShift's own API server.
pub const APISERVER_CONFIG: &str = "kube-apiserver.json";

/// The API server with the stand-in for SCC admission, whose wording the release decides.
pub fn apiserver(subnet: Subnet, gates: GateValues, release: Release, with: Additions) -> Program {
    let version = release.control_plane();
    let mut program = control_plane::apiserver(subnet, gates, version);
    program.command.push(format!("--openshift-release={}", release.as_str()));
    program.command.push(format!("--admission-control-config-file={CONFIG}/{ADMISSION_CONFIG}"));
    for (name, value) in policies(with, version) {
        program.command.push(format!("--{name}={value}"));
    }
    program
}

/// OpenShift's own API server, which is configured by a file.
pub fn real_apiserver() -> Program {
    let arguments = [format!("--openshift-config={CONFIG}/{APISERVER_CONFIG}")];
    let real = RealPrograms::of([RealProgram::Apiserver]);
    let executable = control_plane::executable("kube-apiserver", RealProgram::Apiserver, real);
    control_plane::program("kube-apiserver", executable, arguments, true)
}

/// The controller that gives namespaces their ranges of user ids and their labels of Pod Security.
pub fn policy_controller(release: Release, real: RealPrograms) -> Program {
    let name = "cluster-policy-controller";
    let kubeconfig = format!("--kubeconfig={CONFIG}/{}", control_plane::KUBECONFIG);
    let arguments = if real.has(RealProgram::PolicyController) {
        // The real program works only as `start`; alone it prints its help and fails.
        vec!["start".to_owned(), kubeconfig]
    } else {
        vec![kubeconfig, format!("--release={}", release.as_str())]
    };
    let executable = control_plane::executable(name, RealProgram::PolicyController, real);
    control_plane::program(name, executable, arguments, false)
}

/// What lets policies change what is created: tests of workspaces change the operator's objects so,
/// and the real operator's pods need it (`crate::operator`).
fn policies(with: Additions, version: KubernetesVersion) -> Vec<(&'static str, &'static str)> {
    if !with.devworkspace_operator || version.has_locked_gates() {
        return Vec::new();
    }
    vec![
        ("feature-gates", "MutatingAdmissionPolicy=true"),
        ("enable-admission-plugins", "MutatingAdmissionPolicy"),
        ("runtime-config", "admissionregistration.k8s.io/v1alpha1=true"),
    ]
}

/// The defaults of Pod Security where a namespace has no label.
fn pod_security() -> Value {
    json!({
        "apiVersion": "pod-security.admission.config.k8s.io/v1",
        "kind": "PodSecurityConfiguration",
        "defaults": {
            "audit": "restricted",
            "audit-version": "latest",
            "enforce": "restricted",
            "enforce-version": "latest",
            "warn": "restricted",
            "warn-version": "latest",
        },
        "exemptions": {"usernames": ["system:serviceaccount:openshift-infra:build-controller"]},
    })
}

/// The configuration of admission plugins.
pub fn admission_config() -> String {
    let config = json!({
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "AdmissionConfiguration",
        "plugins": [{"name": "PodSecurity", "configuration": pod_security()}],
    });
    format!("{config:#}\n")
}

/// The configuration of OpenShift's own API server (openshift/api, `kubecontrolplane/v1`): this
/// cluster's address, certificates and audit log. Plugins that need APIs which this cluster does
/// not serve are off.
pub fn apiserver_config(
    subnet: Subnet,
    gates: GateValues,
    release: Release,
    with: Additions,
) -> String {
    let pki = |name: &str| format!("{CONFIG}/pki/{name}");
    let version = release.control_plane();
    let mut feature_gates = gates.as_flags(version);
    let mut enabled = vec![
        "NodeRestriction",
        "security.openshift.io/DefaultSecurityContextConstraints",
        "security.openshift.io/SCCExecRestrictions",
        "security.openshift.io/SecurityContextConstraint",
        "security.openshift.io/ValidateSecurityContextConstraints",
    ];
    let mut runtime_config = Vec::new();
    for (name, value) in policies(with, version) {
        match name {
            "feature-gates" => feature_gates.push(value.to_owned()),
            "enable-admission-plugins" => enabled.push(value),
            _ => runtime_config.push(value),
        }
    }
    let config = json!({
        "apiVersion": "kubecontrolplane.config.openshift.io/v1",
        "kind": "KubeAPIServerConfig",
        "admission": {"pluginConfig": {"PodSecurity": {"configuration": pod_security()}}},
        "apiServerArguments": {
            "advertise-address": [subnet.node().to_string()],
            "allow-privileged": ["true"],
            "audit-log-maxsize": [AUDIT_LOG_LARGEST],
            "audit-log-path": [format!("{LOGS}/audit.log")],
            "audit-policy-file": [format!("{CONFIG}/audit-policy.json")],
            "authorization-mode": ["Scope", "SystemMasters", "RBAC", "Node"],
            "client-ca-file": [pki("ca.crt")],
            "disable-admission-plugins": DISABLED,
            "enable-admission-plugins": enabled,
            "etcd-servers": [ETCD_CLIENTS],
            "feature-gates": feature_gates,
            "kubelet-certificate-authority": [pki("ca.crt")],
            "kubelet-client-certificate": [pki("kubelet-client.crt")],
            "kubelet-client-key": [pki("kubelet-client.key")],
            "kubelet-preferred-address-types": ["InternalIP"],
            "runtime-config": runtime_config,
            "service-account-issuer": ["https://kubernetes.default.svc"],
            "service-account-signing-key-file": [pki("sa.key")],
            "service-cluster-ip-range": [SERVICE_SUBNET],
            "shutdown-delay-duration": ["1s"],
            "tls-cert-file": [pki("apiserver.crt")],
            "tls-private-key-file": [pki("apiserver.key")],
        },
        "serviceAccountPublicKeyFiles": [pki("sa.pub")],
        "servicesSubnet": SERVICE_SUBNET,
        "servingInfo": {
            "bindAddress": format!("0.0.0.0:{API_PORT}"),
            "bindNetwork": "tcp4",
            "certFile": pki("apiserver.crt"),
            "clientCA": pki("ca.crt"),
            "keyFile": pki("apiserver.key"),
        },
    });
    format!("{config:#}\n")
}

/// OpenShift's admission plugins for APIs that this cluster does not serve.
const DISABLED: [&str; 15] = [
    "authorization.openshift.io/RestrictSubjectBindings",
    "authorization.openshift.io/ValidateRoleBindingRestriction",
    "autoscaling.openshift.io/ManagementCPUsOverride",
    "config.openshift.io/DenyDeleteClusterConfiguration",
    "config.openshift.io/ValidateAPIServer",
    "config.openshift.io/ValidateAuthentication",
    "config.openshift.io/ValidateConsole",
    "config.openshift.io/ValidateFeatureGate",
    "config.openshift.io/ValidateImage",
    "config.openshift.io/ValidateOAuth",
    "config.openshift.io/ValidateProject",
    "config.openshift.io/ValidateScheduler",
    "image.openshift.io/ImagePolicy",
    "quota.openshift.io/ClusterResourceQuota",
    "quota.openshift.io/ValidateClusterResourceQuota",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Gates;

    const WITH_OPERATOR: Additions = Additions {
        devworkspace_operator: true,
        kernel_log: false,
        device_plugin: false,
        own_disk: false,
    };

    fn command(release: Release, with: Additions) -> Vec<String> {
        apiserver(Subnet::UNUSED, Gates::All.apiserver(), release, with).command
    }

    #[test]
    fn the_api_server_knows_its_release() {
        let command = command(Release::V4_18, Additions::default());
        assert!(command.contains(&"--openshift-release=4.18".to_owned()), "{command:?}");
        assert!(command.iter().any(|word| word.starts_with("--admission-control-config-file=")));
    }

    #[test]
    fn only_with_the_operator_policies_change_objects() {
        let has_policies = |command: &[String]| {
            command.iter().any(|word| word.contains("MutatingAdmissionPolicy"))
        };
        assert!(!has_policies(&command(Release::V4_19, Additions::default())));
        assert!(has_policies(&command(Release::V4_19, WITH_OPERATOR)));
        // There the gate is on by default.
        assert!(!has_policies(&command(Release::V5_0, WITH_OPERATOR)));
    }

    #[test]
    fn the_real_api_server_gets_this_clusters_configuration() {
        let gates = Gates::NoApiserver.apiserver();
        let text = apiserver_config(Subnet::UNUSED, gates, Release::V4_20, WITH_OPERATOR);
        let config: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(config["servingInfo"]["certFile"], "/etc/local-cluster/pki/apiserver.crt");
        let arguments = &config["apiServerArguments"];
        assert_eq!(arguments["advertise-address"][0], Subnet::UNUSED.node().to_string());
        assert_eq!(arguments["feature-gates"][0], "UserNamespacesSupport=false");
        assert_eq!(arguments["feature-gates"].as_array().unwrap().len(), 4);
    }

    #[test]
    fn the_real_policy_controller_is_started_by_its_subcommand() {
        let kubeconfig = format!("--kubeconfig={CONFIG}/admin.kubeconfig");
        let stand_in = policy_controller(Release::V4_20, RealPrograms::default());
        assert_eq!(stand_in.command[1..], [kubeconfig.clone(), "--release=4.20".to_owned()]);
        let real = RealPrograms::of([RealProgram::PolicyController]);
        let real = policy_controller(Release::V4_20, real);
        assert_eq!(real.command[1..], ["start".to_owned(), kubeconfig]);
        assert_ne!(real.command[0], stand_in.command[0]);
    }
}
