//! Objects of the cluster that a run must leave as they are, before and after it.

use std::collections::BTreeMap;

use futures::future::join_all;
use kube::{
    Api, Client, ResourceExt,
    api::{ApiResource, DynamicObject, ListParams},
};
use serde_json::Value;

use super::{
    MANAGED_BY, MANAGER,
    audit::{Change, Comparison},
    scc,
};
use crate::{
    base::subset_diff,
    cluster::{call, describe, is_forbidden, status_code},
};

/// What was read of the cluster at one time.
#[derive(Clone, Debug, Default)]
pub struct Snapshot(BTreeMap<&'static str, Objects>);

/// The objects of a kind by name, or why they could not be read.
type Objects = Result<BTreeMap<String, DynamicObject>, Unread>;

/// Why objects could not be listed.
#[derive(Clone, Debug)]
enum Unread {
    /// The caller may not.
    Forbidden(String),
    /// The server broke or was lost.
    Failed(String),
}

/// The kinds that are compared: those that decide about nested containers and that a case or an
/// administrator's hint is about.
fn kinds(with_sccs: bool) -> Vec<(&'static str, ApiResource)> {
    let resource = |group: &str, version: &str, kind: &str, plural: &str| ApiResource {
        group: group.to_owned(),
        version: version.to_owned(),
        api_version: format!("{group}/{version}"),
        kind: kind.to_owned(),
        plural: plural.to_owned(),
    };
    let mut kinds = vec![
        ("RuntimeClass", resource("node.k8s.io", "v1", "RuntimeClass", "runtimeclasses")),
        ("CheCluster", resource("org.eclipse.che", "v2", "CheCluster", "checlusters")),
        (
            "DevWorkspaceOperatorConfig",
            resource(
                "controller.devfile.io",
                "v1alpha1",
                "DevWorkspaceOperatorConfig",
                "devworkspaceoperatorconfigs",
            ),
        ),
    ];
    if with_sccs {
        kinds.push((scc::KIND, scc::api_resource()));
    }
    kinds
}

impl Snapshot {
    /// Reads the objects, all kinds at once, SCCs among them where pods are
    /// admitted by these. A kind that the cluster does not serve has none.
    pub async fn take(admin: &Client, with_sccs: bool) -> Self {
        let kinds = kinds(with_sccs);
        let read = kinds.iter().map(|(kind, resource)| read(admin, kind, resource));
        Self(kinds.iter().map(|(kind, _)| *kind).zip(join_all(read).await).collect())
    }

    /// What is not as it was.
    #[must_use]
    pub fn compare(&self, after: &Self) -> Comparison {
        let mut found = Comparison::default();
        for (kind, before) in &self.0 {
            match (before, after.0.get(kind)) {
                (Ok(before), Some(Ok(after))) => {
                    found.compared += before.len();
                    found.changes.extend(changes(kind, before, after));
                }
                (Err(Unread::Forbidden(reason)), _) | (_, Some(Err(Unread::Forbidden(reason)))) => {
                    found.forbidden.push(reason.clone());
                }
                (Err(Unread::Failed(reason)), _) | (_, Some(Err(Unread::Failed(reason)))) => {
                    found.unread.push(reason.clone());
                }
                (_, None) => found.unread.push(format!("{kind} was not read again")),
            }
        }
        found
    }
}

async fn read(admin: &Client, kind: &str, resource: &ApiResource) -> Objects {
    let api: Api<DynamicObject> = Api::all_with(admin.clone(), resource);
    let what = format!("list objects of kind {kind}");
    let list = call(&what, || async {
        match api.list(&ListParams::default()).await {
            Err(error) if status_code(&error) == Some(404) => Ok(Ok(Vec::new())),
            Err(error) if is_forbidden(&error) => {
                Ok(Err(Unread::Forbidden(describe(&what, &error).to_string())))
            }
            other => other.map(|list| Ok(list.items)),
        }
    });
    list.await.map_err(|error| Unread::Failed(error.to_string()))?.map(by_name)
}

fn by_name(objects: Vec<DynamicObject>) -> BTreeMap<String, DynamicObject> {
    let others = objects
        .into_iter()
        .filter(|object| object.labels().get(MANAGED_BY).is_none_or(|manager| manager != MANAGER));
    // With its namespace: two of them may have objects of one name.
    let name = |object: &DynamicObject| match object.namespace() {
        Some(namespace) => format!("{namespace}/{}", object.name_any()),
        None => object.name_any(),
    };
    others.map(|object| (name(&object), object)).collect()
}

fn changes(
    kind: &str,
    before: &BTreeMap<String, DynamicObject>,
    after: &BTreeMap<String, DynamicObject>,
) -> Vec<Change> {
    let change = |name: &str, what: String, object: Option<&DynamicObject>| Change {
        object: format!("{kind} `{name}`"),
        what,
        is_ours: object.is_some_and(is_ours),
        manager: object.and_then(last_manager),
    };
    let mut changes = Vec::new();
    for (name, old) in before {
        match after.get(name) {
            None => changes.push(change(name, "it is gone".to_owned(), None)),
            Some(new) if old.uid() != new.uid() => {
                changes.push(change(name, "it was made anew".to_owned(), Some(new)));
            }
            Some(new) => {
                if let Some(what) = what_differs(old, new) {
                    changes.push(change(name, what, Some(new)));
                }
            }
        }
    }
    for (name, new) in after.iter().filter(|(name, _)| !before.contains_key(*name)) {
        changes.push(change(name, "it was not there before".to_owned(), Some(new)));
    }
    changes
}

/// How two states of an object differ, both ways; its status and its book-keeping aside.
fn what_differs(old: &DynamicObject, new: &DynamicObject) -> Option<String> {
    let (old, new) = (content(old), content(new));
    let mut fields = subset_diff::between(&old, &new);
    fields.extend(subset_diff::between(&new, &old));
    let reported: Vec<_> = fields.iter().map(|field| format!("`{}`", field.field)).collect();
    (!reported.is_empty()).then(|| format!("it differs in {}", reported.join(", ")))
}

fn content(object: &DynamicObject) -> Value {
    let mut data = object.data.clone();
    if let Value::Object(fields) = &mut data {
        fields.remove("status");
    }
    serde_json::json!({
        "metadata": {
            "labels": object.metadata.labels.clone(),
            "annotations": object.metadata.annotations.clone(),
            "finalizers": object.metadata.finalizers.clone(),
        },
        "content": data,
    })
}

/// Whether this program has written to an object; whoever came after it does not hide that.
fn is_ours(object: &DynamicObject) -> bool {
    let mut writers = object.metadata.managed_fields.iter().flatten();
    writers.any(|entry| entry.manager.as_deref() == Some("nestcheck"))
}

/// Who wrote an object last, its status aside.
fn last_manager(object: &DynamicObject) -> Option<String> {
    let fields = object.metadata.managed_fields.as_ref()?;
    let writers = fields.iter().filter(|entry| entry.subresource.is_none());
    writers.max_by_key(|entry| entry.time.as_ref().map(|time| time.0))?.manager.clone()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn class(handler: &str, manager: &str) -> DynamicObject {
        serde_json::from_value(json!({
            "apiVersion": "node.k8s.io/v1",
            "kind": "RuntimeClass",
            "metadata": {
                "name": "nested",
                "uid": "u",
                "resourceVersion": handler,
                "managedFields": [
                    {"manager": "first", "time": "2026-11-24T09:00:00Z"},
                    {"manager": manager, "time": "2026-11-24T09:30:00Z"},
                    {"manager": "status", "time": "2026-11-24T09:40:00Z", "subresource": "status"},
                ],
            },
            "handler": handler,
        }))
        .expect("it is an object")
    }

    fn snapshot(objects: Vec<DynamicObject>) -> Snapshot {
        Snapshot(BTreeMap::from([("RuntimeClass", Ok(by_name(objects)))]))
    }

    #[test]
    fn what_is_as_it_was_is_no_change() {
        let before = snapshot(vec![class("runc", "kubectl")]);
        let found = before.compare(&before);
        assert_eq!((found.compared, found.changes.len()), (1, 0));
    }

    #[test]
    fn a_change_names_object_field_and_writer() {
        let before = snapshot(vec![class("runc", "kubectl")]);
        let found = before.compare(&snapshot(vec![class("crun", "nestcheck")]));
        let [change] = found.changes.as_slice() else { panic!("one change: {found:?}") };
        assert_eq!(change.object, "RuntimeClass `nested`");
        assert!(change.what.contains("content.handler"), "{change:?}");
        assert_eq!(change.manager.as_deref(), Some("nestcheck"));
    }

    #[test]
    fn what_came_or_went_is_a_change_and_what_other_runs_made_is_not() {
        let empty = snapshot(Vec::new());
        let one = snapshot(vec![class("runc", "kubectl")]);
        assert_eq!(empty.compare(&one).changes.len(), 1);
        assert_eq!(one.compare(&empty).changes[0].what, "it is gone");
        let mut ours = class("runc", "nestcheck");
        ours.metadata.labels = Some(BTreeMap::from([(MANAGED_BY.into(), MANAGER.into())]));
        assert_eq!(empty.compare(&snapshot(vec![ours])).changes, []);
    }

    #[test]
    fn what_the_caller_may_not_list_is_reported_apart_from_what_broke() {
        let unread = |why| Snapshot(BTreeMap::from([("RuntimeClass", Err(why))]));
        let before = snapshot(Vec::new());
        let found = before.compare(&unread(Unread::Forbidden("no".into())));
        assert_eq!((found.forbidden.len(), found.unread.len()), (1, 0));
        let found = unread(Unread::Failed("lost".into())).compare(&before);
        assert_eq!((found.forbidden.len(), found.unread.len()), (0, 1));
    }

    #[test]
    fn a_later_writer_does_not_hide_this_program() {
        let found =
            snapshot(vec![class("runc", "kubectl")]).compare(&snapshot(vec![class("crun", "x")]));
        assert!(!found.changes[0].is_ours);
        let mut written = class("crun", "nestcheck");
        if let Some(entries) = &mut written.metadata.managed_fields {
            entries.push(
                serde_json::from_value(json!({
                    "manager": "operator", "time": "2026-11-24T10:00:00Z",
                }))
                .expect("an entry"),
            );
        }
        let found = snapshot(vec![class("runc", "kubectl")]).compare(&snapshot(vec![written]));
        assert!(found.changes[0].is_ours);
        assert_eq!(found.changes[0].manager.as_deref(), Some("operator"));
    }
}
