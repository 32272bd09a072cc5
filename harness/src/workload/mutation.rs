//! What became of a pod between its sending and its storing, and by whose hand.

use k8s_openapi::{
    api::{admissionregistration::v1::MutatingWebhookConfiguration, core::v1::Pod},
    apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry,
};
use kube::{Api, ResourceExt, api::ListParams};
use serde_json::Value;

use crate::{
    base::subset_diff::{self, Difference},
    cluster::call,
    facts::webhook::sees_new_pods,
    sandbox::Sandbox,
};

/// How many changed fields a message tells.
const REPORTED: usize = 5;

/// Says which fields of a pod were changed on the way, and by whom as far as can be known. None
/// where nothing was.
pub(super) async fn explain(sandbox: &Sandbox, sent: &Pod, stored: &Pod) -> Option<String> {
    let differences = changed(sent, stored);
    if differences.is_empty() {
        return None;
    }
    let managers = stored.managed_fields();
    let reported: Vec<_> = differences
        .iter()
        .take(REPORTED)
        .map(|difference| {
            let owners = owners(managers, &difference.field);
            let owners = if owners.is_empty() {
                "nobody owns it".to_owned()
            } else {
                format!("owned by {}", owners.join(", "))
            };
            format!("{difference} ({owners})")
        })
        .collect();
    let more = differences.len().saturating_sub(REPORTED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    Some(format!(
        "changed since it was sent: {}{more}; {}",
        reported.join(", "),
        mutating_webhooks(sandbox).await
    ))
}

/// The fields that were sent and are stored otherwise.
fn changed(sent: &Pod, stored: &Pod) -> Vec<Difference> {
    // A pod is always JSON; what is not would only leave the explanation out.
    let json = |pod: &Pod| serde_json::to_value(pod).unwrap_or_default();
    let (sent, stored) = (json(sent), json(stored));
    ["metadata.annotations", "metadata.labels", "spec"]
        .into_iter()
        .flat_map(|part| {
            let pointer = format!("/{}", part.replace('.', "/"));
            let differences = match (sent.pointer(&pointer), stored.pointer(&pointer)) {
                (Some(sent), Some(stored)) => subset_diff::between(sent, stored),
                _ => Vec::new(),
            };
            differences.into_iter().map(move |difference| Difference {
                field: format!("{part}.{}", difference.field),
                ..difference
            })
        })
        .collect()
}

/// Who owns a field by the object's managed fields (Kubernetes, server-side apply). A webhook's
/// change is booked to whoever sent the request, so an owner who did not write it points to an
/// admission plugin.
fn owners(managers: &[ManagedFieldsEntry], field: &str) -> Vec<String> {
    managers
        .iter()
        .filter(|entry| {
            let fields = entry.fields_v1.as_ref().map(|fields| &fields.0);
            fields.is_some_and(|fields| owns(fields, field))
        })
        .map(|entry| format!("`{}`", entry.manager.as_deref().unwrap_or("unnamed")))
        .collect()
}

fn owns(fields: &Value, path: &str) -> bool {
    let mut fields = fields;
    for name in path.split('.') {
        let name = name.split('[').next().unwrap_or_default();
        if let Some(inner) = fields.get(format!("f:{name}")) {
            fields = inner;
        } else {
            // Items of a list are owned by their key, not by their index: the list's owner counts.
            let mut keys = fields.as_object().into_iter().flat_map(|map| map.keys());
            return keys.any(|key| key.starts_with("k:"));
        }
    }
    true
}

async fn mutating_webhooks(sandbox: &Sandbox) -> String {
    webhooks(sandbox).await.unwrap_or_else(|| {
        "no mutating webhook sees new pods, so the API server or a built-in plugin did it"
            .to_owned()
    })
}

/// The admission webhooks that may have changed a pod, from their configurations; none where there
/// are none.
pub(super) async fn webhooks(sandbox: &Sandbox) -> Option<String> {
    let api: Api<MutatingWebhookConfiguration> = Api::all(sandbox.admin().clone());
    let all = ListParams::default();
    let configurations = match call("list mutating webhooks", || api.list(&all)).await {
        Ok(configurations) => configurations,
        Err(error) => return Some(format!("whether a webhook changed it is unknown: {error}")),
    };
    let sees_pods = |configuration: &&MutatingWebhookConfiguration| {
        let mut webhooks = configuration.webhooks.iter().flatten();
        webhooks.any(|webhook| sees_new_pods(webhook.rules.as_deref()))
    };
    let names: Vec<_> = configurations
        .items
        .iter()
        .filter(sees_pods)
        .map(|configuration| format!("`{}`", configuration.name_any()))
        .collect();
    let reported = format!("mutating webhooks that see new pods: {}", names.join(", "));
    (!names.is_empty()).then_some(reported)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(text: &str) -> Pod {
        crate::base::manifest::parse("p.yaml", &format!("apiVersion: v1\nkind: Pod\n{text}"))
            .expect("the test's manifest is good")
    }

    #[test]
    fn only_what_was_sent_is_compared() {
        let sent = pod("spec: {hostUsers: false, containers: [{name: a}]}\n");
        let stored = pod(
            "metadata: {annotations: {openshift.io/scc: x}}\nspec: {hostUsers: true, nodeName: n, \
             containers: [{name: a, image: b}]}\n",
        );
        let fields: Vec<_> =
            changed(&sent, &stored).into_iter().map(|difference| difference.field).collect();
        assert_eq!(fields, ["spec.hostUsers"]);
    }

    #[test]
    fn the_owner_of_a_field_is_found() {
        let fields =
            json!({"f:spec": {"f:hostUsers": {}, "f:containers": {"k:{\"name\":\"a\"}": {}}}});
        assert!(owns(&fields, "spec.hostUsers"));
        assert!(owns(&fields, "spec.containers[0].securityContext.procMount"));
        assert!(!owns(&fields, "metadata.annotations.x"));
    }
}
