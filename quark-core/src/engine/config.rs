//! What an engine can be told.

use std::path::PathBuf;
use std::time::Duration;

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
    /// Where sources are checked out.
    pub work_dir: PathBuf,
    /// Every app answers to `<name>.<base domain>` besides its own names.
    pub base_domain: Domain,
    /// Folders under which `file://` repositories are allowed; none by default.
    pub local_repositories: Vec<PathBuf>,
}

impl EngineConfig {
    /// The defaults, with `work_dir` for checkouts: a unique owner, 8 workers, 4
    /// of which may build, a lease of 30 s, the base domain `localhost`, no local repositories.
    #[must_use]
    pub fn new(work_dir: impl Into<PathBuf>) -> Self {
        Self {
            owner: OwnerId::unique(),
            workers: 8,
            builds: 4,
            lease: Duration::from_secs(30),
            work_dir: work_dir.into(),
            base_domain: Domain::localhost(),
            local_repositories: Vec::new(),
        }
    }
}
