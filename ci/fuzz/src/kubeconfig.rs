//! Kubeconfigs.

use std::{fs, io::ErrorKind};

use harness::cluster::{Cluster, ConnectOptions};
use kube::config::Kubeconfig;
use secrecy::ExposeSecret;

use crate::assert_harmless;

/// How a secret of the corpus begins. Other words may be in an error for another reason.
const CANARY: &str = "canary-";

/// Connects with a kubeconfig, which sends no request. An error shows no secret of it, whether the
/// file can be parsed or not.
pub fn kubeconfig(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let parsed = Kubeconfig::from_yaml(&text).ok();
    // nestcheck would start programs and read files that a kubeconfig names.
    if parsed.as_ref().is_some_and(reaches_out) {
        return;
    }
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    match fs::write(file.path(), data) {
        Err(error) if error.kind() == ErrorKind::StorageFull => return,
        written => written.expect("a temporary file"),
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let options =
        ConnectOptions { kubeconfig: Some(file.path().to_owned()), ..ConnectOptions::default() };
    let connected = runtime.expect("a runtime").block_on(Cluster::connect(&options));
    let shown = match connected {
        Ok(cluster) => cluster.server(),
        Err(error) => format!("{error}\n{}", error.hint().unwrap_or_default()),
    };
    assert_harmless(&shown);
    for secret in secrets(parsed.as_ref(), &text) {
        assert!(!shown.contains(&secret), "it shows the secret `{secret}`: {shown}");
    }
}

fn reaches_out(kubeconfig: &Kubeconfig) -> bool {
    let users = kubeconfig.auth_infos.iter().filter_map(|user| user.auth_info.as_ref());
    let clusters = kubeconfig.clusters.iter().filter_map(|cluster| cluster.cluster.as_ref());
    users.into_iter().any(|user| {
        user.exec.is_some()
            || user.auth_provider.is_some()
            || user.token_file.is_some()
            || user.client_certificate.is_some()
            || user.client_key.is_some()
    }) || clusters.into_iter().any(|cluster| cluster.certificate_authority.is_some())
}

/// The secrets of a kubeconfig. Where it cannot be parsed, words that begin as those of the corpus.
fn secrets(parsed: Option<&Kubeconfig>, text: &str) -> Vec<String> {
    let is_word = |character: char| character.is_ascii_alphanumeric() || character == '-';
    let words = || text.split(|character| !is_word(character)).map(str::to_owned).collect();
    let mut secrets: Vec<String> = parsed.map_or_else(words, known_secrets);
    secrets.retain(|secret| secret.starts_with(CANARY) && secret.len() > CANARY.len());
    secrets
}

fn known_secrets(kubeconfig: &Kubeconfig) -> Vec<String> {
    let users = kubeconfig.auth_infos.iter().filter_map(|user| user.auth_info.as_ref());
    let of_users = users
        .flat_map(|user| [&user.token, &user.password, &user.client_key_data])
        .flatten()
        .map(|secret| secret.expose_secret().trim().to_owned());
    let clusters = kubeconfig.clusters.iter().filter_map(|cluster| cluster.cluster.as_ref());
    let addresses = clusters.flat_map(|cluster| [&cluster.server, &cluster.proxy_url]).flatten();
    of_users.chain(addresses.filter_map(|address| password_of(address))).collect()
}

/// The password in an address. Without an `@`, what follows a colon is a port.
fn password_of(address: &str) -> Option<String> {
    let (_, rest) = address.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let (user, _) = authority.rsplit_once('@')?;
    user.split_once(':').map(|(_, password)| password.trim().to_owned())
}
