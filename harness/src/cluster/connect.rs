//! From a kubeconfig, or from the pod around this process, to clients.

use std::{
    env, fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::Arc,
};

use data_encoding::BASE64;
use http::{HeaderValue, header::USER_AGENT};
use kube::{
    Client, Config,
    config::{AuthInfo, KubeConfigOptions, Kubeconfig, KubeconfigError},
};
use secrecy::ExposeSecret;

use super::{
    client,
    exec_plugin::{Credential, Plugin},
    in_cluster,
    proxy::{self, Proxy},
    tokens::{Source, Tokens},
};
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
    /// The kubeconfig; without it `KUBECONFIG` or `~/.kube/config`, and where there is none the
    /// service account of the pod.
    pub kubeconfig: Option<PathBuf>,
    /// The context in it; without it the current one.
    pub context: Option<String>,
    /// The user to act as, if it is not the user of the kubeconfig.
    pub impersonate: Option<String>,
    /// The groups of that user.
    pub impersonate_groups: Vec<String>,
}

/// The extension of a cluster in a kubeconfig, such as
/// `{"name": "nestcheck", "extension": {"image": "localhost/workspace:1"}}`: whoever makes a cluster
/// for tests says there which workspace image it has.
const EXTENSION: &str = "nestcheck";

/// A cluster and the administrator's client for it.
#[derive(Clone)]
pub struct Cluster {
    pub(super) config: Config,
    pub(super) proxy: Option<Arc<Proxy>>,
    pub(super) admin: Client,
    pub(super) image: Option<String>,
}

impl Cluster {
    /// Finds out where the cluster is and who asks it, and makes a client. No request is made yet,
    /// but a plugin of the kubeconfig may make its own.
    ///
    /// # Errors
    ///
    /// A kubeconfig that can't be read or used, or a context that it does not have; a plugin without
    /// a credential; a proxy that cannot be used.
    pub async fn connect(options: &ConnectOptions) -> Result<Self> {
        let place = place(options.kubeconfig.as_deref());
        let found = find_kubeconfig(options)?;
        let is_in_file = found.is_some();
        let image = found.as_ref().and_then(|it| image_of(it, options.context.as_deref()));
        let (mut config, proxy_url) = match found {
            Some(kubeconfig) => read_context(kubeconfig, options, &place).await?,
            None => (in_cluster::config(&place)?, None),
        };
        let variable = |name: &str| env::var(name).ok();
        let proxy = proxy::decide(&config.cluster_url, proxy_url.as_deref(), variable)?;
        if options.impersonate.is_some() {
            let user = &mut config.auth_info;
            user.impersonate.clone_from(&options.impersonate);
            user.impersonate_groups = Some(options.impersonate_groups.clone());
            (user.impersonate_uid, user.impersonate_user_extra) = (None, None);
        }
        let tokens = take_tokens(&mut config.auth_info).await?;
        let made = Self::new(config, proxy.map(Arc::new), tokens.map(Arc::new));
        made.map(|cluster| Self { image, ..cluster }).map_err(|error| {
            let what = if is_in_file {
                format!("kubeconfig {place}")
            } else {
                "the service account of this pod".to_owned()
            };
            Error::usage(format!("failed to use {what}: {error}"))
                .with_hint("check its certificates and keys")
        })
    }

    /// Makes the clients of a ready configuration, without a proxy.
    ///
    /// # Errors
    ///
    /// Certificates or keys that can't be used.
    pub fn from_config(config: Config) -> Result<Self> {
        Self::new(config, None, None)
    }

