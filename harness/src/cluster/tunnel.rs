//! Connections to the API server: direct ones, and those through a proxy.
//!
//! The proxy passes bytes on once it has opened the way, so that requests, watches and the streams of
//! commands take it alike, with TLS between this program and the server.

use std::{
    fmt, io,
    net::IpAddr,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use data_encoding::BASE64;
use futures::{FutureExt as _, TryFutureExt as _, future::BoxFuture};
use http::Uri;
use hyper_util::{client::legacy::connect::HttpConnector, rt::TokioIo};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tower::{BoxError, Service};

use super::proxy::{Protocol, Proxy, address_of};
use crate::{Error, base::error::chain};

/// How long a proxy may take to open the way: less than the server that is asked for the first time
/// may take, so that the proxy is reported where it is the cause.
const DEADLINE: Duration = Duration::from_secs(8);

/// The most that the head of a proxy's answer has, in bytes.
const HEAD_LIMIT: usize = 8 * 1024;

/// Opens connections to the API server.
#[derive(Clone)]
pub(super) struct Connector {
    tcp: HttpConnector,
    proxy: Option<Arc<Proxy>>,
}

impl Connector {
    /// Connections that send small messages at once, through a proxy if there is one.
    pub(super) fn new(connect_timeout: Option<Duration>, proxy: Option<Arc<Proxy>>) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(connect_timeout);
        Self { tcp, proxy }
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<TcpStream>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.tcp.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, server: Uri) -> Self::Future {
        let Some(proxy) = self.proxy.clone() else {
            return self.tcp.call(server).map_err(Into::into).boxed();
        };
        let address = format!("http://{}:{}", proxy.host, proxy.port);
        let tcp = address.parse::<Uri>().map(|address| self.tcp.call(address));
        async move {
            let opened = async {
                let stream = tcp.map_err(|error| Fault::Unreached(error.into()))?.await;
                let mut stream =
                    stream.map_err(|error| Fault::Unreached(error.into()))?.into_inner();
                open_way(&mut stream, &proxy, &server).await?;
                Ok(TokioIo::new(stream))
            };
            let opened = timeout(DEADLINE, opened).await.unwrap_or(Err(Fault::Silent));
            opened.map_err(|fault| fault.describe(&proxy, &server).into())
        }
        .boxed()
    }
}

/// Why a proxy did not open the way. Nothing of a request has been sent then.
#[derive(Debug)]
enum Fault {
    /// No connection to it.
    Unreached(BoxError),
    /// It did not answer in time.
    Silent,
    /// It ended the connection before it answered.
    Closed(io::Error),
    /// What it says is not of its protocol.
    NotAProxy,
    /// It asks for a user.
    NeedsCredentials,
    /// It does not accept the user that it was told.
    RefusesCredentials,
    /// It does not connect to the server.
    Refuses(String),
    /// It tried to connect to the server, without success.
    ServerUnreached(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreached(error) => write!(f, "cannot be reached: {}", chain(&**error)),
            Self::Silent => write!(f, "opened no connection within {} s", DEADLINE.as_secs()),
            Self::Closed(error) => write!(f, "ended the connection without an answer: {error}"),
            Self::NotAProxy => f.write_str("does not answer as a proxy of its kind"),
            Self::NeedsCredentials => f.write_str("requires a user and a password"),
            Self::RefusesCredentials => f.write_str("does not accept the user and the password"),
            Self::Refuses(reason) => write!(f, "refuses the connection: {reason}"),
            Self::ServerUnreached(reason) => write!(f, "cannot reach the server: {reason}"),
        }
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Closed(error)
    }
}

