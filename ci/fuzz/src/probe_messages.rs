//! What the probe reads from the network.

use std::net::Ipv4Addr;

use dns::Configuration;
use simple_dns::TYPE;

// The program has these modules, not its library: they are of no use to the harness.
#[expect(dead_code, reason = "only their parsers are of interest here")]
#[path = "../../../fixtures/probe/src/command/dns.rs"]
mod dns;
#[expect(dead_code, reason = "only their parsers are of interest here")]
#[path = "../../../fixtures/probe/src/command/http_message.rs"]
mod http_message;

const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// Reads an input as each message and file of a resolver, and as the head of each HTTP message. A
/// head is never longer than what was received.
pub fn probe_messages(data: &[u8]) {
    if let Some(question) = dns::question(7, "host.example", TYPE::A) {
        let _ = dns::answer(data, &question);
        let _ = dns::answer(data, data);
    }
    if let Some(response) = dns::respond(data, ADDRESS) {
        assert!(dns::answer(&response, data).is_some(), "its own answer does not answer it");
    }
    let text = String::from_utf8_lossy(data);
    for name in text.split_whitespace().take(4) {
        let _ = dns::question(7, name, TYPE::AAAA);
        let candidates = Configuration::parse(&text).candidates(name);
        assert!(candidates.iter().any(|candidate| candidate == name), "{candidates:?}");
    }
    let _ = dns::parse_hosts(&text, "localhost");

    let request = http_message::request_head(data).ok().flatten();
    let response = http_message::response_head(data).ok().flatten();
    let lengths = [request.map(|head| head.length), response.map(|head| head.length)];
    assert!(lengths.into_iter().flatten().all(|length| length <= data.len()), "{lengths:?}");
}
