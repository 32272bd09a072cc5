//! etcd, the API server, the controller manager and the scheduler.

use serde_json::json;

use super::{API_PORT, CONFIG, KUBERNETES, REAL, SERVICE_SUBNET};
use crate::{
    network::Subnet,
    node::{init::LOGS, protocol::Program},
    settings::{GateValues, KubernetesVersion, RealProgram, RealPrograms},
};

/// The data of etcd, in the node.
pub const ETCD_DATA: &str = "/var/lib/etcd";

pub(super) const ETCD_CLIENTS: &str = "http://127.0.0.1:2379";
const ETCD_PEERS: &str = "http://127.0.0.1:2380";

/// The file name of the kubeconfig that the controller manager and the scheduler use.
pub const KUBECONFIG: &str = "admin.kubeconfig";

/// The size in megabytes at which the audit log is rotated. 0 does not turn rotation off, it means
/// 100 (the default of the log writer `lumberjack`), so this is a size that is never reached.
pub(super) const AUDIT_LOG_LARGEST: &str = "1000000";

/// etcd, without waiting for the disk: the cluster is thrown away after a crash.
pub fn etcd() -> Program {
    let arguments = [
        format!("--data-dir={ETCD_DATA}/data"),
        format!("--listen-client-urls={ETCD_CLIENTS}"),
        format!("--advertise-client-urls={ETCD_CLIENTS}"),
        format!("--listen-peer-urls={ETCD_PEERS}"),
        format!("--initial-advertise-peer-urls={ETCD_PEERS}"),
        format!("--initial-cluster=default={ETCD_PEERS}"),
        "--unsafe-no-fsync".to_owned(),
    ];
    program("etcd", "/usr/bin/etcd".to_owned(), arguments, true)
}

/// The API server.
pub fn apiserver(subnet: Subnet, gates: GateValues, version: KubernetesVersion) -> Program {
    let pki = format!("{CONFIG}/pki");
    let mut arguments = vec![
        format!("--etcd-servers={ETCD_CLIENTS}"),
        format!("--advertise-address={}", subnet.node()),
        format!("--secure-port={API_PORT}"),
        "--allow-privileged=true".to_owned(),
        "--authorization-mode=Node,RBAC".to_owned(),
        "--enable-admission-plugins=NodeRestriction".to_owned(),
        format!("--client-ca-file={pki}/ca.crt"),
        format!("--tls-cert-file={pki}/apiserver.crt"),
        format!("--tls-private-key-file={pki}/apiserver.key"),
        format!("--kubelet-certificate-authority={pki}/ca.crt"),
        format!("--kubelet-client-certificate={pki}/kubelet-client.crt"),
        format!("--kubelet-client-key={pki}/kubelet-client.key"),
        "--kubelet-preferred-address-types=InternalIP".to_owned(),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        format!("--service-account-key-file={pki}/sa.pub"),
        format!("--service-account-signing-key-file={pki}/sa.key"),
        format!("--service-cluster-ip-range={SERVICE_SUBNET}"),
        format!("--audit-policy-file={CONFIG}/audit-policy.json"),
        format!("--audit-log-path={LOGS}/audit.log"),
        format!("--audit-log-maxsize={AUDIT_LOG_LARGEST}"),
    ];
    arguments.extend(gates.as_flags(version).iter().map(|gate| format!("--feature-gates={gate}")));
    program("kube-apiserver", format!("{KUBERNETES}/kube-apiserver"), arguments, true)
}

/// The controller manager.
pub fn controller_manager(subnet: Subnet, real: RealPrograms) -> Program {
    let pki = format!("{CONFIG}/pki");
    let arguments = [
        format!("--kubeconfig={CONFIG}/{KUBECONFIG}"),
        format!("--bind-address={}", subnet.node()),
        format!("--tls-cert-file={pki}/apiserver.crt"),
        format!("--tls-private-key-file={pki}/apiserver.key"),
        format!("--service-account-private-key-file={pki}/sa.key"),
        format!("--root-ca-file={pki}/ca.crt"),
        format!("--cluster-signing-cert-file={pki}/ca.crt"),
        format!("--cluster-signing-key-file={pki}/ca.key"),
        "--use-service-account-credentials=true".to_owned(),
        "--leader-elect=false".to_owned(),
        "--controllers=*,-bootstrapsigner,-tokencleaner".to_owned(),
    ];
    let name = "kube-controller-manager";
    program(name, executable(name, RealProgram::ControllerManager, real), arguments, false)
}

/// The scheduler.
pub fn scheduler(subnet: Subnet, real: RealPrograms) -> Program {
    let pki = format!("{CONFIG}/pki");
    let arguments = [
        format!("--kubeconfig={CONFIG}/{KUBECONFIG}"),
        format!("--bind-address={}", subnet.node()),
        format!("--tls-cert-file={pki}/apiserver.crt"),
        format!("--tls-private-key-file={pki}/apiserver.key"),
        "--leader-elect=false".to_owned(),
    ];
    let name = "kube-scheduler";
    program(name, executable(name, RealProgram::Scheduler, real), arguments, false)
}

/// The audit policy: one line per request. It has the bodies that `ci/bench` computes a run's
/// timeline from: the states of pods and workspaces. Nothing secret or large is logged.
pub fn audit_policy() -> String {
    let resources = json!([
        {"group": "", "resources": ["pods/status"]},
        {"group": "workspace.devfile.io", "resources": ["devworkspaces", "devworkspaces/status"]},
    ]);
    let verbs = ["create", "update", "patch"];
    let policy = json!({
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [
            {"level": "Request", "verbs": verbs, "resources": resources, "omitManagedFields": true},
            {"level": "Metadata"},
        ],
    });
    format!("{policy:#}\n")
}

/// The path of a program: the real one where it is there.
pub(super) fn executable(name: &str, program: RealProgram, real: RealPrograms) -> String {
    format!("{}/{name}", if real.has(program) { REAL } else { KUBERNETES })
}

/// A component with its command line.
pub(super) fn program(
    name: &str,
    executable: String,
    arguments: impl IntoIterator<Item = String>,
    notifies: bool,
) -> Program {
    Program {
        name: name.to_owned(),
        command: std::iter::once(executable).chain(arguments).collect(),
        notifies,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Gates;

    #[test]
    fn the_api_server_takes_its_own_gates() {
        let gates = Gates::NoApiserver.apiserver();
        let program = apiserver(Subnet::UNUSED, gates, KubernetesVersion::V1_32_5);
        let gate = "--feature-gates=UserNamespacesSupport=false".to_owned();
        assert!(program.command.contains(&gate));
    }

    #[test]
    fn a_version_with_locked_gates_is_given_none() {
        let gates = Gates::All.apiserver();
        let program = apiserver(Subnet::UNUSED, gates, KubernetesVersion::V1_37_2);
        assert!(!program.command.iter().any(|word| word.contains("feature-gates")));
    }

    #[test]
    fn the_audit_log_has_no_secrets_and_is_not_rotated() {
        assert!(audit_policy().contains("\"Metadata\""));
        for secret in ["secrets", "token", "configmaps", "\"*\"", "RequestResponse"] {
            assert!(!audit_policy().contains(secret), "{secret}");
        }
        assert!(audit_policy().contains("RequestReceived"));
        let gates = Gates::All.apiserver();
        let program = apiserver(Subnet::UNUSED, gates, KubernetesVersion::V1_32_5);
        assert!(program.command.contains(&"--audit-log-maxsize=1000000".to_owned()));
    }
}