impl Fault {
    /// What the reader should know and can do.
    fn describe(&self, proxy: &Proxy, server: &Uri) -> Error {
        let (host, port) = address_of(server);
        let (scheme, place, origin) = (proxy.protocol.scheme(), &proxy.host, proxy.origin);
        let other = match proxy.protocol {
            Protocol::Http => Protocol::Socks5.scheme(),
            Protocol::Socks5 => Protocol::Http.scheme(),
        };
        let hint = match self {
            Self::Unreached(_) | Self::Silent => format!(
                "check that the proxy of {origin} runs; with {host} in `NO_PROXY` and without a \
                 `proxy-url` in the kubeconfig the server is asked without it"
            ),
            Self::Closed(_) | Self::NotAProxy => format!(
                "check {origin}: is there a proxy of {scheme} at this port? For one of {other} write \
                 `{other}://{place}:{}`",
                proxy.port
            ),
            // Behind a scheme it would be taken for a password.
            Self::NeedsCredentials | Self::RefusesCredentials => format!(
                "write `USER:PASSWORD@` before `{place}:{}` in {origin}, special characters as `%XX`",
                proxy.port
            ),
            Self::Refuses(_) => format!(
                "ask who runs the proxy to permit connections to {host}:{port}, or add {host} to \
                 `NO_PROXY`"
            ),
            Self::ServerUnreached(_) => "check the kubeconfig's `server`, and that the cluster is \
                                         up and reachable from the proxy"
                .to_owned(),
        };
        Error::loss(format!("{proxy} {self}")).with_hint(hint)
    }
}

/// Asks a proxy to pass on what follows to a server and back.
async fn open_way<S>(stream: &mut S, proxy: &Proxy, server: &Uri) -> Result<(), Fault>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (host, port) = address_of(server);
    match proxy.protocol {
        Protocol::Http => open_http(stream, proxy, host, port).await,
        Protocol::Socks5 => open_socks(stream, proxy, host, port).await,
    }
}

async fn open_http<S>(stream: &mut S, proxy: &Proxy, host: &str, port: u16) -> Result<(), Fault>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let place =
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let mut request = format!("CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n");
    if let Some(credentials) = &proxy.credentials {
        let pair = format!("{}:{}", credentials.user, credentials.password);
        let pair = BASE64.encode(pair.as_bytes());
        request += "Proxy-Authorization: Basic ";
        request += &pair;
        request += "\r\n";
    }
    request.push_str("\r\n");
    stream.write_all(request.as_bytes()).await?;
    stream.flush().await?;
    let head = read_head(stream).await?;
    // `HTTP/1.1 407 Proxy Authentication Required`
    let line = head.lines().next().unwrap_or_default();
    let mut words = line.splitn(3, ' ');
    let version = words.next().unwrap_or_default();
    let code = words.next().and_then(|code| code.parse::<u16>().ok());
    let Some(code) = code.filter(|_| version.starts_with("HTTP/1.")) else {
        return Err(Fault::NotAProxy);
    };
    let answer = format!("{code} {}", words.next().unwrap_or_default()).trim().to_owned();
    match code {
        200..=299 => Ok(()),
        407 if proxy.credentials.is_some() => Err(Fault::RefusesCredentials),
        407 => Err(Fault::NeedsCredentials),
        // A server that is not a proxy does not know the method.
        400 | 404 | 405 | 501 => Err(Fault::NotAProxy),
        500.. => Err(Fault::ServerUnreached(answer)),
        _ => Err(Fault::Refuses(answer)),
    }
}

/// Reads the head of an answer, and not a byte of what follows it: that is the server's.
async fn read_head<S: AsyncRead + Unpin>(stream: &mut S) -> Result<String, Fault> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) if !head.is_empty() => return Err(Fault::NotAProxy),
            Err(error) => return Err(error.into()),
        }
        if head.len() > HEAD_LIMIT {
            return Err(Fault::NotAProxy);
        }
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

/// The version of the protocol in each message.
const SOCKS: u8 = 5;

/// No authentication, or user and password (RFC 1928, 3).
const ANYBODY: u8 = 0;
const BY_PASSWORD: u8 = 2;

