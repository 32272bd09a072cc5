//! A proxy on the way to the API server, served by the test.

use std::{
    collections::BTreeSet,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
};

use k8s_openapi::ByteString;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    runtime::Runtime,
    task::{JoinHandle, JoinSet},
};

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// How clients talk to a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyProtocol {
    /// `CONNECT` of HTTP (RFC 9110, 9.3.6).
    Http,
    /// SOCKS5 with user and password (RFC 1928 and 1929).
    Socks5,
}

/// A proxy that listens until the test ends.
pub struct ForwardProxy {
    runtime: Runtime,
    address: SocketAddr,
    shared: Arc<Shared>,
    /// What serves; none while the proxy is dead.
    serving: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    protocol: ProxyProtocol,
    credentials: Option<(String, String)>,
    /// A host that only the proxy knows, and where it is.
    known: Option<(String, SocketAddr)>,
    /// What it was asked for, as `HOST:PORT`.
    asked: Mutex<BTreeSet<String>>,
}

impl ForwardProxy {
    /// Starts a proxy for everybody.
    pub fn start(protocol: ProxyProtocol) -> Self {
        Self::serve(LOOPBACK, protocol, None, None)
    }

    /// Starts a proxy for one user, who finds the host `known` at an address through it.
    pub fn start_for(
        protocol: ProxyProtocol,
        credentials: (&str, &str),
        known: (&str, SocketAddr),
    ) -> Self {
        Self::start_at(LOOPBACK, protocol, credentials, known)
    }

    /// Starts such a proxy at an address that others reach too, such as the pods of a cluster.
    pub fn start_at(
        address: IpAddr,
        protocol: ProxyProtocol,
        credentials: (&str, &str),
        known: (&str, SocketAddr),
    ) -> Self {
        let credentials = (credentials.0.to_owned(), credentials.1.to_owned());
        Self::serve(address, protocol, Some(credentials), Some((known.0.to_owned(), known.1)))
    }

    fn serve(
        address: IpAddr,
        protocol: ProxyProtocol,
        credentials: Option<(String, String)>,
        known: Option<(String, SocketAddr)>,
    ) -> Self {
        let runtime = Runtime::new().expect("a runtime can be made");
        let listener = runtime.block_on(TcpListener::bind((address, 0))).expect("a free port");
        let address = listener.local_addr().expect("it has an address");
        let asked = Mutex::default();
        let shared = Arc::new(Shared { protocol, credentials, known, asked });
        let serving = runtime.spawn(accept(listener, Arc::clone(&shared)));
        Self { runtime, address, shared, serving: Mutex::new(Some(serving)) }
    }

    /// Its URL, with the credentials.
    pub fn url(&self) -> String {
        let user = self.shared.credentials.as_ref();
        self.url_for(
            &user.map_or_else(String::new, |(user, password)| format!("{user}:{password}@")),
        )
    }

    /// Its URL, with this text before the host.
    pub fn url_for(&self, user: &str) -> String {
        let scheme = match self.shared.protocol {
            ProxyProtocol::Http => "http",
            ProxyProtocol::Socks5 => "socks5",
        };
        format!("{scheme}://{user}{}", self.address)
    }

    /// What it was asked for until now, as `HOST:PORT`.
    pub fn asked(&self) -> BTreeSet<String> {
        self.shared.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Cuts all connections and takes no others.
    pub fn die(&self) {
        let serving = self.serving.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(serving) = serving {
            serving.abort();
            let _ = self.runtime.block_on(serving);
        }
    }

    /// Serves again, at the same address.
    pub fn come_back(&self) {
        let listener = self.runtime.block_on(TcpListener::bind(self.address));
        let listener = listener.expect("nobody else has taken the port");
        let serving = self.runtime.spawn(accept(listener, Arc::clone(&self.shared)));
        *self.serving.lock().unwrap_or_else(PoisonError::into_inner) = Some(serving);
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    // Dropped with this, all of them are cut.
    let mut tunnels = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        tunnels.spawn(serve(client, Arc::clone(&shared)));
    }
}

/// Serves one client. An error is the end of the client's connection, or of the server's.
async fn serve(mut client: TcpStream, shared: Arc<Shared>) {
    let _ = match shared.protocol {
        ProxyProtocol::Http => serve_http(&mut client, &shared).await,
        ProxyProtocol::Socks5 => serve_socks(&mut client, &shared).await,
    };
}

impl Shared {
    fn note(&self, asked: String) {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).insert(asked);
    }

