//! Which servers `NO_PROXY` keeps from the proxy, by the rules of Go's `httpproxy`
//! (golang.org/x/net, `http/httpproxy/proxy.go`), which `kubectl` and `oc` follow.

use std::net::IpAddr;

/// The servers that are asked without a proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NoProxy(Vec<Rule>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Rule {
    /// `*`: every server.
    All,
    /// `10.0.0.0/8`: the addresses of a network. Its name is not looked up.
    Network { address: IpAddr, length: u8 },
    /// `10.0.0.1` or `10.0.0.1:6443`.
    Address { address: IpAddr, port: Option<String> },
    /// `example.com` and the names below it, or only these: `.example.com`, `*.example.com`.
    Domain { name: String, is_itself: bool, port: Option<String> },
}

impl NoProxy {
    /// Understands the value of the variable. What cannot be understood keeps nobody from the proxy.
    pub(super) fn parse(text: &str) -> Self {
        Self(text.split(',').filter_map(|part| Rule::parse(&part.trim().to_lowercase())).collect())
    }

    /// Whether a server is asked without a proxy. `host` is a name, or an address without brackets.
    pub(super) fn has(&self, host: &str, port: u16) -> bool {
        let host = host.trim().to_lowercase();
        let address = address_of(&host);
        let port = port.to_string();
        self.0.iter().any(|rule| rule.matches(&host, address, &port))
    }
}

/// Whether a server is this machine, which no proxy can reach in our place.
pub(super) fn is_loopback(host: &str) -> bool {
    host == "localhost" || address_of(host).is_some_and(|address| address.is_loopback())
}

/// An address. One of IPv4 that is written as IPv6 is the same address.
fn address_of(text: &str) -> Option<IpAddr> {
    text.parse().ok().map(|address: IpAddr| address.to_canonical())
}

impl Rule {
    fn parse(text: &str) -> Option<Self> {
        if text == "*" {
            return Some(Self::All);
        }
        if let Some((address, length)) = text.split_once('/') {
            let network = (address.parse().ok()?, length.parse().ok()?);
            let (address, length): (IpAddr, u8) = network;
            return (length <= width(address)).then_some(Self::Network { address, length });
        }
        let (host, port) = match split_port(text) {
            Some((host, port)) => (host, Some(port.to_owned())),
            None => (text, None),
        };
        if let Some(address) = address_of(host) {
            return Some(Self::Address { address, port });
        }
        let host = host.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(host);
        let (name, is_itself) = host.strip_prefix('.').map_or((host, true), |name| (name, false));
        (!name.is_empty()).then(|| Self::Domain { name: name.to_owned(), is_itself, port })
    }

    fn matches(&self, host: &str, address: Option<IpAddr>, port: &str) -> bool {
        let is_port = |of: &Option<String>| of.as_deref().is_none_or(|of| of == port);
        match self {
            Self::All => true,
            Self::Network { address: network, length } => {
                address.is_some_and(|address| is_within(address, *network, *length))
            }
            Self::Address { address: only, port } => address == Some(*only) && is_port(port),
            Self::Domain { name, is_itself, port } => {
                let above = host.strip_suffix(name.as_str());
                above.is_some_and(|above| match above {
                    "" => *is_itself,
                    above => above.ends_with('.'),
                }) && is_port(port)
            }
        }
    }
}

/// Takes host and port apart as Go's `net.SplitHostPort` does. None where there is no port.
fn split_port(text: &str) -> Option<(&str, &str)> {
    if let Some(rest) = text.strip_prefix('[') {
        return rest.split_once("]:");
    }
    text.rsplit_once(':').filter(|(host, _)| !host.contains(':'))
}

/// How many bits an address has.
fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn is_within(address: IpAddr, network: IpAddr, length: u8) -> bool {
    let bits = |address| match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    };
    let free = u32::from(width(network).saturating_sub(length));
    let differ = bits(address) ^ bits(network);
    address.is_ipv4() == network.is_ipv4() && differ.checked_shr(free).unwrap_or(0) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The cases of `proxy_test.go` and those of its documentation.
    #[test]
    fn servers_are_kept_from_the_proxy_as_go_keeps_them() {
        for (no_proxy, host, port, expected) in [
            ("", "example.com", 443, false),
            ("*", "example.com", 443, true),
            ("other.com, *", "example.com", 443, true),
            ("example.com", "example.com", 443, true),
            ("EXAMPLE.com", "example.COM", 443, true),
            ("example.com", "api.example.com", 6443, true),
            ("example.com", "notexample.com", 443, false),
            ("example.com", "example.com.evil.org", 443, false),
            (".example.com", "example.com", 443, false),
            (".example.com", "api.example.com", 443, true),
            ("*.example.com", "example.com", 443, false),
            ("*.example.com", "api.example.com", 443, true),
            ("*example.com", "api.example.com", 443, false),
            ("example.com:6443", "example.com", 6443, true),
            ("example.com:6443", "example.com", 443, false),
            (".example.com:6443", "api.example.com", 6443, true),
            ("example.com:x", "example.com", 443, false),
            ("10.0.0.1", "10.0.0.1", 6443, true),
            ("10.0.0.1:6443", "10.0.0.1", 6443, true),
            ("10.0.0.1:6443", "10.0.0.1", 443, false),
            ("10.0.0.0/8", "10.9.8.7", 443, true),
            ("10.0.0.0/8", "11.0.0.1", 443, false),
            ("10.0.0.0/33", "10.0.0.1", 443, false),
            ("0.0.0.0/0", "192.0.2.1", 443, true),
            ("0.0.0.0/0", "2001:db8::1", 443, false),
            ("10.0.0.0/8", "ten.example.com", 443, false),
            ("2001:db8::/32", "2001:db8::1", 443, true),
            ("2001:db8::1", "2001:db8:0:0::1", 443, true),
            ("[2001:db8::1]:6443", "2001:db8::1", 6443, true),
            ("[2001:db8::1]:6443", "2001:db8::1", 443, false),
            ("10.0.0.1", "::ffff:10.0.0.1", 443, true),
            (" a.com , ,b.com,", "b.com", 443, true),
            (":6443", "example.com", 6443, false),
            (".", "example.com", 443, false),
        ] {
            let matched = NoProxy::parse(no_proxy).has(host, port);
            assert_eq!(matched, expected, "NO_PROXY={no_proxy} {host}:{port}");
        }
    }

    #[test]
    fn this_machine_is_known_by_its_names_and_addresses() {
        for host in ["localhost", "127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["localhost.example.com", "10.0.0.1", "example.com", "::2"] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
