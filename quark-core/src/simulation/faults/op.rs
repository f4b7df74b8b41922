//! The calls that an engine makes, and what can become of one.

use std::fmt;

/// What becomes of one call, other than what should.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// It is refused, and surely not done.
    Refused,
    /// It is done, and the answer is lost: the caller knows nothing.
    ReplyLost,
    /// The caller waits until its time is up; it is done later, perhaps when
    /// nobody expects it any more.
    Late,
    /// It takes up to two minutes, or as long as the caller waits.
    Slow,
    /// It arrives twice. The answer is that to the first.
    Twice,
    /// The answer is an older one.
    Stale,
    /// It ends half-way, in the middle of a line.
    Partial,
    /// The disk is full.
    NoSpace,
    /// The answer is that it was done, and it was not: of a router, which may
    /// take a configuration and go on with the one before.
    Ignored,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Refused,
        Self::ReplyLost,
        Self::Late,
        Self::Slow,
        Self::Twice,
        Self::Stale,
        Self::Partial,
        Self::NoSpace,
        Self::Ignored,
    ];

    /// Its name in reports and on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::ReplyLost => "reply_lost",
            Self::Late => "late",
            Self::Slow => "slow",
            Self::Twice => "twice",
            Self::Stale => "stale",
            Self::Partial => "partial",
            Self::NoSpace => "no_space",
            Self::Ignored => "ignored",
        }
    }

    /// Its place in [`Fault::ALL`].
    pub(crate) fn index(self) -> usize {
        Self::ALL.iter().position(|fault| *fault == self).unwrap_or(0)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a call goes to, and what can be away as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    Store,
    Queue,
    Runtime,
    Router,
    Prober,
    Builder,
    Source,
    Workspace,
    Analysis,
}

impl Backend {
    pub(crate) const COUNT: usize = 9;

    pub(crate) fn index(self) -> usize {
        self as usize
    }
}

/// A call that an engine makes to a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "each is named after the method of the trait")]
#[non_exhaustive]
pub enum Op {
    StoreInstallation,
    StoreCreateApp,
    StoreUpdateApp,
    StoreApp,
    StoreApps,
    StoreCreateDeployment,
    StoreDeployment,
    StoreDeploymentByKey,
    StoreDeployments,
    StoreSnapshot,
    StoreUnfinished,
    StoreAcquireLease,
    StoreRenewLease,
    StoreCheckLease,
    StoreReleaseLease,
    StoreCommit,
    StoreRequestCancel,
    StoreInstances,
    StoreNow,
    StorePosition,
    StoreLeap,
    StoreEvents,
    StoreAppendLog,
    StoreForgetLogs,
    StoreLog,
    QueueEnqueue,
    QueueClaim,
    QueueHeartbeat,
    QueueAck,
    QueueNack,
    QueueReclaim,
    QueueDead,
    QueueDepth,
    RuntimeAllocateEndpoint,
    RuntimeEnsureImage,
    RuntimeCreate,
    RuntimeStart,
    RuntimeInspect,
    RuntimeListening,
    RuntimeList,
    RuntimeStop,
    RuntimeRemove,
    RuntimeLogs,
    RouterApply,
    RouterObserve,
    RouterDrained,
    RouterRemove,
    ProberProbe,
    BuilderFind,
    BuilderBuild,
    BuilderDiscard,
    SourceResolve,
    SourceFetch,
    WorkspacePrepare,
    WorkspaceHasCheckout,
    WorkspaceDiscard,
    WorkspaceCheckouts,
    WorkspaceNote,
    WorkspaceNoted,
    AnalysisTraffic,
    HostCapacity,
    StoreWriteProject,
    StoreProject,
    StoreProjects,
}

/// What a question can meet.
const READ: &[Fault] = &[Fault::Refused, Fault::Slow];
/// What a question about the world outside of the store can meet: an answer
/// was true a moment ago and need not be true now.
const LOOK: &[Fault] = &[Fault::Refused, Fault::Slow, Fault::Stale];
/// What an order to a service elsewhere can meet.
const ORDER: &[Fault] = &[Fault::Refused, Fault::ReplyLost, Fault::Late, Fault::Slow, Fault::Twice];
/// What an order that writes to a database can meet.
const WRITE: &[Fault] = &[Fault::Refused, Fault::ReplyLost, Fault::Late, Fault::Slow, Fault::Twice, Fault::NoSpace];
/// What a program on this machine can meet: it ends with its caller.
const LOCAL: &[Fault] = &[Fault::Refused, Fault::ReplyLost, Fault::Slow, Fault::Partial, Fault::NoSpace];
/// What the disk of this machine can meet.
const DISK: &[Fault] = &[Fault::Refused, Fault::ReplyLost];
const CREATE: &[Fault] = &[Fault::Refused, Fault::ReplyLost, Fault::Late, Fault::Slow, Fault::Twice, Fault::NoSpace];
const APPLY: &[Fault] =
    &[Fault::Refused, Fault::ReplyLost, Fault::Late, Fault::Slow, Fault::Twice, Fault::NoSpace, Fault::Ignored];

