//! Dies where a test wants it to: for the tests of recovery, and only there
//! with the feature `crash-points`, which no server that is used has.
//!
//! `QUARK_CRASH_POINTS` names a folder. Two files in it are orders; they are
//! looked for each time anew, so a test gives and takes them as it goes on:
//!
//! ```text
//! point    where to die, by SIGKILL:
//!   before:STEP     the intent of the step is asked for, nothing is written
//!   intent:STEP     the intent is in the store, the step has not begun
//!   outcome:STEP    the step is done or has failed, which is not in the store
//!   after:STEP      it is in the store, nobody was told
//!   before:STATE    a deployment is about to enter the state
//!   after:STATE     it has, and nobody was told
//!   before:cancel   somebody wants a deployment to stop
//!   after:cancel    the wish is in the store
//!   log:TEXT        the deployment's log says this
//! refuse   the router does every change to the green slot and denies it
//! ```

mod router;
mod store;

use std::env;
use std::path::PathBuf;
use std::sync::Arc;

use quark_core::backend::{Router, Store};

use router::Doubtful;
use store::Mortal;

/// Puts the points around store and router, if a test asks for them.
pub(crate) fn put_around(store: Arc<dyn Store>, router: Arc<dyn Router>) -> (Arc<dyn Store>, Arc<dyn Router>) {
    let Some(orders) = env::var_os("QUARK_CRASH_POINTS").map(PathBuf::from) else { return (store, router) };
    tracing::warn!(orders = %orders.display(), "this server dies when it is told to");
    (Arc::new(Mortal::new(store, orders.join("point"))), Arc::new(Doubtful::new(router, orders.join("refuse"))))
}
