//! Where the pods of a run go, and what they ask of their nodes and registries.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::{
        core::v1::{LocalObjectReference, PodSpec, Toleration},
        scheduling::v1::PriorityClass,
    },
    apimachinery::pkg::api::resource::Quantity,
};
use kube::{Api, Client};
use serde_json::{Map, Value, json};

use super::pull_secret::{PULL_SECRET, PullSecret};
use crate::{
    Error, Result,
    cluster::{
        call, is_forbidden,
        permission::{Need, Rule, Rules, cluster},
        status_code,
    },
    facts::{Fact, Facts, Node, Taint},
};

/// To see whether a `PriorityClass` exists before pods are refused for it.
pub(super) const PERMISSIONS: Rules = &[Rule {
    need: Need::Read,
    why: "Reads the PriorityClass that somebody chose with `--priority-class`.",
    verbs: &["get"],
    targets: &[cluster("scheduling.k8s.io", "priorityclasses")],
}];

/// What a person decided about the pods of a run, as the cluster does not let others in.
#[derive(Clone, Debug, Default)]
pub struct Placement {
    /// The labels that their nodes must have.
    pub node_selector: BTreeMap<String, String>,
    /// The taints that they tolerate.
    pub tolerations: Vec<Toleration>,
    /// Their `PriorityClass`.
    pub priority_class: Option<String>,
    /// What each container asks for, such as `cpu`.
    pub requests: BTreeMap<String, Quantity>,
    /// What each container may use at most.
    pub limits: BTreeMap<String, Quantity>,
    /// What their image is pulled with.
    pub pull_secret: Option<PullSecret>,
}

impl Placement {
    /// Nothing was decided.
    pub const NONE: Self = Self {
        node_selector: BTreeMap::new(),
        tolerations: Vec::new(),
        priority_class: None,
        requests: BTreeMap::new(),
        limits: BTreeMap::new(),
        pull_secret: None,
    };

    /// Applies it to a pod of the run. What the pod's template decides itself stays.
    pub(super) fn apply(&self, spec: &mut PodSpec) {
        if !self.node_selector.is_empty() {
            spec.node_selector.get_or_insert_default().extend(self.node_selector.clone());
        }
        if !self.tolerations.is_empty() {
            spec.tolerations.get_or_insert_default().extend(self.tolerations.clone());
        }
        if self.priority_class.is_some() {
            spec.priority_class_name.clone_from(&self.priority_class);
        }
        if self.pull_secret.is_some() {
            let reference = LocalObjectReference { name: PULL_SECRET.to_owned() };
            spec.image_pull_secrets.get_or_insert_default().push(reference);
        }
        if self.requests.is_empty() && self.limits.is_empty() {
            return;
        }
        let others = spec.init_containers.iter_mut().flatten();
        for container in spec.containers.iter_mut().chain(others) {
            let resources = container.resources.get_or_insert_default();
            add_missing(&mut resources.requests, &self.requests);
            add_missing(&mut resources.limits, &self.limits);
        }
    }

    /// The attribute by which the DevWorkspace Operator does the same to the pod of a workspace
    /// (devworkspace-operator, `pkg/library/overrides`); none where there is nothing to do.
    pub(super) fn pod_overrides(&self) -> Option<Value> {
        let mut spec = Map::new();
        if !self.node_selector.is_empty() {
            spec.insert("nodeSelector".to_owned(), json!(self.node_selector));
        }
        if !self.tolerations.is_empty() {
            spec.insert("tolerations".to_owned(), json!(self.tolerations));
        }
        if let Some(class) = &self.priority_class {
            spec.insert("priorityClassName".to_owned(), json!(class));
        }
        (!spec.is_empty()).then(|| json!({ "spec": spec }))
    }

    /// The fields of a devfile's container for what it asks for. A devfile has no others.
    pub(super) fn container_fields(&self) -> impl Iterator<Item = (&'static str, &str)> {
        [
            ("cpuRequest", "cpu", &self.requests),
            ("memoryRequest", "memory", &self.requests),
            ("cpuLimit", "cpu", &self.limits),
            ("memoryLimit", "memory", &self.limits),
        ]
        .into_iter()
        .filter_map(|(field, resource, of)| Some((field, of.get(resource)?.0.as_str())))
    }

    /// Leaves in the facts only the nodes to which pods of the run can go.
    ///
    /// # Errors
    ///
    /// There is no such node.
    pub fn choose_nodes(&self, facts: &mut Facts) -> Result<()> {
        if let Fact::Known { value: nodes, .. } = &mut facts.nodes {
            *nodes = self.nodes_among(std::mem::take(nodes))?;
        }
        facts.unschedulable_nodes.retain(|node| self.selects(&node.labels));
        Ok(())
    }

