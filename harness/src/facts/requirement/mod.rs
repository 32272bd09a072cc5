//! What a case needs of a cluster, decided from facts alone.

#[cfg(test)]
pub(crate) mod tests;

use crate::facts::{Evidence, FIRST_DEFAULT, FIRST_OPENSHIFT, Fact, Facts, Flavour, Gate, Node};

/// What a case needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requirement {
    /// The release is one whose vendor has nested containers in it: OpenShift 4.19, MicroShift
    /// 4.20 or newer. Kubernetes meets it by its gates alone.
    Release,
    /// Pods get a user namespace with `hostUsers: false`: the gate on the API server and on the
    /// kubelets, and a runtime that can.
    UserNamespaces,
    /// Pods keep `procMount: Unmasked`.
    UnmaskedProc,
    /// An SCC can require a user namespace, where there are SCCs.
    /// Without it an SCC that is meant for nested containers admits pods in the node's own
    /// user namespace with the same capabilities.
    UserNamespaceLevel,
    /// Pods can ask for /dev/fuse and /dev/net/tun.
    DeviceRoute,
    /// Pods that ask for /dev/fuse and /dev/net/tun have them. The facts tell whether pods can ask;
    /// whether the devices come, only a pod tells: a case that needs them is blocked in a pod that
    /// asked and has none, see [`crate::diagnosis::Absence`].
    Devices,
    /// Claims get a volume that name no `StorageClass`.
    StorageClass,
    /// The DevWorkspace Operator is installed, in a version that can make nested workspaces.
    WorkspaceOperator,
    /// The DevWorkspace Operator is at work.
    Workspaces,
    /// The API server's minor version is at least this.
    KubernetesMinor(u32),
    /// Whoever runs nestcheck lets it look at the node from outside of pods. No fact decides that.
    NodeAccess,
}

/// Whether a requirement is met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is met, or nothing known speaks against it: then what happens in the pod decides.
    Met,
    /// It is not met.
    Unmet {
        /// What is missing, and where that was read.
        reason: String,
        /// What would help.
        remedy: String,
    },
}

impl Decision {
    fn unmet(reason: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Unmet { reason: reason.into(), remedy: remedy.into() }
    }
}

impl Requirement {
    /// Decides whether the cluster with these facts meets the requirement.
    ///
    /// A fact that is unknown meets it: the cases prove what they assert in the pod, and a
    /// missing right to read must not hide what a cluster can do. Of several facts about one
    /// thing the strongest decides, see [`Facts::evidence`].
    #[must_use]
    pub fn decide(self, facts: &Facts) -> Decision {
        match self {
            Self::Release => release(facts),
            Self::UserNamespaces => user_namespaces(facts),
            Self::UnmaskedProc => server_gate(facts, Gate::ProcMountType),
            Self::UserNamespaceLevel => user_namespace_level(facts),
            Self::DeviceRoute | Self::Devices => device_route(facts),
            Self::StorageClass => storage_class(facts),
            Self::WorkspaceOperator => workspace_operator(facts),
            Self::Workspaces => workspaces(facts),
            Self::KubernetesMinor(minor) if facts.version.minor < minor => Decision::unmet(
                format!("Kubernetes {} is older than 1.{minor}", facts.version.full),
                format!("use a cluster of Kubernetes 1.{minor} or newer"),
            ),
            Self::KubernetesMinor(_) | Self::NodeAccess => Decision::Met,
        }
    }

    /// What is needed, as a noun phrase for people; a case is blocked without it.
    #[must_use]
    pub fn describe(self) -> String {
        match self {
            Self::Release => "a release with nested containers".to_owned(),
            Self::UserNamespaces => {
                "user namespaces for pods (gate UserNamespacesSupport, runtime, kernel)".to_owned()
            }
            Self::UnmaskedProc => "an unmasked /proc for pods (gate ProcMountType)".to_owned(),
            Self::UserNamespaceLevel => "the field `userNamespaceLevel` of SCCs".to_owned(),
            Self::DeviceRoute => "a way to ask for /dev/fuse and /dev/net/tun".to_owned(),
            Self::Devices => "/dev/fuse and /dev/net/tun in pods that ask for them".to_owned(),
            Self::StorageClass => "a default StorageClass".to_owned(),
            Self::WorkspaceOperator => "the DevWorkspace Operator 0.40 or newer".to_owned(),
            Self::Workspaces => "a ready pod of the DevWorkspace Operator".to_owned(),
            Self::KubernetesMinor(minor) => format!("Kubernetes 1.{minor} or newer"),
            Self::NodeAccess => "leave to look at the node (`--node-access`)".to_owned(),
        }
    }

    /// Whether the requirement says anything about this kind of cluster.
    #[must_use]
    pub fn concerns(self, facts: &Facts) -> bool {
        match self {
            Self::Release => facts.flavour.value() != Some(&Flavour::Kubernetes),
            Self::UserNamespaceLevel => !matches!(facts.scc_schema, Fact::NotApplicable { .. }),
            Self::WorkspaceOperator | Self::Workspaces => {
                !matches!(facts.devspaces.operator, Fact::NotApplicable { .. })
            }
            _ => true,
        }
    }

