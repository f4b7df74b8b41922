//! `Upstream`: an address in a slot of an app, and the requests that are there.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use quark_core::AppName;
use quark_core::Endpoint;
use quark_core::Slot;
use tokio::sync::Notify;

use super::pool::Pool;
use super::traffic::TrafficLog;

/// An address in a slot of an app, and the requests that are there.
#[derive(Debug)]
pub(super) struct Upstream {
    pub(super) app: AppName,
    pub(super) slot: Slot,
    pub(super) endpoint: Endpoint,
    pub(super) address: SocketAddr,
    pub(super) pool: Arc<Pool>,
    pub(super) traffic: TrafficLog,
    open: AtomicU64,
    ended: Notify,
}

impl Upstream {
    pub(super) fn new(app: AppName, slot: Slot, endpoint: Endpoint, address: SocketAddr) -> Self {
        let (pool, open, ended) = (Arc::default(), AtomicU64::new(0), Notify::new());
        Self { app, slot, endpoint, address, pool, traffic: TrafficLog::new(), open, ended }
    }

    /// The requests that have not ended.
    pub(super) fn open(&self) -> u64 {
        self.open.load(Ordering::Acquire)
    }

    /// Waits until there is none.
    pub(super) async fn emptied(&self) {
        loop {
            let ended = self.ended.notified();
            tokio::pin!(ended);
            // From here on no end is missed.
            ended.as_mut().enable();
            if self.open() == 0 {
                return;
            }
            ended.await;
        }
    }
}

/// A request at a slot, until this is dropped.
#[derive(Debug)]
pub(super) struct InFlight(Arc<Upstream>);

impl InFlight {
    /// Counts a request. Only under the table's lock: a slot that it says is
    /// not served any more must not get another one afterwards.
    pub(super) fn begin(upstream: &Arc<Upstream>) -> Arc<Self> {
        upstream.open.fetch_add(1, Ordering::AcqRel);
        Arc::new(Self(Arc::clone(upstream)))
    }

    pub(super) fn upstream(&self) -> &Arc<Upstream> {
        &self.0
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if self.0.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.ended.notify_waiters();
        }
    }
}
