//! `allocate_endpoint`: a port of the loopback address that nobody has.

use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::ops::RangeInclusive;

use bollard::query_parameters::ListContainersOptionsBuilder;
use quark_core::backend::container_runtime::label;
use quark_core::{Endpoint, Error, ErrorKind, Result};

use crate::daemon::Daemon;

const OPERATION: &str = "runtime.allocate_endpoint";

pub(super) async fn allocate(daemon: &Daemon, taken: &[Endpoint]) -> Result<Endpoint> {
    let mut used = published(daemon).await?;
    used.extend(taken.iter().filter_map(|endpoint| Some(endpoint.socket_addr().ok()?.port())));
    let range = daemon.config().ports();
    let chance = usize::from(rand::random::<u16>());
    let lent = lent_ports();
    let port = in_turn(&range, chance, &lent).find(|port| !used.contains(port) && is_free(*port));
    port.map(|port| Endpoint::new(format!("{}:{port}", Ipv4Addr::LOCALHOST))).ok_or_else(|| {
        let message = format!("all ports from {} to {} are in use", range.start(), range.end());
        Error::new(ErrorKind::ResourceExhausted, message)
            .with_code("no_free_port")
            .with_operation(OPERATION)
            .with_hint("remove apps, or widen the range with `DockerConfig::with_ports`")
    })
}

/// The ports that containers have, or will have once they are started.
async fn published(daemon: &Daemon) -> Result<BTreeSet<u16>> {
    let options = ListContainersOptionsBuilder::new().all(true).build();
    let found = daemon.ask(OPERATION, daemon.docker().list_containers(Some(options))).await?;
    let mut used = BTreeSet::new();
    for summary in found {
        let open: Vec<u16> =
            summary.ports.unwrap_or_default().into_iter().filter_map(|port| port.public_port).collect();
        let ours = summary.labels.is_some_and(|labels| labels.contains_key(label::INSTALLATION));
        // A container that does not run has no ports in the list.
        let unclear = ours && open.is_empty();
        used.extend(open);
        if let Some(id) = summary.id.filter(|_| unclear)
            && let Some(container) = daemon.container(OPERATION, &id).await?
        {
            used.extend(container.published().into_iter().map(|port| port.outside.port()));
        }
    }
    Ok(used)
}

/// All ports of the range, each once. Where to begin is left to chance, so that
/// two engines on one machine seldom want the same.
///
/// Ports that the kernel lends to outgoing connections come last: a router's
/// connection to one app may hold the port of another one that is about to
/// start.
fn in_turn(range: &RangeInclusive<u16>, chance: usize, lent: &RangeInclusive<u16>) -> impl Iterator<Item = u16> {
    let (mut last, mut first): (Vec<u16>, Vec<u16>) = range.clone().partition(|port| lent.contains(port));
    for ports in [&mut first, &mut last] {
        let turn = chance.checked_rem(ports.len()).unwrap_or(0);
        ports.rotate_left(turn);
    }
    first.into_iter().chain(last)
}

/// The ports that the kernel lends to outgoing connections; the usual ones
/// where it does not say.
fn lent_ports() -> RangeInclusive<u16> {
    let said = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut numbers = said.split_whitespace().map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(first)), Some(Ok(last))) => first..=last,
        _ => 32_768..=60_999,
    }
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_port_has_its_turn_once() {
        for (chance, lent, expected) in [
            (0, 1..=2, [7, 8, 9]),
            (2, 1..=2, [9, 7, 8]),
            (5, 9..=99, [8, 7, 9]),
            (4, 7..=8, [9, 7, 8]),
            (1, 0..=99, [8, 9, 7]),
        ] {
            let ports: Vec<u16> = in_turn(&(7..=9), chance, &lent).collect();
            assert_eq!(ports, expected);
        }
    }
}
