//! The secret with which nodes pull the image of a run, copied into the run's namespaces.

use std::{collections::BTreeMap, fmt};

use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::{Api, Client, api::ObjectMeta};
use serde_json::{Value, json};

use crate::{
    Error, Result,
    base::redact::keep_secret,
    cluster::{call, is_forbidden, status_code},
};

/// The name of the copy.
pub const PULL_SECRET: &str = "nestcheck-pull-secret";

/// The type of the secret, and the key of its content.
const TYPE: &str = "kubernetes.io/dockerconfigjson";
const KEY: &str = ".dockerconfigjson";

/// The same of the older type, whose content is only what is in `auths`.
const OLD_TYPE: &str = "kubernetes.io/dockercfg";
const OLD_KEY: &str = ".dockercfg";

/// By which the DevWorkspace Operator gives a secret to the pods of workspaces (`pkg/constants`).
const OF_WORKSPACES: [&str; 2] =
    ["controller.devfile.io/devworkspace_pullsecret", "controller.devfile.io/watch-secret"];

/// The fields of a registry's entry that are secret.
const SECRET_FIELDS: [&str; 4] = ["auth", "password", "identitytoken", "registrytoken"];

const HINT: &str = "`kubectl create secret docker-registry --dry-run=client -o \
     jsonpath='{.data.\\.dockerconfigjson}' … | base64 -d` writes such a file";

/// Where the secret is in the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretName {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// The content of a secret of type `kubernetes.io/dockerconfigjson`. It is shown nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct PullSecret(Vec<u8>);

impl fmt::Debug for PullSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PullSecret([redacted])")
    }
}

impl PullSecret {
    /// Reads the content of a secret. From now on its credentials are shown nowhere.
    ///
    /// # Errors
    ///
    /// It is not the configuration of registries.
    pub fn parse(place: &str, content: &[u8]) -> Result<Self> {
        keep_secret(&to_base64(content));
        let config: Option<Value> = serde_json::from_slice(content).ok();
        let registries = config.as_ref().and_then(|config| config.get("auths")?.as_object());
        // The parser's words may quote a credential.
        let registries = registries.ok_or_else(|| {
            Error::usage(format!("`{place}` is not JSON with a field `auths`")).with_hint(HINT)
        })?;
        for registry in registries.values() {
            keep_credentials(registry);
        }
        Ok(Self(content.to_owned()))
    }

    /// Reads a secret of the cluster.
    ///
    /// # Errors
    ///
    /// It does not exist, the user may not read it, or it is of another type.
    pub async fn read(client: &Client, from: &SecretName) -> Result<Self> {
        let SecretName { namespace, name } = from;
        let place = format!("{namespace}/{name}");
        let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
        let what = format!("read Secret `{place}`");
        let found = call(&what, || async {
            match api.get_opt(name).await {
                Err(error) if is_forbidden(&error) => Ok(Err(())),
                Err(error) if status_code(&error) == Some(404) => Ok(Ok(None)),
                answer => answer.map(Ok),
            }
        });
        let Ok(found) = found.await? else {
            return Err(Error::infrastructure(format!("the user may not read Secret `{place}`"))
                .with_hint(format!(
                    "allow it with `kubectl create role` (verb `get`, resource `secrets`, name \
                     `{name}`) and `kubectl create rolebinding` in namespace {namespace}; or give \
                     a file with `--pull-secret FILE`"
                )));
        };
        let secret = found.ok_or_else(|| {
            Error::usage(format!("the cluster has no Secret `{place}`"))
                .with_hint(format!("`kubectl get secrets -n {namespace}` shows those that it has"))
        })?;
        let data = secret.data.unwrap_or_default();
        let of_type = secret.type_.unwrap_or_default();
        let (current, old) = (data.get(KEY), data.get(OLD_KEY));
        match (of_type.as_str(), current, old) {
            (TYPE, Some(content), _) => Self::parse(&place, &content.0),
            (OLD_TYPE, _, Some(content)) => Self::parse_old(&place, &content.0),
            _ => {
                Err(Error::usage(format!("Secret `{place}` is of type `{of_type}`, not `{TYPE}`"))
                    .with_hint("`kubectl create secret docker-registry` makes one of that type"))
            }
        }
    }

