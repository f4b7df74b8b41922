//! Instances: which containers there are, and what they may use.

use std::collections::BTreeMap;

use quark_core::Result;
use quark_core::app::{AppName, Resources};
use quark_core::deployment::{Instance, InstanceState, Reservation, Room};
use rusqlite::{Connection, params};

use super::rows::{self, Columns};
use super::sql::statements;

statements! {
    WRITE = "INSERT INTO quark_instances
            (name, app, deployment, replica, slot, state, endpoint, cpu_millis, memory_bytes, pids)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
        ON CONFLICT (app, name) DO UPDATE
        SET deployment = excluded.deployment, replica = excluded.replica, slot = excluded.slot,
            state = excluded.state, endpoint = excluded.endpoint, cpu_millis = excluded.cpu_millis,
            memory_bytes = excluded.memory_bytes, pids = excluded.pids";
    REMOVE = "DELETE FROM quark_instances WHERE app = ? AND name = ?";
    PRESENT = "SELECT name, deployment, replica, slot, state, endpoint, cpu_millis, memory_bytes, pids
        FROM quark_instances WHERE app = ? ORDER BY deployment, replica";
    /// What is there on one machine: few rows, and asked for once per deployment.
    RESERVED = "SELECT coalesce(sum(cpu_millis), 0), coalesce(sum(memory_bytes), 0), coalesce(sum(pids), 0)
        FROM quark_instances";
    RESERVED_BY = "SELECT cpu_millis, memory_bytes, pids FROM quark_instances WHERE app = ? AND name = ?";
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
        instance.resources.cpu_millis(),
        rows::integer("memory_bytes", instance.resources.memory_bytes())?,
        instance.resources.pids(),
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
        resources: Resources::new(columns.number()?, columns.number()?, columns.number()?)?,
    })
}

/// Whether there is `room` for all instances once those of a commit are written.
pub(super) fn check_room(connection: &Connection, app: &AppName, written: &[Instance], room: &Room) -> Result<()> {
    let before = RESERVED.first(connection, [], reservation)?.unwrap_or_default();
    let mut after = before;
    // One that is written twice is as it was written last.
    let written: BTreeMap<_, _> = written.iter().map(|instance| (&instance.name, instance)).collect();
    for (name, instance) in written {
        if let Some(known) = RESERVED_BY.first(connection, [app.as_str(), name.as_str()], reservation)? {
            after = after - known;
        }
        if instance.state != InstanceState::Removed {
            after = after + instance.resources.into();
        }
    }
    room.check(before, after)
}

fn reservation(columns: &mut Columns<'_>) -> Result<Reservation> {
    Ok(Reservation { cpu_millis: columns.number()?, memory_bytes: columns.number()?, pids: columns.number()? })
}
