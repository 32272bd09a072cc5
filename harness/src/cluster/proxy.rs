//! Which proxy leads to the API server: that of the kubeconfig, or one of the environment.
//!
//! kube decides it too, but compares `NO_PROXY` with the host of the proxy instead of that of the
//! server (kube-client 5.0.0, `config/file_loader.rs`), so its decision is not used.

use std::fmt;

use http::Uri;
use percent_encoding::percent_decode_str;

use super::no_proxy::{NoProxy, is_loopback};
use crate::{Error, Result, base::redact::keep_secret};

/// The most that SOCKS5 has room for, of a user and of a password (RFC 1929).
const SOCKS_LIMIT: usize = 255;

/// How to talk to a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    /// `CONNECT` of HTTP (RFC 9110, 9.3.6).
    Http,
    /// SOCKS5 (RFC 1928). The proxy looks up the server's name.
    Socks5,
}

/// Who named a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// The kubeconfig, for its cluster.
    Kubeconfig,
    /// This variable.
    Variable(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kubeconfig => f.write_str("`proxy-url` of the kubeconfig"),
            Self::Variable(name) => write!(f, "`{name}`"),
        }
    }
}

/// A user of a proxy.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Credentials {
    /// The name.
    pub(super) user: String,
    /// The password.
    pub(super) password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials")
    }
}

/// A proxy on the way to the API server. It displays without its credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Proxy {
    /// How to talk to it.
    pub(super) protocol: Protocol,
    /// Who named it.
    pub(super) origin: Origin,
    /// Its host, an address of IPv6 in brackets.
    pub(super) host: String,
    /// Its port.
    pub(super) port: u16,
    /// The user that it is to be told.
    pub(super) credentials: Option<Credentials>,
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { protocol, origin, host, port, .. } = self;
        write!(f, "proxy `{}://{host}:{port}` ({origin})", protocol.scheme())
    }
}

impl Protocol {
    /// The scheme in the URL of such a proxy.
    pub(super) fn scheme(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Socks5 => "socks5",
        }
    }

    fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Socks5 => 1080,
        }
    }
}

