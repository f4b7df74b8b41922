//! Instances: which containers there are.

use quark_core::Result;
use quark_core::app::AppName;
use quark_core::deployment::{Instance, InstanceState};
use rusqlite::{Connection, params};

use super::rows::{self, Columns};
use super::sql::statements;

statements! {
    WRITE = "INSERT INTO quark_instances (name, app, deployment, replica, slot, state, endpoint)
        VALUES (?, ?, ?, ?, ?, ?, ?)
        ON CONFLICT (app, name) DO UPDATE
        SET deployment = excluded.deployment, replica = excluded.replica, slot = excluded.slot,
            state = excluded.state, endpoint = excluded.endpoint";
    REMOVE = "DELETE FROM quark_instances WHERE app = ? AND name = ?";
    PRESENT = "SELECT name, deployment, replica, slot, state, endpoint FROM quark_instances
        WHERE app = ? ORDER BY deployment, replica";
}

/// Writes an instance that is new or changed; forgets one that was removed.
pub(super) fn write(connection: &Connection, app: &AppName, instance: &Instance) -> Result<()> {
    if instance.state == InstanceState::Removed {
        return REMOVE.run(connection, params![app.as_str(), instance.name.as_str()]).map(|_| ());
    }
    let values = params![
        instance.name.as_str(),
        app.as_str(),
        instance.deployment.to_string(),
        instance.replica,
        instance.slot.as_str(),
        rows::name("state", &instance.state)?,
        instance.endpoint.as_str(),
    ];
    WRITE.run(connection, values).map(|_| ())
}

/// The instances of an app that are not removed.
pub(super) fn present(connection: &Connection, app: &AppName) -> Result<Vec<Instance>> {
    PRESENT.all(connection, [app.as_str()], read)
}

fn read(columns: &mut Columns<'_>) -> Result<Instance> {
    Ok(Instance {
        name: columns.named()?,
        deployment: columns.named()?,
        replica: columns.number()?,
        slot: columns.named()?,
        state: columns.named()?,
        endpoint: columns.named()?,
    })
}
