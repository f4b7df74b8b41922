//! Live events and logs: read from the store, woken by the engine. Nothing is
//! lost and nothing comes twice, however slow the reader is.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, BoxStream};
use tokio::sync::watch;

use super::shared::Shared;
use crate::Result;
use crate::deployment::{DeploymentId, Event, EventKind, LogLine};

/// Read at once.
const PAGE: usize = 256;
/// Another engine on the same store cannot wake our readers.
const LOOK: Duration = Duration::from_millis(500);

struct Reader<T> {
    shared: Arc<Shared>,
    changes: watch::Receiver<u64>,
    id: DeploymentId,
    after: u64,
    page: VecDeque<T>,
    ended: bool,
    follow: bool,
}

impl<T> Reader<T> {
    fn new(shared: Arc<Shared>, id: DeploymentId, after: u64, follow: bool) -> Self {
        let changes = shared.changed.subscribe();
        Self { shared, changes, id, after, page: VecDeque::new(), ended: false, follow }
    }

    /// Whether the deployment has ended, or never was.
    async fn is_over(&self) -> Result<bool> {
        let deployment = self.shared.store.deployment(self.id).await?;
        Ok(deployment.is_none_or(|deployment| deployment.state.is_terminal()))
    }

    async fn wait(&mut self) {
        tokio::select! {
            biased;
            // The sender lives in `shared`, so it is not gone.
            _ = self.changes.changed() => {}
            () = self.shared.clock.sleep(LOOK) => {}
            () = self.shared.stopping.cancelled() => self.ended = true,
        }
    }
}

/// The events of a deployment after `after`, up to and with its end; ends
/// early when the engine shuts down.
pub(super) fn events(shared: Arc<Shared>, id: DeploymentId, after: u64) -> BoxStream<'static, Result<Event>> {
    let reader = Reader::<Event>::new(shared, id, after, true);
    Box::pin(stream::try_unfold(reader, |mut reader| async move {
        loop {
            if let Some(event) = reader.page.pop_front() {
                reader.after = event.sequence;
                if matches!(event.kind, EventKind::Completed { .. }) {
                    // The journal may go on, with the retirement; this stream does not.
                    reader.page.clear();
                    reader.ended = true;
                }
                return Ok(Some((event, reader)));
            }
            if reader.ended {
                return Ok(None);
            }
            reader.changes.mark_unchanged();
            // Asked before the events are read: what has ended by then has written its last one.
            let over = reader.is_over().await?;
            reader.page = reader.shared.store.events(Some(reader.id), reader.after, PAGE).await?.into();
            if reader.page.is_empty() {
                if over {
                    return Ok(None);
                }
                reader.wait().await;
            }
        }
    }))
}

/// The log of a deployment after `after`; with `follow` up to its end, else
/// what is there now.
pub(super) fn log(
    shared: Arc<Shared>,
    id: DeploymentId,
    after: u64,
    follow: bool,
) -> BoxStream<'static, Result<LogLine>> {
    let reader = Reader::<LogLine>::new(shared, id, after, follow);
    Box::pin(stream::try_unfold(reader, |mut reader| async move {
        loop {
            if let Some(line) = reader.page.pop_front() {
                reader.after = line.sequence;
                return Ok(Some((line, reader)));
            }
            if reader.ended {
                return Ok(None);
            }
            reader.changes.mark_unchanged();
            // Asked before the lines are read: what has ended by then has written its last one.
            let over = reader.is_over().await?;
            reader.page = reader.shared.store.log(reader.id, reader.after, PAGE).await?.into();
            if reader.page.is_empty() {
                if over || !reader.follow {
                    return Ok(None);
                }
                reader.wait().await;
            }
        }
    }))
}
