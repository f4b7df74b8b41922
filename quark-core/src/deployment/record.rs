//! What a store keeps about apps, deployments and instances.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::approval::Approval;
use super::bake::Bake;
use super::canary::Canary;
use super::expectation::Expectation;
use super::id::{ContainerName, DeploymentId, Endpoint, Fence, Generation, Version};
use super::liveness::Liveness;
use super::share::Share;
use super::slot::Slot;
use super::state::{Conclusion, State};
use super::step::StepName;
use crate::app::{App, AppName, Artifact, BranchName, CommitSha, Domain, Resources, checked_text};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorClass, ErrorKind, Result};

/// The tenant that rows belong to. Until teams exist there is one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TeamId(String);

impl Default for TeamId {
    fn default() -> Self {
        Self("default".to_owned())
    }
}

impl TeamId {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// An app with what is known of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppRecord {
    /// Whom it belongs to.
    pub team: TeamId,
    /// What people said about it. The next deployment takes a copy.
    pub spec: App,
    /// What serves, what stands by. Written by the holder of the lease only.
    pub serving: Serving,
    /// Counts the changes of `spec`.
    pub version: Version,
    /// When it was made.
    pub created_at: Timestamp,
    /// When `spec` was last changed.
    pub updated_at: Timestamp,
    /// When it was asked to be removed; no deployment is accepted after that.
    pub removed_at: Option<Timestamp>,
}

/// What serves an app's users, and what could.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Serving {
    /// What the route points at.
    pub live: Option<Occupant>,
    /// The version before, still running, for an instant rollback.
    pub standby: Option<Standby>,
    /// The deployment that was live before, running or not.
    pub previous: Option<DeploymentId>,
    /// The last intended change of the route.
    pub generation: Generation,
    /// The host names that the route answers to, once there is one.
    #[serde(default)]
    pub domains: Vec<Domain>,
    /// The address of the blue slot, once it has one.
    pub blue: Option<Endpoint>,
    /// The address of the green slot, once it has one.
    pub green: Option<Endpoint>,
    /// The slot whose address somebody else has taken; the next deployment
    /// there gets another one.
    #[serde(default)]
    pub contested: Option<Slot>,
    /// The share of the requests that the idle slot gets, if it gets one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<Share>,
}

impl Serving {
    /// The address of a slot, once it has one.
    #[must_use]
    pub fn endpoint(&self, slot: Slot) -> Option<&Endpoint> {
        match slot {
            Slot::Blue => self.blue.as_ref(),
            Slot::Green => self.green.as_ref(),
        }
    }

    /// Gives a slot its address.
    pub fn set_endpoint(&mut self, slot: Slot, endpoint: Endpoint) {
        match slot {
            Slot::Blue => self.blue = Some(endpoint),
            Slot::Green => self.green = Some(endpoint),
        }
    }

    /// The slot that the next deployment takes.
    #[must_use]
    pub fn idle_slot(&self) -> Slot {
        self.live.as_ref().map_or(Slot::Blue, |live| live.slot.other())
    }
}

/// What is in a slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Occupant {
    /// The deployment that put it there, or that rolled back to it.
    pub deployment: DeploymentId,
    /// Where.
    pub slot: Slot,
    /// The deployment whose release it is, if it was rolled back to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restores: Option<DeploymentId>,
}

impl Occupant {
    /// The deployment whose release it is.
    #[must_use]
    pub fn release(&self) -> DeploymentId {
        self.restores.unwrap_or(self.deployment)
    }
}

/// A version that serves nobody and could in an instant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standby {
    /// What it is.
    #[serde(flatten)]
    pub occupant: Occupant,
    /// When it is retired.
    pub retire_at: Timestamp,
    /// Set by whoever decided to retire it: from then on no rollback takes it.
    pub retiring: bool,
}

/// What a deployment does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "type")]
#[non_exhaustive]
pub enum DeploymentKind {
    /// Brings a revision into service.
    Deploy,
    /// Brings an earlier deployment back into service.
    Rollback {
        /// The deployment whose release is restored.
        to: DeploymentId,
    },
    /// Takes the app out of service for good.
    Remove,
}

impl DeploymentKind {
    /// The name in APIs and metrics.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Deploy => "deploy",
            Self::Rollback { .. } => "rollback",
            Self::Remove => "remove",
        }
    }
}

/// Which code a deployment is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Revision {
    /// The branch to take, instead of the app's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub branch: Option<BranchName>,
    /// The commit; resolved from the branch if it was not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<CommitSha>,
}

