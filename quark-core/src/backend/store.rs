//! `Store`: keeps what was intended and what became of it.

use std::time::Duration;

use async_trait::async_trait;

use super::project_write::{ProjectWrite, ProjectWritten};
use super::queue::{ClaimToken, NewJob};
use crate::app::{App, AppName};
use crate::clock::Timestamp;
use crate::deployment::{
    AppRecord, CancelRequest, Deployment, DeploymentId, Event, EventKind, Fence, IdempotencyKey, Instance, LogLine,
    LogStream, OwnerId, Room, Serving, StepRecord, SupersedePolicy, Version,
};
use crate::project::{ProjectName, ProjectRecord, ProjectSnapshot};
use crate::{Error, ErrorKind, Result};

/// Everything about one deployment, read at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The deployment.
    pub deployment: Deployment,
    /// Its app; `None` once the app is gone for good.
    pub app: Option<AppRecord>,
    /// Its journal, in the order in which the steps were begun.
    pub steps: Vec<StepRecord>,
    /// The instances of the app, of this and other deployments, that are not removed.
    pub instances: Vec<Instance>,
}

/// The right to act on an app, until it runs out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The app.
    pub app: AppName,
    /// Who holds it.
    pub owner: OwnerId,
    /// Grows with each acquisition.
    pub fence: Fence,
}

/// What a write compares before it changes anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guard {
    /// The lease that the writer holds.
    pub lease: Lease,
    /// The version of the deployment that the writer has read.
    pub version: Version,
    /// Whether the write must fail if somebody asked the deployment to stop.
    pub unless_cancelled: bool,
    /// Whether the write makes the deployment its app's one active deployment.
    pub admits: bool,
    /// How much all instances of all apps may use together once it is written, if
    /// that is limited and the write reserves more than was reserved before.
    pub room: Option<Room>,
}

/// One atomic change. All of it happens, or nothing.
#[derive(Clone, Debug)]
pub struct Commit {
    /// What is compared first.
    pub guard: Guard,
    /// The deployment as it shall be. Its version is set by the store; its cancel
    /// request and what was asked for are left as they are.
    pub deployment: Deployment,
    /// What serves, if it changes.
    pub serving: Option<Serving>,
    /// Steps that begin or end.
    pub steps: Vec<StepRecord>,
    /// Instances that are new or changed.
    pub instances: Vec<Instance>,
    /// What happened.
    pub events: Vec<EventKind>,
    /// Jobs that follow from it.
    pub jobs: Vec<NewJob>,
    /// Whether the app itself is gone.
    pub forget_app: bool,
    /// What the writer gives back, if this is the last that it does.
    pub hand_back: Option<HandBack>,
    /// When.
    pub at: Timestamp,
}

/// What a writer gives back with the last commit of its work: the lease, and the
/// job because of which it had that.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HandBack {
    /// The claim of the job that is done, if the store queues jobs.
    pub claim: Option<ClaimToken>,
}

/// What became of a wish to cancel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "a wish comes in time or it does not")]
pub enum CancelOutcome {
    /// It is written down; the deployment will stop.
    Requested,
    /// The deployment was waiting, and has ended with this.
    Ended,
    /// The deployment has gone too far, or has ended.
    TooLate,
}

/// What [`Store::create_deployment`] did.
#[derive(Clone, Debug)]
pub struct CreatedDeployment {
    /// The deployment; the one that is there already if the key was known.
    pub deployment: Deployment,
    /// Whether it was there already.
    pub existing: bool,
    /// Deployments that waited and have ended because of this one.
    pub ended: Vec<Deployment>,
    /// Deployments under way that were asked to stop because of this one.
    pub stopping: Vec<DeploymentId>,
}

