//! Opening a router: folders, base files, and an nginx that runs.

use std::path::{Path, PathBuf};
use std::time::Duration;

use quark_core::backend::Call;
use quark_core::deployment::Fence;
use quark_core::process::{ProcessRef, Signal};
use quark_core::{AppName, Error, ErrorKind, Result};
use serde::Serialize;
use tokio::time::Instant;

use crate::apply::clear_folder;
use crate::command::Nginx;
use crate::config::{Mode, NginxConfig};
use crate::error;
use crate::files;
use crate::layout::Layout;
use crate::lock::FileLock;
use crate::process::{Processes, accepts};
use crate::refresh::Refreshed;
use crate::reload::{Reloaded, number_in};
use crate::shared::{Shared, blocking};
use crate::template::Template;
use crate::user::WorkerUser;

/// From the polite end of nginx to the next, less polite one.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(10);

pub(crate) async fn open(mut config: NginxConfig) -> Result<Shared> {
    config.check()?;
    let nginx = Nginx::find(config.binary.as_deref()).await?;
    config.home = blocking({
        let home = config.home.clone();
        move || make_home(&home)
    })
    .await?;
    // Links were followed; what they lead to is written into files too.
    config.check()?;
    let shared = Shared::new(config, nginx);
    let patience = shared.config.reload_timeout + PATIENCE;
    let call = Call::new("nginx.open", Fence(0), patience);
    let _lock = FileLock::take(&shared.layout.tree_lock(), &call, Instant::now() + patience).await?;
    let layout = shared.layout.clone();
    blocking(move || remove_leftovers(&layout)).await?;
    let written = write_base_files(&shared).await?;
    let written = shared.refresh_sites(written).await?;
    match bring_up(&shared, !written.before.is_empty()).await {
        Ok(()) => Ok(shared),
        Err(cause) => {
            blocking(move || written.undo()).await?;
            Err(cause)
        }
    }
}

/// Makes the folders, and returns the true place of `home`.
fn make_home(home: &Path) -> Result<PathBuf> {
    if !home.exists() {
        files::folder(home, 0o755)?;
    }
    let home = home.canonicalize().map_err(|cause| error::file("opened", home, cause))?;
    // Workers look into this one; the others are for QUARK and the master.
    files::folder(&home.join("markers"), 0o755)?;
    for name in ["state", "locks", "staging"] {
        files::folder(&home.join(name), 0o700)?;
    }
    Ok(home)
}

/// Removes what was being written when somebody crashed. What another router
/// writes at this moment is under its lock and left alone.
fn remove_leftovers(layout: &Layout) -> Result<()> {
    for folder in [&layout.include_dir, &layout.home] {
        let is_ours = |name: &str| name.contains("quark") || name == "nginx.conf";
        for name in files::list(folder)?.iter().filter(|name| files::finished_name(name).is_some_and(is_ours)) {
            files::remove(&folder.join(name))?;
        }
    }
    for name in files::list(&layout.states())? {
        let app = files::finished_name(&name).and_then(|name| name.strip_suffix(".json"));
        let Some(Ok(app)) = app.map(AppName::parse) else { continue };
        if let Some(_lock) = FileLock::try_take(&layout.app_lock(&app))? {
            files::remove(&layout.states().join(&name))?;
        }
    }
    for name in files::list(&layout.staging())? {
        let Ok(app) = AppName::parse(&name) else { continue };
        if let Some(_lock) = FileLock::try_take(&layout.app_lock(&app))? {
            clear_folder(&layout.staging().join(&name))?;
        }
    }
    Ok(())
}

/// Writes the files that do not depend on apps, where they differ.
async fn write_base_files(shared: &Shared) -> Result<Refreshed> {
    let layout = shared.layout.clone();
    let main = match shared.config.mode {
        Mode::Own { .. } => Some(main_file(shared).await?),
        Mode::Attached { .. } => None,
    };
    let path = layout.base();
    let number = blocking(move || Ok(files::read(&path)?.as_deref().and_then(number_in).unwrap_or(0))).await?;
    let base = shared.base(number)?;
    blocking(move || {
        let mut written = Refreshed::default();
        if let Some(main) = main {
            files::folder(&layout.include_dir, 0o755)?;
            files::folder(&layout.home.join("temp"), 0o755)?;
            written.write(layout.main(), &main)?;
        }
        written.write(layout.base(), &base)?;
        Ok(written)
    })
    .await
}

