//! Who is asked about new pods besides the API server's own plugins: admission webhooks, and
//! admission policies with their bindings (KEP-3488, KEP-3962).

use std::{collections::BTreeMap, fmt};

use k8s_openapi::{
    api::admissionregistration::v1::RuleWithOperations,
    apimachinery::pkg::apis::meta::v1::LabelSelector,
};
use kube::Client;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{
    lookup::{Lookup, items, read, text},
    webhook::sees_new_pods,
};

const API: &str = "/apis/admissionregistration.k8s.io";

/// The versions in which policies were served, the newest first.
const VERSIONS: [&str; 3] = ["v1", "v1beta1", "v1alpha1"];

/// The label of the policy that confines the user of nestcheck. The pods of other users pass it.
pub const GUARD_LABEL: &str = "nestcheck/guard";

/// Labels of an object.
pub type Labels = BTreeMap<String, String>;

/// What kind of plugin is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PluginKind {
    /// A webhook that may change pods.
    MutatingWebhook,
    /// A policy that may change pods.
    MutatingPolicy,
    /// A webhook that may refuse pods.
    ValidatingWebhook,
    /// A policy that may refuse pods.
    ValidatingPolicy,
}

impl PluginKind {
    /// Whether it may change pods.
    #[must_use]
    pub fn changes(self) -> bool {
        matches!(self, Self::MutatingWebhook | Self::MutatingPolicy)
    }

    fn is_policy(self) -> bool {
        matches!(self, Self::MutatingPolicy | Self::ValidatingPolicy)
    }
}

/// A webhook or a bound policy that is asked about new pods.
#[derive(Clone, Debug, PartialEq)]
pub struct Plugin {
    /// Its kind.
    pub kind: PluginKind,
    /// The webhook's or the policy's name.
    pub name: String,
    /// The name of the configuration that has the webhook, or of the binding.
    pub via: String,
    /// What the policy does, as it is stored. A webhook's program can't be read.
    text: String,
    namespaces: Vec<LabelSelector>,
    objects: Vec<LabelSelector>,
}

impl Plugin {
    /// Whether it is asked about pods with these labels. Labels that are not known match.
    #[must_use]
    pub fn sees(&self, namespace: Option<&Labels>, pod: Option<&Labels>) -> bool {
        let all = |selectors: &[LabelSelector], labels: Option<&Labels>| {
            labels.is_none_or(|labels| selectors.iter().all(|it| selects(it, labels)))
        };
        all(&self.namespaces, namespace) && all(&self.objects, pod)
    }

    /// Whether it is asked only about objects that have this label.
    #[must_use]
    pub fn is_only_of(&self, label: &str) -> bool {
        let mut expressions =
            self.objects.iter().flat_map(|it| it.match_expressions.iter().flatten());
        expressions.any(|it| it.key == label && it.operator == "Exists")
    }

    /// Whether the text of a policy has one of these words: the name of a field or of a container.
    #[must_use]
    pub fn names(&self, words: &[&str]) -> bool {
        let is_word = |word: &&str| {
            let parts = self.text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
            parts.into_iter().any(|part| part == *word)
        };
        self.kind.is_policy() && words.iter().any(is_word)
    }
}

impl fmt::Display for Plugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, via, .. } = self;
        match self.kind {
            PluginKind::MutatingWebhook => {
                write!(f, "`{name}` of MutatingWebhookConfiguration `{via}`")
            }
            PluginKind::ValidatingWebhook => {
                write!(f, "`{name}` of ValidatingWebhookConfiguration `{via}`")
            }
            PluginKind::MutatingPolicy => {
                write!(f, "MutatingAdmissionPolicy `{name}` with binding `{via}`")
            }
            PluginKind::ValidatingPolicy => {
                write!(f, "ValidatingAdmissionPolicy `{name}` with binding `{via}`")
            }
        }
    }
}

/// Who is asked about new pods.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PodAdmission {
    /// The webhooks and bound policies.
    pub plugins: Vec<Plugin>,
    /// Why some of them could not be read.
    pub unread: Vec<String>,
}