    fn new(
        mut config: Config,
        proxy: Option<Arc<Proxy>>,
        tokens: Option<Arc<Tokens>>,
    ) -> Result<Self> {
        // A text without a certificate in it is read as a list of none, and no server fits that.
        if config.root_cert.as_ref().is_some_and(Vec::is_empty) {
            return Err(Error::usage("its certificate authority has no certificate in it"));
        }
        keep_secrets_of(&config);
        // Our own retries have a deadline and show in the log; the client's may take 1000 s.
        config.default_retry = false;
        let agent = concat!("nestcheck/", env!("CARGO_PKG_VERSION"));
        config.headers.push((USER_AGENT, HeaderValue::from_static(agent)));
        let admin = client_of(config.clone(), proxy.clone(), tokens)?;
        Ok(Self { config, proxy, admin, image: None })
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

    /// The workspace image that the kubeconfig names for this cluster.
    #[must_use]
    pub fn image(&self) -> Option<&str> {
        self.image.as_deref()
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
        client_of(config, self.proxy.clone(), None)
    }
}

/// Reads the context of a kubeconfig, and returns the proxy that its cluster names.
async fn read_context(
    mut kubeconfig: Kubeconfig,
    options: &ConnectOptions,
    place: &str,
) -> Result<(Config, Option<String>)> {
    /// What kube takes for the proxy of a cluster without one, instead of the environment's.
    const NONE: &str = "http://proxy.invalid";

    keep_secrets(&kubeconfig);
    let known = known_contexts(&kubeconfig);
    let proxy_url = take_proxy_url(&mut kubeconfig, options.context.as_deref(), NONE);
    let selected = KubeConfigOptions { context: options.context.clone(), ..Default::default() };
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &selected)
        .await
        .map_err(|error| explain_config(&error, place, &known))?;
    let plugin = config.auth_info.exec.as_mut();
    if let Some(cluster) = plugin.and_then(|plugin| plugin.cluster.as_mut()) {
        cluster.proxy_url.clone_from(&proxy_url);
    }
    Ok((config, proxy_url))
}

/// Takes the proxy of a context's cluster out of a kubeconfig and puts another in the place of each:
/// kube would read the environment where there is none, and refuse what is not used in the end.
fn take_proxy_url(
    kubeconfig: &mut Kubeconfig,
    context: Option<&str>,
    instead: &str,
) -> Option<String> {
    let name = cluster_of(kubeconfig, context).map(str::to_owned);
    let mut found = None;
    for cluster in &mut kubeconfig.clusters {
        let Some(known) = &mut cluster.cluster else { continue };
        let url = known.proxy_url.replace(instead.to_owned());
        if found.is_none() && name.as_ref() == Some(&cluster.name) {
            found = Some(url);
        }
    }
    found.flatten()
}

/// The name of a context's cluster; without a context, of the current one.
fn cluster_of<'a>(kubeconfig: &'a Kubeconfig, context: Option<&str>) -> Option<&'a str> {
    let context = context.or(kubeconfig.current_context.as_deref());
    let context = kubeconfig.contexts.iter().find(|known| Some(known.name.as_str()) == context);
    context.and_then(|known| known.context.as_ref()).map(|known| known.cluster.as_str())
}

/// The workspace image that the [`EXTENSION`] of a context's cluster names.
fn image_of(kubeconfig: &Kubeconfig, context: Option<&str>) -> Option<String> {
    let name = cluster_of(kubeconfig, context)?;
    let known = kubeconfig.clusters.iter().find(|known| known.name == name)?;
    let extensions = known.cluster.as_ref()?.extensions.as_ref()?;
    let extension = extensions.iter().find(|known| known.name == EXTENSION)?;
    extension.extension.get("image")?.as_str().map(str::to_owned)
}

