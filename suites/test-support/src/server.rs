//! Servers on this machine that are not API servers.

use std::{
    io::{self, BufRead, Read, Write},
    net::TcpListener,
    thread,
};

/// A port on which connections wait until the test takes them, and its address.
pub fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it has an address").to_string();
    (listener, address)
}

/// An address at which nobody listens.
pub fn closed_address() -> String {
    listener().1
}

/// A server that takes connections and never says a word; returns its address.
pub fn silent_server() -> String {
    let (listener, address) = listener();
    thread::spawn(move || {
        // Kept open, so that the client has no reason to give up but its own deadline.
        let connections: Vec<_> = listener.incoming().collect();
        drop(connections);
    });
    address
}

/// A server that answers whatever comes with this text; returns its address.
pub fn answering_server(answer: &'static str) -> String {
    let (listener, address) = listener();
    thread::spawn(move || {
        for mut connection in listener.incoming().flatten() {
            let mut request = [0; 4096];
            // A client that is gone already has its answer: none.
            let _ = connection.read(&mut request);
            let _ = connection.write_all(answer.as_bytes());
        }
    });
    address
}

/// A request as it came over HTTP/1.1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpRequest {
    /// The method.
    pub method: String,
    /// The path, without the query.
    pub path: String,
    /// The query, which may be empty.
    pub query: String,
    /// The body; empty if its length is not given.
    pub body: Vec<u8>,
}

impl HttpRequest {
    /// Reads the next request of a connection, and nothing at its end.
    ///
    /// # Errors
    ///
    /// A connection that breaks, or a length that is not a number.
    pub fn read(reader: &mut impl BufRead) -> io::Result<Option<Self>> {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let mut words = line.split_whitespace();
        let (Some(method), Some(target)) = (words.next(), words.next()) else { return Ok(None) };
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let (path, query) = (path.to_owned(), query.to_owned());
        let (method, mut length) = (method.to_owned(), 0);
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            if line.trim().is_empty() {
                break;
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().map_err(io::Error::other)?;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        Ok(Some(Self { method, path, query, body }))
    }
}
