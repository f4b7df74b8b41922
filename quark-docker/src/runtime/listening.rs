//! `listening`: what listens inside a container, read from the kernel.
//!
//! The machine's side of a published port says nothing: Docker's proxy listens
//! there as long as the container runs. Where the daemon is on this machine, the
//! table of sockets of the container's network can be read under `/proc`.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener};

use quark_core::backend::Listening;
use quark_core::{Endpoint, Result};

use crate::daemon::Daemon;

/// A socket that takes connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Listener {
    ip: IpAddr,
    port: u16,
}

pub(super) async fn look(daemon: &Daemon, id: &str, endpoint: &Endpoint) -> Result<Listening> {
    let nothing = Listening::Nothing { elsewhere: Vec::new() };
    let wanted = endpoint.socket_addr()?;
    let Some(container) = daemon.container("runtime.listening", id).await? else { return Ok(nothing) };
    let inside = container.published().into_iter().find(|port| port.outside == wanted).map(|port| port.inside);
    let (Some(inside), true) = (inside, container.is_running()) else {
        // Whoever listens at the endpoint, it is not this container.
        return Ok(match TcpListener::bind(wanted) {
            Ok(_) => nothing,
            Err(_) => Listening::Foreign { who: "another program".to_owned() },
        });
    };
    let Some(pid) = container.pid() else { return Ok(Listening::Unknown) };
    let Some(listeners) = listeners(pid, &container.id) else { return Ok(Listening::Unknown) };
    Ok(judge(inside, &listeners))
}

fn judge(inside: u16, listeners: &[Listener]) -> Listening {
    // What listens on the container's own loopback address only cannot be
    // reached through a published port.
    if listeners.iter().any(|listener| listener.port == inside && !listener.ip.is_loopback()) {
        return Listening::Ours;
    }
    let mut elsewhere: Vec<u16> = listeners.iter().map(|listener| listener.port).collect();
    elsewhere.retain(|port| *port != inside);
    elsewhere.sort_unstable();
    elsewhere.dedup();
    Listening::Nothing { elsewhere }
}

/// The sockets that listen in the network of a process; `None` if it cannot be
/// told, for instance because the daemon is on another machine.
fn listeners(pid: u32, container: &str) -> Option<Vec<Listener>> {
    // The same number may be another process here: the container's id in the
    // name of its control group shows that it is the right one.
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    if !groups.contains(container) {
        return None;
    }
    let read = |table: &str| fs::read_to_string(format!("/proc/{pid}/net/{table}"));
    let mut listeners = parse(&read("tcp").ok()?);
    // There is no such table where IPv6 is switched off.
    listeners.extend(read("tcp6").map(|table| parse(&table)).unwrap_or_default());
    Some(listeners)
}

/// Reads a table as proc_net_tcp(5) describes it.
fn parse(table: &str) -> Vec<Listener> {
    const LISTEN: &str = "0A";
    let row = |line: &str| {
        let mut fields = line.split_whitespace();
        let (local, state) = (fields.nth(1)?, fields.nth(1)?);
        let (ip, port) = local.split_once(':')?;
        let listener = Listener { ip: parse_ip(ip)?, port: u16::from_str_radix(port, 16).ok()? };
        (state == LISTEN).then_some(listener)
    };
    table.lines().skip(1).filter_map(row).collect()
}

/// An address is written as one or four words in the order of this machine.
fn parse_ip(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| u32::from_str_radix(hex.get(at * 8..at * 8 + 8)?, 16).ok().map(u32::to_ne_bytes);
    match hex.len() {
        8 => Some(IpAddr::V4(Ipv4Addr::from(word(0)?))),
        32 => {
            let words = [word(0)?, word(1)?, word(2)?, word(3)?];
            let bytes: [u8; 16] = words.concat().try_into().ok()?;
            Some(Ipv6Addr::from(bytes).to_canonical())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_endian = "little")]
    const TABLE: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
   1: 0100007F:0BB8 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 2 1 0 100 0 0 10 0
   2: 020011AC:1F91 010011AC:A1B2 01 00000000:00000000 00:00000000 00000000     0        0 3 1 0 100 0 0 10 0
";
    #[cfg(target_endian = "little")]
    const TABLE6: &str = "\
  sl  local_address                         remote_address                        st
   0: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A 0
   1: 00000000000000000000000001000000:0051 00000000000000000000000000000000:0000 0A 0
   2: 0000000000000000FFFF00000100007F:0052 00000000000000000000000000000000:0000 0A 0
";

    #[test]
    #[cfg(target_endian = "little")]
    fn only_listening_sockets_are_read() {
        let listener = |ip: &str, port| Listener { ip: ip.parse().unwrap(), port };
        assert_eq!(parse(TABLE), [listener("0.0.0.0", 8080), listener("127.0.0.1", 3000)]);
        assert_eq!(parse(TABLE6), [listener("::", 80), listener("::1", 81), listener("127.0.0.1", 82)]);
        assert_eq!(parse("garbage\nmore garbage\n"), []);
    }

    #[test]
    fn a_listener_on_loopback_is_not_reachable() {
        let listener = |ip: &str, port| Listener { ip: ip.parse().unwrap(), port };
        let nothing = |elsewhere: &[u16]| Listening::Nothing { elsewhere: elsewhere.to_vec() };
        assert_eq!(judge(80, &[listener("0.0.0.0", 80)]), Listening::Ours);
        assert_eq!(judge(80, &[listener("::", 80), listener("0.0.0.0", 9)]), Listening::Ours);
        assert_eq!(judge(80, &[listener("127.0.0.1", 80)]), nothing(&[]));
        assert_eq!(judge(80, &[listener("0.0.0.0", 3000), listener("127.0.0.1", 99)]), nothing(&[99, 3000]));
    }

    #[test]
    fn another_process_with_the_same_number_is_not_believed() {
        assert_eq!(listeners(std::process::id(), "no-such-container"), None);
    }
}
