//! Apps: what is said about them, which host names are theirs.

use quark_core::app::{App, AppName, Domain};
use quark_core::backend::store::refusal;
use quark_core::deployment::{AppRecord, Endpoint, Generation, Serving, TeamId, Version};
use quark_core::{Result, Timestamp};
use sqlx::SqliteConnection;

use super::batch::{Batch, row};
use super::bulk::{Part, Share};
use super::failure::failed;
use super::leap;
use super::rows::{self, Columns};

/// `[app, serving]`
pub(super) const SERVING: &str = "
    UPDATE quark_apps SET serving = given.serving
    FROM (SELECT value ->> 0 AS app, value ->> 1 AS serving FROM json_each(?)) AS given
    WHERE name = given.app";

/// `[app, blue, green]`: an app gives up all other addresses.
pub(super) const LOST_ENDPOINTS: &str = "
    DELETE FROM quark_endpoints
    WHERE endpoint IN (
        SELECT old.endpoint
        FROM json_each(?) AS given JOIN quark_endpoints AS old ON old.app = given.value ->> 0
        WHERE old.endpoint IS NOT given.value ->> 1 AND old.endpoint IS NOT given.value ->> 2)";

/// `[endpoint, app]`: no app is NULL, so it fails if the address is somebody else's.
pub(super) const ENDPOINTS: &str = "
    INSERT INTO quark_endpoints (endpoint, app)
    SELECT value ->> 0, value ->> 1 FROM json_each(?) WHERE TRUE
    ON CONFLICT (endpoint) DO UPDATE SET app = NULL WHERE app <> excluded.app";

/// `[app, at]`
pub(super) const REMOVED: &str = "
    UPDATE quark_apps SET removed_at = given.at
    FROM (SELECT value ->> 0 AS app, value ->> 1 AS at FROM json_each(?)) AS given
    WHERE name = given.app";

/// `[app]`
pub(super) const FORGOTTEN: &str = "
    DELETE FROM quark_apps WHERE name IN (SELECT value ->> 0 FROM json_each(?))";

pub(super) async fn create(connection: &mut SqliteConnection, spec: App, at: Timestamp) -> Result<AppRecord> {
    // Above all that the world may have seen of an app of the same name.
    let generation = Generation(leap::leapt(connection).await?);
    let record = AppRecord {
        team: TeamId::default(),
        spec,
        serving: Serving { generation, ..Serving::default() },
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
pub(super) fn set_serving(share: &mut Share, app: &AppName, serving: &Serving) -> Result<()> {
    write_serving(share, app, serving)?;
    let (blue, green) = (serving.blue.as_ref().map(Endpoint::as_str), serving.green.as_ref().map(Endpoint::as_str));
    share.row(Part::LostEndpoints, &(app.as_str(), blue, green))?;
    for endpoint in [blue, green].into_iter().flatten() {
        share.row(Part::Endpoints, &(endpoint, app.as_str()))?;
    }
    Ok(())
}

/// Writes down what serves, at addresses that the app has already.
pub(super) fn write_serving(share: &mut Share, app: &AppName, serving: &Serving) -> Result<()> {
    share.row(Part::Serving, &(app.as_str(), rows::document("serving", serving)?))
}

/// Marks an app as being removed.
pub(super) fn mark_removed(share: &mut Share, app: &AppName, at: Timestamp) -> Result<()> {
    share.row(Part::RemovedApps, &(app.as_str(), at.as_micros()))
}

/// Deletes an app with its host names and addresses. Its history stays.
pub(super) fn forget(share: &mut Share, app: &AppName) -> Result<()> {
    share.row(Part::ForgottenApps, &(app.as_str(),))
}
