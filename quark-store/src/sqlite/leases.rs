//! Leases: who may act on an app, and until when.

use std::time::Duration;

use quark_core::app::AppName;
use quark_core::backend::Lease;
use quark_core::backend::store::refusal;
use quark_core::deployment::{Fence, OwnerId};
use quark_core::{Result, Timestamp};
use rusqlite::{Connection, params};

use super::leap;
use super::rows;
use super::sql::statements;

statements! {
    HELD = "SELECT owner, fence, expires_at FROM quark_leases WHERE app = ?";
    TAKE = "INSERT INTO quark_leases (app, owner, fence, expires_at) VALUES (?, ?, ?, ?)
        ON CONFLICT (app) DO UPDATE
        SET owner = excluded.owner, fence = excluded.fence, expires_at = excluded.expires_at";
    RENEW = "UPDATE quark_leases SET expires_at = ?4 WHERE app = ?1 AND owner = ?2 AND fence = ?3";
    CHECK = "SELECT 1 FROM quark_leases WHERE app = ?1 AND owner = ?2 AND fence = ?3";
    RELEASE = "UPDATE quark_leases SET owner = NULL WHERE app = ?1 AND owner = ?2 AND fence = ?3";
}

/// Takes a lease that nobody has, that ran out, or that the owner has already.
pub(super) fn acquire(
    connection: &Connection,
    app: &AppName,
    owner: &OwnerId,
    ttl: Duration,
    now: Timestamp,
) -> Result<Lease> {
    let held = HELD.first(connection, [app.as_str()], |columns| {
        let owner = columns.optional_text()?.map(str::to_owned);
        Ok((owner, columns.number::<u64>()?, columns.time()?))
    })?;
    let last = match held {
        Some((Some(holder), _, expires_at)) if holder != owner.as_str() && expires_at > now => {
            return Err(refusal::lease_held(app, expires_at.since(now)));
        }
        Some((_, last, _)) => last,
        None => leap::leapt(connection)?,
    };
    let fence = Fence(last + 1);
    let until = now.after(ttl).as_micros();
    TAKE.run(connection, params![app.as_str(), owner.as_str(), rows::integer("fence", fence.0)?, until])?;
    Ok(Lease { app: app.clone(), owner: owner.clone(), fence })
}

/// A lease that ran out and that nobody took is still its owner's.
pub(super) fn renew(connection: &Connection, lease: &Lease, ttl: Duration, now: Timestamp) -> Result<()> {
    let (fence, until) = (rows::integer("fence", lease.fence.0)?, now.after(ttl).as_micros());
    match RENEW.run(connection, params![lease.app.as_str(), lease.owner.as_str(), fence, until])? {
        0 => Err(refusal::fenced(&lease.app)),
        _ => Ok(()),
    }
}

/// As [`renew`], without changing anything.
pub(super) fn check(connection: &Connection, lease: &Lease) -> Result<()> {
    let fence = rows::integer("fence", lease.fence.0)?;
    if CHECK.finds(connection, params![lease.app.as_str(), lease.owner.as_str(), fence])? {
        return Ok(());
    }
    Err(refusal::fenced(&lease.app))
}

pub(super) fn release(connection: &Connection, lease: &Lease) -> Result<()> {
    let fence = rows::integer("fence", lease.fence.0)?;
    RELEASE.run(connection, params![lease.app.as_str(), lease.owner.as_str(), fence]).map(|_| ())
}
