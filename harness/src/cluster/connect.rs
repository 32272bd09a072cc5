//! From a kubeconfig to clients.

use std::{
    fs,
    path::{Path, PathBuf},
};

use http::{HeaderValue, header::USER_AGENT};
use kube::{
    Client, Config,
    config::{AuthInfo, KubeConfigOptions, Kubeconfig, KubeconfigError},
};
use secrecy::ExposeSecret;

use super::client;
use crate::{
    Error, Result,
    base::{
        error::chain,
        redact::{clean_text, keep_secret},
    },
};

/// Which cluster to talk to, and as whom.
#[derive(Clone, Debug, Default)]
pub struct ConnectOptions {
    /// The kubeconfig; without it `KUBECONFIG` or `~/.kube/config`.
    pub kubeconfig: Option<PathBuf>,
    /// The context in it; without it the current one.
    pub context: Option<String>,
}

/// A cluster and the administrator's client for it.
#[derive(Clone)]
pub struct Cluster {
    config: Config,
    admin: Client,
}

impl Cluster {
    /// Reads the kubeconfig and makes a client. No request is made yet.
    ///
    /// # Errors
    ///
    /// A kubeconfig that can't be read or used, or a context that it does not have.
    pub async fn connect(options: &ConnectOptions) -> Result<Self> {
        let kubeconfig = read_kubeconfig(options.kubeconfig.as_deref())?;
        keep_secrets(&kubeconfig);
        let known = known_contexts(&kubeconfig);
        let place = place(options.kubeconfig.as_deref());
        let selected = KubeConfigOptions { context: options.context.clone(), ..Default::default() };
        let config = Config::from_custom_kubeconfig(kubeconfig, &selected)
            .await
            .map_err(|error| explain_config(&error, &place, &known))?;
        Self::from_config(config).map_err(|error| {
            Error::usage(format!("failed to use kubeconfig {place}: {error}"))
                .with_hint("check its certificates and keys")
        })
    }

    /// Makes the clients of a ready configuration.
    ///
    /// # Errors
    ///
    /// Certificates or keys that can't be used.
    pub fn from_config(mut config: Config) -> Result<Self> {
        // A text without a certificate in it is read as a list of none, and no server fits that.
        if config.root_cert.as_ref().is_some_and(Vec::is_empty) {
            return Err(Error::usage("its certificate authority has no certificate in it"));
        }
        keep_secrets_of(&config);
        // Our own retries have a deadline and show in the log; the client's may take 1000 s.
        config.default_retry = false;
        let agent = concat!("nestcheck/", env!("CARGO_PKG_VERSION"));
        config.headers.push((USER_AGENT, HeaderValue::from_static(agent)));
        let admin = client_of(config.clone())?;
        Ok(Self { config, admin })
    }

    /// The administrator's client: it provisions, and never runs a case.
    #[must_use]
    pub fn admin(&self) -> &Client {
        &self.admin
    }

    /// The API server's address, for messages.
    #[must_use]
    pub fn server(&self) -> String {
        clean_text(self.config.cluster_url.to_string().trim_end_matches('/'))
    }

    /// A client for the same server that presents a bearer token and nothing of the
    /// administrator's.
    ///
    /// # Errors
    ///
    /// A certificate authority that can't be used.
    pub fn as_token(&self, token: String) -> Result<Client> {
        keep_secret(&token);
        let mut config = self.config.clone();
        config.auth_info = AuthInfo { token: Some(token.into()), ..AuthInfo::default() };
        client_of(config)
    }
}

/// Has the secrets of a kubeconfig shown nowhere, those of users and clusters that are not used too:
/// an error may quote the file.
fn keep_secrets(kubeconfig: &Kubeconfig) {
    for user in kubeconfig.auth_infos.iter().filter_map(|user| user.auth_info.as_ref()) {
        keep_secrets_of_user(user);
    }
    let clusters = kubeconfig.clusters.iter().filter_map(|cluster| cluster.cluster.as_ref());
    for address in clusters.flat_map(|cluster| [&cluster.server, &cluster.proxy_url]).flatten() {
        keep_password(address);
    }
}

fn keep_secrets_of_user(user: &AuthInfo) {
    let secrets = [&user.token, &user.password, &user.client_key_data];
    secrets.into_iter().flatten().for_each(|secret| keep_secret(secret.expose_secret()));
    // What plugins and providers are told and have stored.
    let reported = user.exec.iter().flat_map(|exec| exec.env.iter().flatten());
    reported.filter_map(|variable| variable.get("value")).for_each(|value| keep_secret(value));
    let stored = user.auth_provider.iter().flat_map(|provider| &provider.config);
    let is_token = |name: &str| name.ends_with("token") || name.ends_with("secret");
    stored.filter(|(name, _)| is_token(name)).for_each(|(_, value)| keep_secret(value));
    // The file is read again by whoever uses it; one that can't be read is told of there.
    if let Some(token) = user.token_file.as_ref().and_then(|path| fs::read_to_string(path).ok()) {
        keep_secret(&token);
    }
}