impl PodAdmission {
    /// Reads it. What can't be read is missing, with the reason.
    pub async fn read(client: &Client) -> Self {
        let webhooks = |resource: &'static str| async move {
            read(client, resource, &format!("{API}/v1/{resource}")).await
        };
        let (changing, refusing, change, change_bindings, refuse, refuse_bindings) = tokio::join!(
            webhooks("mutatingwebhookconfigurations"),
            webhooks("validatingwebhookconfigurations"),
            read_policies(client, "mutatingadmissionpolicies"),
            read_policies(client, "mutatingadmissionpolicybindings"),
            read_policies(client, "validatingadmissionpolicies"),
            read_policies(client, "validatingadmissionpolicybindings"),
        );
        let mut found = Self::default();
        found.add_webhooks(PluginKind::MutatingWebhook, &changing);
        found.add_webhooks(PluginKind::ValidatingWebhook, &refusing);
        found.add_policies(PluginKind::MutatingPolicy, &change, &change_bindings);
        found.add_policies(PluginKind::ValidatingPolicy, &refuse, &refuse_bindings);
        found.plugins.sort_by(|a, b| (a.kind, &a.via, &a.name).cmp(&(b.kind, &b.via, &b.name)));
        found.unread.dedup();
        found
    }

    /// The items of a list; none where the server has no such kind.
    fn items<'a>(&mut self, list: &'a Lookup<Value>) -> Vec<&'a Value> {
        match list {
            Lookup::Found(list) => items(list, "/items").collect(),
            Lookup::Failed(reason) => {
                self.unread.push(reason.clone());
                Vec::new()
            }
            Lookup::Absent | Lookup::NotApplicable(_) => Vec::new(),
        }
    }

    fn add_webhooks(&mut self, kind: PluginKind, list: &Lookup<Value>) {
        for configuration in self.items(list) {
            let asked = items(configuration, "/webhooks").filter(|it| is_about_pods(it, "/rules"));
            self.plugins.extend(asked.map(|webhook| Plugin {
                kind,
                name: name_of(webhook, "/name"),
                via: name_of(configuration, "/metadata/name"),
                text: String::new(),
                namespaces: parse(webhook, "/namespaceSelector").into_iter().collect(),
                objects: parse(webhook, "/objectSelector").into_iter().collect(),
            }));
        }
    }

    fn add_policies(
        &mut self,
        kind: PluginKind,
        policies: &Lookup<Value>,
        bindings: &Lookup<Value>,
    ) {
        const MATCH: &str = "/spec/matchConstraints";
        const BOUND: &str = "/spec/matchResources";
        let bindings = self.items(bindings);
        for policy in self.items(policies) {
            let is_guard = policy.pointer("/metadata/labels").is_some_and(|labels| {
                labels.get(GUARD_LABEL).is_some() && kind == PluginKind::ValidatingPolicy
            });
            if is_guard || !is_about_pods(policy, &format!("{MATCH}/resourceRules")) {
                continue;
            }
            let name = name_of(policy, "/metadata/name");
            let bound = bindings.iter().filter(|binding| {
                text(binding, "/spec/policyName") == Some(&name) && is_in_force(binding)
            });
            self.plugins.extend(bound.map(|binding| {
                let selectors = |field: &str| {
                    let of_policy = parse(policy, &format!("{MATCH}/{field}"));
                    of_policy.into_iter().chain(parse(binding, &format!("{BOUND}/{field}")))
                };
                Plugin {
                    kind,
                    name: name.clone(),
                    via: name_of(binding, "/metadata/name"),
                    text: policy.get("spec").map(ToString::to_string).unwrap_or_default(),
                    namespaces: selectors("namespaceSelector").collect(),
                    objects: selectors("objectSelector").collect(),
                }
            }));
        }
    }
}

/// Reads policies or bindings in the newest version that the server has.
async fn read_policies(client: &Client, resource: &str) -> Lookup<Value> {
    for version in VERSIONS {
        let found = read(client, resource, &format!("{API}/{version}/{resource}")).await;
        if found != Lookup::Absent {
            return found;
        }
    }
    Lookup::Absent
}

/// Whether a binding does more than to warn or to audit. Those of mutating policies have no such
/// field.
fn is_in_force(binding: &Value) -> bool {
    let mut actions = items(binding, "/spec/validationActions").peekable();
    actions.peek().is_none() || actions.any(|action| action == "Deny")
}

fn is_about_pods(object: &Value, rules: &str) -> bool {
    let rules: Option<Vec<RuleWithOperations>> = parse(object, rules);
    sees_new_pods(rules.as_deref())
}

fn name_of(object: &Value, pointer: &str) -> String {
    text(object, pointer).unwrap_or_default().to_owned()
}

fn parse<T: DeserializeOwned>(object: &Value, pointer: &str) -> Option<T> {
    serde_json::from_value(object.pointer(pointer)?.clone()).ok()
}