/// Keeps what was intended and what became of it.
///
/// # Contract
///
/// - An app that was created is read back equal; names are unique (`AlreadyExists`).
/// - A host name belongs to one app; a second one that wants it is a `Conflict` with code `domain_taken`.
/// - `update_app` with an outdated version is a `Conflict` with code `version_changed` and changes nothing.
/// - `create_deployment` counts sequences per app from 1 without gaps, also when called at the same time.
/// - `create_deployment` writes the deployment, its `Created` event and its job in one transaction.
/// - `create_deployment` for an app that is unknown is `NotFound`, for one being removed a `Conflict` (`app_removed`).
/// - `create_deployment` with a key that a deployment of the app has already yields that one and writes nothing.
/// - `deployment_by_key` yields the deployment of an app that was created with a key, and `None` for a key of another app.
/// - `create_deployment` does to each unfinished deployment of the app what `SupersedePolicy::verdict` says: one that
///   ends is `Completed` as `Superseded`, one that stops gets a cancel request, both naming the newer one.
/// - `create_deployment` that the policy refuses is a `Conflict` (`deployment_under_way`) and changes nothing.
/// - A `Remove` deployment marks its app as being removed.
/// - `acquire_lease` yields a growing fence; while it lasts no other owner gets it (`Conflict`, `lease_held`).
/// - The same owner gets its lease again, with a higher fence; anyone gets one that ran out.
/// - `renew_lease` extends; with an old fence it is `Fenced`.
/// - `check_lease` with an old fence is `Fenced`, and extends nothing.
/// - `commit` under an old or released lease is `Fenced` and changes nothing.
/// - `commit` with an outdated version is a `Conflict` (`version_changed`) and changes nothing.
/// - `commit` with `unless_cancelled` after a cancel request is `Cancelled` and changes nothing.
/// - `commit` with `admits` while another deployment of the app is active is a `Conflict` (`app_busy`).
/// - `commit` with `admits` while an earlier deployment of the app is queued is a `Conflict` (`app_busy`).
/// - `commit` with `room` for less than all instances of all apps may use once it is written is refused as
///   [`Room::check`] says and changes nothing; an instance counts once from when it is written until it is removed.
/// - Of several commits at once that fit alone and not together, those that fit are written.
/// - `commit` changes nothing of what was asked for: neither kind nor release, nor who asked, why, when and under
///   which key.
/// - A completed deployment keeps its state, conclusion and failure; a commit that says otherwise is a
///   `Conflict` (`deployment_ended`).
/// - `commit` with `hand_back` releases its lease in the same transaction.
/// - `commit` with `hand_back` acknowledges the claim that it names in the same transaction, where the store queues
///   jobs; a claim that is lost is left to whoever has it.
/// - Two apps never hold the same endpoint; the second is a `Conflict` (`endpoint_taken`).
/// - A step is identified by name and attempt: writing it again replaces it.
/// - A `commit` that is refused leaves no trace: no step, instance, event, job or serving.
/// - `request_cancel` before promotion is `Requested`, once, with one event; later it is `TooLate`.
/// - `request_cancel` of a deployment that waits is `Ended`: it is `Completed` as the request's conclusion.
/// - Events have growing sequence numbers and are read in their order, from any point, without gaps.
/// - Log lines are numbered from 1 without gaps per deployment and read in order, from any point.
/// - `forget_logs` forgets the logs of deployments that ended before a time and have no instance, and no others.
/// - `now` moves on with time.
/// - `position` is the sequence number of the last event, and `0` without one; `leap` moves it on.
/// - `instances` yields the instances of an app that are not removed, also when the app is gone.
/// - After `leap` every fence, generation and event number that is given is far above every one given before, and
///   every lease is lost.
/// - `unfinished` yields every deployment that has not ended, and nothing else.
/// - `unfinished` of an app yields those of this app only.
/// - A project that was written is read back equal, with its apps; names are unique (`AlreadyExists`, `project_exists`).
/// - `projects` yields all of them in the order of their names.
/// - `write_project` with an outdated version is a `Conflict` (`version_changed`) and changes nothing; one that leaves
///   the project as it is leaves its version, too.
/// - `write_project` that changes or removes the project and does not name all its apps that are not being removed is a
///   `Conflict` (`version_changed`) and changes nothing.
/// - `write_project` leaves an app that it names as it is, its version too, if nothing of it is different.
/// - `write_project` creates its removals as `create_deployment` does, under `SupersedePolicy::Coalesce`.
/// - A `write_project` that is refused leaves no trace, whichever of its apps is to blame: its name (`app_exists`) or
///   host name (`domain_taken`) is another's, or it is being removed (`app_removed`). Host names may move between the
///   apps that it names.
/// - `update_app` of an app of a project is a `Conflict` (`app_of_project`) and changes nothing.
/// - A project that is removed takes no further writes (`project_removed`), and is gone with its last app.
/// - Everything written is there after the store was closed and opened again (where it is durable).
#[async_trait]
pub trait Store: std::fmt::Debug + Send + Sync + 'static {
    /// Names this store for ever; containers carry it as a label.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`], like every call of this trait.
    async fn installation(&self) -> Result<String>;

    /// Whether jobs given to `create_deployment` and `commit` reach the queue
    /// in the same transaction, and claims that are handed back end in it. If
    /// not, the engine tells the queue afterwards. If so, the engine must be
    /// given that very queue.
    fn queues_jobs(&self) -> bool;

    /// Creates an app.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::AlreadyExists`], [`ErrorKind::Conflict`] (`domain_taken`).
    async fn create_app(&self, spec: App, at: Timestamp) -> Result<AppRecord>;

    /// Replaces what is said about an app.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`], [`ErrorKind::Conflict`] (`version_changed`, `domain_taken`, `app_removed`).
    async fn update_app(&self, spec: App, expected: Version, at: Timestamp) -> Result<AppRecord>;

    /// Reads an app.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`].
    async fn app(&self, name: &AppName) -> Result<Option<AppRecord>>;

    /// Reads all apps in the order of their names.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`].
    async fn apps(&self) -> Result<Vec<AppRecord>>;

    /// Writes a deployment down, and what `policy` makes of those before it.
    /// `deployment.sequence` and `version` are set by the store.
    ///
    /// # Errors
    ///
    /// As the contract says.
    async fn create_deployment(
        &self,
        deployment: Deployment,
        job: NewJob,
        policy: SupersedePolicy,
    ) -> Result<CreatedDeployment>;

    /// Reads a deployment.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`].
    async fn deployment(&self, id: DeploymentId) -> Result<Option<Deployment>>;

    /// Reads the deployment of an app that was created with a key.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`].
    async fn deployment_by_key(&self, app: &AppName, key: &IdempotencyKey) -> Result<Option<Deployment>>;

    /// Reads the deployments of an app, newest first, at most `most`, with a
    /// sequence below `before` if it is given.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`].
    async fn deployments(&self, app: &AppName, before: Option<u64>, most: usize) -> Result<Vec<Deployment>>;

    /// Reads everything about a deployment at one moment.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`].
    async fn snapshot(&self, id: DeploymentId) -> Result<Option<Snapshot>>;

    /// The deployments that have not ended, oldest first; of one app if it is given.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`].
    async fn unfinished(&self, app: Option<&AppName>) -> Result<Vec<Deployment>>;

    /// Takes the right to act on an app for `ttl`. The store's clock decides.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Conflict`] (`lease_held`) with the time to wait.
    async fn acquire_lease(&self, app: &AppName, owner: &OwnerId, ttl: Duration) -> Result<Lease>;

    /// Extends a lease to `ttl` from now.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Fenced`] if somebody else has it, or it was released.
    async fn renew_lease(&self, lease: &Lease, ttl: Duration) -> Result<()>;

    /// Asks whether a lease is still held, as of now: an answer from a replica
    /// that lags behind is none. A lease that ran out is held until somebody
    /// takes it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Fenced`] if somebody else has it, or it was released.
    async fn check_lease(&self, lease: &Lease) -> Result<()>;

    /// Gives a lease back. Releasing a lost one does nothing.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`].
    async fn release_lease(&self, lease: &Lease) -> Result<()>;

    /// Makes one atomic change and returns the deployment's new version.
    ///
    /// # Errors
    ///
    /// As the contract says.
    async fn commit(&self, commit: Commit) -> Result<Version>;

    /// Asks a deployment to stop, which is told as `CancelRequested`. Ends it
    /// [at once](Deployment::end_before_it_began) if it waits, which is told as
    /// `StateChanged` and `Completed` as well.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`].
    async fn request_cancel(&self, id: DeploymentId, request: CancelRequest) -> Result<CancelOutcome>;

    /// The instances of an app that are not removed, by deployment and replica.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`].
    async fn instances(&self, app: &AppName) -> Result<Vec<Instance>>;

    /// The store's own time, by which leases end. Engines go by it, so that
    /// those whose clocks differ agree on what is due.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`].
    async fn now(&self) -> Result<Timestamp>;

    /// The sequence number of the last event: how far the store has come. A
    /// number that is lower than one seen before shows that the store went
    /// back in time, as one does that was restored from a backup.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`].
    async fn position(&self) -> Result<u64>;

    /// Goes on with numbers above all that the world may have seen from a later
    /// state of this store: 2^32 higher each.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`].
    async fn leap(&self) -> Result<()>;

    /// Reads events with a sequence above `after`, oldest first, at most
    /// `most`; of one deployment if it is given.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`].
    async fn events(&self, deployment: Option<DeploymentId>, after: u64, most: usize) -> Result<Vec<Event>>;

    /// Appends lines to a deployment's log and numbers them.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] if there is no such deployment.
    async fn append_log(&self, id: DeploymentId, lines: Vec<(Timestamp, LogStream, String)>) -> Result<()>;

    /// Reads log lines with a sequence above `after`, oldest first, at most `most`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`].
    async fn log(&self, id: DeploymentId, after: u64, most: usize) -> Result<Vec<LogLine>>;

    /// Forgets the logs of deployments that ended before `ended_before` and have
    /// no instance any more, those with the lowest ids first and at most `most`;
    /// how many it were. Everything else about them is kept. Should something be
    /// said about such a deployment later, its log begins anew.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`].
    async fn forget_logs(&self, ended_before: Timestamp, most: usize) -> Result<usize>;

    /// Changes a project and its apps, in one transaction.
    ///
    /// # Errors
    ///
    /// As the contract says; [`ErrorKind::NotFound`] (`project_not_found`).
    async fn write_project(&self, write: ProjectWrite) -> Result<ProjectWritten>;

    /// Reads a project and its apps at one moment.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`].
    async fn project(&self, name: &ProjectName) -> Result<Option<ProjectSnapshot>>;

    /// Reads all projects in the order of their names.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`].
    async fn projects(&self) -> Result<Vec<ProjectRecord>>;
}

