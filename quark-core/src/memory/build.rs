//! `MemoryBuilder`: builds commits into images of the memory runtime.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::sync::watch;

use super::behaviour::Behaviour;
use super::runtime::MemoryRuntime;
use crate::app::{Artifact, CommitSha};
use crate::backend::{BuildKey, BuildRequest, Call, ImageBuilder, LogSink};
use crate::deployment::LogStream;
use crate::{Error, ErrorKind, Result};

/// Builds commits into images of a [`MemoryRuntime`], without looking at any
/// source. What is not [defined](Self::define) becomes a healthy program.
/// Clones share what they have built.
#[derive(Clone)]
pub struct MemoryBuilder {
    runtime: MemoryRuntime,
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    /// Counts the changes, for those who wait for one.
    changes: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    outcomes: HashMap<CommitSha, Result<Behaviour, String>>,
    artifacts: HashMap<BuildKey, Artifact>,
    held: HashSet<CommitSha>,
    running: HashMap<CommitSha, usize>,
    builds: Vec<Build>,
}

/// A build that was begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Build {
    /// The commit.
    pub commit: CommitSha,
    /// The key of the call.
    pub key: String,
}

impl MemoryBuilder {
    /// A builder whose images appear in `runtime`.
    #[must_use]
    pub fn new(runtime: &MemoryRuntime) -> Self {
        let shared = Shared { state: Mutex::default(), changes: watch::Sender::new(0) };
        Self { runtime: runtime.clone(), shared: Arc::new(shared) }
    }

    /// Says what the program of a commit does.
    pub fn define(&self, commit: &CommitSha, behaviour: Behaviour) {
        self.change(|state| state.outcomes.insert(commit.clone(), Ok(behaviour)));
    }

    /// Makes the builds of a commit fail.
    pub fn fail(&self, commit: &CommitSha, why: impl Into<String>) {
        self.change(|state| state.outcomes.insert(commit.clone(), Err(why.into())));
    }

    /// Makes the builds of a commit wait until it is [released](Self::release).
    pub fn hold(&self, commit: &CommitSha) {
        self.change(|state| state.held.insert(commit.clone()));
    }

    /// Lets the builds of a commit go on.
    pub fn release(&self, commit: &CommitSha) {
        self.change(|state| state.held.remove(commit));
    }

    /// Waits until a build of a commit is under way.
    pub async fn building(&self, commit: &CommitSha) {
        self.until(|state| state.running.contains_key(commit)).await;
    }

    /// Forgets all artifacts, as a clean-up of the machine does.
    pub fn prune(&self) {
        let artifacts = self.change(|state| std::mem::take(&mut state.artifacts));
        for artifact in artifacts.values() {
            self.runtime.forget(&artifact.id);
        }
    }

    /// The builds that were begun, in their order.
    #[must_use]
    pub fn builds(&self) -> Vec<Build> {
        self.state().builds.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A test that panicked while it held the lock has left whole records.
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let done = change(&mut self.state());
        self.shared.changes.send_modify(|changes| *changes += 1);
        done
    }

    async fn until(&self, condition: impl Fn(&State) -> bool) {
        let mut changes = self.shared.changes.subscribe();
        while !condition(&self.state()) {
            // The sender lives in `self`.
            let _ = changes.changed().await;
        }
    }
}

/// Counts a build as running until it is dropped, also by a cancel.
struct Running<'a> {
    builder: &'a MemoryBuilder,
    commit: &'a CommitSha,
}

impl<'a> Running<'a> {
    fn begin(builder: &'a MemoryBuilder, commit: &'a CommitSha) -> Self {
        builder.change(|state| *state.running.entry(commit.clone()).or_default() += 1);
        Self { builder, commit }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.builder.change(|state| {
            let left = state.running.get(self.commit).map_or(0, |builds| builds.saturating_sub(1));
            if left == 0 {
                state.running.remove(self.commit);
            } else {
                state.running.insert(self.commit.clone(), left);
            }
        });
    }
}

impl fmt::Debug for MemoryBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryBuilder").field("artifacts", &self.state().artifacts.len()).finish_non_exhaustive()
    }
}

#[async_trait]
impl ImageBuilder for MemoryBuilder {
    async fn find(&self, key: &BuildKey) -> Result<Option<Artifact>> {
        Ok(self.state().artifacts.get(key).cloned())
    }

    async fn build(&self, call: &Call, request: BuildRequest<'_>, log: &dyn LogSink) -> Result<Artifact> {
        let BuildRequest { app, key, commit, .. } = request;
        self.change(|state| state.builds.push(Build { commit: commit.clone(), key: call.key.clone() }));
        let work = async {
            let _running = Running::begin(self, commit);
            log.write(LogStream::Stdout, &format!("building {app} from {}", commit.short()));
            self.until(|state| !state.held.contains(commit)).await;
            let outcome = self.state().outcomes.get(commit).cloned().unwrap_or_else(|| Ok(Behaviour::healthy()));
            let behaviour = outcome.map_err(|why| {
                log.write(LogStream::Stderr, &why);
                Error::new(ErrorKind::BuildFailed, why).with_operation("builder.build")
            })?;
            let mut artifact = self.runtime.define(format!("memory-build:{}", key.as_str()), behaviour);
            artifact.label = format!("{app}:{}", commit.short());
            self.change(|state| state.artifacts.insert(key.clone(), artifact.clone()));
            log.write(LogStream::Stdout, "built");
            Ok(artifact)
        };
        call.bound("builder.build", work).await
    }

    async fn discard(&self, _: &BuildKey) -> Result<()> {
        // A build lives in its call and ends with it.
        Ok(())
    }
}
