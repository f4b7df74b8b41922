//! Choosing ports.

use std::fs;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

use quark_core::{Endpoint, Error, ErrorKind, Result};

use crate::system::sockets::try_bind;

/// Chooses a port of the range that nothing listens on and that is not taken,
/// beginning anywhere.
pub(super) fn allocate(ports: &RangeInclusive<u16>, begin: u64, taken: &[Endpoint]) -> Result<Endpoint> {
    // An outgoing connection of any program may hold one of these for a while,
    // and a slot keeps its port for as long as the app exists.
    let ephemeral = ephemeral();
    let (later, first): (Vec<u16>, Vec<u16>) = ports.clone().partition(|port| ephemeral.contains(port));
    for mut ports in [first, later] {
        if ports.is_empty() {
            continue;
        }
        let turn = begin % ports.len() as u64;
        ports.rotate_left(usize::try_from(turn).unwrap_or(0));
        for port in ports {
            let endpoint = Endpoint::new(format!("127.0.0.1:{port}"));
            if !taken.contains(&endpoint) && try_bind((Ipv4Addr::LOCALHOST, port).into()).is_ok() {
                return Ok(endpoint);
            }
        }
    }
    let range = format!("{} to {}", ports.start(), ports.end());
    Err(Error::new(ErrorKind::ResourceExhausted, format!("none of the ports {range} is free"))
        .with_code("no_free_port")
        .with_hint("remove apps that are not needed, or give the runtime a larger range of ports"))
}

/// The ports that the kernel gives to outgoing connections.
fn ephemeral() -> RangeInclusive<u16> {
    // Linux's own default where it does not say.
    let text = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut bounds = text.split_ascii_whitespace().filter_map(|bound| bound.parse().ok());
    bounds.next().unwrap_or(32768)..=bounds.next().unwrap_or(60999)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_free_port_is_found_and_then_none() {
        let ephemeral = ephemeral();
        let range = ephemeral.start() - 4..=ephemeral.start() + 3;
        let mut taken = Vec::new();
        let exhausted = loop {
            match allocate(&range, 5, &taken) {
                Ok(endpoint) => {
                    assert!(!taken.contains(&endpoint));
                    taken.push(endpoint);
                }
                Err(error) => break error,
            }
        };
        assert_eq!((exhausted.kind(), exhausted.code()), (ErrorKind::ResourceExhausted, "no_free_port"));
        let outside = |endpoint: &Endpoint| !ephemeral.contains(&endpoint.socket_addr().unwrap().port());
        // Others may hold some of them; the order is what matters.
        assert!(taken.is_sorted_by_key(|endpoint| !outside(endpoint)));
    }
}
