//! nginx as a [`Router`](quark_core::Router): promotion by marker file, no
//! reload, no lost request.
//!
//! Each app has one file of nginx configuration, which names both slots. Which
//! of them serves is decided anew for each request, by whether the file
//! `markers/<app>.green` exists; so a promotion is the creation of one file and
//! a rollback its removal, and no worker, connection or request notices. A
//! second marker, `markers/<app>.backup`, lets the other slot answer what the
//! active one does not. A share of the requests for the other slot is one
//! marker for each hundredth of them, `markers/<app>.canary.<0 to 98>`; to which
//! hundredth a request belongs nginx draws for each (`split_clients` over
//! `$request_id`).
//!
//! nginx reads its configuration again only when the *shape* of a route
//! changes: a new app, other host names, other addresses. Such a change is
//! tested aside, written at once, and believed only when nginx itself tells on
//! a fresh connection that it is in force; otherwise the files before are put
//! back. Several apps that wait share one reload.
//!
//! | nginx | a promotion or rollback | a change of shape |
//! |---|---|---|
//! | 1.27.4 and later | loses nothing | loses nothing |
//! | 1.15.3 to 1.27.3 | loses nothing | may cut idle kept connections that a client is about to use again |
//!
//! ```no_run
//! use quark_nginx::{NginxConfig, NginxRouter};
//!
//! # async fn open() -> quark_core::Result<()> {
//! let config = NginxConfig::own("/var/lib/quark/nginx", ([0, 0, 0, 0], 80).into());
//! let router = NginxRouter::open(config).await?;
//! # Ok(())
//! # }
//! ```
//!
//! Needs Linux: processes and connections are read from `/proc`.

mod apply;
mod command;
mod config;
mod drain;
mod error;
mod files;
mod layout;
mod lock;
mod markers;
mod open;
mod process;
mod refresh;
mod reload;
mod router;
mod shared;
mod site;
mod stages;
mod state;
mod status;
mod template;
mod tree;
mod user;
mod version;

pub use config::{NginxConfig, ReloadBy};
pub use router::NginxRouter;
