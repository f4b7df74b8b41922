//! Who listens at the endpoint of a container.

use std::collections::{BTreeSet, HashSet};
use std::net::SocketAddr;

use quark_core::backend::Listening;
use quark_core::{Endpoint, Result};

use super::life::Life;
use super::record::Place;
use crate::system::sockets::{Listener, describe, held_by, is_held, listeners, reached_at};
use crate::system::table::Table;

/// Looks at what listens at the endpoint of a container.
pub(super) fn listening(place: &Place, endpoint: &Endpoint) -> Result<Listening> {
    let address = endpoint.socket_addr()?;
    place.existing()?;
    let (first, foreign) = look(place, address)?;
    if foreign.is_none() {
        return Ok(first);
    }
    // Sockets and processes are not read at one moment: a socket that was just
    // closed, or that a child of this moment made, seems to be nobody's.
    let (second, still) = look(place, address)?;
    if still.is_none() || still == foreign { Ok(second) } else { Ok(look(place, address)?.0) }
}

/// One look, with the socket that is not ours if there is one.
fn look(place: &Place, address: SocketAddr) -> Result<(Listening, Option<Listener>)> {
    let table = Table::read()?;
    let family = place.family(Life::of(place, &table)?.process());
    let all = listeners()?;
    let there = reached_at(&all, address);
    // Most often this suffices, and not all processes have to be looked into.
    let close = held_by(&family.close_members(&table));
    if !there.is_empty() && is_ours(&there, &close) {
        return Ok((Listening::Ours, None));
    }
    let held = held_by(&family.members(&table));
    let foreign = there.iter().find(|listener| !is_held(listener, &held)).copied();
    let seen = match &foreign {
        None if !there.is_empty() => Listening::Ours,
        None => Listening::Nothing { elsewhere: elsewhere(&all, &held, address) },
        Some(foreign) => Listening::Foreign { who: describe(foreign, &table) },
    };
    Ok((seen, foreign))
}

fn is_ours(there: &[Listener], held: &HashSet<u64>) -> bool {
    there.iter().all(|listener| is_held(listener, held))
}

fn elsewhere(all: &[Listener], held: &HashSet<u64>, address: SocketAddr) -> Vec<u16> {
    let ports = all.iter().filter(|listener| is_held(listener, held)).map(|listener| listener.address.port());
    // Sorted, and a port with an IPv4 and an IPv6 socket once.
    ports.filter(|port| *port != address.port()).collect::<BTreeSet<_>>().into_iter().collect()
}