/// Decides by which proxy a server is asked. `in_kubeconfig` is the cluster's `proxy-url`, and
/// `variable` reads the environment.
///
/// As with `kubectl`, a `proxy-url` always counts: who wrote it meant this server. The variables
/// count for servers beyond this machine that `NO_PROXY` does not name.
///
/// # Errors
///
/// A proxy that would be used and whose URL cannot be understood, or has a scheme that is not
/// supported.
pub(super) fn decide(
    server: &Uri,
    in_kubeconfig: Option<&str>,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Option<Proxy>> {
    if let Some(url) = in_kubeconfig.map(str::trim).filter(|url| !url.is_empty()) {
        return Proxy::parse(url, Origin::Kubeconfig).map(Some);
    }
    let (host, port) = address_of(server);
    if is_loopback(host) {
        return Ok(None);
    }
    let first = |names: &[&'static str]| {
        names.iter().find_map(|name| {
            let value = variable(name).map(|value| value.trim().to_owned());
            value.filter(|value| !value.is_empty()).map(|value| (*name, value))
        })
    };
    let names = match server.scheme_str() {
        Some("http") => ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"],
        _ => ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"],
    };
    let Some((name, url)) = first(&names) else { return Ok(None) };
    let no_proxy = first(&["NO_PROXY", "no_proxy"]).map(|(_, value)| NoProxy::parse(&value));
    if no_proxy.is_some_and(|no_proxy| no_proxy.has(host, port)) {
        return Ok(None);
    }
    Proxy::parse(&url, Origin::Variable(name)).map(Some)
}

/// Host and port of a server; an address of IPv6 is without its brackets.
pub(super) fn address_of(server: &Uri) -> (&str, u16) {
    let host = server.host().unwrap_or_default();
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let default = if server.scheme_str() == Some("http") { 80 } else { 443 };
    (host, server.port_u16().unwrap_or(default))
}

impl Proxy {
    /// Understands the URL of a proxy. Without a scheme it is one of HTTP.
    fn parse(url: &str, origin: Origin) -> Result<Self> {
        const FORMS: &str = "write it as `http://HOST:PORT` or `socks5://HOST:PORT`, with \
                             `USER:PASSWORD@` before the host where the proxy needs it";
        // The text is not quoted: it may have a password in it.
        let unclear =
            || Error::usage(format!("{origin} is not the URL of a proxy")).with_hint(FORMS);
        let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
        let protocol = match scheme.to_lowercase().as_str() {
            "http" => Protocol::Http,
            "socks5" | "socks5h" => Protocol::Socks5,
            other if is_scheme(other) => {
                let message = format!("{origin} has the scheme `{other}`, which is not supported");
                return Err(Error::usage(message).with_hint(FORMS));
            }
            _ => return Err(unclear()),
        };
        let address: Uri = format!("http://{rest}").parse().map_err(|_| unclear())?;
        let authority = address.authority().ok_or_else(unclear)?;
        let host = authority.host();
        if host.is_empty() || host == "[]" {
            return Err(unclear());
        }
        let (user, place) = match authority.as_str().rsplit_once('@') {
            Some((user, place)) => (Some(user), place),
            None => (None, authority.as_str()),
        };
        let port = match place.strip_prefix(host).and_then(|rest| rest.strip_prefix(':')) {
            None | Some("") => protocol.default_port(),
            Some(port) => port.parse().map_err(|_| unclear())?,
        };
        let credentials = user.map(credentials);
        let is_short = |credentials: &Credentials| {
            credentials.user.len().max(credentials.password.len()) <= SOCKS_LIMIT
        };
        if protocol == Protocol::Socks5 && !credentials.as_ref().is_none_or(is_short) {
            let message = format!("{origin} has a user or a password of more than 255 bytes");
            return Err(Error::usage(message).with_hint("SOCKS5 has no room for more: RFC 1929"));
        }
        Ok(Self { protocol, origin, host: host.to_owned(), port, credentials })
    }
}

/// Whether a text can be the scheme of a URL (RFC 3986, 3.1).
fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
}

