//! What a driver knows of a deployment, and what it has decided and not yet
//! written. Everything decided between two effects is written in one
//! transaction: the outcome of a step and the intent of the next one.

use std::sync::Arc;

use crate::backend::{Commit, Guard, HandBack, Lease, NewJob, Snapshot};
use crate::clock::Timestamp;
use crate::deployment::{
    Approval, ApprovalOutcome, Conclusion, EventKind, Failure, Instance, InstanceState, Room, Serving, State,
    StepRecord, Version,
};

use crate::{Error, ErrorKind, Result};

/// A deployment as it will be once all that was decided is written.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    /// Shared with the effect that is being done.
    snapshot: Arc<Snapshot>,
    /// The version that is in the store.
    version: Version,
    serving: bool,
    steps: Vec<StepRecord>,
    instances: Vec<Instance>,
    events: Vec<EventKind>,
    jobs: Vec<NewJob>,
    forget_app: bool,
    hand_back: Option<HandBack>,
    admits: bool,
    unless_cancelled: bool,
    room: Option<Room>,
    /// The deployment's own row was changed.
    changed: bool,
}

impl Draft {
    /// Nothing is decided yet.
    pub(super) fn of(snapshot: Snapshot) -> Self {
        Self::empty(Arc::new(snapshot))
    }

    fn empty(snapshot: Arc<Snapshot>) -> Self {
        Self {
            version: snapshot.deployment.version,
            snapshot,
            serving: false,
            steps: Vec::new(),
            instances: Vec::new(),
            events: Vec::new(),
            jobs: Vec::new(),
            forget_app: false,
            hand_back: None,
            admits: false,
            unless_cancelled: false,
            room: None,
            changed: false,
        }
    }

