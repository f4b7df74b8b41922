//! A queue with one fault.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use quark_core::backend::{Claim, ClaimToken, ClaimedJob, DeadJob, Enqueued, JobId, NewJob, Priority, QueueDepth};
use quark_core::memory::MemoryQueue;
use quark_core::testing::ManualClock;
use quark_core::{Clock, DeploymentId, OwnerId, Queue, Result, Timestamp};
use tokio::sync::Notify;
use tokio::task::yield_now;

use super::fault::Fault;

const FOREVER: Duration = Duration::from_secs(1 << 30);

/// A memory queue with one fault.
#[derive(Debug)]
pub(super) struct Broken {
    fault: Fault,
    inner: MemoryQueue,
    clock: ManualClock,
    memory: Mutex<Memory>,
    queued: Notify,
    waiting: AtomicUsize,
}

/// What a broken queue remembers beside the sound one.
#[derive(Debug, Default)]
struct Memory {
    /// The jobs as they were queued, and as the sound queue has them.
    jobs: HashMap<String, NewJob>,
    names: HashMap<String, JobId>,
    /// The last claim of each job.
    claims: HashMap<JobId, ClaimedJob>,
    owners: HashMap<JobId, OwnerId>,
    acked: HashSet<String>,
    nacked: HashSet<JobId>,
}

impl Broken {
    pub(super) fn new(fault: Fault, inner: MemoryQueue, clock: ManualClock) -> Self {
        Self { fault, inner, clock, memory: Mutex::default(), queued: Notify::new(), waiting: AtomicUsize::new(0) }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap()
    }

    /// A job as a faulty queue keeps it.
    fn bend(&self, mut job: NewJob) -> NewJob {
        let number = self.memory().jobs.len() as i64;
        match self.fault {
            Fault::IgnoresPriorities => job.priority = Priority(0),
            Fault::HighestNumberFirst => job.priority = Priority(255 - job.priority.0),
            Fault::YoungestFirst => job.run_at = Timestamp::from_micros(1_000_000 - number),
            Fault::IgnoresRunAt => job.run_at = self.clock.now().min(job.run_at),
            Fault::NeverRunsLater if job.run_at > self.clock.now() => job.run_at = job.run_at.after(FOREVER),
            Fault::TriesForEver | Fault::CountsNoAttempts => job.max_attempts = u32::MAX,
            Fault::GivesUpEarly => job.max_attempts = job.max_attempts.saturating_sub(1).max(1),
            Fault::TriesTwiceAsOften => job.max_attempts = job.max_attempts.saturating_mul(2),
            _ => {}
        }
        job
    }

    /// What is known under the key of a job, if this queue says that it is there already.
    fn known(&self, job: &NewJob) -> Option<JobId> {
        let memory = self.memory();
        let known = memory.names.get(&job.dedupe_key()).copied()?;
        match self.fault {
            Fault::KeepsKeysOfAcked if memory.acked.contains(&job.dedupe_key()) => Some(known),
            Fault::KeepsKeysOfDead if memory.nacked.contains(&known) => Some(known),
            _ => None,
        }
    }

    /// The same job under a key of its own.
    fn as_another(&self, job: &NewJob) -> NewJob {
        NewJob { deployment: DeploymentId::generate(), ..job.clone() }
    }

    /// Whether this queue takes the second of a key for new.
    fn takes_for_new(&self, id: JobId) -> bool {
        let memory = self.memory();
        match self.fault {
            Fault::IgnoresKeys => true,
            Fault::FreesKeysOnClaim => memory.claims.contains_key(&id),
            Fault::FreesKeysOnNack => memory.nacked.contains(&id),
            _ => false,
        }
    }

    /// The claim as the worker gets it.
    fn hand_out(&self, mut claimed: ClaimedJob, owner: &OwnerId) -> ClaimedJob {
        let mut memory = self.memory();
        if let Some(job) = memory.jobs.get(&claimed.job.dedupe_key()) {
            claimed.job = job.clone();
        }
        memory.owners.insert(claimed.token.job, owner.clone());
        let first = memory.claims.entry(claimed.token.job).or_insert_with(|| claimed.clone()).token;
        if let Some(last) = memory.claims.get_mut(&claimed.token.job) {
            last.token = claimed.token;
        }
        match self.fault {
            Fault::RepeatsTokens => claimed.token = first,
            Fault::CountsNoAttempts => claimed.attempt = 1,
            Fault::CountsFromZero => claimed.attempt -= 1,
            _ => {}
        }
        claimed
    }