    /// Why only a pod can tell whether the requirement is met, where the facts don't speak against
    /// it. A statement about the cluster must say so; it is no reason to doubt the cluster.
    #[must_use]
    pub fn to_be_tried(self, facts: &Facts) -> Option<String> {
        match self {
            Self::Devices => facts.devices_to_try(),
            _ => None,
        }
    }

    /// Why nothing can be said about the requirement, where the facts that decide it are unknown.
    /// [`Self::decide`] lets a case try then; a statement about the cluster must not be made.
    #[must_use]
    pub fn unknown(self, facts: &Facts) -> Option<String> {
        let reason = match self {
            Self::Release => first_release(facts)
                .filter(|(_, first)| facts.is_at_least(*first).is_none())
                .and_then(|_| facts.release.why_unknown()),
            Self::UserNamespaces => unknown_gate(facts, Gate::UserNamespacesSupport)
                .or_else(|| facts.nodes.why_unknown()),
            Self::UnmaskedProc => unknown_gate(facts, Gate::ProcMountType),
            Self::UserNamespaceLevel => match facts.is_at_least(FIRST_DEFAULT) {
                Some(true) => None,
                _ => facts.scc_schema.why_unknown(),
            },
            Self::DeviceRoute | Self::Devices => facts.device_route.why_unknown(),
            Self::StorageClass => facts.default_storage.why_unknown(),
            Self::WorkspaceOperator | Self::Workspaces => facts.devspaces.operator.why_unknown(),
            Self::KubernetesMinor(_) | Self::NodeAccess => None,
        };
        reason.map(str::to_owned)
    }
}

/// The first release of the flavour that has nested containers in it.
fn first_release(facts: &Facts) -> Option<(Flavour, (u32, u32))> {
    match *facts.flavour.value()? {
        Flavour::Kubernetes => None,
        flavour @ Flavour::OpenShift => Some((flavour, FIRST_OPENSHIFT)),
        flavour @ Flavour::MicroShift => Some((flavour, FIRST_DEFAULT)),
    }
}

fn release(facts: &Facts) -> Decision {
    let Some((flavour, (major, minor))) = first_release(facts) else { return Decision::Met };
    match (facts.installed(), facts.release.source()) {
        (Some(release), Some(source)) if !release.at_least(major, minor) => {
            let product = product(flavour);
            let (default_major, default_minor) = FIRST_DEFAULT;
            Decision::unmet(
                format!(
                    "{product} {release} is older than {major}.{minor}, the first release with \
                     nested containers (read from: {source})"
                ),
                format!("use {product} {default_major}.{default_minor} or newer"),
            )
        }
        _ => Decision::Met,
    }
}

fn user_namespaces(facts: &Facts) -> Decision {
    let gate = Gate::UserNamespacesSupport;
    let of_server = server_gate(facts, gate);
    if of_server != Decision::Met {
        return of_server;
    }
    let nodes = facts.nodes.value().map_or(&[][..], Vec::as_slice);
    if let Some((names, source, _)) = lacking(nodes, |node| &node.kubelet_gate) {
        return gate_off(facts, gate, &format!("kubelet of {names}"), &source);
    }
    if let Some((names, source, node)) = lacking(nodes, |node| &node.user_namespaces) {
        return Decision::unmet(
            format!(
                "the runtime {} of {names} can't make user namespaces (read from: {source})",
                node.runtime
            ),
            "use containerd 2.0, CRI-O 1.25 or newer, with crun 1.9 or runc 1.2 or newer",
        );
    }
    Decision::Met
}

/// The nodes of which a fact is known to be false: their names in words, where that was read, and
/// the first of them.
fn lacking(nodes: &[Node], fact: impl Fn(&Node) -> &Fact<bool>) -> Option<(String, String, &Node)> {
    const NAMED: usize = 3;
    let lacking: Vec<_> = nodes.iter().filter(|node| fact(node).value() == Some(&false)).collect();
    let first = *lacking.first()?;
    let names: Vec<_> = lacking.iter().take(NAMED).map(|node| format!("`{}`", node.name)).collect();
    let noun = if lacking.len() == 1 { "node" } else { "nodes" };
    let more = match lacking.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let source = fact(first).source().unwrap_or_default().to_owned();
    Some((format!("{noun} {}{more}", names.join(", ")), source, first))
}

fn server_gate(facts: &Facts, gate: Gate) -> Decision {
    match facts.evidence(gate).into_iter().next() {
        Some(Evidence { on: false, source }) => gate_off(facts, gate, "API server", &source),
        _ => Decision::Met,
    }
}

fn unknown_gate(facts: &Facts, gate: Gate) -> Option<&str> {
    let is_unknown = facts.evidence(gate).is_empty();
    facts.behaviour(gate).filter(|_| is_unknown).and_then(Fact::why_unknown)
}

