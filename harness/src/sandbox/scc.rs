//! The SCC (SCC) that a run brings along where pods are admitted by them:
//! OpenShift and MicroShift (openshift/api, `security/v1`).
//!
//! It is applied under a name of the run's own, without users, groups and priority, so that it
//! changes nothing for anybody else: a namespaced RoleBinding alone grants its use.

use kube::{
    api::{ApiResource, DynamicObject},
    core::GroupVersionKind,
};
use serde_json::{Map, Value, json};

use crate::{
    Error, Result,
    base::{
        manifest,
        subset_diff::{self, Difference},
    },
    sandbox::labels,
};

const API_VERSION: &str = "security.openshift.io/v1";
pub(super) const KIND: &str = "SecurityContextConstraints";

/// How the API serves SCCs.
#[must_use]
pub fn api_resource() -> ApiResource {
    let kind = GroupVersionKind::gvk("security.openshift.io", "v1", KIND);
    ApiResource::from_gvk_with_plural(&kind, "securitycontextconstraints")
}

/// An SCC as it is to be applied; its name does not matter.
#[derive(Clone, Debug, PartialEq)]
pub struct Scc {
    fields: Map<String, Value>,
}

impl Scc {
    /// Reads an SCC from YAML. `file` names the text in errors.
    ///
    /// # Errors
    ///
    /// Text that is not YAML, or another kind of object.
    pub fn parse(file: &str, text: &str) -> Result<Self> {
        Self::of_object(file, manifest::parse(file, text)?)
    }

    /// Reads an SCC from an object. `file` names it in errors.
    ///
    /// # Errors
    ///
    /// Another kind of object.
    pub fn of_object(file: &str, object: Value) -> Result<Self> {
        let Value::Object(mut fields) = object else {
            return Err(not_a_scc(file, "it is not an object"));
        };
        for (field, expected) in [("apiVersion", API_VERSION), ("kind", KIND)] {
            if fields.get(field).and_then(Value::as_str) != Some(expected) {
                return Err(not_a_scc(file, &format!("its `{field}` is not `{expected}`")));
            }
        }
        for field in ["apiVersion", "kind", "metadata", "users", "groups", "priority"] {
            fields.remove(field);
        }
        default_volumes(&mut fields);
        Ok(Self { fields })
    }

    /// The object to apply, with the run's labels.
    pub(super) fn object(&self, name: &str, run: &str) -> DynamicObject {
        let mut object = DynamicObject::new(name, &api_resource());
        object.metadata.labels = Some(labels(run));
        let mut fields = self.fields.clone();
        fields.insert("priority".to_owned(), Value::Null);
        fields.insert("users".to_owned(), json!([]));
        fields.insert("groups".to_owned(), json!([]));
        object.data = Value::Object(fields);
        object
    }

    /// Where an object is not what this one says. Fields that this one does not set are not
    /// compared: the server fills in defaults.
    #[must_use]
    pub fn differences(&self, object: &Value) -> Vec<Difference> {
        subset_diff::between(&Value::Object(self.fields.clone()), object)
    }

    /// A field of it, such as `requiredDropCapabilities`.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&Value> {
        self.fields.get(name)
    }
}

/// Lets `volumes` list host paths exactly where `allowHostDirVolumePlugin` allows them, as the API
/// server does with what it stores (openshift/kubernetes,
/// `customresourcevalidation/securitycontextconstraints`): that is no field that got lost.
fn default_volumes(fields: &mut Map<String, Value>) {
    let allowed = fields.get("allowHostDirVolumePlugin") == Some(&Value::Bool(true));
    let Some(Value::Array(volumes)) = fields.get_mut("volumes") else { return };
    if volumes.iter().any(|volume| volume == "*") {
        return;
    }
    let is_listed = volumes.iter().any(|volume| volume == "hostPath");
    if allowed && !is_listed {
        volumes.push(json!("hostPath"));
    } else if !allowed {
        volumes.retain(|volume| volume != "hostPath");
    }
}

fn not_a_scc(file: &str, why: &str) -> Error {
    Error::usage(format!("`{file}` is not an SCC: {why}"))
        .with_hint(format!("give an object of kind `{KIND}` of `{API_VERSION}`"))
}

/// The run's SCC as the server stores it.
#[derive(Clone, Debug)]
pub struct AppliedScc {
    /// Its name, which is the run's own.
    pub name: String,
    /// Where the server stored something else than was applied: a field that its schema does not
    /// have is dropped without a word.
    pub differences: Vec<Difference>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "apiVersion: security.openshift.io/v1\nkind: SecurityContextConstraints\n\
        metadata: {name: mine}\npriority: 10\nusers: [system:admin]\nuserNamespaceLevel: \
        RequirePodLevel\nallowedCapabilities: [SETUID, SETGID]\nrequiredDropCapabilities: null\n\
        runAsUser: {type: MustRunAs, uid: 1000}\n";

    fn scc() -> Scc {
        Scc::parse("scc.yaml", TEXT).expect("it is one")
    }

    #[test]
    fn it_is_applied_for_nobody_and_without_priority() {
        let object = scc().object("nestcheck-abc", "abc");
        assert_eq!(object.metadata.name.as_deref(), Some("nestcheck-abc"));
        assert_eq!(object.metadata.labels.unwrap_or_default()["nestcheck/run"], "abc");
        assert_eq!(object.data["users"], json!([]));
        assert_eq!(object.data["priority"], Value::Null);
        assert_eq!(object.data["runAsUser"]["uid"], json!(1000));
    }

    #[test]
    fn host_paths_are_volumes_where_they_are_allowed() {
        let text = format!("{TEXT}allowHostDirVolumePlugin: true\nvolumes: [secret]\n");
        let scc = Scc::parse("scc.yaml", &text).expect("it is one");
        assert_eq!(scc.field("volumes"), Some(&json!(["secret", "hostPath"])));
        let text = format!("{TEXT}volumes: [secret, hostPath]\n");
        let scc = Scc::parse("scc.yaml", &text).expect("it is one");
        assert_eq!(scc.field("volumes"), Some(&json!(["secret"])));
    }

    #[test]
    fn another_kind_of_object_is_refused_by_name() {
        let error = Scc::parse("pod.yaml", "apiVersion: v1\nkind: Pod\n").expect_err("a pod");
        assert!(error.to_string().contains("`pod.yaml`"), "{error}");
        assert!(Scc::parse("x.yaml", "- 1\n").is_err());
    }
}
