//! What somebody else puts into new namespaces: ResourceQuotas, LimitRanges and NetworkPolicies, as
//! templates of projects, policies that generate objects, and operators do.

use std::fmt;

use k8s_openapi::{
    api::{
        core::v1::{LimitRange, LimitRangeItem, ResourceQuota},
        networking::v1::NetworkPolicy,
    },
    apimachinery::pkg::{api::resource::Quantity, apis::meta::v1::LabelSelector},
};
use kube::{Client, ResourceExt, core::ObjectList};

use super::{
    lookup::{Lookup, read},
    pod_admission::{Labels, selects},
};

/// The label of what nestcheck itself creates (`crate::sandbox::labels`).
const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "nestcheck");

/// The direction of traffic that a NetworkPolicy restricts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// To the pod.
    Ingress,
    /// From the pod.
    Egress,
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        })
    }
}

/// The objects of others that restrict the pods of a namespace.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Restrictions {
    quotas: Vec<ResourceQuota>,
    limit_ranges: Vec<LimitRange>,
    network_policies: Vec<NetworkPolicy>,
    /// Which of them could not be read, and why.
    unread: Vec<(&'static str, String)>,
}

impl Restrictions {
    /// Reads those of a namespace, with one request for each kind. The ClusterRole `edit` is enough.
    pub async fn read(client: &Client, namespace: &str) -> Self {
        let core = format!("/api/v1/namespaces/{namespace}");
        let networking = format!("/apis/networking.k8s.io/v1/namespaces/{namespace}");
        let (quotas, ranges, policies) = (
            format!("{core}/resourcequotas"),
            format!("{core}/limitranges"),
            format!("{networking}/networkpolicies"),
        );
        let (quotas, limit_ranges, network_policies) = tokio::join!(
            read(client, "ResourceQuotas", &quotas),
            read(client, "LimitRanges", &ranges),
            read(client, "NetworkPolicies", &policies),
        );
        let mut unread = Vec::new();
        Self {
            quotas: of_others("quotas", quotas, &mut unread),
            limit_ranges: of_others("limits", limit_ranges, &mut unread),
            network_policies: of_others("network policies", network_policies, &mut unread),
            unread,
        }
    }

    /// What a reader of a report wants to know of them: name and value. Nothing where there are none.
    #[must_use]
    pub fn summary(&self) -> Vec<(String, String)> {
        let row = |name: &str, value: String| (name.to_owned(), value);
        let quotas = self.quotas.iter().map(|quota| row("quota", describe_quota(quota)));
        let ranges = self.limit_ranges.iter().map(|range| row("limits", describe_range(range)));
        let policies = self.network_policies.iter();
        let policies = policies.map(|policy| row("network policy", describe_policy(policy)));
        let unread = self.unread.iter().map(|(what, why)| row(what, format!("unknown: {why}")));
        quotas.chain(ranges).chain(policies).chain(unread).collect()
    }

    /// The quotas, with what they count and how much of it is used.
    #[must_use]
    pub fn quotas(&self) -> Vec<String> {
        self.quotas.iter().map(describe_quota).collect()
    }

    /// The LimitRanges with their limits.
    #[must_use]
    pub fn limit_ranges(&self) -> Vec<String> {
        self.limit_ranges.iter().map(describe_range).collect()
    }

    /// The NetworkPolicies that select a pod with these labels and restrict its traffic in this
    /// direction.
    #[must_use]
    pub fn policies_of(&self, pod: &Labels, direction: Direction) -> Vec<String> {
        let selecting = self.network_policies.iter().filter(|policy| {
            let selector = policy.spec.as_ref().and_then(|spec| spec.pod_selector.as_ref());
            directions(policy).contains(&direction) && selector.is_none_or(|it| selects(it, pod))
        });
        selecting.map(|policy| format!("NetworkPolicy `{}`", policy.name_any())).collect()
    }
}

