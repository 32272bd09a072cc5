//! The facts in a few words, for the top of a report.

use super::{DeviceRoute, Fact, Facts, Gate, Node, NodeGroup, Rollout, State};
use crate::base::text::{on_or_off, yes_or_no};

impl Facts {
    /// The facts that a reader wants at the top of a report: name and value. What this kind of
    /// cluster does not have is left out.
    #[must_use]
    pub fn summary(&self) -> Vec<(String, String)> {
        let mut summary = Summary::default();
        summary.add("server", &self.server);
        if let Some(id) = self.cluster_id.value() {
            summary.add("cluster id", id);
        }
        summary.add("flavour", self.describe_flavour());
        if !matches!(self.release, Fact::Known { value: None, .. }) {
            summary.fact("release", &self.release, |release| {
                release.as_ref().map_or_else(|| "none".to_owned(), ToString::to_string)
            });
        }
        summary.add("version", &self.version.full);
        summary.fact("feature set", &self.feature_set, ToString::to_string);
        match &self.upgradeable {
            Fact::Known { value: false, source } => {
                summary.add("upgradeable", format!("no, {source}"));
            }
            fact => summary.fact("upgradeable", fact, |yes| yes_or_no(*yes)),
        }
        summary.fact("rollout", &self.rollout, describe_rollout);
        summary.fact("keeps hostUsers", &self.keeps_host_users, |yes| yes_or_no(*yes));
        summary.fact("keeps procMount", &self.keeps_proc_mount, |yes| yes_or_no(*yes));
        for gate in Gate::ALL {
            let name = match gate {
                Gate::UserNamespacesSupport => "hostUsers gate",
                Gate::ProcMountType => "procMount gate",
                Gate::UserNamespacesPodSecurityStandards => "Pod Security gate",
            };
            summary.add(name, format!("{gate}: {}", self.describe_gate(gate)));
        }
        summary.fact("SCC schema", &self.scc_schema, |has| {
            format!("{} userNamespaceLevel", if *has { "has" } else { "lacks" })
        });
        match &self.device_route {
            Fact::Known { value: Some(route), source }
                if !matches!(route, DeviceRoute::RuntimeClass(_)) =>
            {
                summary.add("devices by", format!("{route}, to be tried in a pod ({source})"));
            }
            fact => summary.fact("devices by", fact, |route| {
                route.as_ref().map_or_else(|| "nothing".to_owned(), ToString::to_string)
            }),
        }
        summary.fact("storage by", &self.default_storage, |class| {
            class
                .as_ref()
                .map_or_else(|| "nothing".to_owned(), |name| format!("StorageClass `{name}`"))
        });
        match self.devspaces.state() {
            State::Absent => {}
            state => summary.add("toggle", state.to_string()),
        }
        if let Some(settings) = &self.devspaces.cluster_settings {
            summary.add("workspaces by", settings.to_string());
        }
        if let Some(asked) = &self.architecture {
            summary.add("architecture", asked.to_string());
        }
        match &self.nodes {
            Fact::Known { value: nodes, .. } => summary.nodes(nodes),
            unread => summary.fact("nodes", unread, |_| String::new()),
        }
        summary.0
    }

    fn describe_flavour(&self) -> String {
        let flavour = show(&self.flavour, ToString::to_string);
        match self.distribution() {
            Some(distribution) => format!("{flavour} ({distribution})"),
            None => flavour,
        }
    }

    /// What is configured on OpenShift, and what the API server says of itself.
    fn describe_gate(&self, gate: Gate) -> String {
        let observed = match self.server_gate(gate).value() {
            Some(on) => format!("observed {} (metric)", on_or_off(*on)),
            None => "not observed".to_owned(),
        };
        match &self.configured_gates {
            Fact::Known { value: gates, .. } => {
                format!("configured {} (FeatureGate), {observed}", gates.of(gate))
            }
            Fact::Unknown { .. } => format!("configured unknown, {observed}"),
            Fact::NotApplicable { .. } => observed,
        }
    }
}

#[derive(Default)]
struct Summary(Vec<(String, String)>);

impl Summary {
    fn add(&mut self, name: &str, value: impl Into<String>) {
        self.0.push((name.to_owned(), value.into()));
    }

    fn fact<T, S: Into<String>>(&mut self, name: &str, fact: &Fact<T>, value: impl Fn(&T) -> S) {
        if !matches!(fact, Fact::NotApplicable { .. }) {
            self.add(name, show(fact, value));
        }
    }
}

/// How many kinds of nodes are shown apart from the usual ones.
const KINDS: usize = 4;

impl Summary {
    /// Nodes that are alike have one line, and all others one more: a header is read as a whole.
    fn nodes(&mut self, nodes: &[Node]) {
        let groups = NodeGroup::all(nodes);
        let Some((usual, others)) = groups.split_first() else { return };
        let Some(first) = usual.nodes.first() else { return };
        if let [only] = nodes {
            return self.add(&format!("node {}", only.name), describe_node(only));
        }
        let count = match others {
            [] => format!("all {}", nodes.len()),
            _ => format!("{} of {}", usual.nodes.len(), nodes.len()),
        };
        self.add("nodes", format!("{count} ({}): {}", usual.names(), describe_node(first)));
        if others.is_empty() {
            return;
        }
        let shown = others.iter().take(KINDS);
        let mut shown: Vec<_> =
            shown.map(|group| format!("{}: {}", group.names(), group.against(usual))).collect();
        if let more @ 1.. = others.len().saturating_sub(KINDS) {
            shown.push(format!("and {more} other kinds, see UPG-04"));
        }
        self.add("other nodes", shown.join("; "));
    }
}

fn describe_rollout(rollout: &Rollout) -> String {
    match rollout {
        Rollout::None => "none".to_owned(),
        Rollout::InProgress { what } => what.join("; "),
    }
}

fn describe_node(node: &Node) -> String {
    let config = node.machine_config.as_deref().map(|name| format!(", machine config {name}"));
    format!(
        "kubelet {}, {}, kernel {}, {}, user namespaces {}, kubelet gate {}{}",
        node.kubelet,
        node.runtime,
        node.kernel,
        node.operating_system,
        show(&node.user_namespaces, |yes| yes_or_no(*yes)),
        show(&node.kubelet_gate, |on| on_or_off(*on)),
        config.unwrap_or_default(),
    )
}

fn show<T, S: Into<String>>(fact: &Fact<T>, value: impl Fn(&T) -> S) -> String {
    match fact {
        Fact::Known { value: known, .. } => value(known).into(),
        Fact::Unknown { reason } => format!("unknown: {reason}"),
        Fact::NotApplicable { reason } => format!("not applicable: {reason}"),
    }
}
