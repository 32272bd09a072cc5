//! Mutating admission policies (KEP-3962), which change objects on their way into the cluster.

use std::fmt::Write;

/// Which objects a policy changes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Change {
    /// Their group, empty for the core.
    pub(crate) group: &'static str,
    /// Their version.
    pub(crate) version: &'static str,
    /// Their resource, as a path has it.
    pub(crate) resource: &'static str,
    /// The operation on them: CREATE or UPDATE.
    pub(crate) operation: &'static str,
    /// A condition in CEL.
    pub(crate) when: &'static str,
}

/// A policy that exists while a scenario runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policy {
    /// Its name, after a prefix.
    pub(crate) name: &'static str,
    /// What it changes.
    pub(crate) change: Change,
    /// JSON patches, the fields of each in CEL.
    pub(crate) patches: &'static [&'static str],
}

impl Policy {
    /// The policy and its binding, as manifests.
    pub(crate) fn manifests(&self) -> [&'static str; 2] {
        let Self { name, change, patches } = self;
        let Change { group, version, resource, operation, when } = change;
        let mut policy = format!(
            "apiVersion: admissionregistration.k8s.io/v1alpha1
kind: MutatingAdmissionPolicy
metadata: {{name: nestcheck-mutants-{name}}}
spec:
  failurePolicy: Fail
  reinvocationPolicy: Never
  matchConstraints:
    resourceRules:
    - apiGroups: ['{group}']
      apiVersions: ['{version}']
      operations: [{operation}]
      resources: [{resource}]
  matchConditions:
  - name: meant
    expression: >-
      {when}
  mutations:
"
        );
        for patch in *patches {
            // Writing to a string can't fail.
            let _ = writeln!(
                policy,
                "  - patchType: JSONPatch\n    jsonPatch:\n      expression: >-\n        \
                 [JSONPatch{{{patch}}}]"
            );
        }
        let binding = format!(
            "apiVersion: admissionregistration.k8s.io/v1alpha1
kind: MutatingAdmissionPolicyBinding
metadata: {{name: nestcheck-mutants-{name}}}
spec: {{policyName: nestcheck-mutants-{name}}}
"
        );
        // A few kilobytes of a process that soon ends.
        [policy.leak(), binding.leak()]
    }
}

/// Marks a `ConfigMap` of this name, which shows whether policies are in force.
pub(crate) const CANARY: Policy = Policy {
    name: "canary",
    change: Change {
        group: "",
        version: "v1",
        resource: "configmaps",
        operation: "CREATE",
        when: "object.metadata.name == 'nestcheck-mutants-canary'",
    },
    patches: &[r#"op: "add", path: "/data", value: {"seen": "yes"}"#],
};

/// Refuses a `ConfigMap` of this name, which shows whether validating policies are in force.
pub(crate) const REFUSING_CANARY: [&str; 2] = [
    "apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: nestcheck-mutants-refusing-canary}
spec:
  matchConstraints:
    resourceRules:
    - {apiGroups: [''], apiVersions: [v1], operations: [CREATE], resources: [configmaps]}
  validations:
  - {expression: \"object.metadata.name != 'nestcheck-mutants-refused'\"}
",
    "apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: nestcheck-mutants-refusing-canary}
spec: {policyName: nestcheck-mutants-refusing-canary, validationActions: [Deny]}
",
];
