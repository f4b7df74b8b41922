//! Leases: who may act on an app, and until when.

use std::time::Duration;

use quark_core::app::AppName;
use quark_core::backend::Lease;
use quark_core::backend::store::refusal;
use quark_core::deployment::{Fence, OwnerId};
use quark_core::{Result, Timestamp};
use sqlx::SqliteConnection;

use super::failure::failed;
use super::rows::{self, Columns};

pub(super) async fn acquire(
    connection: &mut SqliteConnection,
    app: AppName,
    owner: OwnerId,
    ttl: Duration,
    now: Timestamp,
) -> Result<Lease> {
    let row = sqlx::query(
        "INSERT INTO quark_leases (app, owner, fence, expires_at)
         VALUES (?1, ?2, (SELECT CAST(value AS INTEGER) + 1 FROM quark_meta WHERE key = 'leapt'), ?3)
         ON CONFLICT (app) DO UPDATE SET owner = ?2, fence = fence + 1, expires_at = ?3
             WHERE owner IS NULL OR owner = ?2 OR expires_at <= ?4
         RETURNING fence",
    )
    .bind(app.as_str())
    .bind(owner.as_str())
    .bind(now.after(ttl).as_micros())
    .bind(now.as_micros())
    .fetch_optional(&mut *connection)
    .await
    .map_err(failed)?;
    if let Some(row) = row {
        let fence = Fence(Columns(&row).number("fence")?);
        return Ok(Lease { app, owner, fence });
    }
    let row = sqlx::query("SELECT expires_at FROM quark_leases WHERE app = ?")
        .bind(app.as_str())
        .fetch_one(connection)
        .await
        .map_err(failed)?;
    Err(refusal::lease_held(&app, Columns(&row).time("expires_at")?.since(now)))
}

pub(super) async fn renew(
    connection: &mut SqliteConnection,
    lease: Lease,
    ttl: Duration,
    now: Timestamp,
) -> Result<()> {
    // A lease that ran out and that nobody took is still its owner's.
    let done = sqlx::query("UPDATE quark_leases SET expires_at = ? WHERE app = ? AND owner = ? AND fence = ?")
        .bind(now.after(ttl).as_micros())
        .bind(lease.app.as_str())
        .bind(lease.owner.as_str())
        .bind(rows::integer("fence", lease.fence.0)?)
        .execute(connection)
        .await
        .map_err(failed)?;
    if done.rows_affected() == 0 { Err(refusal::fenced(&lease.app)) } else { Ok(()) }
}

pub(super) async fn release(connection: &mut SqliteConnection, lease: Lease) -> Result<()> {
    sqlx::query("UPDATE quark_leases SET owner = NULL WHERE app = ? AND owner = ? AND fence = ?")
        .bind(lease.app.as_str())
        .bind(lease.owner.as_str())
        .bind(rows::integer("fence", lease.fence.0)?)
        .execute(connection)
        .await
        .map_err(failed)?;
    Ok(())
}
