//! Which addresses may be called. A webhook's address is chosen by whoever manages a project; without this it could be
//! used to reach what only this server reaches: itself, its database, the cloud's metadata.
//!
//! What is checked is the address that is really connected to: names are resolved here, and only addresses that are
//! allowed are handed to the connection. No redirect is followed and no proxy asked.

use ipnet::IpNet;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

/// What may be called besides public addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allowed {
    ranges: Vec<IpNet>,
    /// In lower case; one that begins with `*.` stands for all below it.
    hosts: Vec<String>,
}

impl Allowed {
    /// Reads entries: an address, a range such as `10.0.0.0/8`, a host, or `*.example.org`.
    ///
    /// # Errors
    /// The first entry that is none of these.
    pub fn parse(entries: &[String]) -> Result<Self, String> {
        let mut allowed = Self::default();
        for entry in entries {
            let entry = entry.trim();
            if let Ok(range) = entry.parse::<IpNet>() {
                allowed.ranges.push(range);
            } else if let Ok(address) = entry.trim_matches(['[', ']']).parse::<IpAddr>() {
                allowed.ranges.push(IpNet::from(address));
            } else if is_host(entry.strip_prefix("*.").unwrap_or(entry)) {
                allowed.hosts.push(entry.to_ascii_lowercase());
            } else {
                return Err(entry.to_owned());
            }
        }
        Ok(allowed)
    }

    fn allows_host(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        self.hosts.iter().any(|known| match known.strip_prefix('*') {
            Some(below) => host.len() > below.len() && host.ends_with(below),
            None => *known == host,
        })
    }

    /// Whether an address may be connected to.
    pub(crate) fn allows(&self, address: IpAddr) -> bool {
        let plain = plain(address);
        is_public(plain) || self.ranges.iter().any(|range| range.contains(&plain))
    }

    /// Whether a URL's host may be asked at all; names are decided when they are resolved.
    pub(crate) fn allows_literal(&self, url: &url::Url) -> bool {
        match url.host() {
            Some(url::Host::Ipv4(address)) => self.allows(IpAddr::V4(address)),
            Some(url::Host::Ipv6(address)) => self.allows(IpAddr::V6(address)),
            Some(url::Host::Domain(_)) => true,
            None => false,
        }
    }
}

fn is_host(text: &str) -> bool {
    let part = |part: &str| {
        !part.is_empty()
            && part.len() <= 63
            && part
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    text.len() <= 253 && text.split('.').all(part) && !text.bytes().all(|b| b.is_ascii_digit() || b == b'.')
}

/// An IPv4 address that hides in an IPv6 one.
fn plain(address: IpAddr) -> IpAddr {
    let IpAddr::V6(six) = address else { return address };
    if let Some(four) = six.to_ipv4_mapped() {
        return IpAddr::V4(four);
    }
    let parts = six.segments();
    let four = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    };
    match parts {
        // NAT64 (RFC 6052), 6to4 (RFC 3056), and what IPv4-compatible addresses were.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => four(high, low),
        [0x2002, high, low, ..] => four(high, low),
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 => four(high, low),
        _ => address,
    }
}

/// Whether an address belongs to the whole Internet (IANA's registries of special purposes).
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(four) => {
            let [a, b, c, _] = four.octets();
            !(four.is_private()
                || four.is_loopback()
                || four.is_link_local()
                || four.is_broadcast()
                || four.is_documentation()
                || four.is_multicast()
                || a == 0
                || a >= 240
                || (a == 100 && (64..128).contains(&b))
                || (a == 192 && b == 0 && c == 0)
                || (a == 192 && b == 88 && c == 99)
                || (a == 198 && (b == 18 || b == 19)))
        }
        // Only 2000::/3 is given out.
        IpAddr::V6(six) => six.segments()[0] & 0xe000 == 0x2000 && !is_special(six),
    }
}

