//! Broken constraints, and grants to those who should have none.

use harness::{Result, sandbox::Constraint};

use crate::{
    intruder::Intruder,
    mutant::{Kill, Mutant, Scenario, Stage},
    stage::Props,
};

pub(super) const ALL: &[Scenario] = &[LAX, GRANTED, STRICT];

/// A constraint that allows everything.
const LAX: Scenario = Scenario {
    name: "lax-constraint",
    stage: Stage::Cluster(|props| constrain(props, LAX_CONSTRAINT)),
    cases: &["scc::refuses", "scc::fills_in", "!SCC-16", "!SCC-17"],
    mutants: &[Mutant {
        name: "allows-everything",
        breaks: "The run's constraint requires nothing and allows everything",
        kills: &[
            Kill("SCC-05", "answer to no hostUsers"),
            Kill("SCC-06", "answer to hostUsers true"),
            Kill("SCC-07", "answer to runAsUser 0"),
            Kill("SCC-08", "answer to capability SYS_ADMIN"),
            Kill("SCC-09", "answer to a privileged container"),
            Kill("SCC-10", "answer to a hostPath volume"),
            Kill("SCC-11", "answer to hostNetwork"),
            Kill("SCC-12", "answer to fsGroup 0"),
            Kill("SCC-13", "answer to SELinux type spc_t"),
            Kill("SCC-14", "answer to seccomp profile Unconfined"),
            Kill("SCC-15", "answer to a volume of type"),
            Kill("SCC-P02", "injected runAsUser"),
        ],
    }],
    blocked: &[],
    dependants: &[],
};

pub(super) const LAX_CONSTRAINT: &str = "apiVersion: security.openshift.io/v1
kind: SecurityContextConstraints
metadata: {name: lax}
allowHostDirVolumePlugin: true
allowHostIPC: true
allowHostNetwork: true
allowHostPID: true
allowHostPorts: true
allowPrivilegeEscalation: true
allowPrivilegedContainer: true
allowedCapabilities: ['*']
defaultAddCapabilities: null
requiredDropCapabilities: null
readOnlyRootFilesystem: false
runAsUser: {type: RunAsAny}
fsGroup: {type: RunAsAny}
supplementalGroups: {type: RunAsAny}
seLinuxContext: {type: RunAsAny}
seccompProfiles: ['*']
userNamespaceLevel: AllowHostLevel
volumes: ['*']
";

/// Every service account may use every constraint, and somebody sets the labels of namespaces.
const GRANTED: Scenario = Scenario {
    name: "granted-to-everybody",
    stage: Stage::Cluster(|mut props| {
        props.objects = vec![
            "apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: nestcheck-mutants-use}
rules:
- {apiGroups: [security.openshift.io], resources: [securitycontextconstraints], verbs: [use]}
",
            "apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: nestcheck-mutants-use}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: nestcheck-mutants-use}
subjects:
- {apiGroup: rbac.authorization.k8s.io, kind: Group, name: 'system:serviceaccounts'}
",
        ];
        props.intruder = Some(Intruder::RelabelsNamespace);
        Ok(props)
    }),
    cases: &["SCC-04", "SCC-16", "SCC-17", "SCC-18", "SCC-19", "END-07"],
    mutants: &[
        Mutant {
            name: "use-of-every-constraint",
            breaks: "Every service account may use every constraint in every namespace",
            kills: &[
                Kill("SCC-04", "may use `"),
                Kill("SCC-16", "answer to the stranger"),
                Kill("SCC-17", "answer to required constraint `privileged`"),
                Kill("SCC-18", "answer in another namespace"),
                Kill("END-07", "observed accepted for"),
            ],
        },
        Mutant {
            name: "labels-namespaces",
            breaks: "The Pod Security level of the run's namespace is set to baseline",
            kills: &[Kill("SCC-19", "pod-security.kubernetes.io/enforce: expected")],
        },
    ],
    blocked: &[],
    dependants: &[],
};

/// A constraint that admits no pod of a workspace.
const STRICT: Scenario = Scenario {
    name: "strict-constraint",
    stage: Stage::Cluster(|props| {
        let text = fixtures::NESTED_PODMAN.text;
        constrain(props, text.replace("uid: 1000", "uid: 2000").leak())
    }),
    cases: &["SCC-P01", "SCC-P03"],
    mutants: &[Mutant {
        name: "admits-another-user",
        breaks: "The run's constraint requires user 2000",
        kills: &[Kill("SCC-P01", "must be: 2000"), Kill("SCC-P03", "must be: 2000")],
    }],
    blocked: &[],
    dependants: &[],
};

fn constrain(mut props: Props, text: &str) -> Result<Props> {
    props.constraint = Some(Constraint::parse("a mutant's constraint", text)?);
    Ok(props)
}
