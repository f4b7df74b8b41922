//! Apps: what is said about them, which host names and addresses are theirs.

use quark_core::app::{App, AppName, Domain};
use quark_core::backend::store::refusal;
use quark_core::deployment::{AppRecord, Endpoint, Generation, Serving, TeamId, Version};
use quark_core::project::ProjectName;
use quark_core::{Result, Timestamp};
use rusqlite::{Connection, params};

use super::rows::{self, Columns};
use super::sql::statements;
use super::{leap, projects};

/// All columns but the name, in the order in which [`read`] takes them.
macro_rules! select {
    () => {
        "SELECT team, spec, serving, version, created_at, updated_at, removed_at FROM quark_apps "
    };
}

statements! {
    INSERT = "INSERT INTO quark_apps (name, team, spec, serving, version, created_at, updated_at, project)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (name) DO NOTHING";
    UPDATE = "UPDATE quark_apps SET spec = ?2, version = ?3, updated_at = ?4 WHERE name = ?1";
    SET_SERVING = "UPDATE quark_apps SET serving = ?2 WHERE name = ?1";
    SET_REMOVED = "UPDATE quark_apps SET removed_at = ?2 WHERE name = ?1";
    FORGET = "DELETE FROM quark_apps WHERE name = ?";
    PROJECT = "SELECT project FROM quark_apps WHERE name = ?";
    OF_PROJECT = concat!(select!(), "WHERE project = ? ORDER BY name");
    FIND = concat!(select!(), "WHERE name = ?");
    ALL = concat!(select!(), "ORDER BY name");
    IS_REMOVED = "SELECT removed_at IS NOT NULL FROM quark_apps WHERE name = ?";
    GIVE_UP_DOMAINS = "DELETE FROM quark_domains WHERE app = ?";
    TAKE_DOMAIN = "INSERT INTO quark_domains (domain, app) VALUES (?, ?) ON CONFLICT (domain) DO NOTHING";
    OWNER_OF_DOMAIN = "SELECT app FROM quark_domains WHERE domain = ?";
    /// Nobody else has it, as was checked; the app may name it for both slots.
    TAKE_ENDPOINT = "INSERT INTO quark_endpoints (endpoint, app) VALUES (?, ?) ON CONFLICT (endpoint) DO NOTHING";
    GIVE_UP_ENDPOINT = "DELETE FROM quark_endpoints WHERE endpoint = ?";
    OWNER_OF_ENDPOINT = "SELECT app FROM quark_endpoints WHERE endpoint = ?";
    ENDPOINTS = "SELECT endpoint FROM quark_endpoints WHERE app = ?";
}

fn read(columns: &mut Columns<'_>) -> Result<AppRecord> {
    Ok(AppRecord {
        team: columns.named()?,
        spec: columns.document()?,
        serving: columns.document()?,
        version: Version(columns.number()?),
        created_at: columns.time()?,
        updated_at: columns.time()?,
        removed_at: columns.optional_time()?,
    })
}

pub(super) fn create(connection: &Connection, spec: &App, at: Timestamp) -> Result<AppRecord> {
    // Above all that the world may have seen of an app of the same name.
    let generation = Generation(leap::leapt(connection)?);
    let record = AppRecord {
        team: TeamId::default(),
        spec: spec.clone(),
        serving: Serving { generation, ..Serving::default() },
        version: Version(1),
        created_at: at,
        updated_at: at,
        removed_at: None,
    };
    let values = params![
        spec.name.as_str(),
        record.team.as_str(),
        rows::document("spec", spec)?,
        serving_document(&record.serving)?,
        rows::integer("version", record.version.0)?,
        at.as_micros(),
        at.as_micros(),
        spec.environment.as_ref().map(|environment| environment.project.as_str()),
    ];
    if INSERT.run(connection, values)? == 0 {
        return Err(refusal::app_exists(&spec.name));
    }
    take_domains(connection, &spec.name, &spec.domains)?;
    Ok(record)
}

pub(super) fn update(connection: &Connection, spec: &App, expected: Version, at: Timestamp) -> Result<AppRecord> {
    let name = &spec.name;
    let record = find(connection, name)?.ok_or_else(|| refusal::app_not_found(name))?;
    if record.removed_at.is_some() {
        return Err(refusal::app_removed(name));
    }
    if let Some(environment) = &record.spec.environment {
        return Err(refusal::app_of_project(name, &environment.project));
    }
    if record.version != expected {
        return Err(refusal::version_changed());
    }
    replace(connection, spec, record, at)
}

