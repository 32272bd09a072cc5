//! Broken workspaces of the DevWorkspace Operator.
//!
//! Mutating admission policies spoil what the operator creates on its way into the cluster. So the
//! real operator is at work, and the cases see what a broken one would create.

use super::scc::LAX_SCC;
use crate::{
    faults::{CreateObjects, EditPod, PROGRAMS, SpoilPrograms},
    object_patch::ObjectPatch,
    policy::{Change, Policy},
    scenario::{Kill, Mutant, Scenario},
};

pub(super) const ALL: &[Scenario] = &[OPERATOR, CREATOR, NODE];

/// What is about the operator and the workspaces that it makes, and a few cases inside of one. Not
/// those that stop and start one again, which take longest.
const WORKSPACE_CASES: &[&str] = &[
    "WS-02",
    "WS-04",
    "WS-05",
    "WS-06A",
    "WS-06B",
    "WS-06C",
    "WS-06D",
    "WS-07-CMP-02",
    "WS-07-ID-01",
    "WS-07-ID-05",
    "WS-07-ISO-01",
    "WS-07-ISO-04",
    "WS-07-ISO-09",
    "WS-07-POD-03",
    "WS-08",
    "WS-09",
    "WS-10A",
    "WS-10B",
    "WS-10C",
    "WS-10D",
    "WS-10E",
    "WS-15",
    "WS-16",
    "WS-17",
];

/// The pods of workspaces, when they are created.
const PODS: Change = Change {
    group: "",
    version: "v1",
    resource: "pods",
    operation: "CREATE",
    when: "has(object.metadata.labels) && \
           'controller.devfile.io/devworkspace_id' in object.metadata.labels",
};

const WORKSPACES: Change = Change {
    group: "workspace.devfile.io",
    version: "v1alpha2",
    resource: "devworkspaces",
    operation: "CREATE",
    when: "true",
};

/// Several things are wrong with what the operator makes, and with what it lets pass.
const OPERATOR: Scenario = Scenario {
    name: "operator",
    faults: &[
        &CONFIGURATION,
        &SPOILED_PODS,
        &KEPT_SCC,
        &NO_POD_OVERRIDES,
        &NO_CONTAINER_OVERRIDES,
        &USE_FOR_EVERYBODY,
    ],
    cases: WORKSPACE_CASES,
    mutants: &[
        Mutant {
            name: "configuration-loses-a-field",
            breaks: "The operator's configuration is stored without podSecurityContext",
            kills: &[Kill("WS-02", "stored podSecurityContext")],
        },
        Mutant {
            name: "workspace-may-not-escalate",
            breaks: "Pods of workspaces have allowPrivilegeEscalation false",
            kills: &[Kill("WS-06A", "allowPrivilegeEscalation of container `tools` of the pod")],
        },
        Mutant {
            name: "workspace-asks-for-one-device",
            breaks: "Pods of workspaces ask for /dev/fuse only",
            kills: &[Kill("WS-06B", "of the pod: expected `/dev/fuse,/dev/net/tun`")],
        },
        Mutant {
            name: "workspace-with-another-name",
            breaks: "Pods of workspaces carry another workspace's name",
            kills: &[Kill("WS-06C", "controller.devfile.io/devworkspace_name: expected")],
        },
        Mutant {
            name: "workspace-is-told-another-thing",
            breaks: "Containers of workspaces have HOST_USERS=true",
            kills: &[
                Kill("WS-06D", "HOST_USERS of container `tools`: expected"),
                Kill("WS-08", "HOST_USERS of container `tools`: expected"),
            ],
        },
        Mutant {
            name: "workspaces-may-use-every-scc",
            breaks: "Every user may use every SCC",
            kills: &[Kill("WS-10A", "a workspace of the ungranted user")],
        },
        Mutant {
            name: "change-of-scc-is-ignored",
            breaks: "A change of a workspace's SCC is silently undone",
            kills: &[Kill("WS-10B", "another SCC for a workspace that has one")],
        },
        Mutant {
            name: "overrides-of-the-pod-are-ignored",
            breaks: "pod-overrides are silently removed from a workspace",
            kills: &[Kill("WS-10D", "observed it is Running")],
        },
        Mutant {
            name: "overrides-of-the-container-are-ignored",
            breaks: "container-overrides are silently removed from a workspace",
            kills: &[Kill("WS-10E", "observed it is Running")],
        },
    ],
    // Without new privileges newuidmap gets no capabilities, and a device that nobody asks for is
    // neither given nor refused; a workspace that may use any SCC is refused by none, and one
    // without its overrides is not nested.
    also_affected: &[
        "WS-07-CMP-02",
        "WS-07-ISO-04",
        "WS-07-ISO-09",
        "WS-07-POD-03",
        "WS-09",
        "WS-16",
        "WS-17",
    ],
    ..Scenario::NEW
};

