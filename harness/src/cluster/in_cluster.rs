//! The cluster of the pod in which nestcheck runs.

use std::path::Path;

use kube::Config;

use crate::{Error, base::error::chain};

/// Where a pod has the token of its service account.
const TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// Where it has the name of its namespace.
const NAMESPACE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

/// The variables with which a kubelet says where the API server is.
const VARIABLES: [&str; 2] = ["KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"];

/// Whether this process runs in a pod.
#[must_use]
pub fn is_in_pod() -> bool {
    std::env::var_os(VARIABLES[0]).is_some_and(|host| !host.is_empty())
}

/// The namespace of the pod in which this process runs; none where it is in no pod, or the pod mounts no
/// token.
#[must_use]
pub fn namespace_of_pod() -> Option<String> {
    let read = |()| std::fs::read_to_string(NAMESPACE).ok();
    let text = is_in_pod().then_some(()).and_then(read)?;
    Some(text.trim().to_owned()).filter(|name| !name.is_empty())
}

/// Reads how a pod reaches its API server and who it is there.
///
/// # Errors
///
/// No kubeconfig at `place`, and no pod with a token either.
pub(super) fn config(place: &str) -> Result<Config, Error> {
    let without = |reason: String| {
        Error::usage(format!("no kubeconfig at {place}, and {reason}")).with_hint(
            "give a kubeconfig with `--kubeconfig FILE`, or run in a pod that mounts the token of \
             its service account (`automountServiceAccountToken: true`)",
        )
    };
    if !is_in_pod() {
        return Err(without("this is not a pod".to_owned()));
    }
    if !Path::new(TOKEN).exists() {
        return Err(without(format!("this pod has no token at `{TOKEN}`")));
    }
    Config::incluster().map_err(|error| {
        without(format!("this pod cannot use its service account: {}", chain(&error)))
    })
}
