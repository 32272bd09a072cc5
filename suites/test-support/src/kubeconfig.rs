//! Kubeconfigs, good ones and broken ones. JSON is YAML too.

use std::{fs, path::Path};

use serde_json::{Value, json};

/// A kubeconfig with one cluster, one user and one context.
#[derive(Clone)]
#[must_use]
pub struct Kubeconfig(Value);

impl Kubeconfig {
    /// One for a server, with a token, and with the image that local clusters have.
    pub fn to(server: &str) -> Self {
        let image = json!([{"name": "nestcheck", "extension": {"image": "localhost/workspace:1"}}]);
        Self(json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": {"server": server, "extensions": image}}],
            "users": [{"name": "u", "user": {"token": "made-up"}}],
            "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "here",
        }))
    }

    /// An existing one.
    pub fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path)
            .unwrap_or_else(|error| panic!("kubeconfig {}: {error}", path.display()));
        let parsed = kube::config::Kubeconfig::from_yaml(&text).expect("it is a kubeconfig");
        Self(serde_json::to_value(parsed).expect("a kubeconfig is JSON too"))
    }

    /// Sets or removes (null) a field, such as `/clusters/0/cluster/server`.
    pub fn with(mut self, pointer: &str, value: Value) -> Self {
        let (parent, field) = pointer.rsplit_once('/').expect("a pointer has a slash");
        let parent = self.0.pointer_mut(parent).and_then(Value::as_object_mut);
        let parent = parent.expect("the parent is an object");
        if value.is_null() {
            parent.remove(field);
        } else {
            parent.insert(field.to_owned(), value);
        }
        self
    }

    /// A field as it is.
    pub fn object(&self, pointer: &str) -> Value {
        self.0.pointer(pointer).cloned().unwrap_or_default()
    }

    /// The text of a field.
    pub fn value(&self, pointer: &str) -> String {
        let value = self.0.pointer(pointer).and_then(Value::as_str);
        value.unwrap_or_else(|| panic!("the kubeconfig has no {pointer}")).to_owned()
    }

    /// With another user, who has only this token.
    pub fn with_token(self, token: &str) -> Self {
        self.with("/users/0/user", json!({ "token": token }))
    }

    /// Its text.
    pub fn text(&self) -> String {
        self.0.to_string()
    }
}
