//! Projects: written together with their apps.

use quark_core::app::{App, AppName};
use quark_core::backend::store::refusal;
use quark_core::backend::{NewJob, ProjectChange, ProjectWrite, ProjectWritten};
use quark_core::deployment::{AppRecord, Deployment, SupersedePolicy, TeamId, Version};
use quark_core::project::{ProjectName, ProjectRecord, ProjectSnapshot};
use quark_core::{Result, Timestamp};
use rusqlite::{Connection, params};

use super::deployments::Documents;
use super::rows::{self, Columns};
use super::sql::statements;
use super::{apps, creation};

/// All columns, in the order in which [`read`] takes them.
macro_rules! select {
    () => {
        "SELECT team, spec, version, created_at, updated_at, removed_at FROM quark_projects "
    };
}

statements! {
    /// What is read from here on is of one moment.
    BEGIN = "BEGIN";
    END = "COMMIT";
    INSERT = "INSERT INTO quark_projects (name, team, spec, version, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?)";
    UPDATE = "UPDATE quark_projects SET spec = ?2, version = ?3, updated_at = ?4, removed_at = ?5 WHERE name = ?1";
    FIND = concat!(select!(), "WHERE name = ?");
    ALL = concat!(select!(), "ORDER BY name");
    HAS_APPS = "SELECT 1 FROM quark_apps WHERE project = ? LIMIT 1";
    FORGET = "DELETE FROM quark_projects WHERE name = ? AND removed_at IS NOT NULL";
}

/// A write with what can be made of it before it is anybody's turn.
pub(super) struct Prepared {
    write: ProjectWrite,
    removals: Vec<(Deployment, Documents, NewJob)>,
}

impl Prepared {
    pub(super) fn new(mut write: ProjectWrite) -> Result<Self> {
        let removals = std::mem::take(&mut write.removals).into_iter().map(|(removal, job)| {
            let documents = Documents::of(&removal)?;
            Ok((removal, documents, job))
        });
        Ok(Self { removals: removals.collect::<Result<_>>()?, write })
    }

    /// The apps that the write says something of.
    fn names(&self) -> impl Iterator<Item = &AppName> {
        let removed = self.removals.iter().map(|(removal, _, _)| &removal.app);
        self.write.apps.iter().map(|app| &app.name).chain(removed)
    }
}

fn read(columns: &mut Columns<'_>) -> Result<ProjectRecord> {
    Ok(ProjectRecord {
        team: columns.named()?,
        spec: columns.document()?,
        version: Version(columns.number()?),
        created_at: columns.time()?,
        updated_at: columns.time()?,
        removed_at: columns.optional_time()?,
    })
}

/// Changes a project and its apps. Whoever calls undoes all of it if it fails.
pub(super) fn write(connection: &Connection, prepared: &Prepared, now: Timestamp) -> Result<ProjectWritten> {
    let ProjectWrite { project: name, expected, change, apps: wanted, at, .. } = &prepared.write;
    let known = FIND.first(connection, [name.as_str()], read)?;
    check_version(name, known.as_ref(), *expected)?;
    if *change != ProjectChange::Stays {
        let present = apps::of_project(connection, name)?;
        let mut present = present.iter().filter(|app| app.removed_at.is_none());
        if !present.all(|app| prepared.names().any(|named| *named == app.spec.name)) {
            return Err(refusal::version_changed());
        }
    }
    let project = change_project(connection, name, known, change, *at)?;
    // Host names may move between the apps of one write.
    for app in wanted {
        apps::give_up_domains(connection, &app.name)?;
    }
    let mut created = Vec::new();
    for app in wanted {
        created.extend(put_app(connection, name, app, *at)?);
    }
    let mut removals = Vec::new();
    for (removal, documents, job) in &prepared.removals {
        removals.push(creation::create(connection, removal, documents, job, SupersedePolicy::Coalesce, now)?);
    }
    forget_if_done(connection, name)?;
    Ok(ProjectWritten { project, created, removals })
}

