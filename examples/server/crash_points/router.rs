//! A router that does what it is told and then denies it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use quark_core::backend::{Call, Drained, EffectiveRoute, Route, Router};
use quark_core::{AppName, Endpoint, Error, ErrorKind, Result, Slot};

/// A router that does not like the green slot once it was told so: it sends
/// users there, where they must not stay, and says that it could not.
#[derive(Debug)]
pub(super) struct Doubtful {
    inner: Arc<dyn Router>,
    /// As a file: the next process must be of the same opinion.
    refuses: PathBuf,
}

impl Doubtful {
    /// As good as `inner`, unless the file is there.
    pub(super) fn new(inner: Arc<dyn Router>, refuses: PathBuf) -> Self {
        Self { inner, refuses }
    }
}

#[async_trait]
impl Router for Doubtful {
    fn splits(&self) -> bool {
        self.inner.splits()
    }

    async fn apply(&self, call: &Call, route: &Route) -> Result<()> {
        self.inner.apply(call, route).await?;
        if route.active == Slot::Green && self.refuses.exists() {
            return Err(Error::new(ErrorKind::InvalidConfig, "this route is not to my taste"));
        }
        Ok(())
    }

    fn entrance(&self) -> Option<Endpoint> {
        self.inner.entrance()
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
