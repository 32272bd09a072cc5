//! The kubeconfig that points nestcheck at the proxy.

use std::{fs::OpenOptions, io::Write, net::SocketAddr, os::unix::fs::OpenOptionsExt, path::Path};

use serde_json::json;

use crate::Result;

/// Writes a kubeconfig without credentials: the proxy presents the administrator's. It speaks plain
/// HTTP, which nestcheck's connector takes and nobody but this machine can reach.
pub(crate) fn write(path: &Path, proxy: SocketAddr) -> Result<()> {
    let text = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "chaos", "cluster": { "server": format!("http://{proxy}") } }],
        "users": [{ "name": "chaos", "user": {} }],
        "contexts": [{ "name": "chaos", "context": { "cluster": "chaos", "user": "chaos" } }],
        "current-context": "chaos",
    });
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text.to_string().as_bytes())?;
    Ok(())
}
