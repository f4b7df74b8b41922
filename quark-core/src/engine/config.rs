//! What an engine can be told.

use std::path::PathBuf;
use std::time::Duration;

use super::host_policy::HostPolicy;
use crate::app::Domain;
use crate::deployment::OwnerId;

/// How an engine behaves. The defaults fit one machine.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// Who this engine is. Two engines at once must not have the same name; a
    /// name that stays the same over restarts lets an engine go on at once
    /// with what it left, instead of waiting for its own lease to run out.
    pub owner: OwnerId,
    /// Deployments that are worked on at once.
    pub workers: usize,
    /// Of these, how many may fetch, build or pull at once, at most all but one:
    /// what is quick, such as a rollback, must not wait for a build. Others wait
    /// in the order in which they were asked for.
    pub builds: usize,
    /// How long the right to act on an app lasts without being renewed.
    pub lease: Duration,
    /// How much of the output of its build is kept per deployment, in bytes; what
    /// follows is dropped, and the log says so. What the engine itself says, and
    /// the last lines of a container that does not work, are always kept. Counted
    /// anew when the work on it is taken up again, after an engine died, say.
    pub log_bytes: u64,
    /// How long a deployment's log is kept after its end, by the store's clock;
    /// longer while something of it is still there, as of the live one. The
    /// deployment, its steps and its events stay.
    pub keep_logs: Duration,
    /// Where sources are checked out.
    pub work_dir: PathBuf,
    /// Every app answers to `<name>.<base domain>` besides its own names.
    pub base_domain: Domain,
    /// How much of the machine apps may have, where the engine can
    /// [look at it](crate::DeploymentEngineBuilder::with_host).
    pub host: HostPolicy,
    /// Folders under which `file://` repositories are allowed; none by default.
    pub local_repositories: Vec<PathBuf>,
}

impl EngineConfig {
    /// The defaults, with `work_dir` for checkouts: a unique owner, 8 workers, 4
    /// of which may build, a lease of 30 s, 8 MiB of output per deployment, logs for 30 days, the base domain
    /// `localhost`, no local repositories.
    #[must_use]
    pub fn new(work_dir: impl Into<PathBuf>) -> Self {
        Self {
            owner: OwnerId::unique(),
            workers: 8,
            builds: 4,
            lease: Duration::from_secs(30),
            log_bytes: 8 * 1024 * 1024,
            keep_logs: Duration::from_secs(30 * 24 * 3600),
            work_dir: work_dir.into(),
            base_domain: Domain::localhost(),
            host: HostPolicy::default(),
            local_repositories: Vec::new(),
        }
    }
}
