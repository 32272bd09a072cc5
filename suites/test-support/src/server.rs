//! Servers on this machine that are no API servers.

use std::{
    io::{Read, Write},
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