/// Says something else of an app that is there.
pub(super) fn replace(connection: &Connection, spec: &App, record: AppRecord, at: Timestamp) -> Result<AppRecord> {
    let name = &spec.name;
    let record = AppRecord { spec: spec.clone(), version: record.version.next(), updated_at: at, ..record };
    let version = rows::integer("version", record.version.0)?;
    UPDATE.run(connection, params![name.as_str(), rows::document("spec", spec)?, version, at.as_micros()])?;
    give_up_domains(connection, name)?;
    take_domains(connection, name, &spec.domains)?;
    Ok(record)
}

pub(super) fn give_up_domains(connection: &Connection, app: &AppName) -> Result<()> {
    GIVE_UP_DOMAINS.run(connection, [app.as_str()]).map(|_| ())
}

pub(super) fn take_domains(connection: &Connection, app: &AppName, domains: &[Domain]) -> Result<()> {
    for domain in domains {
        let is_new = TAKE_DOMAIN.run(connection, [domain.as_str(), app.as_str()])? > 0;
        // Naming a host twice in one app takes nothing from anybody.
        if !is_new
            && OWNER_OF_DOMAIN.first(connection, [domain.as_str()], |columns| columns.named())?.as_ref() != Some(app)
        {
            return Err(refusal::domain_taken(domain.as_str()));
        }
    }
    Ok(())
}

pub(super) fn find(connection: &Connection, name: &AppName) -> Result<Option<AppRecord>> {
    FIND.first(connection, [name.as_str()], read)
}

pub(super) fn all(connection: &Connection) -> Result<Vec<AppRecord>> {
    ALL.all(connection, [], read)
}

/// Whether the app is being removed; `None` without an app.
pub(super) fn is_removed(connection: &Connection, name: &AppName) -> Result<Option<bool>> {
    IS_REMOVED.first(connection, [name.as_str()], |columns| columns.flag())
}

/// The addresses of both slots.
fn endpoints(serving: &Serving) -> impl Iterator<Item = &Endpoint> {
    serving.blue.iter().chain(&serving.green)
}

/// Whether the app is there and no other has the addresses of its slots; the
/// addresses that the app has so far.
pub(super) fn check_serving(connection: &Connection, app: &AppName, serving: &Serving) -> Result<Vec<Endpoint>> {
    if is_removed(connection, app)?.is_none() {
        return Err(refusal::app_not_found(app));
    }
    let held: Vec<Endpoint> = ENDPOINTS.all(connection, [app.as_str()], |columns| columns.named())?;
    for endpoint in endpoints(serving).filter(|endpoint| !held.contains(endpoint)) {
        let owner = OWNER_OF_ENDPOINT.first(connection, [endpoint.as_str()], |columns| columns.named::<AppName>())?;
        if owner.is_some_and(|owner| owner != *app) {
            return Err(refusal::endpoint_taken(endpoint.as_str()));
        }
    }
    Ok(held)
}

/// What serves, as it is stored.
pub(super) fn serving_document(serving: &Serving) -> Result<String> {
    rows::document("serving", serving)
}

/// Writes down what serves, and with it the addresses of the app's slots; `held`
/// are those that it has so far.
pub(super) fn set_serving(
    connection: &Connection,
    app: &AppName,
    serving: &Serving,
    document: &str,
    held: &[Endpoint],
) -> Result<()> {
    write_serving(connection, app, document)?;
    for lost in held.iter().filter(|held| endpoints(serving).all(|endpoint| endpoint != *held)) {
        GIVE_UP_ENDPOINT.run(connection, [lost.as_str()])?;
    }
    for new in endpoints(serving).filter(|endpoint| !held.contains(endpoint)) {
        TAKE_ENDPOINT.run(connection, [new.as_str(), app.as_str()])?;
    }
    Ok(())
}

/// Writes down what serves, at addresses that the app has already.
pub(super) fn write_serving(connection: &Connection, app: &AppName, document: &str) -> Result<()> {
    SET_SERVING.run(connection, [app.as_str(), document]).map(|_| ())
}

/// Marks an app as being removed.
pub(super) fn mark_removed(connection: &Connection, app: &AppName, at: Timestamp) -> Result<()> {
    SET_REMOVED.run(connection, params![app.as_str(), at.as_micros()]).map(|_| ())
}

/// The apps of a project, in the order of their names.
pub(super) fn of_project(connection: &Connection, project: &ProjectName) -> Result<Vec<AppRecord>> {
    OF_PROJECT.all(connection, [project.as_str()], read)
}

/// Deletes an app with its host names and addresses, and its project if that is
/// being removed and has no other. Its history stays.
pub(super) fn forget(connection: &Connection, app: &AppName) -> Result<()> {
    let project = PROJECT.first(connection, [app.as_str()], |columns| columns.optional_named::<ProjectName>())?;
    FORGET.run(connection, [app.as_str()])?;
    project.flatten().map_or(Ok(()), |project| projects::forget_if_done(connection, &project))
}
