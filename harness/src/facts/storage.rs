//! The default `StorageClass`: a PVC without a class gets it.

use serde_json::Value;

use super::{
    Fact,
    lookup::{Lookup, items, text},
};
use crate::cluster::permission::{Need, Rule, Rules, cluster};

/// Roles list these permissions with those of [`super::webhook`].
pub(super) const WHY: &str = "Reads the StorageClasses for workspaces, and the webhooks that may change or refuse their \
     pods.";

pub(super) const PERMISSIONS: Rules = &[Rule {
    need: Need::Read,
    why: WHY,
    verbs: &["list"],
    targets: &[cluster("storage.k8s.io", "storageclasses")],
}];

/// What marks it (kubernetes, `staging/src/k8s.io/api/storage`, and its name in beta).
const MARKS: [&str; 2] = [
    "storageclass.kubernetes.io/is-default-class",
    "storageclass.beta.kubernetes.io/is-default-class",
];

pub(super) fn default_class(classes: &Lookup<Value>) -> Fact<Option<String>> {
    classes.fact("StorageClasses", |classes| {
        // Of several the API server takes the newest, so the name is for people only.
        let default = items(classes, "/items").find(|class| is_default(class));
        let name = default.and_then(|class| text(class, "/metadata/name"));
        Fact::known(name.map(str::to_owned), "StorageClasses")
    })
}

fn is_default(class: &Value) -> bool {
    let annotation = |name: &str| class["metadata"]["annotations"][name].as_str();
    MARKS.iter().any(|mark| annotation(mark) == Some("true"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_default_class_is_the_marked_one() {
        let class = |name: &str, mark: &str, value: &str| json!({"metadata": {"name": name, "annotations": {mark: value}}});
        let other = class("slow", MARKS[0], "false");
        for (classes, name) in [
            (json!([other, class("fast", MARKS[0], "true")]), Some("fast")),
            (json!([other, class("old", MARKS[1], "true")]), Some("old")),
            (json!([other]), None),
            (json!([]), None),
        ] {
            let fact = default_class(&Lookup::Found(json!({"items": classes})));
            assert_eq!(fact.value(), Some(&name.map(str::to_owned)));
        }
        assert_eq!(default_class(&Lookup::Failed("403".into())).why_unknown(), Some("403"));
    }
}
