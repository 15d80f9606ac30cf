//! Addresses and networks, for `admin_from`.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use super::field::Field;
use super::value::Value;

/// Addresses with the same first bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// All there are.
    Any,
    /// Those whose first bits are this address's.
    Of(IpAddr, u8),
}

impl Network {
    /// Whether the address is in it. An IPv4 address that is mapped to IPv6 counts as IPv4.
    pub fn has(&self, address: IpAddr) -> bool {
        match (self, address.to_canonical()) {
            (Network::Any, _) => true,
            (Network::Of(IpAddr::V4(own), bits), IpAddr::V4(address)) => {
                same(u128::from(own.to_bits()), u128::from(address.to_bits()), 32 - bits)
            }
            (Network::Of(IpAddr::V6(own), bits), IpAddr::V6(address)) => {
                same(own.to_bits(), address.to_bits(), 128 - bits)
            }
            _ => false,
        }
    }
}

/// Whether two numbers are the same but for this many of their last bits.
fn same(one: u128, two: u128, last: u8) -> bool {
    (one ^ two).checked_shr(last.into()).unwrap_or(0) == 0
}

/// `any`, an address, or an address with the length of its prefix.
impl FromStr for Network {
    type Err = ();

    fn from_str(text: &str) -> Result<Network, ()> {
        if text == "any" {
            return Ok(Network::Any);
        }
        let (address, bits) = text.split_once('/').map_or((text, None), |(a, b)| (a, Some(b)));
        let address = IpAddr::from_str(address).map_err(|_| ())?;
        let bits_max = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(bits_max), u8::from_str).map_err(|_| ())?;
        if bits > bits_max { Err(()) } else { Ok(Network::Of(address, bits)) }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Network::Any => f.write_str("any"),
            Network::Of(IpAddr::V4(address), 32) => address.fmt(f),
            Network::Of(IpAddr::V6(address), 128) => address.fmt(f),
            Network::Of(address, bits) => write!(f, "{address}/{bits}"),
        }
    }
}

impl Field for Vec<Network> {
    fn from_value(value: Value) -> Vec<Network> {
        let items = Vec::<String>::from_value(value);
        items.iter().filter_map(|item| item.parse().ok()).collect()
    }
    fn to_value(&self) -> Value {
        Value::List(self.iter().map(Network::to_string).collect())
    }
}

/// Whether each is a network.
pub fn are_networks(items: &[String]) -> bool {
    items.iter().all(|item| item.parse::<Network>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has(network: &str, address: &str) -> bool {
        network.parse::<Network>().unwrap().has(address.parse().unwrap())
    }

    #[test]
    fn a_network_has_the_addresses_that_begin_as_it_does() {
        assert!(has("10.1.0.0/16", "10.1.255.3") && !has("10.1.0.0/16", "10.2.0.0"));
        assert!(has("10.1.2.3", "10.1.2.3") && !has("10.1.2.3", "10.1.2.2"));
        assert!(has("10.1.2.3", "::ffff:10.1.2.3"), "as a socket of both families tells it");
        assert!(has("fd00::/8", "fdff::1") && !has("fd00::/8", "fe80::1"));
        assert!(has("::1", "::1") && !has("::1", "127.0.0.1"));
        for all in ["any", "0.0.0.0/0"] {
            assert!(has(all, "192.168.7.1"));
        }
        assert!(has("any", "::2") && !has("0.0.0.0/0", "::2") && has("::/0", "::2"));
    }

    #[test]
    fn a_network_is_shown_as_it_is_written() {
        for text in ["any", "10.0.0.0/8", "10.1.2.3", "::1", "fd00::/8"] {
            assert_eq!(text.parse::<Network>().unwrap().to_string(), text);
        }
        for text in ["", "all", "10.0.0.0/33", "::/129", "10.0.0/8", "10.0.0.0/-1", "localhost"] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }
}