    fn nodes_among(&self, nodes: Vec<Node>) -> Result<Vec<Node>> {
        let is_selected = |node: &Node| self.selects(&node.labels);
        let count = nodes.len();
        let mut chosen: Vec<_> = nodes.into_iter().filter(is_selected).collect();
        if chosen.is_empty() && !self.node_selector.is_empty() {
            let pairs = self.node_selector.iter().map(|(key, value)| format!("{key}={value}"));
            let selector = pairs.collect::<Vec<_>>().join(",");
            return Err(Error::usage(format!(
                "none of the {count} schedulable nodes has the labels `{selector}`"
            ))
            .with_hint(format!(
                "`kubectl get nodes --show-labels` shows their labels; label a node with `kubectl \
                 label node NAME {}`",
                selector.replace(',', " ")
            )));
        }
        for node in &mut chosen {
            node.taints.retain(|taint| !self.tolerations.iter().any(|it| tolerates(it, taint)));
            node.takes_pods = !node.taints.iter().any(Taint::keeps_pods_off);
        }
        let mut kept_off = chosen.iter().map(|node| {
            let mut permanent = node.taints.iter().filter(|taint| taint.is_permanent());
            Some((node, permanent.find(|taint| taint.keeps_pods_off())?))
        });
        match kept_off.next() {
            Some(Some((node, taint))) if kept_off.all(|other| other.is_some()) => {
                Err(Error::usage(format!(
                    "no node takes the pods of the run: node `{}` has the taint `{taint}`, which they \
                     do not tolerate",
                    node.name
                ))
                .with_hint(format!("tolerate it with `--toleration {taint}`, or choose another node")))
            }
            _ => Ok(chosen),
        }
    }

    /// Whether a node with these labels is one that a person chose.
    fn selects(&self, labels: &BTreeMap<String, String>) -> bool {
        self.node_selector.iter().all(|(key, value)| labels.get(key) == Some(value))
    }

    /// Asks whether the chosen `PriorityClass` exists. Whoever may not read it goes on.
    ///
    /// # Errors
    ///
    /// It does not exist, or a server that does not answer.
    pub async fn check_priority_class(&self, client: &Client) -> Result<()> {
        let Some(name) = &self.priority_class else { return Ok(()) };
        let api: Api<PriorityClass> = Api::all(client.clone());
        let found = call("read the PriorityClass", || async {
            match api.get_opt(name).await {
                Err(error) if is_forbidden(&error) => Ok(true),
                Err(error) if status_code(&error) == Some(404) => Ok(false),
                answer => answer.map(|found| found.is_some()),
            }
        });
        if found.await? {
            return Ok(());
        }
        Err(Error::usage(format!("the cluster has no PriorityClass `{name}`"))
            .with_hint("`kubectl get priorityclasses` shows those that it has"))
    }
}

fn add_missing(
    to: &mut Option<BTreeMap<String, Quantity>>,
    quantities: &BTreeMap<String, Quantity>,
) {
    for (name, quantity) in quantities {
        let to = to.get_or_insert_default();
        to.entry(name.clone()).or_insert_with(|| quantity.clone());
    }
}

