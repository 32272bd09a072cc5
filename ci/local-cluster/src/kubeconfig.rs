//! Kubeconfig files. They are JSON, which every reader of YAML takes.

use k8s_openapi::ByteString;
use serde_json::json;

use crate::{image, pki::Identity};

/// A kubeconfig with one context, called as the cluster.
pub fn render(
    cluster: &str,
    server: &str,
    authority: &str,
    user: &str,
    identity: &Identity,
) -> String {
    // Binary data is base64 in Kubernetes' JSON, which is what this type does.
    let data = |text: &str| ByteString(text.as_bytes().to_vec());
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": cluster, "cluster": {
            "server": server,
            "certificate-authority-data": data(authority),
            // nestcheck takes the image of a cluster from here, if nobody names one.
            "extensions": [{"name": "nestcheck", "extension": {"image": image::WORKSPACE}}],
        }}],
        "users": [{"name": user, "user": {
            "client-certificate-data": data(&identity.certificate),
            "client-key-data": data(&identity.key),
        }}],
        "contexts": [{"name": cluster, "context": {"cluster": cluster, "user": user}}],
        "current-context": cluster,
    });
    format!("{config:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_base64_and_the_context_is_current() {
        let identity = Identity { certificate: "foobar".into(), key: "fo".into() };
        let text = render("lab", "https://10.99.1.2:6443", "f", "admin", &identity);
        let config: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(config["users"][0]["user"]["client-certificate-data"], "Zm9vYmFy");
        assert_eq!(config["users"][0]["user"]["client-key-data"], "Zm8=");
        assert_eq!(config["current-context"], "lab");
        let extension = &config["clusters"][0]["cluster"]["extensions"][0];
        assert_eq!(extension["extension"]["image"], "localhost/workspace:1");
    }
}
