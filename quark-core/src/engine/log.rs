//! The log of a deployment: redacted, batched, never in the way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::{Notify, mpsc, oneshot, watch};

use super::shared::Shared;
use crate::app::EnvVars;
use crate::backend::{LogSink, Metric, MetricsSink, Store};
use crate::clock::{Clock, Timestamp};
use crate::deployment::{Deployment, DeploymentId, LogLine, LogStream};
use crate::platform::Platform;

/// Lines that may wait for the store before further ones are dropped.
const WAITING: usize = 8192;
/// How long the end of a deployment waits for its last lines.
const LONGEST_FLUSH: std::time::Duration = std::time::Duration::from_secs(2);
/// How long a line waits for others to be written with it: a line a moment later
/// is the same to people, and a write less is much to the store.
const GATHERING: std::time::Duration = std::time::Duration::from_millis(50);
/// Lines that are written at once.
const BATCH: usize = 256;
/// Shorter values are not redacted: they would blacken ordinary words.
const SHORTEST_SECRET: usize = 6;

enum Entry {
    Line(Timestamp, LogStream, String),
    Flush(oneshot::Sender<()>),
}

/// The log of one deployment.
pub(super) struct DeploymentLog {
    entries: mpsc::Sender<Entry>,
    clock: Arc<dyn Clock>,
    secrets: Vec<String>,
    dropped: Arc<AtomicU64>,
    /// Ends the gathering: a batch is full, or somebody waits for it.
    hurry: Arc<Notify>,
    room: Room,
}

/// How much output is kept.
struct Room {
    most: u64,
    left: AtomicU64,
    is_full: AtomicBool,
}

impl Room {
    fn of(most: u64) -> Self {
        Self { most, left: AtomicU64::new(most), is_full: AtomicBool::new(false) }
    }

    /// Whether there is room for a line. The first for which there is none ends
    /// the output: what is kept has no gaps.
    fn takes(&self, line: &str) -> bool {
        let size = u64::try_from(line.len()).unwrap_or(u64::MAX).saturating_add(1);
        let take = |left: u64| left.checked_sub(size);
        !self.is_full.load(Ordering::Relaxed)
            && self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }
}

/// Where a log goes to.
struct LogTarget {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    metrics: Arc<dyn MetricsSink>,
    changed: watch::Sender<u64>,
    platform: Arc<dyn Platform>,
}

impl DeploymentLog {
    /// The log of a deployment of this engine.
    pub(super) fn of(shared: &Shared, deployment: &Deployment) -> Arc<Self> {
        let target = LogTarget {
            store: Arc::clone(&shared.store),
            clock: Arc::clone(&shared.clock),
            metrics: Arc::clone(&shared.metrics),
            changed: shared.changed.clone(),
            platform: Arc::clone(&shared.platform),
        };
        let room = Room::of(shared.config.log_bytes);
        Arc::new(Self::open(target, deployment.id, &deployment.release.env, room))
    }

    /// Opens the log; its writer ends when the log is dropped and written.
    fn open(target: LogTarget, id: DeploymentId, env: &EnvVars, room: Room) -> Self {
        let (sender, receiver) = mpsc::channel(WAITING);
        let (dropped, hurry) = (Arc::new(AtomicU64::new(0)), Arc::new(Notify::new()));
        let clock = Arc::clone(&target.clock);
        let platform = Arc::clone(&target.platform);
        platform.spawn(Box::pin(write(target, id, receiver, Arc::clone(&dropped), Arc::clone(&hurry))));
        Self { entries: sender, clock, secrets: secrets(env), dropped, hurry, room }
    }

    /// Says something in the engine's own voice.
    pub(super) fn say(&self, text: &str) {
        self.write(LogStream::System, text);
    }

    /// Waits until everything said so far is in the store, but not for long: a
    /// deployment does not wait for its log.
    pub(super) async fn flush(&self) {
        let written = async {
            let (sender, receiver) = oneshot::channel();
            if self.entries.send(Entry::Flush(sender)).await.is_ok() {
                self.hurry.notify_one();
                // An error means that the writer has ended, which says so itself.
                let _ = receiver.await;
            }
        };
        tokio::select! {
            biased;
            () = written => {}
            () = self.clock.sleep(LONGEST_FLUSH) => {}
        }
    }
}

