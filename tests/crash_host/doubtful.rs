//! A router that does what it is told and then denies it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use quark_core::backend::{Call, Drained, EffectiveRoute, Route};
use quark_core::{AppName, Endpoint, Error, ErrorKind, Result, Router, Slot};

/// A router that does not like the green slot once it was told so: it sends
/// users there, where they must not stay, and says that it could not.
#[derive(Debug)]
pub(crate) struct Doubtful {
    inner: Arc<dyn Router>,
    /// The next process must be of the same opinion.
    refuses: PathBuf,
}

impl Doubtful {
    /// As good as `inner`, unless the file is there.
    pub(crate) fn new(inner: Arc<dyn Router>, refuses: PathBuf) -> Self {
        Self { inner, refuses }
    }

    /// Denies the green slot from now on.
    pub(crate) fn refuse(&self) -> anyhow::Result<()> {
        std::fs::write(&self.refuses, "").context("the file cannot be written")
    }
}

#[async_trait]
impl Router for Doubtful {
    async fn apply(&self, call: &Call, route: &Route) -> Result<()> {
        self.inner.apply(call, route).await?;
        if route.active == Slot::Green && self.refuses.exists() {
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