/// One attempt to change what runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployment {
    /// Which.
    pub id: DeploymentId,
    /// Of which app.
    pub app: AppName,
    /// Whom it belongs to.
    pub team: TeamId,
    /// Counts the deployments of the app, from 1.
    pub sequence: u64,
    /// What it does.
    pub kind: DeploymentKind,
    /// What the app was said to be when this was created; a rollback brings
    /// exactly this back.
    pub release: Arc<App>,
    /// Which code.
    pub revision: Revision,
    /// The image, once there is one.
    pub artifact: Option<Artifact>,
    /// The slot, once it has one.
    pub slot: Option<Slot>,
    /// Where it stands.
    pub state: State,
    /// How it ended.
    pub conclusion: Option<Conclusion>,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// Who asked it to stop, if somebody did. Kept beside the row: writing the
    /// row does not change it.
    pub cancel: Option<CancelRequest>,
    /// The lease under which it was last written.
    pub fence: Fence,
    /// Counts the writes.
    pub version: Version,
    /// Who wanted it.
    pub created_by: String,
    /// What made them want it.
    #[serde(default)]
    pub trigger: Trigger,
    /// Names the wish: whoever wishes again under the same key gets this
    /// deployment and no second one.
    #[serde(default)]
    pub key: Option<IdempotencyKey>,
    /// The question whether it may serve users, once it was asked, if people
    /// must agree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<Approval>,
    /// The watch over it since it was promoted, if it is watched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bake: Option<Bake>,
    /// What it was planned from, if it was planned; it fails if that is not so
    /// any more when its turn comes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expects: Option<Expectation>,
    /// What was seen of it while it is live, if that was worth a word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub liveness: Option<Liveness>,
    /// Its way through the shares of the requests that it got before it was
    /// promoted, if its app asks for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<Canary>,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When a worker took it.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}

impl Deployment {
    /// Ends a deployment for which nothing was done, as its cancel request
    /// says. For stores, which do this in the transaction of the request.
    pub fn end_before_it_began(&mut self, at: Timestamp) {
        self.conclusion = self.cancel.as_ref().map(CancelRequest::conclusion);
        self.state = State::Completed;
        self.finished_at = Some(at);
        self.version = self.version.next();
    }
}

/// A wish that a deployment stop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CancelRequest {
    /// Who wished it.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// The newer deployment because of which it is not wanted any more.
    #[serde(default)]
    pub superseded_by: Option<DeploymentId>,
}

impl CancelRequest {
    /// The wish of a person or program.
    #[must_use]
    pub fn new(by: impl Into<String>, at: Timestamp) -> Self {
        Self { by: by.into(), at, superseded_by: None }
    }

    /// Says that `newer` takes its place.
    #[must_use]
    pub fn superseded_by(by: impl Into<String>, newer: DeploymentId, at: Timestamp) -> Self {
        Self { by: by.into(), at, superseded_by: Some(newer) }
    }

    /// How a deployment ends that stops because of this.
    #[must_use]
    pub fn conclusion(&self) -> Conclusion {
        if self.superseded_by.is_some() { Conclusion::Superseded } else { Conclusion::Cancelled }
    }
}

/// What made somebody want a deployment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Trigger {
    /// Somebody asked for it.
    #[default]
    Request,
    /// The branch moved. Such a deployment gives way when its commit is not the
    /// head of the branch any more and a deployment of the head is known:
    /// pushes are told late, twice and out of order.
    Push,
    /// What is live was not well, and its policy says that the version before
    /// shall take its place.
    Unwell,
}

checked_text! {
    /// Names a wish: 1 to 255 visible ASCII characters, as HTTP's `Idempotency-Key`.
    IdempotencyKey, check_key
}

fn check_key(text: &str) -> Result<String> {
    if (1..=255).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(text.to_owned());
    }
    Err(Error::invalid("key", "invalid_key", "an idempotency key has 1 to 255 visible ASCII characters"))
}

/// Why a deployment failed, for programs and for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The step that failed.
    pub step: Option<StepName>,
    /// What went wrong, as far as a caller can act on it.
    pub kind: ErrorKind,
    /// The stable name of this very failure.
    pub code: String,
    /// What is known about the effect.
    pub class: ErrorClass,
    /// What happened, in one sentence.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// The input at fault, if it is one.
    pub field: Option<String>,
}

impl Failure {
    /// What `error` means for a deployment that was at `step`.
    #[must_use]
    pub fn from_error(step: StepName, error: &Error) -> Self {
        let mut message = error.to_string();
        let mut source = std::error::Error::source(error);
        while let Some(cause) = source {
            message.push_str(": ");
            message.push_str(&cause.to_string());
            source = cause.source();
        }
        Self {
            step: Some(step),
            kind: error.kind(),
            code: error.code().to_owned(),
            class: error.class(),
            message,
            hint: error.hint().map(str::to_owned),
            field: error.field().map(str::to_owned),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(step) = self.step {
            write!(f, "{step} failed: ")?;
        }
        f.write_str(&self.message)?;
        if let Some(hint) = &self.hint {
            write!(f, " ({hint})")?;
        }
        Ok(())
    }
}

/// A container that a deployment made, or means to make.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// Its name.
    pub name: ContainerName,
    /// The deployment that made it.
    pub deployment: DeploymentId,
    /// From 0.
    pub replica: u16,
    /// Where.
    pub slot: Slot,
    /// How far it has come.
    pub state: InstanceState,
    /// Where it is reached.
    pub endpoint: Endpoint,
    /// What it may use of the machine. It is reserved from here on until the
    /// instance is gone.
    pub resources: Resources,
}

/// How far an instance has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum InstanceState {
    /// Written down; it may exist or not.
    Planned,
    /// It exists.
    Created,
    /// It was started.
    Started,
    /// It has passed its health check since it was started.
    Healthy,
    /// It is gone.
    Removed,
}