/// What must not appear in a log: the values of the app's variables, line by
/// line, since a log has lines.
fn secrets(env: &EnvVars) -> Vec<String> {
    let lines =
        env.iter().flat_map(|(_, value)| value.expose().lines().map(str::trim).map(str::to_owned).collect::<Vec<_>>());
    let mut secrets: Vec<_> = lines.filter(|line| line.len() >= SHORTEST_SECRET).collect();
    // The longest first: one may be a part of another.
    secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    secrets.dedup();
    secrets
}

impl Drop for DeploymentLog {
    fn drop(&mut self) {
        // No further line joins the last ones.
        self.hurry.notify_one();
    }
}

impl LogSink for DeploymentLog {
    fn write(&self, stream: LogStream, text: &str) {
        self.put(stream, text, stream != LogStream::System);
    }
}

impl DeploymentLog {
    /// The last lines of what does not work: there is room for them although a
    /// long build came before.
    pub(super) fn relay(&self, stream: LogStream, text: &str) {
        self.put(stream, text, false);
    }

    fn put(&self, stream: LogStream, text: &str, is_bounded: bool) {
        let mut text = text.replace('\0', "\u{fffd}");
        for secret in &self.secrets {
            if text.contains(secret.as_str()) {
                text = text.replace(secret.as_str(), "***");
            }
        }
        let now = self.clock.now();
        let mut rest = text.as_str();
        loop {
            let mut end = rest.len().min(LogLine::LONGEST);
            while !rest.is_char_boundary(end) {
                end -= 1;
            }
            let (line, after) = rest.split_at(end);
            if is_bounded && !self.room.takes(line) {
                if !self.room.is_full.swap(true, Ordering::Relaxed) {
                    self.say(&format!("the output is longer than {} bytes; the rest is not kept", self.room.most));
                }
                return;
            }
            if self.entries.try_send(Entry::Line(now, stream, line.to_owned())).is_err() {
                self.dropped.fetch_add(1, Ordering::Relaxed);
            }
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        if self.entries.max_capacity() - self.entries.capacity() >= BATCH {
            self.hurry.notify_one();
        }
    }
}

/// Lets further lines join those that are about to be written. They wake nobody
/// as they come: to wake another thread costs more than to write a line.
async fn gather(clock: &dyn Clock, hurry: &Notify, entries: &mut mpsc::Receiver<Entry>, batch: &mut Vec<Entry>) {
    let is_urgent = |batch: &[Entry]| batch.len() >= BATCH || batch.iter().any(|e| matches!(e, Entry::Flush(_)));
    if !is_urgent(batch) {
        tokio::select! {
            biased;
            () = hurry.notified() => {}
            () = clock.sleep(GATHERING) => {}
        }
    }
    while batch.len() < BATCH
        && let Ok(entry) = entries.try_recv()
    {
        batch.push(entry);
    }
}

async fn write(
    target: LogTarget,
    id: DeploymentId,
    mut entries: mpsc::Receiver<Entry>,
    dropped: Arc<AtomicU64>,
    hurry: Arc<Notify>,
) {
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        batch.clear();
        if entries.recv_many(&mut batch, BATCH).await == 0 {
            return;
        }
        gather(target.clock.as_ref(), &hurry, &mut entries, &mut batch).await;
        let mut lines = Vec::with_capacity(batch.len());
        let mut flushed = Vec::new();
        for entry in batch.drain(..) {
            match entry {
                Entry::Line(at, stream, text) => lines.push((at, stream, text)),
                Entry::Flush(done) => flushed.push(done),
            }
        }
        let lost = dropped.swap(0, Ordering::Relaxed);
        if lost > 0 {
            target.metrics.record(Metric::LogLinesDropped(lost));
            let text = format!("{lost} lines were dropped here because they came faster than they could be kept");
            lines.push((target.clock.now(), LogStream::System, text));
        }
        if !lines.is_empty() {
            let count = lines.len();
            match target.store.append_log(id, lines).await {
                Ok(()) => target.changed.send_modify(|changes| *changes += 1),
                // A deployment does not fail for its log.
                Err(error) => {
                    tracing::warn!(deployment = %id, count, %error, "log lines could not be kept");
                    target.metrics.record(Metric::LogLinesDropped(u64::try_from(count).unwrap_or(u64::MAX)));
                }
            }
        }
        for done in flushed {
            let _ = done.send(());
        }
    }
}
