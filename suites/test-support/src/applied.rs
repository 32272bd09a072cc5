//! What `kubectl apply -f` would make of a text.

use std::time::Duration;

use harness::base::manifest;
use serde_json::Value;

use crate::Cluster;

/// Objects that end with this.
pub struct Applied<'a> {
    cluster: &'a Cluster,
    paths: Vec<String>,
}

impl<'a> Applied<'a> {
    /// Creates each object of a YAML text, for as long as the guard lives. What a test that was cut
    /// off has left of them is replaced.
    pub fn create(cluster: &'a Cluster, yaml: &str) -> Self {
        let mut applied = Self { cluster, paths: Vec::new() };
        for object in documents(yaml) {
            let (collection, path) = paths(&object);
            cluster.delete(&path, Duration::from_secs(10));
            applied.paths.push(path);
            cluster.post(&collection, &object);
        }
        applied
    }
}

impl Drop for Applied<'_> {
    fn drop(&mut self) {
        for path in self.paths.iter().rev() {
            self.cluster.delete(path, Duration::from_secs(10));
        }
    }
}

/// The objects of a YAML text; a part that only has comments is none.
pub fn documents(yaml: &str) -> Vec<Value> {
    let documents = yaml
        .split("---\n")
        .map(|part| manifest::parse::<Value>("the printed objects", part).expect("it is YAML"));
    documents.filter(|object| !object.is_null()).collect()
}

fn paths(object: &Value) -> (String, String) {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
    let version = text("/apiVersion").expect("an object has a version");
    let root = if version == "v1" { "/api" } else { "/apis" };
    let namespace = text("/metadata/namespace")
        .map_or_else(String::new, |namespace| format!("/namespaces/{namespace}"));
    let kind = text("/kind").expect("an object has a kind").to_lowercase();
    let plural = match kind.strip_suffix('y') {
        Some(stem) => format!("{stem}ies"),
        None => format!("{kind}s"),
    };
    let collection = format!("{root}/{version}{namespace}/{plural}");
    let name = text("/metadata/name").expect("an object has a name");
    (collection.clone(), format!("{collection}/{name}"))
}
