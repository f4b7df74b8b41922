//! Everything about one deployment, read at one moment.

use quark_core::Result;
use quark_core::backend::Snapshot;
use quark_core::deployment::DeploymentId;
use rusqlite::Connection;

use super::failure::failed;
use super::{apps, deployments, instances, steps};

pub(super) fn read(connection: &Connection, id: DeploymentId) -> Result<Option<Snapshot>> {
    // Its statements see one moment; it ends when it is dropped.
    let moment = connection.unchecked_transaction().map_err(failed)?;
    let Some(deployment) = deployments::find(&moment, id)? else { return Ok(None) };
    Ok(Some(Snapshot {
        app: apps::find(&moment, &deployment.app)?,
        steps: steps::of_deployment(&moment, id)?,
        instances: instances::present(&moment, &deployment.app)?,
        deployment,
    }))
}