async fn open_socks<S>(stream: &mut S, proxy: &Proxy, host: &str, port: u16) -> Result<(), Fault>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let methods =
        if proxy.credentials.is_some() { &[ANYBODY, BY_PASSWORD][..] } else { &[ANYBODY] };
    send(stream, &[&[SOCKS, length(methods)?], methods]).await?;
    let [version, method] = receive(stream).await?;
    match (version, method, &proxy.credentials) {
        (SOCKS, ANYBODY, _) => {}
        (SOCKS, BY_PASSWORD, Some(credentials)) => {
            let (user, password) = (credentials.user.as_bytes(), credentials.password.as_bytes());
            let (first, second) = ([1, length(user)?], [length(password)?]);
            send(stream, &[&first, user, &second, password]).await?;
            let [_, status] = receive(stream).await?;
            if status != 0 {
                return Err(Fault::RefusesCredentials);
            }
        }
        (SOCKS, _, Some(_)) => return Err(Fault::RefusesCredentials),
        (SOCKS, _, None) => return Err(Fault::NeedsCredentials),
        _ => return Err(Fault::NotAProxy),
    }
    let address = match host.parse() {
        Ok(IpAddr::V4(address)) => [&[1][..], &address.octets()].concat(),
        Ok(IpAddr::V6(address)) => [&[4][..], &address.octets()].concat(),
        Err(_) => [&[3, length(host.as_bytes())?], host.as_bytes()].concat(),
    };
    send(stream, &[&[SOCKS, 1, 0], &address, &port.to_be_bytes()]).await?;
    let [version, reply, _, kind] = receive(stream).await?;
    if version != SOCKS {
        return Err(Fault::NotAProxy);
    }
    if reply != 0 {
        return Err(refusal(reply));
    }
    // The address that the proxy uses itself, and a port; nobody needs them.
    let rest = match kind {
        1 => 4,
        4 => 16,
        3 => usize::from(stream.read_u8().await?),
        _ => return Err(Fault::NotAProxy),
    };
    let mut unused = vec![0; rest + 2];
    stream.read_exact(&mut unused).await?;
    Ok(())
}

/// What a reply other than success means (RFC 1928, 6).
fn refusal(reply: u8) -> Fault {
    match reply {
        1 => Fault::ServerUnreached("general failure".to_owned()),
        2 => Fault::Refuses("not allowed by its rules".to_owned()),
        3 => Fault::ServerUnreached("network unreachable".to_owned()),
        4 => Fault::ServerUnreached("host unreachable".to_owned()),
        5 => Fault::ServerUnreached("connection refused".to_owned()),
        6 => Fault::ServerUnreached("it took too long".to_owned()),
        other => Fault::Refuses(format!("reply {other}")),
    }
}

/// A length as SOCKS5 writes it.
fn length(bytes: &[u8]) -> Result<u8, Fault> {
    u8::try_from(bytes.len())
        .map_err(|_| Fault::Refuses("a name of more than 255 bytes".to_owned()))
}

async fn send<S: AsyncWrite + Unpin>(stream: &mut S, parts: &[&[u8]]) -> Result<(), Fault> {
    stream.write_all(&parts.concat()).await?;
    Ok(stream.flush().await?)
}

