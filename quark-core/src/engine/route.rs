//! The route of an app, made from what serves it.

use crate::app::AppName;
use crate::app::{App, Domain};
use crate::backend::{Call, Lease, Route, Router};
use crate::deployment::{Generation, Serving, Share, Slot};
use crate::{Error, ErrorClass, ErrorKind, Result};

/// The names that an app answers to: its own and the one below the base domain.
pub(super) fn domains(release: &App, base: &Domain) -> Vec<Domain> {
    let implied = base.subdomain(&release.name);
    let mut domains = release.domains.clone();
    if !domains.contains(&implied) {
        domains.push(implied);
    }
    domains
}

/// The route to `active` over the names that `serving` has.
pub(super) fn route(
    app: &AppName,
    serving: &Serving,
    lease: &Lease,
    generation: Generation,
    active: Slot,
    backup: bool,
) -> Result<Route> {
    let endpoint = |slot| {
        serving
            .endpoint(slot)
            .cloned()
            .ok_or_else(|| Error::new(ErrorKind::Internal, format!("the {slot} slot of `{app}` has no address")))
    };
    Ok(Route {
        app: app.clone(),
        generation,
        fence: lease.fence,
        domains: serving.domains.clone(),
        blue: endpoint(Slot::Blue)?,
        green: endpoint(Slot::Green)?,
        active,
        backup,
        canary: None,
    })
}

/// The route to what is live, while the other slot gets a share of the
/// requests. That does not stand in for the live one: it would get all of them.
pub(super) fn split_route(
    app: &AppName,
    serving: &Serving,
    lease: &Lease,
    generation: Generation,
    active: Slot,
    share: Share,
) -> Result<Route> {
    Ok(Route { canary: Some(share), ..route(app, serving, lease, generation, active, false)? })
}

/// Brings a route into force, and looks whether it is: what follows may stop
/// what served before. A router that says "done" and has not done it has been
/// seen: one whose reload was refused by its own master process.
pub(super) async fn enforce(router: &dyn Router, call: &Call, wanted: &Route) -> Result<()> {
    router.apply(call, wanted).await?;
    let seen = call.bound("router.observe", router.observe(&wanted.app)).await?;
    match seen {
        Some(seen)
            if (seen.active, seen.canary) == (wanted.active, wanted.canary) && seen.generation >= wanted.generation =>
        {
            Ok(())
        }
        _ => Err(not_in_force(&wanted.app)),
    }
}

/// Takes a route away, and looks whether it is gone.
pub(super) async fn take_away(router: &dyn Router, call: &Call, app: &AppName) -> Result<()> {
    router.remove(call, app).await?;
    match call.bound("router.observe", router.observe(app)).await? {
        None => Ok(()),
        Some(_) => Err(not_in_force(app)),
    }
}

fn not_in_force(app: &AppName) -> Error {
    Error::new(ErrorKind::Unavailable, format!("the router has accepted the route of `{app}` and does not obey it"))
        .with_code("not_in_force")
        .with_class(ErrorClass::Unknown)
        .with_hint("look into the router's own log; the version before serves")
}