/// What `USER:PASSWORD` says, with their escapes undone. The password is shown nowhere from now on.
fn credentials(text: &str) -> Credentials {
    let (user, password) = text.split_once(':').unwrap_or((text, ""));
    let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let credentials = Credentials { user: decode(user), password: decode(password) };
    keep_secret(password);
    keep_secret(&credentials.password);
    credentials
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is decided for a server by these variables, without credentials.
    fn decided(server: &str, in_kubeconfig: Option<&str>, variables: &[(&str, &str)]) -> String {
        let variable = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let server = server.parse().expect("it is an address");
        match decide(&server, in_kubeconfig, variable) {
            Ok(Some(proxy)) => proxy.to_string(),
            Ok(None) => "none".to_owned(),
            Err(error) => format!("{}: {error}", error.kind().exit_code()),
        }
    }

    #[test]
    fn the_proxy_follows_from_the_server_and_the_environment() {
        const SERVER: &str = "https://api.example.com:6443";
        let of = |url: &str, name: &str| format!("proxy `{url}` (`{name}`)");
        for (server, variables, expected) in [
            (SERVER, &[][..], "none".to_owned()),
            (SERVER, &[("HTTPS_PROXY", "")], "none".to_owned()),
            (SERVER, &[("HTTPS_PROXY", "http://p:3128")], of("http://p:3128", "HTTPS_PROXY")),
            (SERVER, &[("https_proxy", "p:3128")], of("http://p:3128", "https_proxy")),
            (SERVER, &[("ALL_PROXY", "socks5://p")], of("socks5://p:1080", "ALL_PROXY")),
            (SERVER, &[("all_proxy", "SOCKS5H://p:1")], of("socks5://p:1", "all_proxy")),
            (SERVER, &[("HTTP_PROXY", "http://p:3128")], "none".to_owned()),
            ("http://api:8080", &[("HTTP_PROXY", "p")], of("http://p:80", "HTTP_PROXY")),
            (
                SERVER,
                &[("ALL_PROXY", "http://all"), ("https_proxy", "http://p:1")],
                of("http://p:1", "https_proxy"),
            ),
            (
                SERVER,
                &[("HTTPS_PROXY", "http://p:1"), ("https_proxy", "http://q:1")],
                of("http://p:1", "HTTPS_PROXY"),
            ),
            // The server decides, not the proxy.
            (
                SERVER,
                &[("HTTPS_PROXY", "http://proxy.corp:1"), ("NO_PROXY", ".corp,localhost")],
                of("http://proxy.corp:1", "HTTPS_PROXY"),
            ),
            (SERVER, &[("HTTPS_PROXY", "http://p:1"), ("no_proxy", ".example.com")], "none".into()),
            (SERVER, &[("HTTPS_PROXY", "http://p:1"), ("NO_PROXY", "*")], "none".to_owned()),
            (
                "https://10.1.2.3:6443",
                &[("HTTPS_PROXY", "p"), ("NO_PROXY", "10.0.0.0/8")],
                "none".into(),
            ),
            // No proxy leads to this machine.
            ("https://127.0.0.1:6443", &[("HTTPS_PROXY", "http://p:1")], "none".to_owned()),
            ("https://[::1]:6443", &[("ALL_PROXY", "socks5://p:1")], "none".to_owned()),
            ("https://localhost", &[("HTTPS_PROXY", "http://p:1")], "none".to_owned()),
            // What would not be used may be wrong.
            ("https://127.0.0.1", &[("HTTPS_PROXY", "ftp://p")], "none".to_owned()),
            (SERVER, &[("HTTPS_PROXY", "ftp://p"), ("NO_PROXY", "*")], "none".to_owned()),
            (
                SERVER,
                &[("HTTPS_PROXY", "https://p:1")],
                "2: `HTTPS_PROXY` has the scheme `https`, which is not supported".to_owned(),
            ),
        ] {
            assert_eq!(decided(server, None, variables), expected, "{server} {variables:?}");
        }
    }

    #[test]
    fn the_proxy_of_the_kubeconfig_counts_before_the_environment() {
        let variables = [("HTTPS_PROXY", "http://other:1"), ("NO_PROXY", "*")];
        let expected = "proxy `socks5://p:1` (`proxy-url` of the kubeconfig)";
        for server in ["https://api.example.com", "https://127.0.0.1:6443"] {
            assert_eq!(decided(server, Some("socks5://p:1"), &variables), expected, "{server}");
        }
        assert_eq!(decided("https://api.example.com", Some(" "), &variables), "none");
    }

    #[test]
    fn a_url_that_is_none_is_refused_without_a_quote() {
        for url in
            ["http://", "http://a b", "://p", "http://user:canary@", "socks5://[::1", "http://p:x"]
        {
            let refused = decided("https://api.example.com", Some(url), &[]);
            assert_eq!(
                refused, "2: `proxy-url` of the kubeconfig is not the URL of a proxy",
                "{url}"
            );
        }
        let long = format!("socks5://{}@p", "u".repeat(256));
        assert!(decided("https://a", Some(&long), &[]).contains("more than 255 bytes"));
    }

    #[test]
    fn credentials_are_read_with_their_escapes_and_never_shown() {
        let url = "http://us%40er:canary%3Aof%40user@[2001:db8::1]:3128/";
        let proxy = Proxy::parse(url, Origin::Kubeconfig).expect("it is the URL of a proxy");
        let Some(Credentials { user, password }) = &proxy.credentials else { panic!("{proxy}") };
        assert_eq!((user.as_str(), password.as_str()), ("us@er", "canary:of@user"));
        assert_eq!((proxy.host.as_str(), proxy.port), ("[2001:db8::1]", 3128));
        assert!(!format!("{proxy} {proxy:?}").contains("canary"));
    }
}
