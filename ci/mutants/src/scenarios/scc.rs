//! Broken SCCs, and grants that nobody should have.

use crate::{
    external_writer::ExternalWriter,
    faults::{CreateObjects, ReplaceScc},
    policy::{Change, Policy},
    scenario::{Kill, Mutant, Scenario},
};

pub(super) const ALL: &[Scenario] = &[LAX, GRANTED, LOOSE];

/// An SCC that allows everything.
const LAX: Scenario = Scenario {
    name: "lax-scc",
    faults: &[&LAX_SCC],
    cases: &["admission", "scc"],
    mutants: &[Mutant {
        name: "allows-everything",
        breaks: "The run's SCC requires nothing and allows everything",
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
    ..Scenario::NEW
};

pub(super) const LAX_SCC: ReplaceScc = ReplaceScc(
    "apiVersion: security.openshift.io/v1
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
",
);

/// Every service account may use every SCC, and somebody sets the labels of namespaces.
const GRANTED: Scenario = Scenario {
    name: "granted-to-everybody",
    faults: &[&USE_OF_EVERY_SCC, &ExternalWriter::RelabelsNamespace],
    // SCC-P02 may fail here: while a new namespace is changed by somebody else, OpenShift's
    // controller may give it one SELinux level after the other.
    cases: &["scc", "teardown", "!SCC-P02"],
    mutants: &[
        Mutant {
            name: "use-of-every-scc",
            breaks: "Every service account may use every SCC in every namespace",
            kills: &[
                Kill("SCC-04", "may use `"),
                Kill("SCC-16", "answer to the ungranted user"),
                Kill("SCC-17", "answer to required SCC `privileged`"),
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
    // A plain pod is admitted by what everybody may use.
    also_affected: &["SCC-P04"],
    ..Scenario::NEW
};

const USE_OF_EVERY_SCC: CreateObjects = CreateObjects(&[
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
]);

/// The pod's required SCC is removed on its way into the cluster, and another SCC, which everybody
/// may use, comes first.
const LOOSE: Scenario = Scenario {
    name: "another-scc",
    faults: &[&LOOSE_SCC, &ASK_FOR_NOTHING],
    cases: &["scc"],
    mutants: &[Mutant {
        name: "loose-scc-wins",
        breaks: "Pods of the account `default` and of Deployments are admitted by an SCC that \
                 they did not ask for",
        kills: &[
            Kill("SCC-P01", "openshift.io/scc by the user's right: expected"),
            // So a case says it; a pod that is not proven to be what was asked for says less.
            Kill("SCC-P03", "observed `nestcheck-mutants-loose`"),
        ],
    }],
    // A plain pod requires none, so the first SCC that everybody may use admits it.
    also_affected: &["SCC-P04"],
    ..Scenario::NEW
};

const ASK_FOR_NOTHING: Policy = Policy {
    name: "loose",
    change: Change {
        group: "",
        version: "v1",
        resource: "pods",
        operation: "CREATE",
        when: "has(object.metadata.annotations) && \
               'openshift.io/required-scc' in object.metadata.annotations && \
               ((has(object.spec.serviceAccountName) && \
               object.spec.serviceAccountName == 'default') || \
               (has(object.metadata.labels) && \
               'nestcheck/deployment' in object.metadata.labels))",
    },
    patches: &[r#"op: "remove", path: "/metadata/annotations/openshift.io~1required-scc""#],
};

const LOOSE_SCC: CreateObjects = CreateObjects(&[
    "apiVersion: security.openshift.io/v1
kind: SecurityContextConstraints
metadata: {name: nestcheck-mutants-loose}
priority: 1000
allowHostDirVolumePlugin: false
allowHostIPC: false
allowHostNetwork: false
allowHostPID: false
allowHostPorts: false
allowPrivilegeEscalation: true
allowPrivilegedContainer: false
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
",
    "apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: nestcheck-mutants-loose}
rules:
- apiGroups: [security.openshift.io]
  resources: [securitycontextconstraints]
  resourceNames: [nestcheck-mutants-loose]
  verbs: [use]
",
    "apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: nestcheck-mutants-loose}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: nestcheck-mutants-loose}
subjects:
- {apiGroup: rbac.authorization.k8s.io, kind: Group, name: 'system:authenticated'}
",
]);
