//! The route of an app, made from what serves it.

use crate::app::AppName;
use crate::app::{App, Domain};
use crate::backend::{Lease, Route};
use crate::deployment::{Generation, Serving, Slot};
use crate::{Error, ErrorKind, Result};

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
    })
}