fn is_special(six: Ipv6Addr) -> bool {
    let parts = six.segments();
    // Documentation, protocol assignments (Teredo, ORCHID and others).
    (parts[0] == 0x2001 && (parts[1] == 0xdb8 || parts[1] < 0x200))
        || (parts[0] == 0x3fff && parts[1] < 0x1000)
}

/// Why a name was not called.
#[derive(Debug)]
struct NotAllowed(String);

impl fmt::Display for NotAllowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NotAllowed {}

/// What is told of an address that may not be called.
pub(crate) fn refusal(host: &str) -> String {
    format!(
        "{host} is no public address, and this instance's administrator has not allowed it (webhook_allow)"
    )
}

/// Resolves names to addresses that may be called, and no others.
pub(crate) struct Guard(pub(crate) Arc<Allowed>);

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let allowed = self.0.clone();
        Box::pin(async move {
            let host = name.as_str();
            let trusted = allowed.allows_host(host);
            let found: Vec<SocketAddr> = tokio::net::lookup_host((host, 0)).await?.collect();
            let good: Vec<SocketAddr> = found
                .into_iter()
                .filter(|at| trusted || allowed.allows(at.ip()))
                .collect();
            if good.is_empty() {
                let why: Box<dyn std::error::Error + Send + Sync> = Box::new(NotAllowed(refusal(host)));
                return Err(why);
            }
            let addresses: Addrs = Box::new(good.into_iter());
            Ok(addresses)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_address_is_seen_in_every_disguise(bits in any::<u32>()) {
            let (none, four) = (Allowed::default(), Ipv4Addr::from(bits));
            let [a, b, c, d] = four.octets();
            let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
            for six in [
                four.to_ipv6_mapped(),
                Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
                Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1),
            ] {
                prop_assert_eq!(none.allows(IpAddr::V6(six)), none.allows(IpAddr::V4(four)));
            }
        }

        #[test]
        fn any_entry_is_read_without_harm(text in "\\PC{0,60}") {
            drop(Allowed::parse(&[text]));
        }
    }

    fn allows(allowed: &Allowed, address: &str) -> bool {
        allowed.allows(address.parse().unwrap())
    }

    #[test]
    fn only_addresses_of_the_whole_internet_are_called() {
        let none = Allowed::default();
        for public in ["1.1.1.1", "93.184.216.34", "2606:4700::1111", "100.128.0.1"] {
            assert!(allows(&none, public), "{public}");
        }
        for inside in [
            "127.0.0.1",
            "127.8.8.8",
            "0.0.0.0",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "198.18.0.1",
            "::1",
            "::",
            "fe80::1",
            "fc00::1",
            "fd12::1",
            "ff02::1",
            "2001:db8::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "::127.0.0.1",
            "2001::1",
        ] {
            assert!(!allows(&none, inside), "{inside}");
        }
    }

    #[test]
    fn an_administrator_allows_ranges_and_hosts() {
        let entries = ["10.0.0.0/8", "::1", "hooks.intern", "*.ward.example"].map(str::to_owned);
        let allowed = Allowed::parse(&entries).unwrap();
        assert!(
            allows(&allowed, "10.200.0.1") && allows(&allowed, "::ffff:10.0.0.1") && allows(&allowed, "::1")
        );
        assert!(!allows(&allowed, "127.0.0.1"));
        assert!(allowed.allows_host("Hooks.Intern.") && allowed.allows_host("a.ward.example"));
        assert!(!allowed.allows_host("ward.example") && !allowed.allows_host("evilward.example"));
        for bad in ["10.0.0.0/33", "a b", "", "http://x", "1.2.3", "x/y"] {
            assert!(Allowed::parse(&[bad.to_owned()]).is_err(), "{bad}");
        }
    }

    #[test]
    fn literal_addresses_in_every_spelling_are_seen() {
        let none = Allowed::default();
        for url in [
            "http://127.0.0.1/",
            "http://2130706433/",
            "http://0x7f.1/",
            "http://[::1]/",
            "http://[::ffff:7f00:1]/",
            "http://017700000001/",
        ] {
            assert!(!none.allows_literal(&url::Url::parse(url).unwrap()), "{url}");
        }
    }
}
