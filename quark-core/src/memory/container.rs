//! One record of the memory runtime.

use std::fmt;

use super::behaviour::{Behaviour, Health};
use crate::backend::{ContainerId, ContainerSpec, ContainerState, Labels, LogChunk, ObservedContainer};
use crate::clock::Timestamp;
use crate::deployment::{Endpoint, LogStream};

/// A container that is a record.
pub(super) struct Container {
    pub(super) id: ContainerId,
    pub(super) spec: ContainerSpec,
    pub(super) labels: Labels,
    pub(super) state: ContainerState,
    pub(super) started_at: Option<Timestamp>,
    pub(super) behaviour: Behaviour,
    pub(super) output: Vec<LogChunk>,
}

impl Container {
    pub(super) fn new(id: ContainerId, spec: ContainerSpec) -> Self {
        let labels = spec.labels();
        let (state, behaviour) = (ContainerState::Created, Behaviour::default());
        Self { id, spec, labels, state, started_at: None, behaviour, output: Vec::new() }
    }

    pub(super) fn is_running(&self) -> bool {
        self.state == ContainerState::Running
    }

    /// Whether its program listens at this endpoint.
    pub(super) fn holds(&self, endpoint: &Endpoint) -> bool {
        self.is_running() && self.behaviour.health.listens() && self.spec.endpoint == *endpoint
    }

    pub(super) fn carries(&self, labels: &Labels) -> bool {
        labels.iter().all(|(name, value)| self.labels.get(name) == Some(value))
    }

    pub(super) fn observed(&self) -> ObservedContainer {
        ObservedContainer {
            id: self.id.clone(),
            name: self.spec.name.clone(),
            state: self.state.clone(),
            started_at: self.started_at,
            labels: self.labels.clone(),
        }
    }

    /// Begins the life of its program, and ends it where it is a short one.
    pub(super) fn start(&mut self, behaviour: Behaviour, started_at: i64) {
        let at = Timestamp::from_micros(started_at);
        self.started_at = Some(at);
        self.state = match behaviour.health {
            Health::ExitsAtOnce(code) => ContainerState::Exited { code: Some(code), out_of_memory: false },
            _ => ContainerState::Running,
        };
        let mut lines = behaviour.prints.clone();
        if behaviour.prints_environment {
            lines.extend(
                self.spec.env.iter().map(|(key, value)| format!("{key}={}", value.expose().replace('\n', "\\n"))),
            );
        }
        let chunk = |text| LogChunk { stream: LogStream::Stdout, at: Some(at), text };
        self.output.extend(lines.into_iter().map(chunk));
        self.behaviour = behaviour;
    }
}

/// Something that is held until this is dropped.
#[must_use]
pub struct Held {
    release: Option<Box<dyn FnOnce() + Send + Sync>>,
}

impl Held {
    pub(super) fn new(release: impl FnOnce() + Send + Sync + 'static) -> Self {
        Self { release: Some(Box::new(release)) }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(release) = self.release.take() {
            release();
        }
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Held")
    }
}
