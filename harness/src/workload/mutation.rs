//! What became of a pod between its sending and its storing, and by whose hand.

use k8s_openapi::{
    api::core::v1::{Namespace, Pod},
    apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry,
};
use kube::{Api, ResourceExt};
use serde_json::Value;

use crate::{
    base::subset_diff::{self, Difference},
    cluster::call,
    facts::pod_admission::{Labels, Plugin, PodAdmission},
    sandbox::Sandbox,
    verdict::{Attribution, Failure, Hint, Place, SignatureId},
};

/// How many changed fields a message tells.
const REPORTED: usize = 5;

/// What became of a pod, and who did it as far as can be known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// What was changed and by whom, for a message.
    pub text: String,
    /// The cause, where it is known that somebody else than the API server did it.
    pub hint: Option<Hint>,
}

impl Explanation {
    /// Adds it to a failure of the product. The cause replaces one that blames the API server.
    #[must_use]
    pub fn added_to(self, failure: Failure) -> Failure {
        failure.adding(&self.text).or_with_hint(self.hint)
    }
}

/// Says which fields of a pod were changed on the way and which containers were added, and by whom
/// as far as can be known. None where nothing was.
pub async fn explain(sandbox: &Sandbox, sent: &Pod, stored: &Pod) -> Option<Explanation> {
    let differences = changed(sent, stored);
    let added = added(sent, stored);
    if differences.is_empty() && added.is_empty() {
        return None;
    }
    let names = added.iter().map(|(_, name)| name.as_str());
    let words: Vec<_> =
        differences.iter().flat_map(|it| words_of(&it.field)).chain(names).collect();
    let suspects = Suspects::read(sandbox, stored).await;
    let managers = stored.managed_fields();
    let mut reported = Vec::new();
    if !differences.is_empty() {
        reported.push(format!("changed since it was sent: {}", show(&differences, managers)));
    }
    if !added.is_empty() {
        reported.push(format!("added since it was sent: {}", show_added(&added)));
    }
    reported.push(suspects.describe(&words));
    let is_isolation =
        words.iter().any(|word| ["hostUsers", "procMount", "securityContext"].contains(word));
    let hint = suspects.hint(&words, is_isolation && sandbox.keeps_isolation());
    Some(Explanation { text: reported.join("; "), hint })
}

/// Says who may have changed a pod that was then refused. The refusal says what it misses.
pub async fn explain_refusal(sandbox: &Sandbox, pod: &Pod, refusal: &str) -> Option<Explanation> {
    let suspects = Suspects::read(sandbox, pod).await;
    let refusing = suspects.refusing(refusal);
    if !refusing.is_empty() {
        return Some(Explanation { text: format!("refused by {}", list(&refusing)), hint: None });
    }
    let lacks_host_users = ["`hostUsers` must be false", "Host Users must be set"]
        .iter()
        .any(|words| refusal.contains(words));
    let words: &[&str] =
        if lacks_host_users { &["hostUsers"] } else { &["securityContext", "required-scc"] };
    let changing = suspects.changing();
    if changing.is_empty() && suspects.all.unread.is_empty() {
        return None;
    }
    let hint = suspects.hint(words, lacks_host_users && sandbox.keeps_isolation());
    Some(Explanation { text: suspects.describe(words), hint })
}

/// Who may have changed or refused a pod.
struct Suspects {
    all: PodAdmission,
}

impl Suspects {
    /// Those that are asked about this pod in its namespace.
    async fn read(sandbox: &Sandbox, pod: &Pod) -> Self {
        let namespaces: Api<Namespace> = Api::all(sandbox.admin().clone());
        let name = pod.namespace().unwrap_or_else(|| sandbox.namespace().to_owned());
        let (mut all, namespace) = tokio::join!(
            PodAdmission::read(sandbox.admin()),
            call("read the pod's namespace", || namespaces.get(&name)),
        );
        let namespace: Option<Labels> = namespace.ok().and_then(|object| object.metadata.labels);
        all.plugins.retain(|it| it.sees(namespace.as_ref(), Some(pod.labels())));
        Self { all }
    }

    fn changing(&self) -> Vec<&Plugin> {
        self.all.plugins.iter().filter(|it| it.kind.changes()).collect()
    }

    /// The policies whose text names one of these words.
    fn naming(&self, words: &[&str]) -> Vec<&Plugin> {
        self.changing().into_iter().filter(|it| it.names(words)).collect()
    }

    /// Those that a refusal names, in the words of the API server's wrapper.
    fn refusing(&self, refusal: &str) -> Vec<&Plugin> {
        let is_named = |it: &&Plugin| {
            let (name, via) = (&it.name, &it.via);
            refusal.contains(&format!("admission webhook \"{name}\""))
                || refusal.contains(&format!("'{name}' with binding '{via}'"))
        };
        self.all.plugins.iter().filter(is_named).collect()
    }

