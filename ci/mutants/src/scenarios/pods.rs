//! Broken pods, and objects of the cluster beside them.

use harness::sandbox::pod_template::Isolation;

use crate::{
    external_writer::ExternalWriter,
    faults::{CreateObjects, EditPod, PutFile, SubstitutePod},
    scenario::{Kill, Mutant, Scenario},
};

pub(super) const ALL: &[Scenario] = &[POWERFUL, NESTED_POD, CONTROLS, HARMLESS];

/// A workspace with all the power that a pod can have.
const POWERFUL: Scenario = Scenario {
    name: "powerful",
    faults: &[&EditPod::unchecked(
        "workspace",
        &[
            ("hostUsers: false", "hostUsers: true\n  hostPID: true"),
            ("runAsUser: 1000", "runAsUser: 0"),
            ("      runAsNonRoot: true\n      procMount: Unmasked\n", "      privileged: true\n"),
            ("      capabilities: {drop: [ALL], add: [SETUID, SETGID]}\n", ""),
            ("    volumeMounts:\n", "    volumeMounts:\n    - {name: node, mountPath: /mnt}\n"),
            ("  volumes:\n", "  volumes:\n  - {name: node, hostPath: {path: /usr/share}}\n"),
        ],
    )],
    cases: &["identity", "isolation", "root"],
    mutants: &[
        Mutant {
            name: "privileged-root-of-the-node",
            breaks: "The workspace is a privileged container in the node's user namespace, as root",
            kills: &[
                Kill("ID-01", "user ids: expected"),
                Kill("ID-04", "user id: expected"),
                Kill("ISO-03", "mounts at /sys: expected"),
                Kill("ISO-09", "bounding capabilities"),
                Kill("ROOT-01", "on the node"),
                Kill("ROOT-02", "observed allowed"),
                Kill("ROOT-03", "observed allowed"),
                Kill("ROOT-04B", "observed allowed"),
                Kill("ROOT-04C", "observed allowed"),
                Kill("ROOT-04D", "observed allowed"),
                Kill("ROOT-04E", "observed allowed"),
                Kill("ROOT-04F", "observed allowed"),
                Kill("ROOT-05A", "observed allowed"),
                Kill("ROOT-07A", "observed allowed"),
                Kill("ROOT-07B", "observed allowed"),
                Kill("ROOT-08A", "observed allowed"),
            ],
        },
        Mutant {
            name: "process-ids-of-the-node",
            breaks: "The workspace shares the node's PID namespace",
            kills: &[Kill("ROOT-05B", "command of process 1"), Kill("ROOT-09", "observed allowed")],
        },
        Mutant {
            name: "path-of-the-node",
            breaks: "A directory of the node is mounted in the workspace",
            kills: &[Kill("ROOT-06", "mounts from outside the pod")],
        },
    ],
    // Root of the node has no subordinate ids, no rootless podman, and no range of its own.
    also_affected: &["ID-02", "ID-05", "ID-07", "ISO-13"],
    ..Scenario::NEW
};

/// A workspace in which several things are missing that have nothing to do with each other.
const NESTED_POD: Scenario = Scenario {
    name: "workspace",
    faults: &[
        &BROKEN_NESTED_POD,
        &PutFile("mutants/subordinate", "user:10000:65536\n"),
        &PutFile("mutants/helper", "#!/bin/sh\nexit 1\n"),
        &ExternalWriter::Litters,
    ],
    cases: &[
        "admission",
        "identity",
        "isolation",
        "teardown",
        "ROOT-06",
        "ROOT-07A",
        "ROOT-10",
        "ROOT-11",
    ],
    mutants: &[
        Mutant {
            name: "subordinate-ids-beyond-the-pod",
            breaks: "/etc/subuid and /etc/subgid give ids that the pod's map does not cover",
            kills: &[Kill("ID-05", "/etc/subuid: expected")],
        },
        Mutant {
            name: "helpers-without-capabilities",
            breaks: "newuidmap and newgidmap have lost their file capabilities",
            kills: &[Kill("ID-06", "newuidmap: expected")],
        },
        Mutant {
            name: "masked-proc",
            breaks: "The workspace does not ask for an unmasked /proc",
            kills: &[
                Kill("ISO-01", "mounts at /proc: expected"),
                Kill("ISO-12", "fresh /proc: expected"),
                Kill("ADM-06", "answer to another procMount: expected 422"),
            ],
        },
        Mutant {
            name: "no-devices",
            breaks: "The workspace does not ask for devices",
            kills: &[Kill("ISO-04", "/dev/fuse: expected")],
        },
        Mutant {
            name: "token",
            breaks: "The workspace has a token of its service account",
            kills: &[Kill("ROOT-10", "files of the service account")],
        },
        Mutant {
            name: "litter",
            breaks: "An object with the run's label remains in the cluster",
            kills: &[Kill("END-01", "objects with the run's label")],
        },
    ],
    // podman can't make a user namespace with these ids and helpers, the pod for ID-08 can't have
    // them twice, the token is a mount, and the litter is a namespace.
    also_affected: &[
        "END-02", "ID-07", "ID-08", "ISO-13", "ISO-14", "POD-03", "ROOT-01", "ROOT-06",
    ],
    ..Scenario::NEW
};