/// The objects of a list that nestcheck did not create.
fn of_others<K>(
    what: &'static str,
    list: Lookup<ObjectList<K>>,
    unread: &mut Vec<(&'static str, String)>,
) -> Vec<K>
where
    K: Clone + ResourceExt,
{
    let is_of_others =
        |object: &K| object.labels().get(MANAGED_BY.0).map(String::as_str) != Some(MANAGED_BY.1);
    match list {
        Lookup::Found(list) => list.items.into_iter().filter(is_of_others).collect(),
        Lookup::Failed(reason) => {
            unread.push((what, reason));
            Vec::new()
        }
        Lookup::Absent | Lookup::NotApplicable(_) => Vec::new(),
    }
}

/// ``ResourceQuota `compute`: pods 3 of 10``.
fn describe_quota(quota: &ResourceQuota) -> String {
    let status = quota.status.as_ref();
    let hard = quota.spec.as_ref().and_then(|spec| spec.hard.as_ref());
    let used = |resource: &String| status?.used.as_ref()?.get(resource);
    let counted = hard.into_iter().flatten().map(|(resource, Quantity(hard))| {
        let used = used(resource).map_or("?", |Quantity(used)| used.as_str());
        format!("{resource} {used} of {hard}")
    });
    format!("ResourceQuota `{}`: {}", quota.name_any(), listed(counted))
}

/// ``LimitRange `defaults`: Container default memory 512Mi``.
fn describe_range(range: &LimitRange) -> String {
    let items = range.spec.iter().flat_map(|spec| &spec.limits).flat_map(describe_item);
    format!("LimitRange `{}`: {}", range.name_any(), listed(items))
}

fn describe_item(item: &LimitRangeItem) -> Vec<String> {
    let kinds = [
        ("default limit", &item.default),
        ("default request", &item.default_request),
        ("maximum", &item.max),
        ("minimum", &item.min),
        ("limit to request ratio", &item.max_limit_request_ratio),
    ];
    let values = kinds.into_iter().flat_map(|(kind, values)| {
        let values = values.iter().flatten();
        values.map(move |(resource, Quantity(value))| {
            format!("{} {kind} {resource} {value}", item.type_)
        })
    });
    values.collect()
}

/// ``NetworkPolicy `default-deny`: all pods, ingress and egress``.
fn describe_policy(policy: &NetworkPolicy) -> String {
    let spec = policy.spec.as_ref();
    let selector = spec.and_then(|spec| spec.pod_selector.as_ref());
    let is_for_all = selector.is_none_or(|it| *it == LabelSelector::default());
    let pods = if is_for_all { "all pods" } else { "some pods" };
    let rules = |direction| {
        let rules = match direction {
            Direction::Ingress => spec.and_then(|spec| spec.ingress.as_ref()).map(Vec::len),
            Direction::Egress => spec.and_then(|spec| spec.egress.as_ref()).map(Vec::len),
        };
        match rules {
            None | Some(0) => format!("no {direction}"),
            Some(_) => format!("{direction} by rules"),
        }
    };
    let restricted = directions(policy).into_iter().map(rules);
    format!("NetworkPolicy `{}`: {pods}, {}", policy.name_any(), listed(restricted))
}

/// What a policy restricts. Where it does not say so, that is ingress, and egress if it has rules for
/// it (kubernetes, `pkg/apis/networking/v1/defaults.go`).
fn directions(policy: &NetworkPolicy) -> Vec<Direction> {
    let Some(spec) = &policy.spec else { return Vec::new() };
    let has_egress = spec.egress.as_ref().is_some_and(|rules| !rules.is_empty());
    let is_restricted = |direction: &Direction| match (&spec.policy_types, direction) {
        (Some(types), Direction::Ingress) => types.iter().any(|it| it == "Ingress"),
        (Some(types), Direction::Egress) => types.iter().any(|it| it == "Egress"),
        (None, Direction::Ingress) => true,
        (None, Direction::Egress) => has_egress,
    };
    [Direction::Ingress, Direction::Egress].into_iter().filter(is_restricted).collect()
}

fn listed(values: impl Iterator<Item = String>) -> String {
    let values: Vec<_> = values.collect();
    if values.is_empty() { "nothing".to_owned() } else { values.join(", ") }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn list<K: Clone + serde::de::DeserializeOwned>(kind: &str, items: &Value) -> ObjectList<K> {
        let list = json!({"apiVersion": "v1", "kind": kind, "metadata": {}, "items": items});
        serde_json::from_value(list).expect("it is a list")
    }

    fn policies(items: &Value) -> Restrictions {
        let found = Lookup::Found(list("NetworkPolicyList", items));
        let network_policies = of_others("network policies", found, &mut Vec::new());
        Restrictions { network_policies, ..Restrictions::default() }
    }

    #[test]
    fn what_somebody_else_put_into_the_namespace_is_described() {
        let quota = json!([{"metadata": {"name": "compute"},
            "spec": {"hard": {"limits.memory": "4Gi", "pods": "10"}},
            "status": {"hard": {"pods": "10"}, "used": {"pods": "3"}}}]);
        let range = json!([{"metadata": {"name": "defaults"}, "spec": {"limits": [
            {"type": "Container", "default": {"memory": "512Mi"}, "max": {"cpu": "2"}},
            {"type": "Pod", "max": {"memory": "1Gi"}}]}}]);
        let deny = json!([{"metadata": {"name": "default-deny"},
            "spec": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"],
                "egress": [{"ports": [{"port": 53, "protocol": "UDP"}]}]}}]);

        let found = Restrictions {
            quotas: list::<ResourceQuota>("ResourceQuotaList", &quota).items,
            limit_ranges: list::<LimitRange>("LimitRangeList", &range).items,
            unread: vec![("limits", "403".to_owned())],
            ..policies(&deny)
        };

        let row = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            found.summary(),
            [
                row("quota", "ResourceQuota `compute`: limits.memory ? of 4Gi, pods 3 of 10"),
                row(
                    "limits",
                    "LimitRange `defaults`: Container default limit memory 512Mi, Container \
                     maximum cpu 2, Pod maximum memory 1Gi"
                ),
                row(
                    "network policy",
                    "NetworkPolicy `default-deny`: all pods, no ingress, egress by rules"
                ),
                row("limits", "unknown: 403"),
            ]
        );
        assert_eq!(Restrictions::default().summary(), [], "nothing is said of nothing");
    }

    #[test]
    fn a_policy_counts_for_the_pods_and_directions_that_it_selects() {
        let one = labels(&[("app", "one")]);
        let select = json!({"matchLabels": {"app": "one"}});
        for (spec, ingress, egress) in [
            (json!({"podSelector": {}}), true, false),
            (json!({"podSelector": select}), true, false),
            (json!({"podSelector": {"matchLabels": {"app": "two"}}}), false, false),
            (json!({"podSelector": {}, "egress": [{}]}), true, true),
            (json!({"podSelector": {}, "policyTypes": ["Egress"]}), false, true),
            (json!({"policyTypes": ["Ingress", "Egress"]}), true, true),
        ] {
            let found = policies(&json!([{"metadata": {"name": "deny"}, "spec": spec}]));
            for (direction, expected) in
                [(Direction::Ingress, ingress), (Direction::Egress, egress)]
            {
                let names = found.policies_of(&one, direction);
                assert_eq!(names == ["NetworkPolicy `deny`"], expected, "{spec} {direction}");
                assert_eq!(names.is_empty(), !expected, "{spec} {direction}");
            }
        }
    }

    #[test]
    fn what_nestcheck_created_restricts_nothing() {
        let own = labels(&[(MANAGED_BY.0, MANAGED_BY.1)]);
        let found = policies(&json!([{"metadata": {"name": "pod-net-07", "labels": own},
            "spec": {"podSelector": {}}}]));
        assert_eq!(found, Restrictions::default());
    }
}
