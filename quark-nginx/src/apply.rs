//! Bringing a route into force, and taking it away.
//!
//! What is wanted is written down first, with the fence under which it is
//! wanted; then the world is changed stage by stage; at last nginx is asked.
//! A crash anywhere leaves a complete configuration, and the next `apply`
//! starts from what nginx says.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use quark_core::backend::{Call, Route};
use quark_core::process::ProcessRef;
use quark_core::{AppName, Error, ErrorKind, Result};
use tokio::time::Instant;

use crate::error;
use crate::files;
use crate::lock::FileLock;
use crate::markers::{self, Choice};
use crate::shared::{Shared, blocking};
use crate::site::{KEEPALIVE_MIN_SECONDS, Shape, Site};
use crate::stages::{Stage, stages};
use crate::state::{AppState, Wanted};
use crate::status::InForce;
use crate::tree::SiteChange;

/// Workers look at the markers for each request, so one answer proves it; but
/// the machine may be busy.
const MARKERS_SEEN: Duration = Duration::from_secs(3);
/// Beyond the time that an old worker may take another request.
const SETTLED: Duration = Duration::from_secs(KEEPALIVE_MIN_SECONDS + 2);
const PAUSE: Duration = Duration::from_millis(5);

/// One `apply` that has the app's lock.
struct Application<'a> {
    shared: &'a Arc<Shared>,
    call: &'a Call,
    deadline: Instant,
    route: &'a Route,
    choice: Choice,
    shape: Shape,
    site: Site,
    /// What is in force at its beginning.
    now: Option<InForce>,
    /// The site file at its beginning.
    file: Option<String>,
}

pub(crate) async fn apply(shared: &Arc<Shared>, call: &Call, route: &Route) -> Result<()> {
    let deadline = Instant::now() + call.timeout;
    let app = &route.app;
    let _lock = shared.lock_app(app, call, deadline).await?;
    let (state, file) = read(shared, app).await?;
    let last = state.last.then_apply(route)?;
    let shape = Shape::of(route)?;
    let site = shape.site(&shared.settings)?;
    let choice = Choice { active: route.active, backup: route.backup, canary: route.canary };
    let now = shared.running_route(app, call, deadline).await?;
    let application = Application { shared, call, deadline, route, choice, shape, site, now, file };
    let wanted = AppState {
        last,
        wanted: Some(Wanted { route: route.clone(), shape: application.site.shape.clone() }),
        before: application.generation_in_force(&state),
    };
    let reshape = application.must_reshape();
    if !reshape && application.now.as_ref().is_some_and(|now| application.is_in_force(now)) {
        if state.wanted != wanted.wanted || state.last != wanted.last {
            write(shared, app, wanted).await?;
        }
        return Ok(());
    }
    if reshape {
        application.test().await?;
        application.reserve(wanted).await?;
    } else {
        let (layout, app) = (shared.layout.clone(), app.clone());
        blocking(move || wanted.put(&layout, &app)).await?;
    }
    match application.run(reshape).await {
        Ok(()) => Ok(()),
        Err(cause) => {
            application.put_back(state).await;
            Err(cause)
        }
    }
}

pub(crate) async fn remove(shared: &Arc<Shared>, call: &Call, app: &AppName) -> Result<()> {
    let deadline = Instant::now() + call.timeout;
    let _lock = shared.lock_app(app, call, deadline).await?;
    let (state, file) = read(shared, app).await?;
    let last = state.last.then_remove(app, call.fence)?;
    // First of all, and also without a route: one that was ordered before may still be on its way.
    if state.last != last {
        write(shared, app, AppState { last, ..state }).await?;
    }
    let now = shared.running_route(app, call, deadline).await?;
    if now.is_some() || file.is_some() {
        let change = SiteChange { app: app.clone(), text: None };
        shared.change_site(change, call, deadline).await?;
        if shared.status.route(app).await?.is_some() {
            return Err(Error::new(
                ErrorKind::InvalidConfig,
                format!("nginx knows `{app}` from a file that is not ours"),
            )
            .with_code("foreign_config")
            .with_hint("look for a copy of the app's file among the files that nginx reads"));
        }
    }
    let (layout, app) = (shared.layout.clone(), app.clone());
    let gone = AppState { last, ..AppState::default() };
    blocking(move || {
        markers::clear(&layout, &app)?;
        gone.write(&layout, &app)
    })
    .await
}