    /// The token by which the sound queue knows the claim.
    fn token(&self, token: ClaimToken) -> ClaimToken {
        if self.fault == Fault::RepeatsTokens {
            return self.memory().claims.get(&token.job).map_or(token, |claimed| claimed.token);
        }
        token
    }

    /// The claim that somebody else has by now.
    fn newest(&self, token: ClaimToken) -> ClaimToken {
        self.memory().claims.get(&token.job).map_or(token, |claimed| claimed.token)
    }
}

#[async_trait]
impl Queue for Broken {
    async fn enqueue(&self, job: NewJob) -> Result<Enqueued> {
        if let Some(id) = self.known(&job) {
            return Ok(Enqueued::Duplicate(id));
        }
        let key = job.dedupe_key();
        let there = self.memory().names.contains_key(&key);
        if self.fault == Fault::RacesForKeys {
            yield_now().await;
        }
        let bent = self.bend(job.clone());
        if self.fault == Fault::KeysOfDeploymentsOnly {
            let memory = self.memory();
            let same =
                memory.jobs.iter().find(|(_, other)| other.deployment == job.deployment && other.kind != job.kind);
            if let Some((key, _)) = same {
                return Ok(Enqueued::Duplicate(memory.names[key]));
            }
        }
        let mut enqueued = self.inner.enqueue(bent.clone()).await?;
        match enqueued {
            Enqueued::New(id) => {
                let mut memory = self.memory();
                memory.jobs.insert(key.clone(), job);
                let first = memory.names.insert(key, id);
                if let (Fault::RepeatsNames, Some(first)) = (self.fault, first) {
                    enqueued = Enqueued::New(first);
                }
            }
            Enqueued::Duplicate(id) if self.takes_for_new(id) => {
                enqueued = self.inner.enqueue(self.as_another(&bent)).await?;
            }
            Enqueued::Duplicate(id) if self.fault == Fault::RacesForKeys && !there => enqueued = Enqueued::New(id),
            Enqueued::Duplicate(_) if self.fault == Fault::ReplacesByDuplicates => {
                self.memory().jobs.insert(key, job);
            }
            Enqueued::Duplicate(_) => {}
        }
        self.queued.notify_one();
        Ok(enqueued)
    }

    async fn claim(&self, owner: &OwnerId, most: usize, visibility: Duration) -> Result<Vec<ClaimedJob>> {
        let most = if self.fault == Fault::HandsOutTooMany { most + 1 } else { most };
        let visibility = if self.fault == Fault::ClaimsForEver { FOREVER } else { visibility };
        let mut claimed = self.inner.claim(owner, most, visibility).await?;
        if self.fault == Fault::HandsOutTwice && claimed.len() > 1 {
            // As if two workers had read the same rows before either wrote.
            let again = claimed[0].clone();
            claimed.push(again);
        }
        if self.fault == Fault::ShufflesWhatItHandsOut {
            claimed.reverse();
        }
        if self.fault == Fault::LosesJobs && claimed.len() > 1 {
            claimed.pop();
        }
        if self.fault == Fault::HandsOutClaimed && claimed.is_empty() && most > 3 {
            claimed.extend(self.memory().claims.values().cloned());
        }
        Ok(claimed.into_iter().map(|claimed| self.hand_out(claimed, owner)).collect())
    }

    async fn heartbeat(&self, token: ClaimToken, visibility: Duration) -> Result<Claim> {
        let token = self.token(token);
        match self.fault {
            Fault::ExtendsNothing => Ok(Claim::Held),
            Fault::ExtendsForEver => self.inner.heartbeat(token, FOREVER).await,
            Fault::HoldsLateHeartbeats => self.inner.heartbeat(token, visibility).await.map(|_| Claim::Held),
            Fault::ExtendsForOthers => match self.inner.heartbeat(token, visibility).await? {
                Claim::Held => Ok(Claim::Held),
                Claim::Lost => self.inner.heartbeat(self.newest(token), FOREVER).await.map(|_| Claim::Lost),
            },
            _ => self.inner.heartbeat(token, visibility).await,
        }
    }

