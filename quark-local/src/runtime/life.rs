//! `Life`: whether the process of a container runs, and how it ended.

use quark_core::Result;
use quark_core::backend::{ContainerState, ObservedContainer};
use quark_core::process::ProcessRef;

use super::record::{Place, Record, Started};
use crate::system::table::{Entry, Table, boot_id, started_at};

/// Whether the process of a container runs, and how it ended.
#[derive(Clone, Debug)]
pub(super) enum Life {
    /// It was never started.
    Unborn,
    /// Its process runs.
    Running(Running),
    /// Its process has ended.
    Ended {
        /// Which it was; `None` if it was during another run of the machine.
        process: Option<ProcessRef>,
        /// The exit code, if it is known.
        code: Option<i32>,
    },
}

/// A process that runs.
#[derive(Clone, Debug)]
pub(super) struct Running {
    /// Which.
    pub(super) started: Started,
    /// Whether it is written down.
    pub(super) recorded: bool,
}

impl Life {
    /// Looks at the process of a container.
    pub(super) fn of(place: &Place, table: &Table) -> Result<Self> {
        let boot = boot_id()?;
        let Some(started) = place.started()? else {
            // The engine may have died after it started the process and before
            // it wrote that down.
            return Ok(match unrecorded(place, table) {
                Some(process) => Self::Running(Running { started: Started { process, boot }, recorded: false }),
                None => Self::Unborn,
            });
        };
        let current = started.boot == boot;
        let entry = if current { table.find(&started.process) } else { None };
        match entry {
            Some(entry) if !entry.ended => Ok(Self::Running(Running { started, recorded: true })),
            entry => {
                let noted = place.exit()?.filter(|exit| exit.of == started).and_then(|exit| exit.code);
                let code = entry.map_or(noted, Entry::code);
                Ok(Self::Ended { process: current.then_some(started.process), code })
            }
        }
    }

    /// The last process, running or not.
    pub(super) fn process(&self) -> Option<ProcessRef> {
        match self {
            Self::Unborn => None,
            Self::Running(running) => Some(running.started.process),
            Self::Ended { process, .. } => *process,
        }
    }

    /// What the engine is told.
    pub(super) fn observed(&self, place: &Place, record: Record) -> Result<ObservedContainer> {
        let state = match self {
            Self::Unborn => ContainerState::Created,
            Self::Running(_) => ContainerState::Running,
            Self::Ended { code, .. } => ContainerState::Exited { code: *code, out_of_memory: false },
        };
        Ok(ObservedContainer {
            id: place.id(),
            name: record.name,
            state,
            started_at: self.process().map(|process| started_at(&process)).transpose()?,
            labels: record.labels,
        })
    }
}

/// The first of the processes that carry the container's mark: the one that
/// was made with a group of its own and not by another of them.
fn unrecorded(place: &Place, table: &Table) -> Option<ProcessRef> {
    let members = place.family(None).members(table);
    let is_member = |pid: u32| members.iter().any(|entry| entry.process.pid == pid);
    let leads = |entry: &&Entry| entry.process.group == entry.process.pid && !is_member(entry.parent);
    members.iter().filter(leads).map(|entry| entry.process).min_by_key(|process| (process.started, process.pid))
}