impl Application<'_> {
    fn app(&self) -> &AppName {
        &self.route.app
    }

    /// Whether nginx must read another site file, or a file on disk is not the
    /// one that nginx has read and would be read next time.
    fn must_reshape(&self) -> bool {
        self.now.as_ref().is_none_or(|now| now.shape != self.site.shape)
            || self.file.as_ref().is_none_or(|file| !self.site.is(file))
    }

    fn is_in_force(&self, now: &InForce) -> bool {
        now.shape == self.site.shape && chooses(now, self.choice)
    }

    fn generation_in_force(&self, state: &AppState) -> quark_core::deployment::Generation {
        crate::router::generation(self.now.as_ref(), state, self.file.as_deref())
    }

    /// Lets nginx test the new file in a folder of its own, without the files
    /// of others: those are not this route's fault.
    async fn test(&self) -> Result<()> {
        let folder = self.shared.layout.staging().join(self.app().as_str());
        let site = self.shape.site(&self.shared.settings.for_trial())?.text(self.route);
        let prepared = folder.clone();
        blocking(move || {
            clear_folder(&prepared)?;
            files::folder(&prepared.join("temp"), 0o700)?;
            files::replace(&prepared.join("nginx.conf"), include_str!("../templates/trial.conf"))?;
            files::replace(&prepared.join("site.conf"), &site)
        })
        .await?;
        let tested = self.shared.nginx.test(&folder).await;
        blocking(move || clear_folder(&folder)).await?;
        tested?.map_err(|refusal| {
            let message = format!("nginx refuses the configuration of `{}`: {}", self.app(), refusal.text());
            Error::new(ErrorKind::InvalidConfig, message).with_code("config_refused")
        })
    }

    /// Takes the host names and writes down what is wanted.
    async fn reserve(&self, wanted: AppState) -> Result<()> {
        let _lock = FileLock::take(&self.shared.layout.names_lock(), self.call, self.deadline).await?;
        let (layout, route) = (self.shared.layout.clone(), self.route.clone());
        blocking(move || {
            if let Some((name, other)) = AppState::taken_name(&layout, &route)? {
                let message = format!("the app `{other}` answers to `{name}` already");
                return Err(Error::new(ErrorKind::Conflict, message).with_code("domain_taken"));
            }
            wanted.write(&layout, &route.app)
        })
        .await
    }

    async fn run(&self, reshape: bool) -> Result<()> {
        let mut old_workers = Vec::new();
        for stage in stages(self.now.as_ref(), &self.shape, self.choice, reshape) {
            match stage {
                Stage::Prepare(choice) => self.make(choice).await?,
                Stage::Choose(choice) => self.choose(choice).await?,
                Stage::Reshape(shape) => {
                    let text = shape.site(&self.shared.settings)?.text(self.route);
                    let change = SiteChange { app: self.app().clone(), text: Some(text) };
                    old_workers = self.shared.change_site(change, self.call, self.deadline).await?;
                }
                Stage::Settle => settle(&old_workers, self.deadline).await,
            }
        }
        match self.shared.in_force(self.app()).await? {
            Some(now) if self.is_in_force(&now) => Ok(()),
            _ => Err(Error::new(ErrorKind::Timeout, format!("nginx does not serve the route of `{}`", self.app()))
                .with_code("route_unconfirmed")
                .with_hint("does nginx read all files `*.conf` of the folder that QUARK writes to?")),
        }
    }

    async fn make(&self, choice: Choice) -> Result<()> {
        let (layout, app) = (self.shared.layout.clone(), self.app().clone());
        blocking(move || choice.make(&layout, &app)).await
    }

    /// Sets the markers and waits until a worker tells that it sees them.
    async fn choose(&self, choice: Choice) -> Result<()> {
        self.make(choice).await?;
        let deadline = Instant::now() + MARKERS_SEEN;
        loop {
            let now = self.shared.in_force(self.app()).await;
            if let Ok(Some(now)) = &now
                && chooses(now, choice)
                // What could not be asked is asked again.
                && matches!(self.shares(choice).await, Ok(true))
            {
                return Ok(());
            }
            if Instant::now() >= deadline {
                now?;
                let markers = self.shared.layout.markers();
                let message = format!("nginx does not see the markers in `{}`", markers.display());
                return Err(Error::new(ErrorKind::PermissionDenied, message).with_code("markers_not_seen").with_hint(
                    "let the user of nginx's workers through to that folder: `chmod o+x` on those above it",
                ));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Whether a worker sees where the share of the other slot ends, if there is
    /// or was one.
    async fn shares(&self, choice: Choice) -> Result<bool> {
        if choice.canary.is_none() && self.now.as_ref().is_none_or(|now| now.canary.is_none()) {
            return Ok(true);
        }
        let (status, app) = (&self.shared.status, self.app());
        let share = choice.canary.map_or(0, quark_core::Share::percent);
        let last_is_in = share == 0 || status.is_shared(app, share - 1).await?;
        Ok(last_is_in && !status.is_shared(app, share).await?)
    }

    /// Puts back what was in force, as far as it goes. The fence stays.
    async fn put_back(&self, state: AppState) {
        let restored = async {
            let before =
                self.now.as_ref().map(|now| Choice { active: now.active, backup: now.backup(), canary: now.canary });
            self.make(before.unwrap_or(Choice::of(quark_core::Slot::Blue))).await?;
            let (_, file) = read(self.shared, self.app()).await?;
            if file != self.file {
                let change = SiteChange { app: self.app().clone(), text: self.file.clone() };
                let deadline = Instant::now() + self.shared.config.reload_timeout;
                self.shared.change_site(change, self.call, deadline).await?;
            }
            write(self.shared, self.app(), AppState { last: state.last.then_apply(self.route)?, ..state }).await
        };
        if let Err(cause) = restored.await {
            // The caller gets the error that led here; the next apply starts
            // from what nginx says.
            tracing::error!(app = %self.app(), error = %cause.report(), "the route before could not be put back");
        }
    }
}

impl Shared {
    /// What nginx serves for an app, and which share of it goes to the slot that
    /// is not active.
    pub(crate) async fn in_force(&self, app: &AppName) -> Result<Option<InForce>> {
        let Some(mut now) = self.status.route(app).await? else { return Ok(None) };
        let (layout, app) = (self.layout.clone(), app.clone());
        now.canary = blocking(move || Ok(markers::share(&layout, &app))).await?;
        Ok(Some(now))
    }

    /// What nginx serves for an app. An nginx of our own that does not run is
    /// started: this is asked before a change only.
    async fn running_route(&self, app: &AppName, call: &Call, deadline: Instant) -> Result<Option<InForce>> {
        let away = match self.in_force(app).await {
            Err(cause) if self.is_own() => cause,
            other => return other,
        };
        let _lock = FileLock::take(&self.layout.tree_lock(), call, deadline).await?;
        if !self.processes().await?.is_empty() {
            return Err(away);
        }
        tracing::warn!("nginx has ended; starting it again");
        if let Some(refusal) = self.start().await? {
            return Err(self.refused(&[], &refusal));
        }
        self.in_force(app).await
    }
}

fn chooses(now: &InForce, choice: Choice) -> bool {
    (now.active, now.backup(), now.canary) == (choice.active, choice.backup, choice.canary)
}

/// Waits for the end of workers with the configuration before. One that lives
/// on answers a long request and takes no other.
async fn settle(workers: &[ProcessRef], deadline: Instant) {
    let deadline = deadline.min(Instant::now() + SETTLED);
    while workers.iter().any(ProcessRef::is_alive) && Instant::now() < deadline {
        tokio::time::sleep(PAUSE).await;
    }
}

async fn read(shared: &Shared, app: &AppName) -> Result<(AppState, Option<String>)> {
    let (layout, app) = (shared.layout.clone(), app.clone());
    blocking(move || Ok((AppState::read(&layout, &app)?, files::read(&layout.site(&app))?))).await
}

async fn write(shared: &Shared, app: &AppName, state: AppState) -> Result<()> {
    let (layout, app) = (shared.layout.clone(), app.clone());
    blocking(move || state.write(&layout, &app)).await
}

pub(crate) fn clear_folder(folder: &std::path::Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Ok(()) => Ok(()),
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(cause) => Err(error::file("removed", folder, cause)),
    }
}