    fn describe(&self, words: &[&str]) -> String {
        let naming = self.naming(words);
        let changing = self.changing();
        if !naming.is_empty() {
            return format!("{} names such a field", list(&naming));
        }
        if !changing.is_empty() {
            return format!(
                "mutating webhooks and policies that see new pods: {}",
                list(&changing)
            );
        }
        match self.all.unread.as_slice() {
            [] => {
                "no mutating webhook and no mutating policy sees new pods, so the API server or a \
                   built-in plugin did it"
                    .to_owned()
            }
            unread => {
                format!("whether a webhook or a policy did it is unknown: {}", unread.join("; "))
            }
        }
    }

    /// The cause: a policy that names the field; or, where the API server itself keeps it, whoever
    /// changes pods.
    fn hint(&self, words: &[&str], keeps: bool) -> Option<Hint> {
        let naming = self.naming(words);
        let who = match (naming.is_empty(), keeps) {
            (false, _) => list(&naming),
            (true, false) => return None,
            (true, true) => match self.changing().as_slice() {
                [] => "an admission plugin".to_owned(),
                changing => list(changing),
            },
        };
        let fix = "exempt pods with `hostUsers: false`, or namespaces with the label \
                   `app.kubernetes.io/managed-by: nestcheck`";
        Some(Hint::from(Attribution {
            signature: Some(SignatureId::F41),
            wrong: format!("the pod is changed on its way into the cluster, by {who}"),
            place: Place::Policy,
            fix: Some(fix.to_owned()),
            ..Attribution::default()
        }))
    }
}

fn list(plugins: &[&Plugin]) -> String {
    plugins.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// The words of a field's path by which a policy may name it.
fn words_of(field: &str) -> impl Iterator<Item = &str> {
    let last = field.rsplit(['.', '/']).next().unwrap_or_default();
    last.split('[').next().filter(|word| !word.is_empty()).into_iter()
}

fn show(differences: &[Difference], managers: &[ManagedFieldsEntry]) -> String {
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
    format!("{}{more}", reported.join(", "))
}

/// The two lists of a pod's containers.
const CONTAINERS: [(&str, &str); 2] =
    [("container", "/spec/containers"), ("init container", "/spec/initContainers")];

/// The containers of a stored pod that were not sent: what they are, and their names.
#[must_use]
pub fn added(sent: &Pod, stored: &Pod) -> Vec<(&'static str, String)> {
    let (sent, stored) = (json(sent), json(stored));
    let names = |pod: &Value, list: &str| -> Vec<String> {
        let items = pod.pointer(list).and_then(Value::as_array);
        let items = items.into_iter().flatten();
        items.filter_map(|it| Some(it.get("name")?.as_str()?.to_owned())).collect()
    };
    CONTAINERS
        .into_iter()
        .flat_map(|(what, list)| {
            let known = names(&sent, list);
            let new = names(&stored, list).into_iter().filter(move |it| !known.contains(it));
            new.map(move |name| (what, name))
        })
        .collect()
}

/// Added containers in words: ``container `proxy` ``.
#[must_use]
pub fn show_added(added: &[(&'static str, String)]) -> String {
    let shown: Vec<_> = added.iter().map(|(what, name)| format!("{what} `{name}`")).collect();
    shown.join(", ")
}

/// A pod is always JSON; what is not would only leave the explanation out.
fn json(pod: &Pod) -> Value {
    serde_json::to_value(pod).unwrap_or_default()
}

/// The fields that were sent and are stored otherwise. Containers are compared by their names.
fn changed(sent: &Pod, stored: &Pod) -> Vec<Difference> {
    let (sent, mut stored) = (json(sent), json(stored));
    for (_, list) in CONTAINERS {
        let order: Vec<Value> = sent
            .pointer(list)
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .map(|it| it.get("name").cloned().unwrap_or_default())
            .collect();
        if let Some(Value::Array(containers)) = stored.pointer_mut(list) {
            let place = |it: &Value| order.iter().position(|name| it.get("name") == Some(name));
            containers.retain(|it| place(it).is_some());
            containers.sort_by_key(|it| place(it));
        }
    }
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
    fn an_added_container_is_no_change_of_what_was_sent() {
        let sent = pod("spec: {containers: [{name: a, securityContext: {procMount: Unmasked}}]}\n");
        let stored =
            pod("spec: {initContainers: [{name: first}], containers: [{name: proxy}, {name: a, \
             securityContext: {procMount: Unmasked}}]}\n");
        assert_eq!(changed(&sent, &stored), []);
        let added = added(&sent, &stored);
        assert_eq!(show_added(&added), "container `proxy`, init container `first`");
        let masked = pod("spec: {containers: [{name: proxy}, {name: a, securityContext: {}}]}\n");
        let fields: Vec<_> = changed(&sent, &masked).into_iter().map(|it| it.field).collect();
        assert_eq!(fields, ["spec.containers[0].securityContext.procMount"]);
        assert_eq!(words_of(&fields[0]).collect::<Vec<_>>(), ["procMount"]);
        let annotation = "metadata.annotations.openshift.io/required-scc";
        assert_eq!(words_of(annotation).collect::<Vec<_>>(), ["required-scc"]);
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
