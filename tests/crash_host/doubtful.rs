//! A router that does what it is told and then, once, denies it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use quark_core::backend::{Call, Drained, EffectiveRoute, Route};
use quark_core::{AppName, Endpoint, Error, ErrorKind, Result, Router, Slot};

/// A router that can be told to fail after it has done the next change, so
/// that users are where they must not stay.
#[derive(Clone, Debug)]
pub(crate) struct Doubtful {
    inner: Arc<dyn Router>,
    fails: Arc<AtomicBool>,
}

impl Doubtful {
    /// A router that is as good as `inner`.
    pub(crate) fn new(inner: Arc<dyn Router>) -> Self {
        Self { inner, fails: Arc::default() }
    }

    /// Fails after the next change.
    pub(crate) fn fail_once(&self) {
        self.fails.store(true, Ordering::SeqCst);
    }
}

#[async_trait]
impl Router for Doubtful {
    async fn apply(&self, call: &Call, route: &Route) -> Result<()> {
        self.inner.apply(call, route).await?;
        if self.fails.swap(false, Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::InvalidConfig, "this route is not to my taste"));
        }
        Ok(())
    }
    async fn observe(&self, app: &AppName) -> Result<Option<EffectiveRoute>> {
        self.inner.observe(app).await
    }
    async fn drained(&self, app: &AppName, slot: Slot, endpoint: &Endpoint, longest: Duration) -> Result<Drained> {
        self.inner.drained(app, slot, endpoint, longest).await
    }
    async fn remove(&self, call: &Call, app: &AppName) -> Result<()> {
        self.inner.remove(call, app).await
    }
}
