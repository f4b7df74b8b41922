//! Who listens on which port, by `/proc/net/tcp` and `/proc/<pid>/fd`.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use quark_core::Result;
use tokio::net::TcpSocket;

use super::files::{failed, is_absent};
use super::table::{Entry, Table};

/// A socket that takes connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Listener {
    /// Where.
    pub(crate) address: SocketAddr,
    /// Which user made it.
    user: u32,
    /// The name by which processes hold it.
    inode: u64,
}

/// Fails if nothing could listen at an address now.
///
/// It binds and does not listen: a process that is forked at this moment has
/// the socket too until it runs its own program, and one that listens would
/// keep others from the port for as long.
pub(crate) fn try_bind(address: SocketAddr) -> io::Result<()> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)
}

/// Reads all listening TCP sockets.
pub(crate) fn listeners() -> Result<Vec<Listener>> {
    let mut found = Vec::new();
    for file in ["/proc/net/tcp", "/proc/net/tcp6"] {
        match fs::read_to_string(file) {
            Ok(text) => found.extend(text.lines().skip(1).filter_map(parse)),
            // A kernel without IPv6.
            Err(error) if is_absent(&error) && file.ends_with('6') => {}
            Err(error) => return Err(failed("read", Path::new(file), error)),
        }
    }
    Ok(found)
}

/// One line, as proc_pid_net(5) and the kernel's `proc_net_tcp` describe it.
fn parse(line: &str) -> Option<Listener> {
    const LISTEN: &str = "0A";
    let mut fields = line.split_ascii_whitespace();
    let local = fields.nth(1)?;
    let state = fields.nth(1)?;
    let user = fields.nth(3)?.parse().ok()?;
    let inode = fields.nth(1)?.parse().ok()?;
    if state != LISTEN {
        return None;
    }
    let (ip, port) = local.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    Some(Listener { address: SocketAddr::new(parse_ip(ip)?, port), user, inode })
}

/// An address as the kernel prints it: 32-bit words of the machine's own byte
/// order that hold bytes of the network's.
fn parse_ip(text: &str) -> Option<IpAddr> {
    let word = |at: usize| Some(u32::from_str_radix(text.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    match text.len() {
        8 => Some(IpAddr::V4(Ipv4Addr::from(word(0)?))),
        32 => {
            let mut bytes = [0; 16];
            for (bytes, at) in bytes.chunks_exact_mut(4).zip([0, 8, 16, 24]) {
                bytes.copy_from_slice(&word(at)?);
            }
            Some(Ipv6Addr::from(bytes).to_canonical())
        }
        _ => None,
    }
}

/// Those that get the connections made to `address`: the kernel prefers a
/// socket of the very address over one of all addresses.
pub(crate) fn reached_at(all: &[Listener], address: SocketAddr) -> Vec<Listener> {
    let exact: Vec<_> = all.iter().filter(|listener| listener.address == address).copied().collect();
    if !exact.is_empty() {
        return exact;
    }
    let same_port = all.iter().filter(|listener| listener.address.port() == address.port());
    let of_all = same_port.filter(|listener| {
        // A socket of all IPv6 addresses takes IPv4 too, unless it was told
        // not to, which cannot be seen here.
        listener.address.ip().is_unspecified() && (listener.address.is_ipv6() || address.is_ipv4())
    });
    of_all.copied().collect()
}

/// The sockets that these processes hold.
pub(crate) fn held_by(processes: &[Entry]) -> HashSet<u64> {
    processes.iter().flat_map(|entry| sockets_of(entry.process.pid)).collect()
}

/// Whether a process that holds `sockets` holds this one.
pub(crate) fn is_held(listener: &Listener, sockets: &HashSet<u64>) -> bool {
    sockets.contains(&listener.inode)
}

fn sockets_of(pid: u32) -> Vec<u64> {
    // Processes of other users cannot be looked into.
    let Ok(files) = fs::read_dir(format!("/proc/{pid}/fd")) else { return Vec::new() };
    let links = files.flatten().filter_map(|file| fs::read_link(file.path()).ok());
    let socket = |link: std::path::PathBuf| link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok();
    links.filter_map(socket).collect()
}

/// Names who has a socket, for people.
pub(crate) fn describe(listener: &Listener, table: &Table) -> String {
    let mut holders: Vec<u32> = table.iter().map(|entry| entry.process.pid).collect();
    // The first one made is usually the parent of all that share the socket.
    holders.sort_unstable();
    let holder = holders.into_iter().find(|pid| sockets_of(*pid).contains(&listener.inode));
    match holder {
        Some(pid) => {
            let name = fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
            let name = String::from_utf8_lossy(name.trim_ascii()).escape_debug().to_string();
            format!("process {pid} (`{name}`)")
        }
        None => format!("a process of the user with id {}", listener.user),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_a_socket_of_this_process() {
        let own = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = own.local_addr().unwrap();
        let found = reached_at(&listeners().unwrap(), address);
        assert_eq!(found.len(), 1);
        let table = Table::read().unwrap();
        let process = *table.with_pid(std::process::id()).unwrap();
        assert!(is_held(&found[0], &held_by(&[process])));
        assert!(describe(&found[0], &table).contains(&std::process::id().to_string()));
        assert_eq!(try_bind(address).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(own);
        assert!(reached_at(&listeners().unwrap(), address).is_empty());
    }

    #[test]
    fn the_more_exact_socket_gets_the_connections() {
        let listener = |address: &str, inode| Listener { address: address.parse().unwrap(), user: 0, inode };
        let all = [listener("0.0.0.0:80", 1), listener("127.0.0.1:80", 2), listener("[::]:81", 3)];
        let inodes =
            |address: &str| reached_at(&all, address.parse().unwrap()).iter().map(|l| l.inode).collect::<Vec<_>>();
        assert_eq!(inodes("127.0.0.1:80"), [2]);
        assert_eq!(inodes("127.0.0.2:80"), [1]);
        assert_eq!(inodes("127.0.0.1:81"), [3]);
        assert_eq!(inodes("[::1]:80"), [0; 0]);
    }

    #[test]
    fn addresses_are_read_in_the_order_of_the_kernel() {
        let line = "  0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000  0 621 1 0";
        let expected = Listener { address: "127.0.0.1:8080".parse().unwrap(), user: 1000, inode: 621 };
        // The sample was printed by a little-endian machine.
        if cfg!(target_endian = "little") {
            assert_eq!(parse(line), Some(expected));
        }
        assert_eq!(parse(&line.replace(" 0A ", " 01 ")), None);
    }
}
