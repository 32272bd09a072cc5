//! From a kubeconfig to clients.

use std::path::{Path, PathBuf};

use http::{HeaderValue, header::USER_AGENT};
use kube::{
    Client, Config,
    config::{AuthInfo, KubeConfigOptions, Kubeconfig, KubeconfigError},
};

use super::client;
use crate::{Error, Result, error::chain};

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
        self.config.cluster_url.to_string().trim_end_matches('/').to_owned()
    }

    /// A client for the same server that presents a bearer token and nothing of the
    /// administrator's.
    ///
    /// # Errors
    ///
    /// A certificate authority that can't be used.
    pub fn as_token(&self, token: String) -> Result<Client> {
        let mut config = self.config.clone();
        config.auth_info = AuthInfo { token: Some(token.into()), ..AuthInfo::default() };
        client_of(config)
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
        other => (chain(other), "check that the file is a kubeconfig in YAML"),
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