fn check_version(name: &ProjectName, known: Option<&ProjectRecord>, expected: Option<Version>) -> Result<()> {
    match (known, expected) {
        (Some(_), None) => Err(refusal::project_exists(name)),
        (None, Some(_)) => Err(refusal::project_not_found(name)),
        (Some(known), Some(_)) if known.removed_at.is_some() => Err(refusal::project_removed(name)),
        (Some(known), Some(expected)) if known.version != expected => Err(refusal::version_changed()),
        _ => Ok(()),
    }
}

fn change_project(
    connection: &Connection,
    name: &ProjectName,
    known: Option<ProjectRecord>,
    change: &ProjectChange,
    at: Timestamp,
) -> Result<ProjectRecord> {
    let record = match (change, known) {
        (ProjectChange::Becomes(spec), None) => return insert(connection, name, spec, at),
        (_, None) => return Err(refusal::project_not_found(name)),
        (ProjectChange::Stays, Some(known)) => return Ok(known),
        (ProjectChange::Becomes(spec), Some(known)) => {
            ProjectRecord { spec: spec.as_ref().clone(), version: known.version.next(), updated_at: at, ..known }
        }
        (ProjectChange::IsRemoved, Some(known)) => {
            ProjectRecord { version: known.version.next(), removed_at: Some(at), ..known }
        }
    };
    let values = params![
        name.as_str(),
        rows::document("spec", &record.spec)?,
        rows::integer("version", record.version.0)?,
        record.updated_at.as_micros(),
        record.removed_at.map(Timestamp::as_micros),
    ];
    UPDATE.run(connection, values)?;
    Ok(record)
}

fn insert(
    connection: &Connection,
    name: &ProjectName,
    spec: &quark_core::Project,
    at: Timestamp,
) -> Result<ProjectRecord> {
    let record = ProjectRecord {
        team: TeamId::default(),
        spec: spec.clone(),
        version: Version(1),
        created_at: at,
        updated_at: at,
        removed_at: None,
    };
    let document = rows::document("spec", spec)?;
    let micros = at.as_micros();
    INSERT.run(connection, params![name.as_str(), record.team.as_str(), document, 1, micros, micros])?;
    Ok(record)
}

/// Makes an app what it shall be; the app, if it was not there.
fn put_app(connection: &Connection, project: &ProjectName, spec: &App, at: Timestamp) -> Result<Option<AppRecord>> {
    let Some(known) = apps::find(connection, &spec.name)? else {
        return apps::create(connection, spec, at).map(Some);
    };
    if known.spec.environment.as_ref().is_none_or(|environment| environment.project != *project) {
        return Err(refusal::app_exists(&spec.name));
    }
    if known.removed_at.is_some() {
        return Err(refusal::app_removed(&spec.name));
    }
    if known.spec == *spec {
        // Its names were given up a moment ago, as those of all.
        apps::take_domains(connection, &spec.name, &spec.domains)?;
    } else {
        apps::replace(connection, spec, known, at)?;
    }
    Ok(None)
}

/// Deletes a project that is being removed, if it has no app any more.
pub(super) fn forget_if_done(connection: &Connection, name: &ProjectName) -> Result<()> {
    if HAS_APPS.finds(connection, [name.as_str()])? {
        return Ok(());
    }
    FORGET.run(connection, [name.as_str()]).map(|_| ())
}

/// A project and its apps, read at one moment.
pub(super) fn snapshot(connection: &Connection, name: &ProjectName) -> Result<Option<ProjectSnapshot>> {
    BEGIN.run(connection, [])?;
    let snapshot = read_each(connection, name);
    END.run(connection, [])?;
    snapshot
}

fn read_each(connection: &Connection, name: &ProjectName) -> Result<Option<ProjectSnapshot>> {
    let Some(project) = FIND.first(connection, [name.as_str()], read)? else { return Ok(None) };
    Ok(Some(ProjectSnapshot { project, apps: apps::of_project(connection, name)? }))
}

pub(super) fn all(connection: &Connection) -> Result<Vec<ProjectRecord>> {
    ALL.all(connection, [], read)
}