const BROKEN_NESTED_POD: EditPod = EditPod {
    devices: Some(false),
    ..EditPod::unchecked(
        "workspace",
        &[
            ("procMount: Unmasked", "procMount: Default"),
            ("automountServiceAccountToken: false", "automountServiceAccountToken: true"),
            (
                "    volumeMounts:\n",
                "    volumeMounts:
    - {name: nestcheck, mountPath: /etc/subuid, subPath: mutants/subordinate, readOnly: true}
    - {name: nestcheck, mountPath: /etc/subgid, subPath: mutants/subordinate, readOnly: true}
    - {name: nestcheck, mountPath: /usr/bin/newuidmap, subPath: mutants/helper, readOnly: true}
    - {name: nestcheck, mountPath: /usr/bin/newgidmap, subPath: mutants/helper, readOnly: true}
",
            ),
        ],
    )
};

/// Pods beside the workspace that are not what they must be for a comparison, and a workspace that
/// may not make namespaces.
const CONTROLS: Scenario = Scenario {
    name: "controls",
    faults: &[
        &EditPod {
            isolation: Some(Isolation::Nested),
            ..EditPod::new(
                "workspace",
                &[("seccompProfile: {type: Unconfined}", "seccompProfile: {type: RuntimeDefault}")],
            )
        },
        &EditPod::unchecked(
            "neighbour",
            &[("hostUsers: false", "hostUsers: true"), ("      procMount: Unmasked\n", "")],
        ),
        &EditPod::unchecked("host-users", &[("spec:\n", "spec:\n  hostUsers: false\n")]),
        &EditPod {
            devices: Some(true),
            ..EditPod::unchecked(
                "masked-proc",
                &[(
                    "      runAsUser: 1000\n",
                    "      procMount: Unmasked\n      runAsUser: 1000\n",
                )],
            )
        },
        &LIST_NODES,
    ],
    cases: &["admission", "identity", "isolation", "preflight"],
    mutants: &[
        Mutant {
            name: "neighbour-with-the-nodes-ids",
            breaks: "The second pod on the workspace's node has the node's ids",
            kills: &[Kill("ID-02", "ranges of two pods on one node")],
        },
        Mutant {
            name: "every-pod-has-a-range",
            breaks: "A pod that does not ask for a user namespace has one",
            kills: &[
                Kill("ID-03", "map of the control"),
                Kill("ADM-06", "answer to another hostUsers: expected 422"),
            ],
        },
        Mutant {
            name: "every-pod-has-an-unmasked-proc",
            breaks: "A pod that does not ask for an unmasked /proc has it",
            kills: &[Kill("ISO-02", "masked paths")],
        },
        Mutant {
            name: "every-pod-has-devices",
            breaks: "A pod that does not ask for devices has them",
            kills: &[Kill("ISO-05", "in the control: expected")],
        },
        Mutant {
            name: "filters-system-calls",
            breaks: "The workspace has the runtime's default seccomp profile",
            kills: &[Kill("ISO-10", "mount in a new user namespace")],
        },
        Mutant {
            name: "rights-for-everybody",
            breaks: "Every service account may list the nodes",
            kills: &[Kill("PRE-09", "list nodes: expected")],
        },
    ],
    // Without unshare(2) and mount(2) podman does nothing, and its failure has another signature.
    also_affected: &["ID-07", "ID-08", "ISO-12", "ISO-13", "ISO-14", "POD-03", "ROOT-01"],
    ..Scenario::NEW
};

const LIST_NODES: CreateObjects = CreateObjects(&[
    "apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: nestcheck-mutants-rights}
rules:
- {apiGroups: [''], resources: [nodes], verbs: [list]}
",
    "apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: nestcheck-mutants-rights}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: nestcheck-mutants-rights}
subjects:
- {apiGroup: rbac.authorization.k8s.io, kind: Group, name: 'system:serviceaccounts'}
",
]);

/// A workspace that asks for nothing that a namespace of level restricted refuses, so that the
/// server admits it there, as one that does not enforce the level admits any.
const HARMLESS: Scenario = Scenario {
    name: "harmless",
    faults: &[
        &EditPod::new(
            "workspace",
            &[
                ("seccompProfile: {type: Unconfined}", "seccompProfile: {type: RuntimeDefault}"),
                ("    appArmorProfile: {type: Unconfined}\n", ""),
                ("allowPrivilegeEscalation: true", "allowPrivilegeEscalation: false"),
                ("{drop: [ALL], add: [SETUID, SETGID]}", "{drop: [ALL]}"),
            ],
        ),
        &SubstitutePod { case: "ADM-04", pod: "workspace" },
    ],
    cases: &["admission", "gate"],
    mutants: &[Mutant {
        name: "fit-for-level-restricted",
        breaks: "The workspace asks for nothing that level restricted refuses",
        kills: &[Kill("ADM-04", "answer in a restricted namespace: expected 403")],
    }],
    // Without capabilities podman makes no user namespace.
    also_affected: &["POD-03", "ROOT-01"],
    ..Scenario::NEW
};
