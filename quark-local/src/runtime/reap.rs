//! `Reapers`: notes how the processes end that this engine has started.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quark_core::process::ProcessRef;
use quark_core::{ContainerName, Result};
use tokio::process::Child;
use tokio::sync::watch;

use super::record::{Exit, Place, Started};
use crate::system::blocking;
use crate::system::lock::{Absent, FolderLock};
use crate::system::table::exit_code;

/// From the polite signal to the kill for what a process has left behind.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long a look at a container waits for the note of how it ended.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// Waits for the processes that this engine has started, so that they do not
/// stay as zombies, and notes how they ended. The waiting goes on when the
/// runtime object is gone.
#[derive(Clone, Debug, Default)]
pub(super) struct Reapers {
    waiting: Arc<Mutex<HashMap<ContainerName, Waiting>>>,
}

#[derive(Clone, Debug)]
struct Waiting {
    process: ProcessRef,
    noted: watch::Receiver<bool>,
}

impl Reapers {
    fn waiting(&self) -> MutexGuard<'_, HashMap<ContainerName, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a process in the background.
    pub(super) fn watch(&self, place: &Place, mut child: Child, started: Started) {
        let (sender, noted) = watch::channel(false);
        let process = started.process;
        self.waiting().insert(place.name().clone(), Waiting { process, noted });
        let (reapers, place) = (self.clone(), place.clone());
        tokio::spawn(async move {
            let code = child.wait().await.ok().and_then(exit_code);
            let of = started.clone();
            if let Err(error) = note(&place, Exit { of: started, code }).await {
                tracing::warn!(container = %place.name(), %error, "the exit code was not noted");
            }
            sender.send_replace(true);
            reapers.forget(place.name(), &process);
            if let Err(error) = end_left_behind(&place, &of).await {
                tracing::warn!(container = %place.name(), %error, "what the process left behind was not ended");
            }
        });
    }

    fn forget(&self, name: &ContainerName, process: &ProcessRef) {
        let mut waiting = self.waiting();
        if waiting.get(name).is_some_and(|waiting| waiting.process == *process) {
            waiting.remove(name);
        }
    }

    /// Whether a process that has ended is about to be noted by this engine.
    /// Waits until it is.
    pub(super) async fn noted(&self, name: &ContainerName, process: &ProcessRef) -> bool {
        let waiting = self.waiting().get(name).filter(|waiting| waiting.process == *process).cloned();
        let Some(mut waiting) = waiting else { return false };
        // An error says that the sender has gone, which it does after noting.
        let noted = tokio::time::timeout(LONGEST_WAIT, waiting.noted.wait_for(|noted| *noted)).await;
        noted.is_ok()
    }
}

/// Ends what a process has left behind: it would hold the port against the
/// next one. Not without the lock, because the next one carries the same mark.
async fn end_left_behind(place: &Place, ended: &Started) -> Result<()> {
    let lock = FolderLock::take(place.folder().to_owned(), Absent::Leave).await?;
    let current = {
        let place = place.clone();
        blocking(move || place.started()).await?
    };
    if lock.is_some() && current.as_ref() == Some(ended) {
        place.family(Some(ended.process)).end(PATIENCE).await?;
    }
    Ok(())
}

async fn note(place: &Place, exit: Exit) -> Result<()> {
    let place = place.clone();
    blocking(move || {
        if place.started()?.as_ref() != Some(&exit.of) {
            return Ok(());
        }
        match place.write_exit(&exit) {
            // A container that was removed meanwhile needs no note.
            Err(_) if place.record()?.is_none() => Ok(()),
            written => written,
        }
    })
    .await
}