/// Takes out of a user what would have to be renewed during a run, and renews it from now on.
async fn take_tokens(user: &mut AuthInfo) -> Result<Option<Tokens>> {
    let provider = user.auth_provider.as_ref();
    if let Some(provider) = provider.filter(|provider| provider.name != "oidc") {
        let message =
            format!("the kubeconfig's `auth-provider` `{}` is not supported", provider.name);
        return Err(Error::usage(message)
            .with_hint("use a plugin (`exec`) instead, as `kubectl` does since 1.26"));
    }
    let (file, plugin) = (user.token_file.take(), user.exec.take());
    let has_password = user.username.is_some() && user.password.is_some();
    if provider.is_some() || has_password || user.token.is_some() {
        return Ok(None);
    }
    if let Some(file) = file {
        let source = Source::File(file.into());
        let first = source.token().await?;
        return Tokens::new(source, &first).map(Some);
    }
    let Some(plugin) = plugin.map(Plugin::new) else { return Ok(None) };
    let Credential { token, certificate } = plugin.credential().await?;
    if let Some((certificate, key)) = certificate {
        user.client_certificate_data = Some(BASE64.encode(certificate.as_bytes()));
        user.client_key_data = Some(BASE64.encode(key.as_bytes()).into());
    }
    let source = Source::Plugin(Box::new(plugin));
    token.map(|token| Tokens::new(source, &token)).transpose()
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
    keep_password(&config.cluster_url.to_string());
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

fn client_of(
    config: Config,
    proxy: Option<Arc<Proxy>>,
    tokens: Option<Arc<Tokens>>,
) -> Result<Client> {
    client::client_of(config, proxy, tokens).map_err(|error| Error::usage(chain(&error)))
}

/// Reads the kubeconfig. None where nobody named one and there is none in its usual place.
fn find_kubeconfig(options: &ConnectOptions) -> Result<Option<Kubeconfig>> {
    let path = options.kubeconfig.as_deref();
    let read = match path {
        Some(path) => Kubeconfig::read_from(path),
        None => Kubeconfig::read(),
    };
    let is_named = path.is_some()
        || options.context.is_some()
        || env::var_os("KUBECONFIG").is_some_and(|paths| !paths.is_empty());
    match read {
        Ok(kubeconfig) => Ok(Some(kubeconfig)),
        Err(error) if !is_named && is_missing(&error) => Ok(None),
        Err(error) => Err(explain_file(&error, &place(path))),
    }
}

fn is_missing(error: &KubeconfigError) -> bool {
    match error {
        KubeconfigError::FindPath => true,
        KubeconfigError::ReadConfig(error, _) => error.kind() == ErrorKind::NotFound,
        _ => false,
    }
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
    fn the_proxy_of_the_context_is_taken_and_no_cluster_is_left_without_one() {
        let text = "
            clusters:
            - {name: a, cluster: {server: 'https://a', proxy-url: 'socks5://p'}}
            - {name: b, cluster: {server: 'https://b'}}
            contexts:
            - {name: one, context: {cluster: a}}
            - {name: two, context: {cluster: b}}
            current-context: two
        ";
        for (context, expected) in [(Some("one"), Some("socks5://p")), (None, None)] {
            let mut kubeconfig = Kubeconfig::from_yaml(text).expect("it is a kubeconfig");
            let taken = take_proxy_url(&mut kubeconfig, context, "none");
            assert_eq!(taken.as_deref(), expected);
            let clusters = kubeconfig.clusters.iter().filter_map(|known| known.cluster.as_ref());
            assert!(clusters.clone().all(|known| known.proxy_url.as_deref() == Some("none")));
            assert_eq!(clusters.count(), 2);
        }
    }

    #[test]
    fn a_kubeconfig_may_name_the_workspace_image_of_its_cluster() {
        let text = "
            clusters:
            - name: local
              cluster:
                server: 'https://a'
                extensions: [{name: nestcheck, extension: {image: 'localhost/workspace:1'}}]
            - {name: another, cluster: {server: 'https://b'}}
            contexts:
            - {name: one, context: {cluster: local}}
            - {name: two, context: {cluster: another}}
            current-context: one
        ";
        let kubeconfig = Kubeconfig::from_yaml(text).expect("it is a kubeconfig");
        assert_eq!(image_of(&kubeconfig, None).as_deref(), Some("localhost/workspace:1"));
        assert_eq!(image_of(&kubeconfig, Some("two")), None);
        assert_eq!(image_of(&kubeconfig, Some("three")), None);
    }

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
