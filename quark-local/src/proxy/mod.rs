//! An HTTP/1.1 reverse proxy inside the process: the router of the embedded default.
//!
//! [`ProxyRouter`] listens on one address and sends each request to the active
//! slot of the app that its host name belongs to. A switch replaces one entry
//! of a table under a write lock; requests choose their slot, and are counted
//! at it, under the read lock. That makes two things exact that are guesses
//! with a proxy outside of the process: after `apply` no request reaches the
//! old slot any more, and `drained` knows how many are left there.
//!
//! What it promises:
//!
//! - Clients' connections outlive every switch.
//! - Bodies stream in both directions at the pace of the slower side, trailers
//!   included; WebSockets and other upgrades are passed through.
//! - A request is sent twice only if that cannot be noticed: `GET`, `HEAD`,
//!   `OPTIONS` and `TRACE` without a body, on a kept connection that turned out
//!   to be closed before any answer. All others get a connection of their own,
//!   so that they never meet one that is just being closed.
//! - The other slot stands in (`backup`) when the active one does not accept
//!   connections.
//! - Of a share of the requests (`canary`) exactly that many of each hundred go
//!   to the other slot, whatever connection they come on; or to the active one,
//!   if that does not accept connections.
//! - What clients claim about themselves in `X-Forwarded-*`, `X-Real-IP` and
//!   `Forwarded` is replaced by what the socket says.
//!
//! Routes are kept in memory only. The engine knows them all and puts them back
//! when it starts, so a new process begins with an empty table.
//!
//! TLS is not spoken here. Behind something that speaks it, name its address
//! with [`ProxyConfig::with_trusted_peers`], so that apps learn the scheme and
//! the address of the client.

mod accept;
mod answer;
mod body;
mod config;
mod edge;
mod forward;
mod headers;
mod host;
mod pool;
mod router;
mod table;
mod traffic;
mod tunnel;
mod upstream;

pub use config::ProxyConfig;
pub use router::ProxyRouter;