    /// Reads the content of a secret of the older type, as OpenShift makes one for each service account
    /// and its internal registry.
    fn parse_old(place: &str, content: &[u8]) -> Result<Self> {
        keep_secret(&to_base64(content));
        let registries: Option<Value> = serde_json::from_slice(content).ok();
        let config = json!({ "auths": registries });
        Self::parse(place, config.to_string().as_bytes())
    }

    /// The copy for a namespace of the run.
    pub(super) fn object(&self, mut metadata: ObjectMeta) -> Secret {
        let labels = metadata.labels.get_or_insert_default();
        labels.extend(OF_WORKSPACES.map(|label| (label.to_owned(), "true".to_owned())));
        Secret {
            metadata,
            type_: Some(TYPE.to_owned()),
            data: Some(BTreeMap::from([(KEY.to_owned(), ByteString(self.0.clone()))])),
            ..Secret::default()
        }
    }
}

/// Has the credentials for a registry shown nowhere, in each form that a message may have them in.
fn keep_credentials(registry: &Value) {
    let fields = SECRET_FIELDS.into_iter().filter_map(|field| registry.get(field)?.as_str());
    fields.for_each(keep_secret);
    let pair = registry.get("auth").and_then(from_base64).unwrap_or_default();
    if let Some((_, password)) = pair.split_once(':') {
        keep_secret(&pair);
        keep_secret(password);
    }
}

/// As the API writes bytes.
fn to_base64(bytes: &[u8]) -> String {
    let written = serde_json::to_value(ByteString(bytes.to_owned()));
    written.ok().and_then(|text| text.as_str().map(str::to_owned)).unwrap_or_default()
}

fn from_base64(text: &Value) -> Option<String> {
    let ByteString(bytes) = serde_json::from_value(text.clone()).ok()?;
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::redact::clean_text;

    #[test]
    fn the_credentials_are_shown_nowhere() {
        let auth = to_base64(b"robot:canary-of-a-password");
        let content = format!(
            r#"{{"auths": {{"host:5000": {{"auth": "{auth}", "identitytoken": "canary-token-1"}}}}}}"#
        );
        let secret = PullSecret::parse("test", content.as_bytes()).expect("it is good");
        let text = format!(
            "{secret:?} {auth} canary-of-a-password canary-token-1 {}",
            to_base64(content.as_bytes())
        );
        let cleaned = clean_text(&text);
        assert!(!cleaned.contains("canary") && !cleaned.contains(&auth), "{cleaned}");
        assert_eq!(cleaned.matches("[redacted]").count(), 5, "{cleaned}");
    }

    #[test]
    fn what_is_not_a_configuration_of_registries_is_refused_without_its_words() {
        for text in ["", "canary: text", r#"{"canary": 1}"#, r#"{"auths": "canary"}"#] {
            let error = PullSecret::parse("pull.json", text.as_bytes()).expect_err("it is bad");
            assert_eq!(error.kind().exit_code(), 2);
            let shown = format!("{error} {}", error.hint().unwrap_or_default());
            assert!(shown.contains("`pull.json`") && !shown.contains("canary"), "{shown}");
        }
    }

    #[test]
    fn a_secret_of_the_older_type_is_brought_into_the_new_form() {
        let old = br#"{"image-registry:5000": {"auth": "cm9ib3Q6Y2FuYXJ5"}}"#;
        let secret = PullSecret::parse_old("test", old).expect("it is good");
        let copy: Value = serde_json::from_slice(&secret.0).expect("it is JSON");
        assert_eq!(copy["auths"]["image-registry:5000"]["auth"], "cm9ib3Q6Y2FuYXJ5");
        assert!(PullSecret::parse_old("test", b"canary").is_err());
    }

    #[test]
    fn workspaces_get_the_copy_too() {
        let secret = PullSecret::parse("test", br#"{"auths": {}}"#).expect("it is good");
        let copy = secret.object(ObjectMeta::default());
        assert_eq!(copy.type_.as_deref(), Some(TYPE));
        let labels = copy.metadata.labels.unwrap_or_default();
        assert!(OF_WORKSPACES.iter().all(|label| labels[*label] == "true"));
    }
}
