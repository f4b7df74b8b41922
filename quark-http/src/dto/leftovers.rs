//! What is left of a deployment that could not be cleaned up, on the wire.

use quark_core::deployment::{Instance, InstanceState};
use quark_core::engine::Leftovers;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::FailureView;

/// What is left of a stuck deployment, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LeftoversView {
    /// What could not be done.
    pub step: String,
    /// Why not.
    pub failure: FailureView,
    /// The instances that may still be there.
    pub instances: Vec<InstanceView>,
    /// Whether requests may go to the deployment.
    pub maybe_routed: bool,
}

/// A container that a deployment made, or meant to make.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InstanceView {
    /// Its name.
    pub name: String,
    /// `blue` or `green`.
    pub slot: String,
    /// Where it is reached.
    pub endpoint: String,
    /// How far it had come: `planned`, `created`, `started` or `healthy`.
    pub state: String,
}

impl From<Leftovers> for LeftoversView {
    fn from(left: Leftovers) -> Self {
        Self {
            step: left.step.to_string(),
            failure: left.failure.into(),
            instances: left.instances.into_iter().map(Into::into).collect(),
            maybe_routed: left.maybe_routed,
        }
    }
}

impl From<Instance> for InstanceView {
    fn from(instance: Instance) -> Self {
        let state = match instance.state {
            InstanceState::Planned => "planned",
            InstanceState::Created => "created",
            InstanceState::Started => "started",
            InstanceState::Healthy => "healthy",
            InstanceState::Removed => "removed",
            // A state of a later version of quark-core has no word here yet.
            _ => "unknown",
        };
        Self {
            name: instance.name.into(),
            slot: instance.slot.to_string(),
            endpoint: instance.endpoint.to_string(),
            state: state.to_owned(),
        }
    }
}
