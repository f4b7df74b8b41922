//! Leases: who may act on an app, and until when.

use std::time::Duration;

use quark_core::app::AppName;
use quark_core::backend::Lease;
use quark_core::backend::store::refusal;
use quark_core::deployment::{Fence, OwnerId};
use quark_core::{Result, Timestamp};

use super::bulk::{Part, Share, Sole};
use super::rows;
use super::writer::Quick;

/// `[app, owner, expires_at, now]`
pub(super) const TAKE: &str = "
    INSERT INTO quark_leases (app, owner, fence, expires_at)
    SELECT asked.app, asked.owner, (SELECT CAST(value AS INTEGER) + 1 FROM quark_meta WHERE key = 'leapt'),
           asked.expires_at
    FROM (SELECT value ->> 0 AS app, value ->> 1 AS owner, value ->> 2 AS expires_at, value ->> 3 AS now
          FROM json_each(?)) AS asked
        LEFT JOIN quark_leases AS held ON held.app = asked.app
    WHERE held.owner IS NULL OR held.owner = asked.owner OR held.expires_at <= asked.now
    ON CONFLICT (app) DO UPDATE SET owner = excluded.owner, fence = fence + 1, expires_at = excluded.expires_at
    RETURNING app, fence";

/// `[app]`
pub(super) const ASK: &str = "
    SELECT app, expires_at FROM quark_leases WHERE app IN (SELECT value ->> 0 FROM json_each(?))";

/// `[app, owner, fence]`
pub(super) const RELEASE: &str = "
    UPDATE quark_leases SET owner = NULL
    FROM (SELECT value ->> 0 AS app, value ->> 1 AS owner, value ->> 2 AS fence FROM json_each(?)) AS held
    WHERE quark_leases.app = held.app AND quark_leases.owner = held.owner AND quark_leases.fence = held.fence";

/// `[app, owner, fence, expires_at]`
pub(super) const RENEW: &str = "
    UPDATE quark_leases SET expires_at = held.expires_at
    FROM (SELECT value ->> 0 AS app, value ->> 1 AS owner, value ->> 2 AS fence, value ->> 3 AS expires_at
          FROM json_each(?)) AS held
    WHERE quark_leases.app = held.app AND quark_leases.owner = held.owner AND quark_leases.fence = held.fence
    RETURNING quark_leases.app";

pub(super) fn acquire(app: &AppName, owner: &OwnerId, ttl: Duration, now: Timestamp) -> Result<Quick<Result<Lease>>> {
    let mut share = Share::default();
    let until = now.after(ttl).as_micros();
    share.row(Part::TakenLeases, &(app.as_str(), owner.as_str(), until, now.as_micros()))?;
    share.row(Part::AskedLeases, &(app.as_str(),))?;
    share.alone_with(Sole::Lease(app.clone()));
    let (app, owner) = (app.clone(), owner.clone());
    Ok(Quick::new(share, move |answers| {
        if let Some(taken) = answers.of(Part::TakenLeases, app.as_str())? {
            return Ok(Some(Ok(Lease { app, owner, fence: Fence(taken.number("fence")?) })));
        }
        let Some(held) = answers.of(Part::AskedLeases, app.as_str())? else { return Ok(None) };
        Ok(Some(Err(refusal::lease_held(&app, held.time("expires_at")?.since(now)))))
    }))
}

/// A lease that ran out and that nobody took is still its owner's.
pub(super) fn renew(lease: &Lease, ttl: Duration, now: Timestamp) -> Result<Quick<Result<()>>> {
    let mut share = Share::default();
    let fence = rows::integer("fence", lease.fence.0)?;
    let until = now.after(ttl).as_micros();
    share.row(Part::RenewedLeases, &(lease.app.as_str(), lease.owner.as_str(), fence, until))?;
    share.alone_with(Sole::Lease(lease.app.clone()));
    let app = lease.app.clone();
    Ok(Quick::new(share, move |answers| {
        let renewed = answers.of(Part::RenewedLeases, app.as_str())?.is_some();
        Ok(Some(if renewed { Ok(()) } else { Err(refusal::fenced(&app)) }))
    }))
}

pub(super) fn release(lease: &Lease) -> Result<Quick<()>> {
    let mut share = Share::default();
    let fence = rows::integer("fence", lease.fence.0)?;
    share.row(Part::ReleasedLeases, &(lease.app.as_str(), lease.owner.as_str(), fence))?;
    Ok(Quick::new(share, |_| Ok(Some(()))))
}