    async fn connect(&self, host: &str, port: u16) -> io::Result<TcpStream> {
        self.note(format!("{host}:{port}"));
        match &self.known {
            Some((known, address)) if known == host => TcpStream::connect(address).await,
            _ => TcpStream::connect((host, port)).await,
        }
    }
}

async fn serve_http(client: &mut TcpStream, shared: &Shared) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head);
    let target = head.split_whitespace().nth(1).unwrap_or_default();
    let is_known = shared.credentials.as_ref().is_none_or(|(user, password)| {
        let pair = ByteString(format!("{user}:{password}").into_bytes());
        let pair = serde_json::to_value(&pair).expect("bytes are JSON");
        let expected = format!("Basic {}", pair.as_str().unwrap_or_default());
        let mut headers = head.lines().filter_map(|line| line.split_once(": "));
        headers.any(|(name, value)| name == "Proxy-Authorization" && value == expected)
    });
    if !is_known {
        return client.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n").await;
    }
    let Some((host, port)) = target.rsplit_once(':') else {
        return client.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    };
    match shared.connect(host, port.parse().unwrap_or_default()).await {
        Ok(server) => {
            client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
            pass_on(client, server).await
        }
        Err(_) => client.write_all(b"HTTP/1.1 502 Bad Gateway\r\n\r\n").await,
    }
}

async fn serve_socks(client: &mut TcpStream, shared: &Shared) -> io::Result<()> {
    let methods = {
        let [_, count] = receive(client).await?;
        read(client, count).await?
    };
    match &shared.credentials {
        None => client.write_all(&[5, 0]).await?,
        Some(_) if !methods.contains(&2) => return client.write_all(&[5, 0xff]).await,
        Some((user, password)) => {
            client.write_all(&[5, 2]).await?;
            let [_, length] = receive(client).await?;
            let got_user = read(client, length).await?;
            let [length] = receive(client).await?;
            let got_password = read(client, length).await?;
            if got_user != user.as_bytes() || got_password != password.as_bytes() {
                return client.write_all(&[1, 1]).await;
            }
            client.write_all(&[1, 0]).await?;
        }
    }
    let [_, _, _, kind] = receive(client).await?;
    let host = match kind {
        1 => Ipv4Addr::from(receive::<4>(client).await?).to_string(),
        4 => std::net::Ipv6Addr::from(receive::<16>(client).await?).to_string(),
        _ => {
            let [length] = receive(client).await?;
            String::from_utf8_lossy(&read(client, length).await?).into_owned()
        }
    };
    let port = u16::from_be_bytes(receive(client).await?);
    match shared.connect(&host, port).await {
        Ok(server) => {
            client.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await?;
            pass_on(client, server).await
        }
        Err(_) => client.write_all(&[5, 5, 0, 1, 0, 0, 0, 0, 0, 0]).await,
    }
}

async fn receive<const N: usize>(client: &mut (impl AsyncRead + Unpin)) -> io::Result<[u8; N]> {
    let mut message = [0; N];
    client.read_exact(&mut message).await?;
    Ok(message)
}

async fn read(client: &mut (impl AsyncRead + Unpin), length: u8) -> io::Result<Vec<u8>> {
    let mut message = vec![0; usize::from(length)];
    client.read_exact(&mut message).await?;
    Ok(message)
}

async fn pass_on(
    client: &mut (impl AsyncRead + AsyncWrite + Unpin),
    mut server: TcpStream,
) -> io::Result<()> {
    server.set_nodelay(true)?;
    copy_bidirectional(client, &mut server).await?;
    Ok(())
}
