//! One record of the memory runtime.

use std::fmt;

use super::behaviour::{Behaviour, Health, HookRun};
use crate::backend::{ContainerId, ContainerSpec, ContainerState, Labels, LogChunk, ObservedContainer, Purpose};
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
    /// When it ends by itself, and with which code.
    pub(super) ends: Option<(Timestamp, i32)>,
}

impl Container {
    pub(super) fn new(id: ContainerId, spec: ContainerSpec) -> Self {
        let labels = spec.labels();
        let (state, behaviour) = (ContainerState::Created, Behaviour::default());
        Self { id, spec, labels, state, started_at: None, behaviour, output: Vec::new(), ends: None }
    }

    pub(super) fn is_running(&self) -> bool {
        self.state == ContainerState::Running
    }

    /// Whether its program listens at this endpoint.
    pub(super) fn holds(&self, endpoint: &Endpoint) -> bool {
        self.is_running() && self.behaviour.health.listens() && self.spec.endpoint() == Some(endpoint)
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

    /// Whether it is a hook that was started and has ended.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.spec.purpose, Purpose::Hook(_)) && matches!(self.state, ContainerState::Exited { .. })
    }

    /// Ends its program, if its time has come.
    pub(super) fn expire(&mut self, now: Timestamp) {
        if let Some((_, code)) = self.ends.filter(|(at, _)| self.is_running() && *at <= now) {
            self.state = ContainerState::Exited { code: Some(code), out_of_memory: false };
        }
    }

    /// Begins the life of its program, and ends it where it is a short one.
    pub(super) fn start(&mut self, behaviour: Behaviour, started_at: i64) {
        let at = Timestamp::from_micros(started_at);
        self.started_at = Some(at);
        let ends = match &self.spec.purpose {
            Purpose::Instance(_) => match behaviour.health {
                Health::ExitsAtOnce(code) => Some((at, code)),
                _ => None,
            },
            Purpose::Hook(point) => match behaviour.hook(*point) {
                HookRun::Ends(code) => Some((at, code)),
                HookRun::Takes(time, code) => Some((at.after(time), code)),
                HookRun::Hangs => None,
            },
        };
        self.state = ContainerState::Running;
        self.ends = ends;
        self.expire(at);
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
