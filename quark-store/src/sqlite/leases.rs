//! Leases: who may act on an app, and until when.

use std::time::Duration;

use quark_core::app::AppName;
use quark_core::backend::Lease;
use quark_core::backend::store::refusal;
use quark_core::deployment::{Fence, OwnerId};
use quark_core::{Result, Timestamp};

use super::batch::{Batch, affected, row};
use super::rows::{self, Columns};
use super::writer::Quick;

pub(super) fn acquire(app: &AppName, owner: &OwnerId, ttl: Duration, now: Timestamp) -> Quick<Result<Lease>> {
    let mut batch = Batch::new();
    batch
        .statement(
            "INSERT INTO quark_leases (app, owner, fence, expires_at) VALUES (?, ?, 1, ?)
             ON CONFLICT (app) DO UPDATE SET owner = excluded.owner, fence = fence + 1, expires_at = excluded.expires_at
                 WHERE owner IS NULL OR owner = excluded.owner OR expires_at <= ?
             RETURNING fence",
        )
        .bind(app.as_str())
        .bind(owner.as_str())
        .bind(now.after(ttl).as_micros())
        .bind(now.as_micros());
    batch.statement("SELECT expires_at FROM quark_leases WHERE app = ?").bind(app.as_str());
    let (app, owner) = (app.clone(), owner.clone());
    Quick::new(batch, move |done| {
        if let Some(taken) = row(done, 0) {
            return Ok(Some(Ok(Lease { app, owner, fence: Fence(Columns(taken).number("fence")?) })));
        }
        let Some(held) = row(done, 1) else { return Ok(None) };
        Ok(Some(Err(refusal::lease_held(&app, Columns(held).time("expires_at")?.since(now)))))
    })
}

pub(super) fn renew(lease: &Lease, ttl: Duration, now: Timestamp) -> Result<Quick<Result<()>>> {
    let mut batch = Batch::new();
    // A lease that ran out and that nobody took is still its owner's.
    batch
        .statement("UPDATE quark_leases SET expires_at = ? WHERE app = ? AND owner = ? AND fence = ?")
        .bind(now.after(ttl).as_micros())
        .bind(lease.app.as_str())
        .bind(lease.owner.as_str())
        .bind(rows::integer("fence", lease.fence.0)?);
    let app = lease.app.clone();
    Ok(Quick::new(batch, move |done| Ok(Some(if affected(done, 0) > 0 { Ok(()) } else { Err(refusal::fenced(&app)) }))))
}

pub(super) fn release(lease: &Lease) -> Result<Quick<()>> {
    let mut batch = Batch::new();
    batch
        .statement("UPDATE quark_leases SET owner = NULL WHERE app = ? AND owner = ? AND fence = ?")
        .bind(lease.app.as_str())
        .bind(lease.owner.as_str())
        .bind(rows::integer("fence", lease.fence.0)?);
    Ok(Quick::new(batch, |_| Ok(Some(()))))
}
