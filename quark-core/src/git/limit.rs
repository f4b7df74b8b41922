//! How much a repository may send and hold, found out before it fills the disk.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::failure;
use super::run::Git;
use crate::app::CommitSha;
use crate::backend::{LogSink, NoLog};
use crate::deployment::LogStream;
use crate::process::{Finished, Program};
use crate::{Error, ErrorKind, Result};

/// Stops a transfer that grows too large. git has no such limit of its own.
pub(super) struct PackWatch<'a> {
    pub(super) packs: &'a Path,
    pub(super) max_bytes: u64,
}

impl PackWatch<'_> {
    pub(super) async fn run(&self, program: &Program, git: &Git, log: &dyn LogSink) -> Result<Finished> {
        let stop = git.stop_token();
        let run = git.run_until(stop.clone(), program, log);
        tokio::pin!(run);
        let mut tick = interval(Duration::from_millis(100));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut exceeded = false;
        let done = loop {
            tokio::select! {
                done = &mut run => break done,
                _ = tick.tick(), if !exceeded => {
                    exceeded = self.size() > self.max_bytes;
                    if exceeded {
                        stop.cancel();
                    }
                }
            }
        };
        if exceeded || (done.is_ok() && self.size() > self.max_bytes) {
            return Err(too_large(format!("the transfer exceeds {} bytes", self.max_bytes)));
        }
        done
    }

    /// The folder holds a handful of files, and is not there at first.
    fn size(&self) -> u64 {
        let entries = fs::read_dir(self.packs).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.len()).sum()
    }
}

fn too_large(message: String) -> Error {
    Error::new(ErrorKind::ResourceExhausted, message)
        .with_code("source_too_large")
        .with_hint("keep large files out of the repository, or raise the limit of `GitFetcher`")
}

/// Adds up a tree from git's list of it. A tree of a few kilobytes can stand
/// for millions of files, so it is not unpacked before it was counted.
pub(super) async fn check_tree(
    git: &Git,
    commit: &CommitSha,
    folder: &Path,
    max_bytes: u64,
    max_files: u64,
) -> Result<()> {
    let stop = git.stop_token();
    let tally = Tally { bytes: AtomicU64::new(0), files: AtomicU64::new(0), max_bytes, max_files, stop: stop.clone() };
    let list = git.command(folder).args(["ls-tree", "-r", "--full-tree", "--format=%(objectsize)", commit.as_str()]);
    let done = git.run_until(stop, &list, &tally).await;
    let (bytes, files) = (tally.bytes.into_inner(), tally.files.into_inner());
    if files > max_files {
        return Err(too_large(format!("the tree holds more than {max_files} files")));
    }
    if bytes > max_bytes {
        return Err(too_large(format!("the tree holds more than {max_bytes} bytes")));
    }
    let done = done?;
    if done.succeeded() { Ok(()) } else { Err(failure::of_checkout(&done, commit)) }
}

/// Counts lines of which each is the size of one file.
struct Tally {
    bytes: AtomicU64,
    files: AtomicU64,
    max_bytes: u64,
    max_files: u64,
    stop: CancellationToken,
}

impl LogSink for Tally {
    fn write(&self, stream: LogStream, text: &str) {
        if stream != LogStream::Stdout {
            return NoLog.write(stream, text);
        }
        // A submodule has no size.
        let size = text.trim().parse().unwrap_or(0);
        let bytes = self.bytes.fetch_add(size, Ordering::Relaxed).saturating_add(size);
        let files = self.files.fetch_add(1, Ordering::Relaxed) + 1;
        if bytes > self.max_bytes || files > self.max_files {
            self.stop.cancel();
        }
    }
}