/// As [`keep_secrets`], of what a kubeconfig and the environment came to.
fn keep_secrets_of(config: &Config) {
    keep_secrets_of_user(&config.auth_info);
    for address in [Some(&config.cluster_url), config.proxy_url.as_ref()].into_iter().flatten() {
        keep_password(&address.to_string());
    }
}

/// Has the password of an address, as in `https://user:password@host`, shown nowhere.
fn keep_password(address: &str) {
    let authority = address.split_once("://").map_or(address, |(_, rest)| rest);
    let authority = authority.split('/').next().unwrap_or_default();
    let password = authority.rsplit_once('@').and_then(|(user, _)| user.split_once(':'));
    if let Some((_, password)) = password {
        keep_secret(password);
    }
}

fn client_of(config: Config) -> Result<Client> {
    client::client_of(config).map_err(|error| Error::usage(chain(&error)))
}

fn read_kubeconfig(path: Option<&Path>) -> Result<Kubeconfig> {
    let read = match path {
        Some(path) => Kubeconfig::read_from(path),
        None => Kubeconfig::read(),
    };
    read.map_err(|error| explain_file(&error, &place(path)))
}

/// Where the kubeconfig comes from, for messages.
fn place(path: Option<&Path>) -> String {
    match path {
        Some(path) => format!("`{}`", path.display()),
        None => "`$KUBECONFIG` or `~/.kube/config`".to_owned(),
    }
}

/// Why a text is no kubeconfig: the parser's words only where they tell nothing of the file. They
/// quote the line, or the value that has the wrong type, which may be a token without its name.
fn unreadable(problem: &str) -> String {
    let is_place = |words: &[&str]| {
        let number = |word: &str| word.trim_end_matches([',', ':', ';']).parse::<u32>().is_ok();
        matches!(words, ["line", line, "column", column] if number(line) && number(column))
    };
    let words: Vec<_> = problem.split_whitespace().collect();
    match words.windows(4).find(|words| is_place(words)) {
        Some(place) => {
            let place = place.join(" ");
            let place = place.trim_end_matches([',', ':', ';']);
            format!("it is not the YAML of a kubeconfig at {place}")
        }
        None => "it is not the YAML of a kubeconfig".to_owned(),
    }
}

fn explain_file(error: &KubeconfigError, place: &str) -> Error {
    let (what, hint) = match error {
        KubeconfigError::ReadConfig(cause, path) => {
            return Error::usage(format!(
                "failed to read kubeconfig `{}`: {cause}",
                path.display()
            ))
            .with_hint("give a readable file with `--kubeconfig FILE`");
        }
        KubeconfigError::FindPath => {
            ("no kubeconfig found".to_owned(), "give one with `--kubeconfig FILE`")
        }
        other => (unreadable(&chain(other)), "check that the file is a kubeconfig in YAML"),
    };
    Error::usage(format!("failed to parse kubeconfig {place}: {what}")).with_hint(hint)
}

fn known_contexts(kubeconfig: &Kubeconfig) -> String {
    let names: Vec<_> =
        kubeconfig.contexts.iter().map(|context| format!("`{}`", context.name)).collect();
    names.join(", ")
}

fn explain_config(error: &KubeconfigError, place: &str, known: &str) -> Error {
    let contexts = if known.is_empty() {
        "it has no contexts at all".to_owned()
    } else {
        format!("its contexts are {known}")
    };
    match error {
        KubeconfigError::LoadContext(name) => {
            Error::usage(format!("kubeconfig {place} has no context `{name}`")).with_hint(contexts)
        }
        KubeconfigError::CurrentContextNotSet => {
            Error::usage(format!("kubeconfig {place} has no current context"))
                .with_hint(format!("choose one with `--context NAME`; {contexts}"))
        }
        KubeconfigError::LoadClusterOfContext(name) => {
            Error::usage(format!("kubeconfig {place} has no cluster `{name}`"))
                .with_hint("its context names that cluster; choose another with `--context NAME`")
        }
        other => Error::usage(format!("failed to use kubeconfig {place}: {}", chain(other)))
            .with_hint("check the cluster and user of its context"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parser_that_quotes_the_file_is_not_quoted() {
        let quoting = "failed to parse kubeconfig YAML: error: line 1 column 33: expected string \
                       scalar --> <input>:1:33 | 1 | token: [canary]";
        assert_eq!(unreadable(quoting), "it is not the YAML of a kubeconfig at line 1 column 33");
        assert_eq!(
            unreadable("invalid type: string \"canary\""),
            "it is not the YAML of a kubeconfig"
        );
    }
}
