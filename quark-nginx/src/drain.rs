//! Proof that a slot has no request left: no connection to it is open.
//!
//! The slot of a request is chosen when its head has been read, and the
//! connection to the slot is made at once, before the body has come
//! (`proxy_request_buffering off`). So each request that a slot was given has
//! a connection to it from then to its end, uploads and WebSockets included,
//! on workers of any age. A kept connection without a request counts too, as
//! nothing tells the two apart; nginx closes those after 1 s
//! (`keepalive_timeout` of the upstream).

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use quark_core::backend::Drained;
use quark_core::{Error, ErrorKind, Result};
use tokio::time::Instant;

/// No connection for this long is the proof: a worker that has chosen the slot
/// connects within microseconds, unless it was made to wait by the system.
const QUIET: Duration = Duration::from_millis(250);
const PAUSE: Duration = Duration::from_millis(25);

/// Waits until nothing is connected to `slot`, at most `longest`. `net` is the
/// folder of `/proc` that shows nginx's connections.
pub(crate) async fn drained(net: &Path, slot: SocketAddr, longest: Duration) -> Result<Drained> {
    let deadline = Instant::now() + longest;
    let mut quiet_since = None;
    loop {
        let table = net.to_owned();
        let open = crate::shared::blocking(move || connections(&table, slot)).await?;
        let now = Instant::now();
        if open == 0 {
            if now.duration_since(*quiet_since.get_or_insert(now)) >= QUIET {
                return Ok(Drained::Fully);
            }
        } else {
            quiet_since = None;
            if now >= deadline {
                return Ok(Drained::TimedOut { open });
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// How many connections to `slot` are open or being made, as the end that sees
/// more of them sees it: nginx's end is elsewhere if nginx runs in a container,
/// the slot's end is elsewhere if the slot does.
fn connections(net: &Path, slot: SocketAddr) -> Result<u64> {
    let (mut from_here, mut to_here) = (0_u64, 0_u64);
    for name in ["tcp", "tcp6"] {
        let path = net.join(name);
        match fs::read_to_string(&path) {
            Ok(table) => {
                for (local, remote) in table.lines().skip(1).filter_map(open_connection) {
                    from_here += u64::from(remote == slot);
                    to_here += u64::from(local == slot);
                }
            }
            // A system without IPv6 has no second table.
            Err(cause) if cause.kind() == io::ErrorKind::NotFound && name == "tcp6" => {}
            Err(cause) => {
                return Err(Error::new(ErrorKind::Unavailable, format!("`{}` cannot be read", path.display()))
                    .with_code("no_connection_table")
                    .with_hint("whether a slot is drained is read from `/proc`, which needs Linux")
                    .with_source(cause));
            }
        }
    }
    Ok(from_here.max(to_here))
}

/// The two ends of one line of proc_pid_net(5): number, local address, remote
/// address, state.
fn open_connection(line: &str) -> Option<(SocketAddr, SocketAddr)> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let (local, remote) = (fields.next()?, fields.next()?);
    // TCP_ESTABLISHED and TCP_SYN_SENT of the kernel's tcp_states.h. After
    // those, one side has said that it is done.
    if !matches!(fields.next()?, "01" | "02") {
        return None;
    }
    Some((parse_address(local)?, parse_address(remote)?))
}

/// An address in hexadecimal: groups of four bytes, each in the machine's own
/// order, and a port.
fn parse_address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let groups = (0..address.len()).step_by(8).map(|at| {
        let group = u32::from_str_radix(address.get(at..at + 8)?, 16).ok()?;
        Some(group.to_ne_bytes())
    });
    let bytes: Vec<u8> = groups.collect::<Option<Vec<_>>>()?.concat();
    let ip = match <[u8; 4]>::try_from(bytes.as_slice()) {
        Ok(v4) => IpAddr::V4(Ipv4Addr::from(v4)),
        Err(_) => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(bytes.as_slice()).ok()?)).to_canonical(),
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_both_families_are_read() {
        if cfg!(target_endian = "big") {
            return;
        }
        let address = |text: &str| parse_address(text).unwrap().to_string();
        assert_eq!(address("0100007F:1F90"), "127.0.0.1:8080");
        assert_eq!(address("00000000000000000000000001000000:0050"), "[::1]:80");
        assert_eq!(address("0000000000000000FFFF00000100007F:0050"), "127.0.0.1:80");
        assert_eq!(parse_address("rem_address"), None);
    }

    #[test]
    fn only_open_connections_count() {
        if cfg!(target_endian = "big") {
            return;
        }
        let line = |state| format!("   3: 0100007F:C350 0100007F:1F90 {state} 00000000:00000000 00:00000000");
        let ends = ("127.0.0.1:50000".parse().unwrap(), "127.0.0.1:8080".parse().unwrap());
        assert_eq!(open_connection(&line("01")), Some(ends));
        assert_eq!(open_connection(&line("06")), None, "it has ended");
        assert_eq!(open_connection("  sl  local_address rem_address   st"), None);
    }

    #[tokio::test]
    async fn a_connection_is_waited_for() {
        let net = Path::new("/proc/self/net");
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let slot = listener.local_addr().unwrap();
        let connection = tokio::net::TcpStream::connect(slot).await.unwrap();
        let timed_out = drained(net, slot, Duration::ZERO).await.unwrap();
        assert_eq!(timed_out, Drained::TimedOut { open: 1 });
        drop(connection);
        assert_eq!(drained(net, slot, Duration::from_secs(60)).await.unwrap(), Drained::Fully);
    }
}
