//! Apps: what is said about them, which host names are theirs.

use quark_core::app::{App, AppName, Domain};
use quark_core::backend::store::refusal;
use quark_core::deployment::{AppRecord, Endpoint, Serving, TeamId, Version};
use quark_core::{Result, Timestamp};
use sqlx::SqliteConnection;

use super::batch::{Batch, row};
use super::failure::failed;
use super::rows::{self, Columns};

pub(super) async fn create(connection: &mut SqliteConnection, spec: App, at: Timestamp) -> Result<AppRecord> {
    let record = AppRecord {
        team: TeamId::default(),
        spec,
        serving: Serving::default(),
        version: Version(1),
        created_at: at,
        updated_at: at,
        removed_at: None,
    };
    let done = sqlx::query(
        "INSERT INTO quark_apps (name, team, spec, serving, version, created_at, updated_at)
         VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (name) DO NOTHING",
    )
    .bind(record.spec.name.as_str())
    .bind(record.team.as_str())
    .bind(rows::document("spec", &record.spec)?)
    .bind(rows::document("serving", &record.serving)?)
    .bind(rows::integer("version", record.version.0)?)
    .bind(at.as_micros())
    .bind(at.as_micros())
    .execute(&mut *connection)
    .await
    .map_err(failed)?;
    if done.rows_affected() == 0 {
        return Err(refusal::app_exists(&record.spec.name));
    }
    take_domains(connection, &record.spec.name, &record.spec.domains).await?;
    Ok(record)
}

pub(super) async fn update(
    connection: &mut SqliteConnection,
    spec: App,
    expected: Version,
    at: Timestamp,
) -> Result<AppRecord> {
    let Some(mut record) = find(connection, &spec.name).await? else {
        return Err(refusal::app_not_found(&spec.name));
    };
    if record.removed_at.is_some() {
        return Err(refusal::app_removed(&spec.name));
    }
    if record.version != expected {
        return Err(refusal::version_changed());
    }
    record.spec = spec;
    record.version = expected.next();
    record.updated_at = at;
    sqlx::query("UPDATE quark_apps SET spec = ?, version = ?, updated_at = ? WHERE name = ?")
        .bind(rows::document("spec", &record.spec)?)
        .bind(rows::integer("version", record.version.0)?)
        .bind(at.as_micros())
        .bind(record.spec.name.as_str())
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
    sqlx::query("DELETE FROM quark_domains WHERE app = ?")
        .bind(record.spec.name.as_str())
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
    take_domains(connection, &record.spec.name, &record.spec.domains).await?;
    Ok(record)
}

async fn take_domains(connection: &mut SqliteConnection, app: &AppName, domains: &[Domain]) -> Result<()> {
    for domain in domains {
        // Naming a host twice in one app takes nothing from anybody.
        let owner: String = sqlx::query_scalar(
            "INSERT INTO quark_domains (domain, app) VALUES (?, ?)
             ON CONFLICT (domain) DO UPDATE SET app = app RETURNING app",
        )
        .bind(domain.as_str())
        .bind(app.as_str())
        .fetch_one(&mut *connection)
        .await
        .map_err(failed)?;
        if owner != app.as_str() {
            return Err(refusal::domain_taken(domain.as_str()));
        }
    }
    Ok(())
}

pub(super) async fn find(connection: &mut SqliteConnection, name: &AppName) -> Result<Option<AppRecord>> {
    let row = sqlx::query(
        "SELECT team, spec, serving, version, created_at, updated_at, removed_at FROM quark_apps WHERE name = ?",
    )
    .bind(name.as_str())
    .fetch_optional(connection)
    .await
    .map_err(failed)?;
    row.as_ref().map(rows::app).transpose()
}

pub(super) async fn all(connection: &mut SqliteConnection) -> Result<Vec<AppRecord>> {
    let rows = sqlx::query(
        "SELECT team, spec, serving, version, created_at, updated_at, removed_at FROM quark_apps ORDER BY name",
    )
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    rows.iter().map(rows::app).collect()
}

/// Whether the app is there and no other has the addresses of its slots.
pub(super) async fn check_serving(connection: &mut SqliteConnection, app: &AppName, serving: &Serving) -> Result<()> {
    let mut batch = Batch::new();
    batch.statement("SELECT 1 FROM quark_apps WHERE name = ?").bind(app.as_str());
    batch
        .statement("SELECT endpoint FROM quark_endpoints WHERE endpoint IN (?, ?) AND app <> ?")
        .bind(serving.blue.as_ref().map(Endpoint::as_str))
        .bind(serving.green.as_ref().map(Endpoint::as_str))
        .bind(app.as_str());
    let done = batch.run(connection).await?;
    if row(&done, 0).is_none() {
        return Err(refusal::app_not_found(app));
    }
    match row(&done, 1) {
        Some(taken) => Err(refusal::endpoint_taken(&Columns(taken).text("endpoint")?)),
        None => Ok(()),
    }
}

/// Writes down what serves, and with it the addresses of the app's slots.
pub(super) fn set_serving(batch: &mut Batch, app: &AppName, serving: &Serving) -> Result<()> {
    batch
        .statement("UPDATE quark_apps SET serving = ? WHERE name = ?")
        .bind(rows::document("serving", serving)?)
        .bind(app.as_str());
    let (blue, green) = (serving.blue.as_ref().map(Endpoint::as_str), serving.green.as_ref().map(Endpoint::as_str));
    batch
        .statement("DELETE FROM quark_endpoints WHERE app = ? AND endpoint IS NOT ? AND endpoint IS NOT ?")
        .bind(app.as_str())
        .bind(blue)
        .bind(green);
    for endpoint in [blue, green].into_iter().flatten() {
        batch
            .statement("INSERT INTO quark_endpoints (endpoint, app) VALUES (?, ?) ON CONFLICT (endpoint) DO NOTHING")
            .bind(endpoint)
            .bind(app.as_str());
    }
    Ok(())
}

/// Marks an app as being removed.
pub(super) fn mark_removed(batch: &mut Batch, app: &AppName, at: Timestamp) {
    batch.statement("UPDATE quark_apps SET removed_at = ? WHERE name = ?").bind(at.as_micros()).bind(app.as_str());
}

/// Deletes an app with its host names and addresses. Its history stays.
pub(super) fn forget(batch: &mut Batch, app: &AppName) {
    batch.statement("DELETE FROM quark_apps WHERE name = ?").bind(app.as_str());
}
