//! Everything about one deployment, read at one moment.

use quark_core::Result;
use quark_core::backend::Snapshot;
use quark_core::deployment::DeploymentId;
use rusqlite::Connection;

use super::sql::statements;
use super::{apps, deployments, instances, steps};

statements! {
    /// What is read from here on is of one moment.
    BEGIN = "BEGIN";
    END = "COMMIT";
}

pub(super) fn read(connection: &Connection, id: DeploymentId) -> Result<Option<Snapshot>> {
    BEGIN.run(connection, [])?;
    let snapshot = read_each(connection, id);
    END.run(connection, [])?;
    snapshot
}

fn read_each(connection: &Connection, id: DeploymentId) -> Result<Option<Snapshot>> {
    let Some(deployment) = deployments::find(connection, id)? else { return Ok(None) };
    Ok(Some(Snapshot {
        app: apps::find(connection, &deployment.app)?,
        steps: steps::of_deployment(connection, id)?,
        instances: instances::present(connection, &deployment.app)?,
        deployment,
    }))
}
