//! Making nginx read its configuration again, and believing nobody but a
//! worker that was born of it.
//!
//! Neither `nginx -t` nor the result of a reload proves anything: a port that
//! is taken passes both, and the old configuration goes on serving. So each
//! reload has a number, which the status server of that configuration tells.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use quark_core::process::{ProcessRef, Program, Signal};
use quark_core::{Error, ErrorKind, Result};
use serde::Serialize;
use tokio::time::Instant;

use crate::command::{Refusal, run};
use crate::config::{Mode, ReloadBy};
use crate::files;
use crate::process::{Processes, accepts};
use crate::shared::{Shared, blocking};
use crate::template::Template;

/// Where the workers cannot be seen, as many answers in a row must come from
/// the new configuration.
const IN_A_ROW: u32 = 30;
const PAUSE: Duration = Duration::from_millis(10);
/// More than a refusal ever says.
const LONGEST_LOG: u64 = 64 * 1024;

/// What came of a reload.
#[derive(Debug)]
pub(crate) enum Reloaded {
    /// It is in force, and no worker of `before` accepts a connection any more.
    InForce { before: Vec<ProcessRef> },
    /// nginx refuses the configuration and goes on with the one before.
    Refused(Refusal),
    /// Nothing is known.
    Unconfirmed,
}

#[derive(Serialize)]
struct Base<'a> {
    status: String,
    listen: String,
    catch_all: bool,
    reload: &'a str,
}

impl Shared {
    /// The base file for reload number `reload`.
    pub(crate) fn base(&self, reload: u64) -> Result<String> {
        Template::Base.render(&Base {
            status: self.config.status_address(),
            listen: self.config.listen.to_string(),
            catch_all: self.config.catch_all,
            reload: &reload.to_string(),
        })
    }

    /// Puts what is on disk into force. Needs the lock of the tree.
    pub(crate) async fn reload(&self) -> Result<Reloaded> {
        let processes = self.processes().await?;
        let number = self.next_number().await?;
        let base = self.base(number)?;
        let path = self.layout.base();
        blocking(move || files::replace(&path, &base)).await?;
        let log = LogEnd::now(self.error_log()).await?;
        let began = Instant::now();
        if let Some(refusal) = self.tell(&processes).await? {
            return Ok(Reloaded::Refused(refusal));
        }
        let reloaded = self.confirm(number, processes, &log, began + self.config.reload_timeout).await?;
        let took = began.elapsed();
        match &reloaded {
            Reloaded::InForce { .. } => tracing::info!(number, ?took, "nginx has read its configuration again"),
            Reloaded::Refused(refusal) => tracing::warn!(number, reason = refusal.text(), "nginx refuses a reload"),
            Reloaded::Unconfirmed => tracing::warn!(number, ?took, "nginx does not confirm a reload"),
        }
        Ok(reloaded)
    }

    /// A number that no configuration on disk or in force has.
    async fn next_number(&self) -> Result<u64> {
        let path = self.layout.base();
        let on_disk = blocking(move || files::read(&path)).await?.as_deref().and_then(number_in).unwrap_or(0);
        // An nginx that does not answer has no number.
        let in_force = self.status.reload().await.ok().flatten().unwrap_or(0);
        Ok(on_disk.max(in_force) + 1)
    }

    /// Gives the order. What nginx refuses at once is told.
    async fn tell(&self, processes: &Processes) -> Result<Option<Refusal>> {
        match (&self.config.mode, &processes.master) {
            (Mode::Attached { reload: ReloadBy::Command(argv), .. }, _) => {
                let (program, arguments) =
                    argv.split_first().ok_or_else(|| Error::new(ErrorKind::Internal, "the reload command is empty"))?;
                let done = run(&Program::new(program).args(arguments)).await?;
                Ok((!done.succeeded()).then(|| Refusal::from_output(&done.stderr)))
            }
            (_, Some(master)) if master.signal(Signal::Hangup) => Ok(None),
            (Mode::Own { .. }, _) if !processes.workers.iter().any(accepts) => self.start().await,
            (Mode::Own { .. }, _) => Err(Error::new(ErrorKind::Unavailable, "nginx's master process is gone")
                .with_code("nginx_master_gone")
                .with_hint("its workers go on serving; open the router anew to replace them")),
            _ => Err(Error::new(ErrorKind::Unavailable, "nginx does not run, or its process cannot be signalled")
                .with_code("nginx_unreachable")
                .with_hint("check the pid file, and that this user may signal that process")),
        }
    }

