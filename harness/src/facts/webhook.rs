//! Admission webhooks that the API server asks about new pods.

use k8s_openapi::api::admissionregistration::v1::RuleWithOperations;

use super::storage;
use crate::cluster::permission::{Need, Rule, Rules, cluster};

pub(super) const PERMISSIONS: Rules = &[Rule {
    need: Need::Read,
    why: storage::WHY,
    verbs: &["list"],
    targets: &[
        cluster("admissionregistration.k8s.io", "mutatingwebhookconfigurations"),
        cluster("admissionregistration.k8s.io", "validatingwebhookconfigurations"),
        cluster("admissionregistration.k8s.io", "mutatingadmissionpolicies"),
        cluster("admissionregistration.k8s.io", "mutatingadmissionpolicybindings"),
        cluster("admissionregistration.k8s.io", "validatingadmissionpolicies"),
        cluster("admissionregistration.k8s.io", "validatingadmissionpolicybindings"),
    ],
}];

/// Whether a webhook with these rules is asked about new pods.
#[must_use]
pub fn sees_new_pods(rules: Option<&[RuleWithOperations]>) -> bool {
    let has = |list: &Option<Vec<String>>, words: &[&str]| {
        list.iter().flatten().any(|item| words.contains(&item.as_str()))
    };
    rules.unwrap_or_default().iter().any(|rule| {
        has(&rule.api_groups, &["", "*"])
            && has(&rule.resources, &["pods", "*", "*/*"])
            && has(&rule.operations, &["CREATE", "*"])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_rules_about_new_pods_count() {
        let list = |items: &[&str]| Some(items.iter().map(|item| (*item).to_owned()).collect());
        let rule = |groups: &[&str], resources: &[&str], operations: &[&str]| {
            sees_new_pods(Some(&[RuleWithOperations {
                api_groups: list(groups),
                resources: list(resources),
                operations: list(operations),
                ..RuleWithOperations::default()
            }]))
        };
        assert!(rule(&[""], &["pods", "services"], &["CREATE", "UPDATE"]));
        assert!(rule(&["*"], &["*/*"], &["*"]));
        assert!(!rule(&[""], &["services"], &["CREATE"]));
        assert!(!rule(&[""], &["pods/exec"], &["CONNECT"]));
        assert!(!rule(&["apps"], &["pods"], &["CREATE"]));
        assert!(!rule(&[""], &["pods"], &["UPDATE"]));
        assert!(!sees_new_pods(None));
    }
}