/// Whether a selector selects labels (Kubernetes, "Labels and Selectors").
pub(super) fn selects(selector: &LabelSelector, labels: &Labels) -> bool {
    let equal = selector.match_labels.iter().flatten();
    let mut expressions = selector.match_expressions.iter().flatten();
    equal.into_iter().all(|(key, value)| labels.get(key) == Some(value))
        && expressions.all(|it| {
            let value = labels.get(&it.key);
            let is_listed =
                value.is_some_and(|value| it.values.iter().flatten().any(|v| v == value));
            match it.operator.as_str() {
                "In" => is_listed,
                "NotIn" => !is_listed,
                "Exists" => value.is_some(),
                "DoesNotExist" => value.is_none(),
                _ => true,
            }
        })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn found(kind: PluginKind, policies: Value, bindings: Value) -> Vec<Plugin> {
        let mut found = PodAdmission::default();
        let list = |items: Value| Lookup::Found(json!({"items": items}));
        found.add_policies(kind, &list(policies), &list(bindings));
        found.plugins
    }

    fn policy(resources: &Value) -> Value {
        json!({"metadata": {"name": "strip"}, "spec": {
            "matchConstraints": {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"],
                "operations": ["CREATE"], "resources": resources}]},
            "mutations": [{"jsonPatch": {"expression":
                "[JSONPatch{op: \"replace\", path: \"/spec/hostUsers\", value: true}]"}}]}})
    }

    fn binding(name: &str, spec: Value) -> Value {
        let mut binding = json!({"metadata": {"name": name}, "spec": {"policyName": "strip"}});
        if let (Some(to), Value::Object(fields)) = (binding["spec"].as_object_mut(), spec) {
            to.extend(fields);
        }
        binding
    }

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_policy_about_pods_counts_with_each_of_its_bindings() {
        let kind = PluginKind::MutatingPolicy;
        let bindings = json!([binding("a", json!({})), binding("b", json!({}))]);
        let all = found(kind, json!([policy(&json!(["pods"]))]), bindings);
        let shown: Vec<_> = all.iter().map(ToString::to_string).collect();
        assert_eq!(
            shown,
            [
                "MutatingAdmissionPolicy `strip` with binding `a`",
                "MutatingAdmissionPolicy `strip` with binding `b`"
            ]
        );
        assert!(all[0].names(&["hostUsers"]) && !all[0].names(&["procMount", "Users"]));
        let services = json!([policy(&json!(["services"]))]);
        assert_eq!(found(kind, services, json!([binding("a", json!({}))])), []);
        let unbound = json!([policy(&json!(["pods"]))]);
        assert_eq!(found(kind, unbound, json!([])), [], "a policy without a binding does nothing");
    }

    #[test]
    fn the_guard_of_a_run_is_not_about_the_pods_of_users() {
        let kind = PluginKind::ValidatingPolicy;
        let mut guard = policy(&json!(["*/*"]));
        let bindings = || json!([binding("a", json!({"validationActions": ["Deny"]}))]);
        assert_eq!(found(kind, json!([guard.clone()]), bindings()).len(), 1);
        guard["metadata"]["labels"] = json!({GUARD_LABEL: "true"});
        assert_eq!(found(kind, json!([guard]), bindings()), []);
    }

    #[test]
    fn a_binding_that_only_warns_refuses_nothing() {
        let kind = PluginKind::ValidatingPolicy;
        for (actions, count) in [(json!(["Warn", "Audit"]), 0), (json!(["Deny", "Audit"]), 1)] {
            let binding = binding("a", json!({"validationActions": actions}));
            let all = found(kind, json!([policy(&json!(["pods"]))]), json!([binding]));
            assert_eq!(all.len(), count, "{actions}");
        }
    }

    #[test]
    fn selectors_of_policy_and_binding_both_count() {
        let mut policy = policy(&json!(["*"]));
        policy["spec"]["matchConstraints"]["objectSelector"] =
            json!({"matchLabels": {"nested": "yes"}});
        let expression = json!({"key": "kubernetes.io/metadata.name", "operator": "NotIn",
                                "values": ["default"]});
        let selector = json!({"matchResources": {"namespaceSelector":
            {"matchExpressions": [expression]}}});
        let bindings = json!([binding("a", selector)]);
        let all = found(PluginKind::MutatingPolicy, json!([policy]), bindings);
        let default = labels(&[("kubernetes.io/metadata.name", "default")]);
        let another = labels(&[("kubernetes.io/metadata.name", "run")]);
        let pod = labels(&[("nested", "yes")]);
        assert!(all[0].sees(Some(&another), Some(&pod)));
        assert!(!all[0].sees(Some(&default), Some(&pod)));
        assert!(!all[0].sees(Some(&another), Some(&labels(&[]))));
        assert!(all[0].sees(None, None), "labels that are not known");
    }

    #[test]
    fn what_can_not_be_read_is_missing_with_the_reason() {
        let mut found = PodAdmission::default();
        found.add_webhooks(PluginKind::MutatingWebhook, &Lookup::Failed("403".into()));
        found.add_webhooks(PluginKind::ValidatingWebhook, &Lookup::Absent);
        assert_eq!(found, PodAdmission { plugins: Vec::new(), unread: vec!["403".into()] });
    }

    #[test]
    fn a_webhook_about_workspaces_only_is_known_by_its_selector() {
        let mut found = PodAdmission::default();
        let label = "controller.devfile.io/devworkspace_id";
        let webhook = json!({"name": "mutate", "rules": [{"apiGroups": [""], "apiVersions": ["v1"],
            "operations": ["CREATE"], "resources": ["pods"]}],
            "objectSelector": {"matchExpressions": [{"key": label, "operator": "Exists"}]}});
        let list = json!({"items": [{"metadata": {"name": "devfile"}, "webhooks": [webhook]}]});
        found.add_webhooks(PluginKind::MutatingWebhook, &Lookup::Found(list));
        assert!(found.plugins[0].is_only_of(label));
        let shown = "`mutate` of MutatingWebhookConfiguration `devfile`";
        assert_eq!(found.plugins[0].to_string(), shown);
        assert!(!found.plugins[0].names(&["mutate"]), "a webhook's program can't be read");
    }
}
