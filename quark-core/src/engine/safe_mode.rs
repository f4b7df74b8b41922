//! Safe mode: when the store does not know what the world has seen, nothing is
//! touched until a person has looked.
//!
//! A store that was restored from a backup gives fences, generations and event
//! numbers for a second time, and does not know what runs. An engine that
//! believed it would stop what serves.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::shared::{NO_ANSWER, Shared};
use crate::backend::Metric;
use crate::planted::planted;
use crate::{Error, ErrorKind, Result};

/// Whether the engine only looks, and why.
#[derive(Debug, Default)]
pub(super) struct SafeMode {
    reason: Mutex<Option<String>>,
}

impl SafeMode {
    fn lock(&self) -> MutexGuard<'_, Option<String>> {
        self.reason.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_on(&self) -> bool {
        self.lock().is_some()
    }

    pub(super) fn reason(&self) -> Option<String> {
        self.lock().clone()
    }
}

impl Shared {
    /// Touches nothing any more until [`leave_safe_mode`](Self::leave_safe_mode).
    pub(super) fn enter_safe_mode(&self, reason: &str) {
        let mut known = self.safe_mode.lock();
        if known.is_none() {
            tracing::error!(
                reason,
                "the store seems to have gone back in time; nothing is touched until a person resumes"
            );
            *known = Some(reason.to_owned());
            self.metrics.record(Metric::SafeMode(true));
        }
        drop(known);
        self.announce();
    }

    /// An error while the engine only looks.
    pub(super) fn refuse_in_safe_mode(&self) -> Result<()> {
        let Some(reason) = self.safe_mode.reason() else { return Ok(()) };
        Err(Error::new(ErrorKind::Unavailable, format!("the engine is in safe mode: {reason}"))
            .with_code("safe_mode")
            .with_hint("compare the store with what runs; then `resume` the engine, or restore a newer store"))
    }

    /// Goes on from what the store says, with numbers above all that the world
    /// has seen.
    pub(super) async fn leave_safe_mode(&self) -> Result<()> {
        if !self.safe_mode.is_on() {
            return Ok(());
        }
        // One leap is enough unless the store is older than its last one.
        let seen = self.workspace.noted_position(&self.installation).await?.unwrap_or(0);
        self.store.leap().await?;
        while self.store.position().await? <= seen {
            self.store.leap().await?;
        }
        self.note_position().await?;
        let mut reason = self.safe_mode.lock();
        *reason = None;
        // Under the lock: who enters it again counts after this.
        self.metrics.record(Metric::SafeMode(false));
        drop(reason);
        tracing::warn!("a person has resumed the engine; it goes on from what the store says");
        self.announce();
        Ok(())
    }

    /// Notes how far the store has come, outside of the store; never less than
    /// was noted before.
    pub(super) async fn note_position(&self) -> Result<()> {
        match self.compare_positions().await? {
            // What was compared is noted: the store may go back before it is read again.
            Ok(position) => self.workspace.note_position(&self.installation, position).await,
            Err(doubt) => {
                self.enter_safe_mode(&doubt);
                Ok(())
            }
        }
    }

    /// How far the store has come, or why that cannot be.
    async fn compare_positions(&self) -> Result<std::result::Result<u64, String>> {
        // Read in this order: another engine may note a later position meanwhile.
        let noted = self.workspace.noted_position(&self.installation).await?;
        let position = self.store.position().await?;
        let noted = noted.filter(|noted| *noted > position && !planted!(DoubtIgnored));
        Ok(match noted {
            None => Ok(position),
            Some(noted) => Err(format!("the store was at event {noted} and is at event {position} now")),
        })
    }

    /// What shows that the store went back in time, if anything does.
    pub(super) async fn doubt(&self) -> Result<Option<String>> {
        if planted!(DoubtIgnored) {
            return Ok(None);
        }
        if let Err(doubt) = self.compare_positions().await? {
            return Ok(Some(doubt));
        }
        for app in self.store.apps().await? {
            let name = &app.spec.name;
            // The store counts a generation before the router hears of it.
            let seen = match self.ask("the router", self.router.observe(name)).await {
                Ok(seen) => seen,
                // One that hangs would hang for every app.
                Err(error) if error.code() == NO_ANSWER => return Ok(None),
                // One that cannot be asked says nothing; whoever mends the app says that.
                Err(_) => None,
            };
            if let Some(route) = seen
                && route.generation > app.serving.generation
                // It may have been counted since the app was read.
                && self.store.app(name).await?.is_some_and(|app| route.generation > app.serving.generation)
            {
                let (seen, known) = (route.generation.0, app.serving.generation.0);
                return Ok(Some(format!("the route of `{name}` is generation {seen}, the store knows {known}")));
            }
        }
        Ok(None)
    }
}
