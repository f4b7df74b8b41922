//! `NginxRouter`: the trait, by delegation.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use quark_core::backend::{Call, Drained, EffectiveRoute, Route, Router};
use quark_core::deployment::{Endpoint, Generation};
use quark_core::{AppName, Error, ErrorKind, Result, Slot};

use crate::config::NginxConfig;
use crate::files;
use crate::shared::{Shared, blocking};
use crate::state::AppState;
use crate::status::InForce;
use crate::{apply, drain, open, site};

/// nginx as a router. Clones are the same router.
///
/// Several routers may share one nginx, in one process or in several; they wait
/// for each other. Dropping them all leaves nginx serving.
#[derive(Clone)]
pub struct NginxRouter {
    shared: Arc<Shared>,
}

impl NginxRouter {
    /// Finds nginx, brings the files that do not depend on apps up to date, and
    /// starts an nginx of our own unless it runs already. What a crash has left
    /// half written is removed.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`] (`nginx_not_found`) if there is no nginx,
    /// [`ErrorKind::Unsupported`] if it is too old, [`ErrorKind::InvalidInput`]
    /// if the configuration makes no sense, [`ErrorKind::PermissionDenied`] if
    /// this user or nginx's workers may not do what they must,
    /// [`ErrorKind::InvalidConfig`] with nginx's reason if it refuses to start
    /// or to reload, [`ErrorKind::Timeout`] if it does not confirm.
    pub async fn open(config: NginxConfig) -> Result<Self> {
        // Not to be left half done when the caller stops waiting.
        let opened = tokio::spawn(open::open(config)).await.map_err(broken_off)?;
        opened.map(|shared| Self { shared: Arc::new(shared) }).map_err(|cause| cause.with_operation("router.open"))
    }

    /// Ends an nginx of our own: it finishes the requests it has for up to 5 s,
    /// then ends at once. It may be started again by [`open`](Self::open).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unsupported`] if nginx is not ours, [`ErrorKind::Timeout`]
    /// if it does not end.
    pub async fn stop_nginx(&self) -> Result<()> {
        open::stop(&self.shared).await.map_err(|cause| cause.with_operation("router.stop_nginx"))
    }
}

impl fmt::Debug for NginxRouter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NginxRouter")
            .field("home", &self.shared.layout.home)
            .field("version", &self.shared.nginx.version)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Router for NginxRouter {
    /// A share is a marker file for each hundredth of the requests, which are
    /// told apart by chance: it changes without a reload.
    fn splits(&self) -> bool {
        true
    }

    /// Safe to drop: what was begun is brought to its end.
    async fn apply(&self, call: &Call, route: &Route) -> Result<()> {
        let (shared, call, route) = (Arc::clone(&self.shared), call.clone(), route.clone());
        let applied = tokio::spawn(async move { apply::apply(&shared, &call, &route).await }).await;
        applied.map_err(broken_off)?.map_err(|cause| cause.with_operation("router.apply"))
    }

    async fn observe(&self, app: &AppName) -> Result<Option<EffectiveRoute>> {
        let observed = async {
            let Some(now) = self.shared.in_force(app).await? else { return Ok(None) };
            let (layout, app) = (self.shared.layout.clone(), app.clone());
            let known = move || Ok((AppState::read(&layout, &app)?, files::read(&layout.site(&app))?));
            let (state, file) = blocking(known).await?;
            let generation = generation(Some(&now), &state, file.as_deref());
            Ok(Some(EffectiveRoute { active: now.active, backup: now.backup(), generation, canary: now.canary }))
        };
        observed.await.map_err(|cause: Error| cause.with_operation("router.observe"))
    }

    fn entrance(&self) -> Option<Endpoint> {
        Some(Endpoint::on_this_machine(self.shared.config.listen))
    }

    /// See `proxy_request_buffering` in the site template for why no open
    /// connection means no request.
    async fn drained(&self, _: &AppName, _: Slot, endpoint: &Endpoint, longest: Duration) -> Result<Drained> {
        let drained = async {
            let slot = endpoint.socket_addr()?;
            // An nginx in a container has connections of its own.
            let master = if self.shared.is_own() { None } else { self.shared.processes().await?.master };
            let net = master.map(|master| PathBuf::from(format!("/proc/{}/net", master.pid)));
            drain::drained(&net.unwrap_or_else(|| PathBuf::from("/proc/self/net")), slot, longest).await
        };
        drained.await.map_err(|cause: Error| cause.with_operation("router.drained"))
    }

    /// Safe to drop: what was begun is brought to its end.
    async fn remove(&self, call: &Call, app: &AppName) -> Result<()> {
        let (shared, call, app) = (Arc::clone(&self.shared), call.clone(), app.clone());
        let removed = tokio::spawn(async move { apply::remove(&shared, &call, &app).await }).await;
        removed.map_err(broken_off)?.map_err(|cause| cause.with_operation("router.remove"))
    }
}

/// The generation of what is in force: nginx knows the shape and the choice;
/// which change brought them is written in the state of the app.
pub(crate) fn generation(now: Option<&InForce>, state: &AppState, file: Option<&str>) -> Generation {
    let Some(now) = now else { return Generation::default() };
    match &state.wanted {
        Some(wanted)
            if wanted.shape == now.shape
                && wanted.route.active == now.active
                && wanted.route.backup == now.backup()
                && wanted.route.canary == now.canary =>
        {
            wanted.route.generation
        }
        Some(_) => state.before,
        // Somebody has removed the state; the file tells when it was written.
        None => file.and_then(site::generation).map_or(state.before, Generation),
    }
}

fn broken_off(cause: tokio::task::JoinError) -> Error {
    Error::new(ErrorKind::Internal, "the change was broken off").with_source(cause)
}
