//! `Shared`: what the clones of a router have in common.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use quark_core::backend::Call;
use quark_core::{AppName, Error, ErrorKind, Result};
use tokio::sync::OwnedMutexGuard;
use tokio::time::Instant;

use crate::command::Nginx;
use crate::config::{Mode, NginxConfig, ReloadBy};
use crate::error;
use crate::layout::Layout;
use crate::lock::FileLock;
use crate::process::Processes;
use crate::site::SiteSettings;
use crate::status::StatusServer;
use crate::tree::Changes;

/// What the clones of a router have in common.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: NginxConfig,
    pub(crate) layout: Layout,
    pub(crate) nginx: Nginx,
    pub(crate) settings: SiteSettings,
    pub(crate) status: StatusServer,
    pub(crate) changes: Changes,
    apps: Mutex<HashMap<AppName, Arc<tokio::sync::Mutex<()>>>>,
}

/// The right to change one app.
#[derive(Debug)]
pub(crate) struct AppLock {
    _in_process: OwnedMutexGuard<()>,
    _between_processes: FileLock,
}

impl Shared {
    pub(crate) fn new(config: NginxConfig, nginx: Nginx) -> Self {
        let layout = Layout::of(&config);
        let status = match config.status {
            Some(address) => StatusServer::Tcp(address),
            None => StatusServer::Unix(layout.status_socket()),
        };
        let settings = SiteSettings::of(&config, nginx.version);
        Self { config, layout, nginx, settings, status, changes: Changes::default(), apps: Mutex::default() }
    }

    /// Waits for the right to change an app: first in turn within this
    /// process, then against other processes.
    pub(crate) async fn lock_app(&self, app: &AppName, call: &Call, deadline: Instant) -> Result<AppLock> {
        let turn = {
            let mut apps = self.apps.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(apps.entry(app.clone()).or_default())
        };
        let in_process = tokio::select! {
            biased;
            () = call.cancel.cancelled() => return Err(Error::new(ErrorKind::Cancelled, "no longer wanted")),
            turn = tokio::time::timeout_at(deadline, turn.lock_owned()) => turn.map_err(|_| {
                Error::new(ErrorKind::Timeout, format!("another change of the route of `{app}` did not end in time"))
                    .with_class(quark_core::ErrorClass::Retryable)
            })?,
        };
        let between_processes = FileLock::take(&self.layout.app_lock(app), call, deadline).await?;
        Ok(AppLock { _in_process: in_process, _between_processes: between_processes })
    }

    pub(crate) fn is_own(&self) -> bool {
        matches!(self.config.mode, Mode::Own { .. })
    }

    /// nginx's processes, as far as they can be known.
    pub(crate) async fn processes(&self) -> Result<Processes> {
        match &self.config.mode {
            Mode::Own { .. } => {
                let home = self.layout.home.clone();
                blocking(move || Ok(Processes::started_in(&home))).await
            }
            Mode::Attached { reload: ReloadBy::PidFile(path), .. } => {
                let path = path.clone();
                blocking(move || Ok(Processes::of_pid_file(&path))).await
            }
            Mode::Attached { reload: ReloadBy::Command(_), .. } => Ok(Processes::default()),
        }
    }

    /// Where nginx writes why it refuses a configuration.
    pub(crate) fn error_log(&self) -> Option<PathBuf> {
        match &self.config.mode {
            Mode::Own { .. } => Some(self.layout.error_log()),
            Mode::Attached { error_log, .. } => error_log.clone(),
        }
    }
}

/// Does work with files beside the executor.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(cause) => Err(error::internal("work with files was broken off").with_source(cause)),
    }
}