/// Errors that every store reports in the same words.
pub mod refusal {
    pub use super::super::project_write::refusal::*;
    use super::{AppName, DeploymentId, Duration, Error, ErrorKind};

    /// There is no such app.
    #[must_use]
    pub fn app_not_found(name: &AppName) -> Error {
        Error::new(ErrorKind::NotFound, format!("there is no app `{name}`")).with_code("app_not_found")
    }

    /// There is an app of that name.
    #[must_use]
    pub fn app_exists(name: &AppName) -> Error {
        Error::new(ErrorKind::AlreadyExists, format!("an app `{name}` exists already"))
            .with_code("app_exists")
            .with_field("app.name")
    }

    /// The app is being removed.
    #[must_use]
    pub fn app_removed(name: &AppName) -> Error {
        Error::new(ErrorKind::Conflict, format!("the app `{name}` is being removed")).with_code("app_removed")
    }

    /// Another app has the host name.
    #[must_use]
    pub fn domain_taken(domain: &str) -> Error {
        Error::new(ErrorKind::Conflict, format!("`{domain}` belongs to another app"))
            .with_code("domain_taken")
            .with_field("app.domains")
    }

    /// Another app has the endpoint.
    #[must_use]
    pub fn endpoint_taken(endpoint: &str) -> Error {
        Error::new(ErrorKind::Conflict, format!("`{endpoint}` belongs to another app")).with_code("endpoint_taken")
    }

