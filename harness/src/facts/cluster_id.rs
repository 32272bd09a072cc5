//! What identifies a cluster whatever its address is: the uid of its namespace `kube-system`, which
//! exists as long as the cluster does.

use serde_json::Value;

use super::{
    Fact,
    lookup::{Lookup, text},
};

/// A role has the permission for it already: a run gets its own namespaces.
pub(super) const PATH: &str = "/api/v1/namespaces/kube-system";

/// What the request is about, in messages.
pub(super) const WHAT: &str = "the namespace `kube-system`";

pub(super) fn cluster_id(namespace: &Lookup<Value>) -> Fact<String> {
    namespace.fact(WHAT, |namespace| match text(namespace, "/metadata/uid") {
        Some(uid) => Fact::known(uid.to_owned(), format!("uid of {WHAT}")),
        None => Fact::unknown(format!("{WHAT} has no uid")),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_id_is_the_uid_of_the_namespace() {
        let found = |object: Value| cluster_id(&Lookup::Found(object));
        let fact = found(json!({"metadata": {"uid": "7c0c"}}));
        assert_eq!(fact.value().map(String::as_str), Some("7c0c"));
        assert!(found(json!({})).why_unknown().is_some());
        assert_eq!(cluster_id(&Lookup::Failed("403".into())).why_unknown(), Some("403"));
    }
}