async fn receive<const N: usize>(stream: &mut (impl AsyncRead + Unpin)) -> Result<[u8; N], Fault> {
    let mut message = [0; N];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::proxy::{Credentials, Origin};

    fn proxy(protocol: Protocol, user: Option<&str>) -> Proxy {
        let credentials = user.map(|user| Credentials { user: user.into(), password: "p".into() });
        let (host, origin) = ("proxy".to_owned(), Origin::Variable("HTTPS_PROXY"));
        Proxy { protocol, origin, host, port: 3128, credentials }
    }

    /// What comes of a proxy that says this, and what it was sent.
    async fn tried(proxy: &Proxy, server: &str, says: &[u8]) -> (Result<(), Fault>, Vec<u8>) {
        let (mut ours, mut theirs) = tokio::io::duplex(4096);
        theirs.write_all(says).await.expect("there is room");
        let server = server.parse().expect("it is an address");
        let opened = open_way(&mut ours, proxy, &server);
        // Who says all at once has nothing more to say.
        let opened = timeout(Duration::from_millis(50), opened).await.unwrap_or(Err(Fault::Silent));
        drop(ours);
        let mut sent = Vec::new();
        theirs.read_to_end(&mut sent).await.expect("it can be read");
        (opened, sent)
    }

    fn outcome(opened: Result<(), Fault>) -> String {
        opened.map_or_else(|fault| fault.to_string(), |()| "open".to_owned())
    }

    #[tokio::test]
    async fn a_proxy_of_http_is_asked_with_credentials_and_its_answer_is_understood() {
        let (server, with) = ("https://api:6443", proxy(Protocol::Http, Some("u")));
        let (opened, sent) = tried(&with, server, b"HTTP/1.1 200 OK\r\nVia: x\r\n\r\n").await;
        assert_eq!(outcome(opened), "open");
        let request = "CONNECT api:6443 HTTP/1.1\r\nHost: api:6443\r\n\
                       Proxy-Authorization: Basic dTpw\r\n\r\n";
        assert_eq!(String::from_utf8_lossy(&sent), request);
        let without = proxy(Protocol::Http, None);
        let (_, sent) = tried(&without, "https://[2001:db8::1]", b"").await;
        assert!(sent.starts_with(b"CONNECT [2001:db8::1]:443 HTTP/1.1\r\n"), "{sent:?}");
        for (proxy, says, expected) in [
            (&without, "HTTP/1.1 407 X\r\n\r\n", "requires a user and a password"),
            (&with, "HTTP/1.1 407 X\r\n\r\n", "does not accept the user and the password"),
            (&with, "HTTP/1.0 403 Forbidden\r\n\r\n", "refuses the connection: 403 Forbidden"),
            (&with, "HTTP/1.1 502 Bad\r\n\r\n", "cannot reach the server: 502 Bad"),
            (&with, "HTTP/1.1 405 Not\r\n\r\n", "does not answer as a proxy of its kind"),
            (&with, "SSH-2.0-x\r\n\r\n", "does not answer as a proxy of its kind"),
            (&with, "HTTP/1.1 200 OK\r\n", "opened no connection within 8 s"),
        ] {
            assert_eq!(outcome(tried(proxy, server, says.as_bytes()).await.0), expected, "{says}");
        }
    }

    #[tokio::test]
    async fn a_proxy_of_socks_is_asked_with_credentials_and_its_answer_is_understood() {
        let (with, without) = (proxy(Protocol::Socks5, Some("u")), proxy(Protocol::Socks5, None));
        let bound = [5, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        let says = [&[5, 2, 1, 0][..], &bound].concat();
        let (opened, sent) = tried(&with, "https://api:6443", &says).await;
        assert_eq!(outcome(opened), "open");
        let request = [&[5, 2, 0, 2, 1, 1, b'u', 1, b'p', 5, 1, 0, 3, 3][..], b"api", &[25, 43]];
        assert_eq!(sent, request.concat());
        let says = [&[5, 0][..], &bound].concat();
        let (_, sent) = tried(&without, "https://10.0.0.1", &says).await;
        assert_eq!(sent, [5, 1, 0, 5, 1, 0, 1, 10, 0, 0, 1, 1, 187]);
        for (proxy, says, expected) in [
            (&without, &[5, 0xff][..], "requires a user and a password"),
            (&with, &[5, 0xff], "does not accept the user and the password"),
            (&with, &[5, 2, 1, 1], "does not accept the user and the password"),
            (&without, &[5, 0, 5, 2, 0, 1], "refuses the connection: not allowed by its rules"),
            (&without, &[5, 0, 5, 5, 0, 1], "cannot reach the server: connection refused"),
            (
                &without,
                b"HTTP/1.1 400 Bad Request\r\n\r\n",
                "does not answer as a proxy of its kind",
            ),
        ] {
            let opened = tried(proxy, "https://10.0.0.1", says).await.0;
            assert_eq!(outcome(opened), expected, "{says:?}");
        }
    }

    #[test]
    fn each_fault_says_which_proxy_and_what_to_do() {
        let server: Uri = "https://api.example.com:6443".parse().expect("it is an address");
        let proxy = proxy(Protocol::Http, None);
        for (fault, message, hint) in [
            (Fault::Silent, "proxy `http://proxy:3128` (`HTTPS_PROXY`) opened no", "NO_PROXY"),
            (Fault::NotAProxy, "does not answer as a proxy", "`socks5://proxy:3128`"),
            (Fault::NeedsCredentials, "requires a user", "`USER:PASSWORD@` before `proxy:3128`"),
            (Fault::Refuses("403".into()), "refuses", "api.example.com:6443"),
            (Fault::ServerUnreached("502".into()), "cannot reach the server", "`server`"),
        ] {
            let error = fault.describe(&proxy, &server);
            let hinted = error.hint().unwrap_or_default();
            assert!(error.to_string().contains(message), "{error}");
            assert!(hinted.contains(hint), "{hinted}");
            assert!(error.is_loss());
        }
    }
}