    async fn ack(&self, token: ClaimToken) -> Result<Claim> {
        let token = self.token(token);
        let acked = match self.fault {
            Fault::KeepsAcked => self.inner.nack(token, Duration::ZERO, false, "kept").await?,
            _ => self.inner.ack(token).await?,
        };
        if acked == Claim::Held {
            let mut memory = self.memory();
            let key = memory.claims.get(&token.job).map(|claimed| claimed.job.dedupe_key());
            memory.acked.extend(key);
            memory.claims.remove(&token.job);
            return Ok(Claim::Held);
        }
        match self.fault {
            Fault::HoldsLateAcks => Ok(Claim::Held),
            Fault::AcksForOthers => self.inner.ack(self.newest(token)).await.map(|_| Claim::Lost),
            _ => Ok(Claim::Lost),
        }
    }

    async fn nack(&self, token: ClaimToken, delay: Duration, counted: bool, reason: &str) -> Result<Claim> {
        let token = self.token(token);
        self.memory().nacked.insert(token.job);
        let counted = match self.fault {
            Fault::CountsEveryNack => true,
            Fault::CountsNoNack => false,
            _ => counted,
        };
        let delay = match self.fault {
            Fault::IgnoresDelays => Duration::ZERO,
            Fault::DelaysForEver if !delay.is_zero() => FOREVER,
            _ => delay,
        };
        match (self.fault, self.inner.nack(token, delay, counted, reason).await?) {
            (Fault::HoldsLateNacks, Claim::Lost) => Ok(Claim::Held),
            (Fault::NacksForOthers, Claim::Lost) => {
                self.inner.nack(self.newest(token), delay, counted, reason).await.map(|_| Claim::Lost)
            }
            (_, claim) => Ok(claim),
        }
    }

    async fn reclaim(&self, owner: &OwnerId) -> Result<u64> {
        let claims: Vec<_> = self.memory().claims.values().map(|claimed| claimed.token).collect();
        let owned = |token: &ClaimToken| self.memory().owners.get(&token.job) == Some(owner);
        match self.fault {
            Fault::ReclaimsNothing => Ok(0),
            Fault::ReclaimsFromAll => {
                let freed = self.inner.reclaim(owner).await?;
                for token in claims {
                    self.inner.nack(token, Duration::ZERO, false, "freed").await?;
                }
                Ok(freed)
            }
            Fault::ReclaimsOne => {
                let mine = claims.iter().filter(|token| owned(token)).count() as u64;
                if let Some(token) = claims.iter().find(|token| owned(token)) {
                    self.inner.nack(*token, Duration::ZERO, false, "freed").await?;
                }
                Ok(mine)
            }
            Fault::GivesReclaimedAttemptsBack => {
                let mut freed = 0;
                for token in claims.iter().filter(|token| owned(token)) {
                    freed += u64::from(self.inner.nack(*token, Duration::ZERO, false, "freed").await? == Claim::Held);
                }
                Ok(freed)
            }
            Fault::ReclaimsInName => Ok(claims.iter().filter(|token| owned(token)).count() as u64),
            _ => self.inner.reclaim(owner).await,
        }
    }

    async fn dead(&self, most: usize) -> Result<Vec<DeadJob>> {
        let mut dead = self.inner.dead(most).await?;
        for dead in &mut dead {
            if let Some(job) = self.memory().jobs.get(&dead.job.dedupe_key()) {
                dead.job = job.clone();
            }
        }
        match self.fault {
            Fault::SaysNoReason => dead.iter_mut().for_each(|dead| dead.reason.clear()),
            Fault::ForgetsTheDead => dead.clear(),
            Fault::ListsTheDeadBackwards => dead.reverse(),
            _ => {}
        }
        Ok(dead)
    }

    async fn depth(&self) -> Result<QueueDepth> {
        let mut depth = self.inner.depth().await?;
        match self.fault {
            Fault::CountsRunOutAsClaimed if depth.ready > 3 => {
                depth.ready -= 1;
                depth.claimed += 1;
            }
            Fault::CountsDelayedAsReady => depth.ready += depth.delayed,
            Fault::CountsNoDead => depth.dead = 0,
            _ => {}
        }
        Ok(depth)
    }

    async fn wait(&self, longest: Duration) {
        match self.fault {
            Fault::SleepsOn => self.clock.sleep(longest).await,
            Fault::SleepsWhenReady => {
                tokio::select! {
                    () = self.queued.notified() => {}
                    () = self.clock.sleep(longest) => {}
                }
            }
            // Whoever comes while another waits is never told.
            Fault::WakesOne if self.waiting.fetch_add(1, Ordering::SeqCst) > 0 => std::future::pending().await,
            _ => self.inner.wait(longest).await,
        }
    }
}