#[derive(Serialize)]
struct Main<'a> {
    user_line: String,
    workers: String,
    shutdown_seconds: u64,
    connections: u32,
    home: &'a Path,
    include_dir: &'a Path,
}

async fn main_file(shared: &Shared) -> Result<String> {
    let Mode::Own { workers, worker_user, shutdown } = &shared.config.mode else {
        return Err(error::internal("only an nginx of our own has a main file"));
    };
    let (wanted, markers) = (worker_user.clone(), shared.layout.markers());
    let user = blocking(move || {
        let user = WorkerUser::choose(wanted.as_deref())?;
        if let Some(user) = &user {
            user.check_way_to(&markers)?;
        }
        Ok(user)
    })
    .await?;
    Template::Main.render(&Main {
        user_line: user.map(|user| user.line()).unwrap_or_default(),
        workers: workers.map_or_else(|| "auto".to_owned(), |count| count.max(1).to_string()),
        shutdown_seconds: shutdown.as_secs().max(1),
        connections: 4096,
        home: &shared.layout.home,
        include_dir: &shared.layout.include_dir,
    })
}

/// Starts nginx, adopts the one that runs, or makes it read changed files.
async fn bring_up(shared: &Shared, is_changed: bool) -> Result<()> {
    let answers = matches!(shared.status.reload().await, Ok(Some(_)));
    if shared.is_own() {
        let processes = shared.processes().await?;
        if processes.master.is_none() {
            replace_orphans(shared, &processes).await?;
            return match shared.reload().await? {
                Reloaded::InForce { .. } => Ok(()),
                other => Err(not_up(shared, other)),
            };
        }
    }
    if answers && !is_changed {
        return Ok(());
    }
    match shared.reload().await? {
        Reloaded::InForce { .. } => Ok(()),
        other => Err(not_up(shared, other)),
    }
}

fn not_up(shared: &Shared, reloaded: Reloaded) -> Error {
    match reloaded {
        Reloaded::Refused(refusal) => shared.refused(&[], &refusal),
        _ => Error::new(ErrorKind::Timeout, "nginx does not confirm that it reads QUARK's files")
            .with_code("reload_unconfirmed")
            .with_hint(format!("does it read `{}`?", shared.layout.base().display())),
    }
}

/// Ends workers whose master was killed: they serve, but no change of theirs
/// is possible, and they hold the addresses. Requests that they have are
/// finished; between their end and the start of the new nginx, connections are
/// refused for some milliseconds.
async fn replace_orphans(shared: &Shared, orphans: &Processes) -> Result<()> {
    if orphans.is_empty() {
        return Ok(());
    }
    tracing::warn!(workers = orphans.workers.len(), "nginx's master process is gone; replacing its workers");
    for worker in &orphans.workers {
        let _ = worker.signal(Signal::Quit);
    }
    let deadline = Instant::now() + PATIENCE;
    while orphans.workers.iter().any(accepts) {
        if Instant::now() >= deadline {
            return Err(Error::new(ErrorKind::Timeout, "old workers of nginx do not end")
                .with_code("nginx_not_stopped")
                .with_hint(format!(
                    "end the processes `nginx: worker process` in `{}`",
                    shared.layout.home.display()
                )));
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}

pub(crate) async fn stop(shared: &Shared) -> Result<()> {
    if !shared.is_own() {
        return Err(Error::new(ErrorKind::Unsupported, "this nginx is not ours to stop"));
    }
    for signal in [Signal::Quit, Signal::Terminate, Signal::Kill] {
        let processes = shared.processes().await?;
        // The master tells its workers; without one they are told themselves.
        // A kill is for all of them: nobody could pass it on.
        let told: Vec<ProcessRef> = match processes.master {
            Some(master) if signal != Signal::Kill => vec![master],
            _ => processes.all().copied().collect(),
        };
        for process in told {
            let _ = process.signal(signal);
        }
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if shared.processes().await?.is_empty() {
                let socket = shared.layout.status_socket();
                return blocking(move || files::remove(&socket)).await;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
    Err(Error::new(ErrorKind::Timeout, "nginx does not end").with_code("nginx_not_stopped"))
}