impl Op {
    /// Its name in reports: the trait and the method.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.row().0
    }

    /// What can become of it.
    #[must_use]
    pub fn faults(self) -> &'static [Fault] {
        self.row().2
    }

    /// Whether it changes something.
    #[must_use]
    pub fn is_effect(self) -> bool {
        self.faults().contains(&Fault::ReplyLost)
    }

    pub(crate) fn backend(self) -> Backend {
        self.row().1
    }

    fn row(self) -> (&'static str, Backend, &'static [Fault]) {
        use Backend::{Analysis, Builder, Prober, Queue, Router, Runtime, Source, Store, Workspace};
        match self {
            Self::StoreInstallation => ("store.installation", Store, READ),
            Self::StoreCreateApp => ("store.create_app", Store, WRITE),
            Self::StoreUpdateApp => ("store.update_app", Store, WRITE),
            Self::StoreApp => ("store.app", Store, READ),
            Self::StoreApps => ("store.apps", Store, READ),
            Self::StoreCreateDeployment => ("store.create_deployment", Store, WRITE),
            Self::StoreDeployment => ("store.deployment", Store, READ),
            Self::StoreDeploymentByKey => ("store.deployment_by_key", Store, READ),
            Self::StoreDeployments => ("store.deployments", Store, READ),
            Self::StoreSnapshot => ("store.snapshot", Store, READ),
            Self::StoreUnfinished => ("store.unfinished", Store, READ),
            Self::StoreAcquireLease => ("store.acquire_lease", Store, WRITE),
            Self::StoreRenewLease => ("store.renew_lease", Store, WRITE),
            Self::StoreCheckLease => ("store.check_lease", Store, READ),
            Self::StoreReleaseLease => ("store.release_lease", Store, WRITE),
            Self::StoreCommit => ("store.commit", Store, WRITE),
            Self::StoreRequestCancel => ("store.request_cancel", Store, WRITE),
            Self::StoreInstances => ("store.instances", Store, READ),
            Self::StoreNow => ("store.now", Store, READ),
            Self::StorePosition => ("store.position", Store, READ),
            Self::StoreLeap => ("store.leap", Store, WRITE),
            Self::StoreEvents => ("store.events", Store, READ),
            Self::StoreAppendLog => ("store.append_log", Store, WRITE),
            Self::StoreForgetLogs => ("store.forget_logs", Store, WRITE),
            Self::StoreLog => ("store.log", Store, READ),
            Self::QueueEnqueue => ("queue.enqueue", Queue, ORDER),
            Self::QueueClaim => ("queue.claim", Queue, ORDER),
            Self::QueueHeartbeat => ("queue.heartbeat", Queue, ORDER),
            Self::QueueAck => ("queue.ack", Queue, ORDER),
            Self::QueueNack => ("queue.nack", Queue, ORDER),
            Self::QueueReclaim => ("queue.reclaim", Queue, ORDER),
            Self::QueueDead => ("queue.dead", Queue, READ),
            Self::QueueDepth => ("queue.depth", Queue, READ),
            Self::RuntimeAllocateEndpoint => ("runtime.allocate_endpoint", Runtime, READ),
            Self::RuntimeEnsureImage => ("runtime.ensure_image", Runtime, CREATE),
            Self::RuntimeCreate => ("runtime.create", Runtime, CREATE),
            Self::RuntimeStart => ("runtime.start", Runtime, ORDER),
            Self::RuntimeInspect => ("runtime.inspect", Runtime, LOOK),
            Self::RuntimeListening => ("runtime.listening", Runtime, READ),
            Self::RuntimeList => ("runtime.list", Runtime, LOOK),
            Self::RuntimeStop => ("runtime.stop", Runtime, ORDER),
            Self::RuntimeRemove => ("runtime.remove", Runtime, ORDER),
            Self::RuntimeLogs => ("runtime.logs", Runtime, READ),
            Self::RouterApply => ("router.apply", Router, APPLY),
            Self::RouterObserve => ("router.observe", Router, LOOK),
            Self::RouterDrained => ("router.drained", Router, READ),
            Self::RouterRemove => ("router.remove", Router, ORDER),
            Self::ProberProbe => ("prober.probe", Prober, READ),
            Self::BuilderFind => ("builder.find", Builder, READ),
            Self::BuilderBuild => ("builder.build", Builder, LOCAL),
            Self::BuilderDiscard => ("builder.discard", Builder, DISK),
            Self::SourceResolve => ("source.resolve", Source, READ),
            Self::SourceFetch => ("source.fetch", Source, LOCAL),
            Self::WorkspacePrepare => ("workspace.prepare", Workspace, DISK),
            Self::WorkspaceHasCheckout => ("workspace.has_checkout", Workspace, &[]),
            Self::WorkspaceDiscard => ("workspace.discard_checkout", Workspace, DISK),
            Self::WorkspaceCheckouts => ("workspace.checkouts", Workspace, READ),
            Self::WorkspaceNote => ("workspace.note_position", Workspace, DISK),
            Self::WorkspaceNoted => ("workspace.noted_position", Workspace, READ),
            Self::AnalysisTraffic => ("analysis.traffic", Analysis, READ),
            // On the machine on which checkouts are.
            Self::HostCapacity => ("host.capacity", Workspace, READ),
            Self::StoreWriteProject => ("store.write_project", Store, WRITE),
            Self::StoreProject => ("store.project", Store, READ),
            Self::StoreProjects => ("store.projects", Store, READ),
        }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