/// As kubernetes decides it (`staging/src/k8s.io/api/core/v1/toleration.go`).
fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let is_any = |text: &Option<String>| text.as_deref().is_none_or(str::is_empty);
    let same_value = toleration.operator.as_deref() == Some("Exists")
        || toleration.value.as_deref().unwrap_or_default() == taint.value;
    (is_any(&toleration.effect) || toleration.effect.as_deref() == Some(&taint.effect))
        && (is_any(&toleration.key) || toleration.key.as_deref() == Some(&taint.key))
        && same_value
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Container;

    use super::*;

    fn node(name: &str, label: &str, taint: Option<(&str, &str)>) -> Node {
        let taints = taint.map(|(key, effect)| Taint {
            key: key.to_owned(),
            value: "yes".to_owned(),
            effect: effect.to_owned(),
        });
        Node {
            name: name.to_owned(),
            labels: BTreeMap::from([("pool".to_owned(), label.to_owned())]),
            taints: taints.into_iter().collect(),
            ..Node::default()
        }
    }

    fn selecting(label: &str) -> Placement {
        let node_selector = BTreeMap::from([("pool".to_owned(), label.to_owned())]);
        Placement { node_selector, ..Placement::NONE }
    }

    fn tolerating(key: &str, value: Option<&str>, effect: Option<&str>) -> Placement {
        let toleration = Toleration {
            key: Some(key.to_owned()),
            operator: Some(if value.is_some() { "Equal" } else { "Exists" }.to_owned()),
            value: value.map(str::to_owned),
            effect: effect.map(str::to_owned),
            toleration_seconds: None,
        };
        Placement { tolerations: vec![toleration], ..Placement::NONE }
    }

    fn names(placement: &Placement, nodes: &[Node]) -> Vec<(String, bool)> {
        let chosen = placement.nodes_among(nodes.to_vec()).expect("there are nodes");
        chosen.into_iter().map(|node| (node.name, node.takes_pods)).collect()
    }

    #[test]
    fn only_the_selected_nodes_remain() {
        let nodes = [node("one", "a", None), node("two", "b", None)];
        assert_eq!(names(&selecting("b"), &nodes), [("two".to_owned(), true)]);
        assert_eq!(names(&Placement::NONE, &nodes).len(), 2);
        let error = selecting("c").nodes_among(nodes.to_vec()).expect_err("there is none");
        assert_eq!(error.kind().exit_code(), 2);
        let expected = "none of the 2 schedulable nodes has the labels `pool=c`";
        assert_eq!(error.to_string(), expected);
        assert!(error.hint().is_some_and(|hint| hint.contains("kubectl label node NAME pool=c")));
    }

    #[test]
    fn a_taint_of_every_chosen_node_must_be_tolerated() {
        let reserved = Some(("reserved", "NoSchedule"));
        let nodes = [node("one", "a", reserved), node("two", "b", reserved)];
        let error = Placement::NONE.nodes_among(nodes.to_vec()).expect_err("no node is open");
        assert_eq!(error.kind().exit_code(), 2);
        assert!(error.to_string().contains("node `one` has the taint `reserved=yes:NoSchedule`"));
        let hint = error.hint().unwrap_or_default();
        assert!(hint.contains("`--toleration reserved=yes:NoSchedule`"), "{hint}");
        for (value, effect) in [(None, None), (Some("yes"), None), (None, Some("NoSchedule"))] {
            let chosen = names(&tolerating("reserved", value, effect), &nodes);
            assert!(chosen.iter().all(|(_, takes_pods)| *takes_pods), "{value:?} {effect:?}");
        }
        for (key, value, effect) in [
            ("other", None, None),
            ("reserved", Some("no"), None),
            ("reserved", None, Some("NoExecute")),
        ] {
            let placement = tolerating(key, value, effect);
            assert!(placement.nodes_among(nodes.to_vec()).is_err(), "{key} {value:?} {effect:?}");
        }
    }

    #[test]
    fn one_open_node_is_enough_and_what_passes_by_itself_is_waited_for() {
        let reserved = node("one", "a", Some(("reserved", "NoSchedule")));
        let chosen = names(&Placement::NONE, &[reserved, node("two", "a", None)]);
        assert_eq!(chosen, [("one".to_owned(), false), ("two".to_owned(), true)]);
        let late = node("one", "a", Some(("node.kubernetes.io/not-ready", "NoSchedule")));
        assert_eq!(names(&Placement::NONE, &[late]), [("one".to_owned(), false)]);
        let soft = node("one", "a", Some(("reserved", "PreferNoSchedule")));
        assert_eq!(names(&Placement::NONE, &[soft]), [("one".to_owned(), true)]);
    }

    #[test]
    fn a_pod_gets_all_of_it_and_keeps_its_own() {
        let quantity = |text: &str| Quantity(text.to_owned());
        let placement = Placement {
            priority_class: Some("high".to_owned()),
            requests: BTreeMap::from([("cpu".to_owned(), quantity("100m"))]),
            limits: BTreeMap::from([("memory".to_owned(), quantity("1Gi"))]),
            pull_secret: Some(PullSecret::parse("test", br#"{"auths": {}}"#).expect("a secret")),
            tolerations: tolerating("reserved", None, None).tolerations,
            ..selecting("a")
        };
        let mut own = Container::default();
        let limits = &mut own.resources.get_or_insert_default().limits;
        limits.get_or_insert_default().insert("memory".to_owned(), quantity("2Gi"));
        let containers = vec![Container::default(), own];
        let mut spec = PodSpec { containers, ..PodSpec::default() };

        placement.apply(&mut spec);

        assert_eq!(spec.node_selector.unwrap_or_default()["pool"], "a");
        assert_eq!(spec.tolerations.unwrap_or_default().len(), 1);
        assert_eq!(spec.priority_class_name.as_deref(), Some("high"));
        assert_eq!(spec.image_pull_secrets.unwrap_or_default()[0].name, PULL_SECRET);
        let limit = |container: &Container| {
            let resources = container.resources.clone().unwrap_or_default();
            let requests = resources.requests.unwrap_or_default();
            (requests["cpu"].clone(), resources.limits.unwrap_or_default()["memory"].clone())
        };
        assert_eq!(limit(&spec.containers[0]), (quantity("100m"), quantity("1Gi")));
        assert_eq!(limit(&spec.containers[1]), (quantity("100m"), quantity("2Gi")));
        let overrides = placement.pod_overrides().expect("there are some");
        assert_eq!(overrides["spec"]["nodeSelector"]["pool"], "a");
        assert_eq!(overrides["spec"]["tolerations"][0]["key"], "reserved");
        assert_eq!(overrides["spec"]["priorityClassName"], "high");
        let fields: Vec<_> = placement.container_fields().collect();
        assert_eq!(fields, [("cpuRequest", "100m"), ("memoryLimit", "1Gi")]);
    }

    #[test]
    fn nothing_decided_changes_nothing() {
        let mut spec = PodSpec { containers: vec![Container::default()], ..PodSpec::default() };
        let before = spec.clone();
        Placement::NONE.apply(&mut spec);
        assert_eq!(spec, before);
        assert_eq!(Placement::NONE.pod_overrides(), None);
    }
}