fn user_namespace_level(facts: &Facts) -> Decision {
    let Fact::Known { value: false, source } = &facts.scc_schema else { return Decision::Met };
    // MicroShift never ships one.
    let lacks_one = facts.flavour.value() == Some(&Flavour::OpenShift)
        && facts.sccs.value().is_some_and(|all| !all.contains_key("nested-container"));
    let shipped = if lacks_one { ", and none for nested containers is shipped" } else { "" };
    Decision::unmet(
        format!(
            "the schema of SCCs lacks `userNamespaceLevel`, so none can \
             require a user namespace{shipped} (read from: {source})"
        ),
        remedy(facts, "the API server"),
    )
}

fn device_route(facts: &Facts) -> Decision {
    match &facts.device_route {
        Fact::Known { value: None, source } => Decision::unmet(
            format!(
                "the cluster offers no way to give a pod /dev/fuse and /dev/net/tun (read from: \
                 {source})"
            ),
            "add a RuntimeClass with the annotation `nestcheck/devices` whose handler's base spec \
             has both devices; or, where a plugin of the runtime honours CRI-O's annotations, run \
             with `--devices annotation`",
        ),
        _ => Decision::Met,
    }
}

fn storage_class(facts: &Facts) -> Decision {
    match &facts.default_storage {
        Fact::Known { value: None, source } => Decision::unmet(
            format!(
                "the cluster has no default StorageClass, so claims get no volume (read from: \
                 {source})"
            ),
            "install a provisioner whose volumes lie on ext4, xfs or btrfs, and annotate its class \
             with `storageclass.kubernetes.io/is-default-class: \"true\"`",
        ),
        _ => Decision::Met,
    }
}

/// The first version of the DevWorkspace Operator that tells workspaces of their user namespace
/// (`HOST_USERS`), after which images choose their subordinate ids.
const FIRST_WITH_HOST_USERS: (u32, u32) = (0, 40);

fn workspace_operator(facts: &Facts) -> Decision {
    let (major, minor) = FIRST_WITH_HOST_USERS;
    match &facts.devspaces.operator {
        Fact::Known { value: operator, source }
            if operator.version.is_some_and(|version| version < FIRST_WITH_HOST_USERS) =>
        {
            Decision::unmet(
                format!(
                    "the DevWorkspace Operator `{}` is older than {major}.{minor}, the first that \
                     sets HOST_USERS (read from: {source})",
                    operator.image
                ),
                format!("use DevWorkspace Operator {major}.{minor} or newer"),
            )
        }
        Fact::NotApplicable { reason } => {
            Decision::unmet(reason.clone(), "install the DevWorkspace Operator, or Che with it")
        }
        // Its service account must be known: it needs a right to use the run's SCC.
        Fact::Unknown { reason } => Decision::unmet(
            format!("the DevWorkspace Operator's Deployment can't be found: {reason}"),
            "let the caller list Deployments, see `nestcheck preflight --print-rbac`",
        ),
        Fact::Known { .. } => Decision::Met,
    }
}

fn workspaces(facts: &Facts) -> Decision {
    match &facts.devspaces.operator {
        Fact::Known { value: operator, source } if !operator.is_available => Decision::unmet(
            format!(
                "the DevWorkspace Operator in namespace `{}` has no ready pod, so nobody makes \
                 workspaces (read from: {source})",
                operator.namespace
            ),
            "see its Deployment's events and its pod's log",
        ),
        _ => workspace_operator(facts),
    }
}

fn gate_off(facts: &Facts, gate: Gate, component: &str, source: &str) -> Decision {
    let remedy = match facts.flavour.value() {
        Some(Flavour::OpenShift | Flavour::MicroShift) => remedy(facts, component),
        _ => format!(
            "turn {gate} on for the API server and every kubelet (`--feature-gates={gate}=true`); \
             it is on by default from Kubernetes 1.33 and OpenShift 4.20"
        ),
    };
    Decision::unmet(
        format!("the feature gate {gate} is off on the {component} (read from: {source})"),
        remedy,
    )
}

/// What helps where OpenShift or MicroShift lacks what later releases have by default.
fn remedy(facts: &Facts, component: &str) -> String {
    let (major, minor) = FIRST_DEFAULT;
    let is_default = facts.is_at_least(FIRST_DEFAULT) == Some(true);
    match facts.flavour.value() {
        Some(Flavour::MicroShift) if is_default => "use the feature gates that MicroShift sets by \
             itself: take those of `apiServer.featureGates` out of its configuration"
            .to_owned(),
        Some(Flavour::MicroShift) => format!("use MicroShift {major}.{minor} or newer"),
        _ if component.starts_with("kubelet") => "see whether the node's MachineConfigPool is \
             paused or degraded, and let it take on the cluster's feature gates"
            .to_owned(),
        _ if is_default => "take the feature gate out of `customNoUpgrade.disabled` in the \
             FeatureGate `cluster`"
            .to_owned(),
        _ => format!(
            "use OpenShift {major}.{minor} or newer; or set `featureSet: TechPreviewNoUpgrade` in \
             the FeatureGate `cluster`, which can't be undone and after which the cluster can't be \
             updated to another minor release"
        ),
    }
}

fn product(flavour: Flavour) -> &'static str {
    match flavour {
        Flavour::OpenShift => "OpenShift",
        Flavour::MicroShift => "MicroShift",
        Flavour::Kubernetes => "Kubernetes",
    }
}