    /// There is no such deployment.
    #[must_use]
    pub fn deployment_not_found(id: DeploymentId) -> Error {
        Error::new(ErrorKind::NotFound, format!("there is no deployment `{id}`")).with_code("deployment_not_found")
    }

    /// Somebody else wrote in between.
    #[must_use]
    pub fn version_changed() -> Error {
        Error::new(ErrorKind::Conflict, "it was changed by somebody else meanwhile")
            .with_code("version_changed")
            .with_hint("read it again and repeat the change")
    }

    /// Another deployment of the app comes first.
    #[must_use]
    pub fn app_busy(other: DeploymentId) -> Error {
        Error::new(ErrorKind::Conflict, format!("deployment `{other}` of the same app comes first"))
            .with_code("app_busy")
    }

    /// Another deployment of the app is under way, and the app's policy refuses a second one.
    #[must_use]
    pub fn deployment_under_way(other: DeploymentId) -> Error {
        Error::new(ErrorKind::Conflict, format!("deployment `{other}` of the same app is under way"))
            .with_code("deployment_under_way")
            .with_hint("the app's `supersede` policy is `reject`: wait for its end or cancel it; if it is stuck, `retry` or `abandon` it")
    }

    /// The deployment has ended.
    #[must_use]
    pub fn deployment_ended(id: DeploymentId) -> Error {
        Error::new(ErrorKind::Conflict, format!("deployment `{id}` has ended")).with_code("deployment_ended")
    }

    /// Another engine has the lease.
    #[must_use]
    pub fn lease_held(app: &AppName, remaining: Duration) -> Error {
        Error::new(ErrorKind::Conflict, format!("another engine is at work on `{app}`"))
            .with_code("lease_held")
            .with_retry_after(remaining)
    }

    /// The lease was lost.
    #[must_use]
    pub fn fenced(app: &AppName) -> Error {
        Error::new(ErrorKind::Fenced, format!("another engine took over `{app}`"))
    }

    /// Somebody asked the deployment to stop.
    #[must_use]
    pub fn cancelled(id: DeploymentId) -> Error {
        Error::new(ErrorKind::Cancelled, format!("deployment `{id}` was cancelled"))
    }
}