const CONFIGURATION: Policy = Policy {
    name: "configuration",
    change: Change {
        group: "controller.devfile.io",
        version: "v1alpha1",
        resource: "devworkspaceoperatorconfigs",
        operation: "CREATE",
        when: "object.metadata.name == 'nested'",
    },
    patches: &[r#"op: "remove", path: "/config/workspace/podSecurityContext""#],
};

const SPOILED_PODS: Policy = Policy {
    name: "pods",
    change: PODS,
    patches: &[
        r#"op: "replace", path: "/spec/containers/0/securityContext/allowPrivilegeEscalation", value: false"#,
        r#"op: "replace", path: "/metadata/annotations/io.kubernetes.cri-o.Devices", value: "/dev/fuse""#,
        r#"op: "replace", path: "/metadata/annotations/devices.crio.io", value: "/dev/fuse""#,
        r#"op: "replace", path: "/metadata/labels/controller.devfile.io~1devworkspace_name", value: "another""#,
        r#"op: "replace", path: "/spec/containers/0/env/" + string(object.spec.containers[0].env.map(it, it.name).indexOf("HOST_USERS")) + "/value", value: "true""#,
    ],
};

const KEPT_SCC: Policy = Policy {
    name: "scc",
    change: Change {
        operation: "UPDATE",
        when: "has(oldObject.spec.template.attributes) && \
                   'controller.devfile.io/scc' in oldObject.spec.template.attributes",
        ..WORKSPACES
    },
    patches: &[
        r#"op: "replace", path: "/spec/template/attributes/controller.devfile.io~1scc", value: oldObject.spec.template.attributes["controller.devfile.io/scc"]"#,
    ],
};

const NO_POD_OVERRIDES: Policy = Policy {
    name: "pod-overrides",
    change: Change {
        when: "has(object.spec.template.attributes) && \
                   'pod-overrides' in object.spec.template.attributes",
        ..WORKSPACES
    },
    patches: &[r#"op: "remove", path: "/spec/template/attributes/pod-overrides""#],
};

const NO_CONTAINER_OVERRIDES: Policy = Policy {
    name: "container-overrides",
    change: Change {
        when: "has(object.spec.template.components[0].attributes) && \
                   'container-overrides' in object.spec.template.components[0].attributes",
        ..WORKSPACES
    },
    patches: &[
        r#"op: "remove", path: "/spec/template/components/0/attributes/container-overrides""#,
    ],
};

const USE_FOR_EVERYBODY: CreateObjects = CreateObjects(&[
    "apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: nestcheck-mutants-everybody}
rules:
- {apiGroups: [security.openshift.io], resources: [securitycontextconstraints], verbs: [use]}
",
    "apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: nestcheck-mutants-everybody}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: nestcheck-mutants-everybody}
subjects:
- {apiGroup: rbac.authorization.k8s.io, kind: Group, name: 'system:authenticated'}
",
]);

/// The operator's webhook is not asked about workspaces.
const CREATOR: Scenario = Scenario {
    name: "creator",
    faults: &[&ObjectPatch {
        api_version: "admissionregistration.k8s.io/v1",
        kind: "MutatingWebhookConfiguration",
        name: "controller.devfile.io",
        pointer: "/webhooks/0/rules/0/operations",
        // Which nobody does with a workspace; it refuses to be asked about DELETE.
        value: "[\"CONNECT\"]",
    }],
    // Most of the others can't be told apart: they need a workspace that runs.
    cases: &["WS-04", "WS-05", "WS-07-POD-03", "WS-10A", "WS-10D"],
    mutants: &[Mutant {
        name: "webhook-is-not-asked",
        breaks: "New workspaces are stored without the operator's webhook",
        kills: &[
            Kill("WS-04", "label `controller.devfile.io/creator`, set by the webhook: expected"),
            Kill("WS-05", "created without creator ID label"),
        ],
    }],
    // The operator makes no pod for a workspace without a creator.
    also_affected: &["WS-07-POD-03", "WS-10A", "WS-10D"],
    ..Scenario::NEW
};

/// The pods of workspaces are not the nested ones that the operator asks for.
const NODE: Scenario = Scenario {
    name: "workspace-of-the-node",
    faults: &[&LAX_SCC, &EditPod::unchecked("devworkspace", &[]), &NODE_POLICY],
    cases: WORKSPACE_CASES,
    mutants: &[
        Mutant {
            name: "workspace-with-the-nodes-ids",
            breaks: "Pods of workspaces are in the node's user namespace",
            kills: &[Kill("WS-07-ID-01", "user ids: expected")],
        },
        Mutant {
            name: "workspace-of-another-user",
            breaks: "Pods of workspaces run as user 2000, who has no subordinate ids",
            kills: &[Kill("WS-07-ID-05", "/etc/passwd has no name for user 2000")],
        },
        Mutant {
            name: "workspace-with-a-masked-proc",
            breaks: "Pods of workspaces have a masked /proc",
            kills: &[Kill("WS-07-ISO-01", "mounts at /proc: expected")],
        },
        Mutant {
            name: "workspace-without-a-tunnel",
            breaks: "Pods of workspaces get /dev/fuse only",
            kills: &[Kill("WS-07-ISO-04", "/dev/net/tun: expected")],
        },
        Mutant {
            name: "workspace-that-rules-the-network",
            breaks: "Pods of workspaces have NET_ADMIN",
            kills: &[Kill("WS-07-ISO-09", "bounding capabilities")],
        },
    ],
    // Another user without a user namespace and a tunnel has no podman, and is not what the
    // operator asked for; the SCC under which this is admitted refuses nothing and gives nothing.
    also_affected: &[
        "SCC-P02",
        "WS-06A",
        "WS-06B",
        "WS-07-CMP-02",
        "WS-07-POD-03",
        "WS-08",
        "WS-09",
        "WS-16",
        "WS-17",
    ],
    ..Scenario::NEW
};

const NODE_POLICY: Policy = Policy {
    name: "node",
    change: PODS,
    patches: &[
        r#"op: "replace", path: "/spec/hostUsers", value: true"#,
        r#"op: "remove", path: "/spec/containers/0/securityContext/procMount""#,
        r#"op: "add", path: "/spec/containers/0/securityContext/runAsUser", value: 2000"#,
        r#"op: "add", path: "/spec/containers/0/securityContext/capabilities/add/-", value: "NET_ADMIN""#,
        r#"op: "replace", path: "/metadata/annotations/io.kubernetes.cri-o.Devices", value: "/dev/fuse""#,
        r#"op: "replace", path: "/metadata/annotations/devices.crio.io", value: "/dev/fuse""#,
    ],
};

/// The broken image of pods, in a workspace: what kills a case there kills it here.
pub(super) fn image() -> Scenario {
    let ids: Vec<_> = suites::cases().iter().map(|case| case.id).collect();
    let moved = |kill: &Kill| {
        let id = format!("WS-07-{}", kill.0);
        ids.iter().find(|known| **known == id).map(|id| Kill(id, kill.1))
    };
    let mutants = PROGRAMS.iter().filter_map(|mutant| {
        let kills: Vec<_> = mutant.kills.iter().filter_map(moved).collect();
        (!kills.is_empty()).then(|| Mutant {
            name: format!("workspace-{}", mutant.name).leak(),
            kills: kills.leak(),
            ..*mutant
        })
    });
    let mutants: Vec<_> = mutants.collect();
    Scenario {
        name: "image-of-a-workspace",
        faults: &[&SpoilPrograms::WORKSPACE],
        cases: &["workspace::inside_"],
        mutants: mutants.leak(),
        ..Scenario::NEW
    }
}
