//! Changing site files: written, reloaded, confirmed, or put back. Changes
//! that wait at the same time share one reload.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use quark_core::backend::Call;
use quark_core::process::ProcessRef;
use quark_core::{AppName, Error, ErrorKind, Result};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::command::Refusal;
use crate::files;
use crate::lock::FileLock;
use crate::reload::Reloaded;
use crate::shared::{Shared, blocking};

/// What shall become of one site file.
#[derive(Clone, Debug)]
pub(crate) struct SiteChange {
    pub(crate) app: AppName,
    /// `None` removes it.
    pub(crate) text: Option<String>,
}

/// Changes that wait for their turn.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    waiting: Mutex<Vec<Waiting>>,
    turn: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Waiting {
    change: SiteChange,
    call: Call,
    deadline: Instant,
    done: oneshot::Sender<Result<Vec<ProcessRef>>>,
}

/// A file as it was.
#[derive(Debug)]
struct Before {
    path: PathBuf,
    text: Option<String>,
}

impl Shared {
    /// Brings a change of one site file into force. Returns the workers that
    /// still know the file before; they accept no connection any more.
    pub(crate) async fn change_site(
        &self,
        change: SiteChange,
        call: &Call,
        deadline: Instant,
    ) -> Result<Vec<ProcessRef>> {
        let (done, mut result) = oneshot::channel();
        self.waiting().push(Waiting { change, call: call.clone(), deadline, done });
        // Whoever has the turn does the work of all who wait by then.
        let turn = self.changes.turn.lock().await;
        let mut answer = result.try_recv();
        if answer.is_err() {
            let batch = std::mem::take(&mut *self.waiting());
            self.work(batch).await;
            answer = result.try_recv();
        }
        drop(turn);
        answer.unwrap_or_else(|cause| Err(crate::error::internal("a change was not answered").with_source(cause)))
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, Vec<Waiting>> {
        self.changes.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn work(&self, batch: Vec<Waiting>) {
        if let [_, _, ..] = batch.as_slice() {
            let changes: Vec<_> = batch.iter().map(|waiting| waiting.change.clone()).collect();
            let patience = batch.iter().map(|waiting| waiting.deadline).max();
            let call = Call::new("nginx.batch", quark_core::deployment::Fence(0), self.config.reload_timeout);
            let together = self.attempt(&changes, &call, patience.unwrap_or_else(Instant::now)).await;
            if let Ok(before) = together {
                for waiting in batch {
                    // Nobody waits any more; the change is done all the same.
                    let _ = waiting.done.send(Ok(before.clone()));
                }
                return;
            }
        }
        // One at a time, so that a change that is refused hinders no other.
        for Waiting { change, call, deadline, done } in batch {
            let result = self.attempt(std::slice::from_ref(&change), &call, deadline).await;
            let _ = done.send(result);
        }
    }

    /// Writes, reloads and confirms; puts everything back otherwise.
    async fn attempt(&self, changes: &[SiteChange], call: &Call, deadline: Instant) -> Result<Vec<ProcessRef>> {
        let _lock = FileLock::take(&self.layout.tree_lock(), call, deadline).await?;
        let files: Vec<_> = changes.iter().map(|c| (self.layout.site(&c.app), c.text.clone())).collect();
        let base = self.layout.base();
        let before = blocking(move || {
            let mut before = vec![Before::of(base)?];
            for (path, text) in files {
                before.push(Before::of(path.clone())?);
                let written = match text {
                    Some(text) => files::replace(&path, &text),
                    None => files::remove(&path),
                };
                if let Err(cause) = written {
                    put_back(&before)?;
                    return Err(cause);
                }
            }
            Ok(before)
        })
        .await?;
        let reloaded = self.reload().await;
        if let Ok(Reloaded::InForce { before }) = reloaded {
            return Ok(before);
        }
        let is_unknown = matches!(reloaded, Ok(Reloaded::Unconfirmed));
        blocking(move || {
            // A reload that nothing is known of may still come: its number must
            // not be given a second time, so the base file keeps it.
            let files = if is_unknown { before.get(1..).unwrap_or_default() } else { &before };
            put_back(files)
        })
        .await?;
        match reloaded {
            Ok(Reloaded::Refused(refusal)) => Err(self.refused(changes, &refusal)),
            Ok(_) => {
                // nginx may yet read what was there for a moment, so it is told
                // to read once more after it.
                if let Err(cause) = self.reload().await {
                    tracing::warn!(%cause, "the configuration before could not be confirmed");
                }
                let patience = self.config.reload_timeout;
                Err(Error::new(ErrorKind::Timeout, format!("nginx did not confirm its configuration in {patience:?}"))
                    .with_code("reload_unconfirmed")
                    .with_hint("see nginx's error log; the files before were put back"))
            }
            Err(cause) => Err(cause),
        }
    }

    /// What a refusal means for those who wanted `changes`.
    pub(crate) fn refused(&self, changes: &[SiteChange], refusal: &Refusal) -> Error {
        let ours = |path: &Path| changes.iter().any(|change| self.layout.site(&change.app) == path);
        let text = refusal.text();
        if let Some(foreign) = named_file(refusal).filter(|path| !ours(path)) {
            let foreign = foreign.display();
            return Error::new(ErrorKind::InvalidConfig, format!("nginx refuses the file `{foreign}`: {text}"))
                .with_code("foreign_config")
                .with_hint("mend or remove that file: nginx reads all files or none; running apps are not affected");
        }
        let error = Error::new(ErrorKind::InvalidConfig, format!("nginx refuses its configuration: {text}"));
        if text.contains("bind() to ") {
            return error
                .with_code("address_taken")
                .with_hint("another process listens there, or this user may not; choose another address");
        }
        error.with_code("config_refused")
    }
}

impl Before {
    fn of(path: PathBuf) -> Result<Self> {
        let text = files::read(&path)?;
        Ok(Self { path, text })
    }
}

fn put_back(before: &[Before]) -> Result<()> {
    for file in before {
        match &file.text {
            Some(text) => files::replace(&file.path, text)?,
            None => files::remove(&file.path)?,
        }
    }
    Ok(())
}

/// The file that a refusal blames: `... in /etc/nginx/conf.d/a.conf:12`.
fn named_file(refusal: &Refusal) -> Option<PathBuf> {
    refusal.0.iter().find_map(|line| {
        let (_, place) = line.rsplit_once(" in /")?;
        let (path, number) = place.rsplit_once(':')?;
        number.trim().bytes().all(|b| b.is_ascii_digit()).then(|| PathBuf::from(format!("/{path}")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_blamed_file_is_found() {
        let line = |text: &str| Refusal(vec![text.to_owned()]);
        let file = named_file(&line("[emerg] unknown directive \"in\" in /etc/nginx/conf.d/a.conf:12"));
        assert_eq!(file, Some(PathBuf::from("/etc/nginx/conf.d/a.conf")));
        assert_eq!(named_file(&line("[emerg] bind() to 127.0.0.1:80 failed (98: Address already in use)")), None);
    }
}