    /// Starts our own nginx, where no process of it is left.
    pub(crate) async fn start(&self) -> Result<Option<Refusal>> {
        let socket = self.layout.status_socket();
        // One that was killed leaves its socket, which would be in the way.
        blocking(move || files::remove(&socket)).await?;
        Ok(self.nginx.start(&self.layout.home).await?.err())
    }

    async fn confirm(&self, number: u64, before: Processes, log: &LogEnd, deadline: Instant) -> Result<Reloaded> {
        let mut in_a_row = 0;
        loop {
            let answer = self.status.reload().await;
            in_a_row = if matches!(answer, Ok(Some(told)) if told == number) { in_a_row + 1 } else { 0 };
            let is_sure = match before.master {
                // Old workers accept for some 100 ms more: as long as one does,
                // an answer of a new one proves nothing about the next.
                Some(_) => !before.workers.iter().any(accepts),
                None => self.is_own() || in_a_row >= IN_A_ROW,
            };
            if in_a_row > 0 && is_sure {
                return Ok(Reloaded::InForce { before: before.workers });
            }
            if in_a_row == 0
                && let Some(refusal) = log.refusal().await?
            {
                return Ok(Reloaded::Refused(refusal));
            }
            if Instant::now() >= deadline {
                return Ok(Reloaded::Unconfirmed);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// The number of a base file.
pub(crate) fn number_in(base: &str) -> Option<u64> {
    let (_, rest) = base.split_once("\"reload\":")?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// Where the error log ended before an order was given.
#[derive(Debug)]
struct LogEnd {
    path: Option<PathBuf>,
    offset: u64,
}

impl LogEnd {
    async fn now(path: Option<PathBuf>) -> Result<Self> {
        let log = path.clone();
        let end = move || Ok(log.and_then(|log| std::fs::metadata(log).ok()).map_or(0, |file| file.len()));
        Ok(Self { path, offset: blocking(end).await? })
    }

    /// What nginx has written since, if that is its last word.
    async fn refusal(&self) -> Result<Option<Refusal>> {
        let Some(path) = self.path.clone() else { return Ok(None) };
        let offset = self.offset;
        blocking(move || Ok(read_from(&path, offset).ok().as_deref().and_then(last_word))).await
    }
}

fn read_from(path: &Path, offset: u64) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    // A log that became shorter was rotated.
    let from = if file.metadata()?.len() < offset { 0 } else { offset };
    file.seek(SeekFrom::Start(from))?;
    let mut text = Vec::new();
    file.take(LONGEST_LOG).read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// nginx tries five times to take an address before it gives up; until then a
/// failed `bind()` is not a refusal.
fn last_word(log: &str) -> Option<Refusal> {
    let mut lines: Vec<&str> = log.lines().filter(|line| line.contains("[emerg]")).collect();
    let is_try = |line: &&str| line.contains("bind() to ");
    if lines.iter().all(is_try) {
        return None;
    }
    lines.dedup_by_key(|line| line.split_once("[emerg]").map(|(_, reason)| reason));
    let mut refusal = Refusal::from_output(&lines.join("\n"));
    refusal.0.dedup();
    Some(refusal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_address_is_refused_after_the_last_try() {
        let line = "2026/10/01 12:00:00 [emerg] 7#7: bind() to 127.0.0.1:80 failed (98: Address already in use)\n";
        assert_eq!(last_word(""), None);
        assert_eq!(last_word("2026/10/01 12:00:00 [error] 7#7: upstream is away"), None);
        assert_eq!(last_word(&line.repeat(2)), None);
        let given_up = format!("{}2026/10/01 12:00:02 [emerg] 7#7: still could not bind()\n", line.repeat(5));
        let text = last_word(&given_up).unwrap().text();
        let bind = "[emerg] bind() to 127.0.0.1:80 failed (98: Address already in use)";
        assert_eq!(text, format!("{bind}; [emerg] still could not bind()"));
    }
}