    /// The deployment as it will be.
    pub(super) fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// The deployment as it will be, for an effect.
    pub(super) fn share(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshot)
    }

    fn edit(&mut self) -> &mut Snapshot {
        Arc::make_mut(&mut self.snapshot)
    }

    /// Whether there is nothing to write.
    pub(super) fn is_empty(&self) -> bool {
        !self.changed
            && self.events.is_empty()
            && self.steps.is_empty()
            && self.instances.is_empty()
            && self.jobs.is_empty()
    }

    /// Changes what is known of the deployment itself.
    pub(super) fn deployment(&mut self) -> &mut crate::deployment::Deployment {
        self.changed = true;
        &mut self.edit().deployment
    }

    /// Goes to another state.
    pub(super) fn go(&mut self, to: State) {
        let from = self.snapshot.deployment.state;
        if from != to {
            debug_assert!(from.may_become(to), "{from} must not become {to}");
            self.deployment().state = to;
            self.tell(EventKind::StateChanged { from, to });
        }
    }

    /// Becomes the app's one active deployment; refused while another one is.
    pub(super) fn admit(&mut self, now: Timestamp) {
        self.go(State::Admitted);
        self.deployment().started_at = Some(now);
        self.admits = true;
        self.unless_cancelled = true;
    }

    /// Asks people whether it may serve users; `nonce` names the question.
    pub(super) fn ask(&mut self, nonce: String, now: Timestamp) -> Result<()> {
        let deployment = &self.snapshot.deployment;
        let (Some(artifact), Some(policy)) = (deployment.artifact.clone(), &deployment.release.approval) else {
            return Err(Error::new(ErrorKind::Internal, "there is nothing that people could be asked about"));
        };
        let expires_at = now.after(policy.expires);
        self.tell(EventKind::ApprovalRequested { nonce: nonce.clone(), expires_at });
        self.deployment().approval = Some(Approval::ask(artifact, nonce, now));
        Ok(())
    }

    /// What people were asked is decided.
    pub(super) fn decided(&mut self, outcome: ApprovalOutcome, now: Timestamp) {
        if let Some(approval) = &mut self.deployment().approval {
            approval.decided_at = Some(now);
        }
        self.tell(EventKind::ApprovalSettled { outcome });
        // It may have changed since it was last seen to be healthy.
        self.go(if outcome == ApprovalOutcome::Approved { State::Probing } else { State::Unwinding });
    }

    /// Ends the deployment.
    pub(super) fn finish(&mut self, conclusion: Conclusion, now: Timestamp) {
        self.go(State::Completed);
        let deployment = self.deployment();
        deployment.conclusion = Some(conclusion);
        deployment.finished_at = Some(now);
        let failure = deployment.failure.clone();
        self.tell(EventKind::Completed { conclusion, failure });
    }

    /// Keeps why it fails; the first reason counts.
    pub(super) fn fail(&mut self, failure: Failure) {
        self.deployment().failure.get_or_insert(failure);
    }

    /// Changes what serves.
    pub(super) fn serve(&mut self, change: impl FnOnce(&mut Serving)) {
        if let Some(app) = &mut self.edit().app {
            change(&mut app.serving);
            self.serving = true;
        }
    }

    /// Writes a step down, in the place of an earlier record of that attempt.
    pub(super) fn step(&mut self, record: StepRecord) {
        let identity = (record.name, record.attempt);
        let same = move |known: &StepRecord| (known.name, known.attempt) == identity;
        put(&mut self.edit().steps, same, record.clone());
        put(&mut self.steps, same, record);
    }

    /// Writes an instance down, in the place of what was known of it.
    pub(super) fn instance(&mut self, instance: Instance) {
        let name = instance.name.clone();
        let same = |known: &Instance| known.name == name;
        if instance.state == InstanceState::Removed {
            self.edit().instances.retain(|known| !same(known));
        } else {
            put(&mut self.edit().instances, same, instance.clone());
        }
        put(&mut self.instances, same, instance);
    }

    /// Says that something happened.
    pub(super) fn tell(&mut self, event: EventKind) {
        self.events.push(event);
    }

    /// Queues a job.
    pub(super) fn queue(&mut self, job: NewJob) {
        self.jobs.push(job);
    }

    /// Takes the app itself away.
    pub(super) fn forget_app(&mut self) {
        self.forget_app = true;
    }

    /// Gives back what is held with it: it is the last that is written.
    pub(super) fn hand_back(&mut self, back: HandBack) {
        self.hand_back = Some(back);
    }

    /// Refuses to be written once somebody has asked the deployment to stop.
    pub(super) fn unless_cancelled(&mut self) {
        self.unless_cancelled = true;
    }

    /// Whether it becomes the app's one active deployment with the next write.
    pub(super) fn admits(&self) -> bool {
        self.admits
    }

    /// Refuses to be written if all instances would reserve more than this then.
    pub(super) fn within(&mut self, room: Room) {
        self.room = Some(room);
    }

    /// What is to be written under `lease`.
    pub(super) fn commit(&self, lease: &Lease, at: Timestamp) -> Commit {
        let mut deployment = self.snapshot.deployment.clone();
        deployment.fence = lease.fence;
        let app = self.snapshot.app.as_ref().filter(|_| self.serving);
        Commit {
            guard: Guard {
                lease: lease.clone(),
                version: self.version,
                unless_cancelled: self.unless_cancelled,
                admits: self.admits,
                room: self.room,
            },
            deployment,
            serving: app.map(|app| app.serving.clone()),
            steps: self.steps.clone(),
            instances: self.instances.clone(),
            events: self.events.clone(),
            jobs: self.jobs.clone(),
            forget_app: self.forget_app,
            hand_back: self.hand_back.clone(),
            at,
        }
    }

    /// All of it is written, as this version.
    pub(super) fn written(&mut self, lease: &Lease, version: Version) {
        let deployment = self.deployment();
        deployment.version = version;
        deployment.fence = lease.fence;
        *self = Self::empty(Arc::clone(&self.snapshot));
    }
}

fn put<T>(all: &mut Vec<T>, same: impl Fn(&T) -> bool, new: T) {
    match all.iter_mut().find(|known| same(known)) {
        Some(known) => *known = new,
        None => all.push(new),
    }
}
