//! What others do to pods on their way into the cluster: a table of breakages with the cause that
//! nestcheck must name, and the cases that must name it.
//!
//! No case that looks only at its own container may fail because of a container beside it.

use crate::{
    faults::{CreateObjects, EditPod},
    policy::{Change, Policy},
    scenario::{Kill, Mutant, Scenario},
};

/// Those that need mutating policies, which the local cluster of OpenShift has on.
pub(super) const ALL: &[Scenario] = &[SIDECAR, FAILING_INIT, NODE_IDS, FORBIDDEN_PROC];

/// Those that every cluster shows.
pub(super) const EVERYWHERE: &[Scenario] = &[FOREIGN_IDS];

/// The nested pods of the run, and those that cases only dry-run.
const NESTED_PODS: Change = Change {
    group: "",
    version: "v1",
    resource: "pods",
    operation: "CREATE",
    when: "has(object.metadata.labels) && 'nestcheck/template' in object.metadata.labels && \
           object.metadata.labels['nestcheck/template'].startsWith('workspace')",
};

/// Cases about a container in the pod, and what preflight finds.
const CASES: &[&str] = &["gate", "identity", "isolation", "PRE-12", "PRE-14", "POD-03"];

/// An injector puts its container before the pod's own.
const SIDECAR: Scenario = Scenario {
    name: "sidecar",
    faults: &[&Policy {
        name: "sidecar",
        change: NESTED_PODS,
        patches: &[
            r#"op: "add", path: "/spec/containers/0", value: Object.spec.containers{name: "proxy", image: object.spec.containers[0].image, command: ["sleep", "3600"]}"#,
        ],
    }],
    cases: CASES,
    mutants: &[Mutant {
        name: "adds-a-container",
        breaks: "A policy puts a container before the one of the pod",
        kills: &[
            Kill("PRE-12", "MutatingAdmissionPolicy `nestcheck-mutants-sidecar`"),
            Kill("PRE-14", "container `proxy` … MutatingAdmissionPolicy … (F41)"),
        ],
    }],
    ..Scenario::NEW
};

/// An injector adds an init container that needs what the pod does not have.
const FAILING_INIT: Scenario = Scenario {
    name: "failing-init-container",
    faults: &[&Policy {
        name: "init",
        change: NESTED_PODS,
        patches: &[
            // Two patches in one mutation: the API server of 1.32 breaks down at a list of objects,
            // and an empty list does not outlive a mutation.
            r#"op: "add", path: "/spec/initContainers", value: []}, JSONPatch{op: "add", path: "/spec/initContainers/-", value: Object.spec.initContainers{name: "redirect", image: object.spec.containers[0].image, command: ["sh", "-c", "echo no rules for you >&2; exit 1"]}"#,
        ],
    }],
    cases: &["PRE-12", "PRE-14"],
    mutants: &[Mutant {
        name: "adds-a-failing-init-container",
        breaks: "A policy adds an init container that fails",
        kills: &[
            Kill("PRE-12", "MutatingAdmissionPolicy `nestcheck-mutants-init`"),
            Kill("PRE-14", "init container `redirect` … MutatingAdmissionPolicy"),
            Kill("POD-03", "container `redirect` … exit code 1 … no rules for you … (F4"),
        ],
    }],
    also_affected: &["CMP-01", "ID-01", "ISO-01", "ROOT-01"],
    ..Scenario::NEW
};

/// A policy gives pods the node's user namespace, for compatibility.
const NODE_IDS: Scenario = Scenario {
    name: "policy-changes-pods",
    faults: &[&Policy {
        name: "host-users",
        change: NESTED_PODS,
        patches: &[r#"op: "replace", path: "/spec/hostUsers", value: true"#],
    }],
    cases: &["GATE-01", "PRE-12"],
    mutants: &[Mutant {
        name: "sets-host-users",
        breaks: "A policy sets `hostUsers: true`",
        kills: &[
            Kill("PRE-12", "MutatingAdmissionPolicy `nestcheck-mutants-host-users`"),
            Kill("GATE-01", "`nestcheck-mutants-host-users` with binding … (F41)"),
            Kill("POD-03", "`nestcheck-mutants-host-users` with binding … (F41)"),
        ],
    }],
    also_affected: &["ADM-02", "CMP-01", "ID-01", "ISO-01", "PRE-09", "ROOT-01", "SCC-P02"],
    ..Scenario::NEW
};

/// A policy follows the Pod Security Standard of before user namespaces.
const FORBIDDEN_PROC: Scenario = Scenario {
    name: "policy-refuses-pods",
    faults: &[&FORBID_UNMASKED],
    cases: &["GATE-02", "PRE-12"],
    mutants: &[Mutant {
        name: "forbids-unmasked-proc",
        breaks: "A policy refuses `procMount: Unmasked`",
        kills: &[
            Kill("PRE-12", "ValidatingAdmissionPolicy `nestcheck-mutants-proc`"),
            Kill("GATE-02", "denied request … refused by ValidatingAdmissionPolicy … (F41)"),
            Kill("POD-03", "denied request … refused by ValidatingAdmissionPolicy … (F41)"),
        ],
    }],
    also_affected: &["CMP-01", "GATE-01", "ID-01", "ISO-01", "PRE-09", "ROOT-01", "VOL-01"],
    ..Scenario::NEW
};

const FORBID_UNMASKED: CreateObjects = CreateObjects(&[
    "apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: nestcheck-mutants-proc}
spec:
  failurePolicy: Fail
  matchConstraints:
    resourceRules:
    - {apiGroups: [''], apiVersions: [v1], operations: [CREATE], resources: [pods]}
  validations:
  - expression: >-
      object.spec.containers.all(c, !has(c.securityContext) || !has(c.securityContext.procMount) ||
      c.securityContext.procMount == 'Default')
    message: procMount must be Default
",
    "apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: nestcheck-mutants-proc}
spec: {policyName: nestcheck-mutants-proc, validationActions: [Deny]}
",
]);

/// The pod's user is one that OpenShift gives to ordinary pods.
const FOREIGN_IDS: Scenario = Scenario {
    name: "ids-outside-of-the-map",
    faults: &[&EditPod::new("workspace", &[("runAsUser: 1000\n", "runAsUser: 1000740000\n")])],
    cases: &["POD-03"],
    mutants: &[Mutant {
        name: "user-that-the-pod-does-not-have",
        breaks: "The pod runs as user 1000740000, whom its user namespace does not have",
        kills: &[Kill("POD-03", "1000740000 cannot be mapped to a host ID … (F40)")],
    }],
    also_affected: &["CMP-01", "ID-01", "ISO-01", "ROOT-01"],
    ..Scenario::NEW
};
