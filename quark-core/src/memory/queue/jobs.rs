//! The jobs of a `MemoryQueue` and what may happen to them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use crate::backend::{Claim, ClaimToken, ClaimedJob, DeadJob, Enqueued, JobId, NewJob, Priority, QueueDepth};
use crate::clock::Timestamp;
use crate::deployment::OwnerId;
use crate::platform::Platform;

/// One reading of the clock.
#[derive(Clone, Copy)]
pub(super) struct Moment {
    pub(super) now: Timestamp,
    pub(super) monotonic: Duration,
}

/// The place of a job in the order of arrival.
type Arrival = u64;

/// All jobs, each in exactly one of the four sets that its [`Stage`] names.
pub(super) struct Jobs {
    platform: Arc<dyn Platform>,
    arrivals: Arrival,
    jobs: BTreeMap<Arrival, Job>,
    ids: HashMap<JobId, Arrival>,
    /// The unfinished jobs by their dedupe keys.
    keys: HashMap<String, JobId>,
    ready: BTreeSet<(Priority, Timestamp, Arrival)>,
    delayed: BTreeSet<(Timestamp, Arrival)>,
    claimed: BTreeSet<(Duration, Arrival)>,
    dead: BTreeSet<Arrival>,
}

struct Job {
    id: JobId,
    job: NewJob,
    attempts: u32,
    stage: Stage,
}

enum Stage {
    Ready { since: Timestamp },
    Delayed { until: Timestamp },
    Claimed { by: OwnerId, claim: Uuid, until: Duration },
    Dead { reason: String },
}

impl Jobs {
    /// No jobs.
    pub(super) fn new(platform: Arc<dyn Platform>) -> Self {
        Self {
            platform,
            arrivals: 0,
            jobs: BTreeMap::new(),
            ids: HashMap::new(),
            keys: HashMap::new(),
            ready: BTreeSet::new(),
            delayed: BTreeSet::new(),
            claimed: BTreeSet::new(),
            dead: BTreeSet::new(),
        }
    }

    /// Forgets all jobs; arrivals and names are not given again.
    #[cfg(feature = "test-util")]
    pub(super) fn flush(&mut self) {
        *self = Self { arrivals: self.arrivals, ..Self::new(Arc::clone(&self.platform)) };
    }

    pub(super) fn push(&mut self, job: NewJob, moment: Moment) -> Enqueued {
        self.settle(moment);
        let key = job.dedupe_key();
        if let Some(id) = self.keys.get(&key) {
            return Enqueued::Duplicate(*id);
        }
        let id = JobId(self.platform.unique());
        self.arrivals += 1;
        let arrival = self.arrivals;
        let stage = stage_at(job.run_at, moment);
        self.keys.insert(key, id);
        self.ids.insert(id, arrival);
        self.put(arrival, Job { id, job, attempts: 0, stage });
        Enqueued::New(id)
    }

    pub(super) fn claim(
        &mut self,
        owner: &OwnerId,
        most: usize,
        visibility: Duration,
        moment: Moment,
    ) -> Vec<ClaimedJob> {
        self.settle(moment);
        let mut claimed = Vec::new();
        while claimed.len() < most {
            let Some((_, _, arrival)) = self.ready.first().copied() else { break };
            let Some(mut job) = self.take(arrival) else { break };
            job.attempts += 1;
            let token = ClaimToken { job: job.id, claim: self.platform.unique() };
            let until = moment.monotonic.saturating_add(visibility);
            job.stage = Stage::Claimed { by: owner.clone(), claim: token.claim, until };
            claimed.push(ClaimedJob { token, job: job.job.clone(), attempt: job.attempts });
            self.put(arrival, job);
        }
        claimed
    }

    pub(super) fn heartbeat(&mut self, token: ClaimToken, visibility: Duration, moment: Moment) -> Claim {
        let Some((arrival, mut job)) = self.take_claimed(token, moment) else { return Claim::Lost };
        if let Stage::Claimed { until, .. } = &mut job.stage {
            *until = moment.monotonic.saturating_add(visibility);
        }
        self.put(arrival, job);
        Claim::Held
    }

    pub(super) fn ack(&mut self, token: ClaimToken, moment: Moment) -> Claim {
        let Some((_, job)) = self.take_claimed(token, moment) else { return Claim::Lost };
        self.ids.remove(&job.id);
        self.keys.remove(&job.job.dedupe_key());
        Claim::Held
    }

    pub(super) fn nack(
        &mut self,
        token: ClaimToken,
        delay: Duration,
        counted: bool,
        reason: &str,
        moment: Moment,
    ) -> Claim {
        let Some((arrival, mut job)) = self.take_claimed(token, moment) else { return Claim::Lost };
        if !counted {
            job.attempts = job.attempts.saturating_sub(1);
        }
        let stage = stage_at(moment.now.after(delay), moment);
        self.give_back(arrival, job, stage, reason);
        Claim::Held
    }

    pub(super) fn reclaim(&mut self, owner: &OwnerId, moment: Moment) -> u64 {
        self.settle(moment);
        let arrivals: Vec<Arrival> = self.claimed.iter().map(|(_, arrival)| *arrival).collect();
        let mut freed = 0;
        for arrival in arrivals {
            let Some(job) = self.take(arrival) else { continue };
            if matches!(&job.stage, Stage::Claimed { by, .. } if by == owner) {
                freed += 1;
                let stage = Stage::Ready { since: job.job.run_at };
                self.give_back(arrival, job, stage, "its claim ran out");
            } else {
                self.put(arrival, job);
            }
        }
        freed
    }

    pub(super) fn dead(&mut self, most: usize, moment: Moment) -> Vec<DeadJob> {
        self.settle(moment);
        let dead = self.dead.iter().filter_map(|arrival| self.jobs.get(arrival)).take(most);
        dead.filter_map(|job| match &job.stage {
            Stage::Dead { reason } => Some(DeadJob { id: job.id, job: job.job.clone(), reason: reason.clone() }),
            Stage::Ready { .. } | Stage::Delayed { .. } | Stage::Claimed { .. } => None,
        })
        .collect()
    }

    pub(super) fn depth(&mut self, moment: Moment) -> QueueDepth {
        self.settle(moment);
        QueueDepth {
            ready: self.ready.len() as u64,
            delayed: self.delayed.len() as u64,
            claimed: self.claimed.len() as u64,
            dead: self.dead.len() as u64,
        }
    }

    /// How long until a job is ready, if time alone makes one ready.
    pub(super) fn next_ready(&mut self, moment: Moment) -> Option<Duration> {
        self.settle(moment);
        if !self.ready.is_empty() {
            return Some(Duration::ZERO);
        }
        let delayed = self.delayed.first().map(|(until, _)| until.since(moment.now));
        let claimed = self.claimed.first().map(|(until, _)| until.saturating_sub(moment.monotonic));
        delayed.into_iter().chain(claimed).min()
    }

    /// Does what time alone does: delayed jobs become ready, claims run out.
    fn settle(&mut self, moment: Moment) {
        while let Some((until, arrival)) = self.delayed.first().copied()
            && until <= moment.now
        {
            let Some(mut job) = self.take(arrival) else { break };
            job.stage = Stage::Ready { since: until };
            self.put(arrival, job);
        }
        while let Some((until, arrival)) = self.claimed.first().copied()
            && until <= moment.monotonic
        {
            let Some(job) = self.take(arrival) else { break };
            let stage = Stage::Ready { since: job.job.run_at };
            self.give_back(arrival, job, stage, "its claim ran out");
        }
    }

    /// Ends a claim: the job goes to `stage`, or is dead if its claims are used up.
    fn give_back(&mut self, arrival: Arrival, mut job: Job, stage: Stage, reason: &str) {
        job.stage = stage;
        if job.attempts >= job.job.max_attempts {
            self.keys.remove(&job.job.dedupe_key());
            job.stage =
                Stage::Dead { reason: format!("{reason} (attempt {} of {})", job.attempts, job.job.max_attempts) };
        }
        self.put(arrival, job);
    }

    fn take_claimed(&mut self, token: ClaimToken, moment: Moment) -> Option<(Arrival, Job)> {
        self.settle(moment);
        let arrival = *self.ids.get(&token.job)?;
        let held = matches!(self.jobs.get(&arrival)?.stage, Stage::Claimed { claim, .. } if claim == token.claim);
        let job = if held { self.take(arrival) } else { None };
        job.map(|job| (arrival, job))
    }

    fn put(&mut self, arrival: Arrival, job: Job) {
        match &job.stage {
            Stage::Ready { since } => self.ready.insert((job.job.priority, *since, arrival)),
            Stage::Delayed { until } => self.delayed.insert((*until, arrival)),
            Stage::Claimed { until, .. } => self.claimed.insert((*until, arrival)),
            Stage::Dead { .. } => self.dead.insert(arrival),
        };
        self.jobs.insert(arrival, job);
    }

    fn take(&mut self, arrival: Arrival) -> Option<Job> {
        let job = self.jobs.remove(&arrival)?;
        match &job.stage {
            Stage::Ready { since } => self.ready.remove(&(job.job.priority, *since, arrival)),
            Stage::Delayed { until } => self.delayed.remove(&(*until, arrival)),
            Stage::Claimed { until, .. } => self.claimed.remove(&(*until, arrival)),
            Stage::Dead { .. } => self.dead.remove(&arrival),
        };
        Some(job)
    }
}

fn stage_at(time: Timestamp, moment: Moment) -> Stage {
    if time <= moment.now { Stage::Ready { since: time } } else { Stage::Delayed { until: time } }
}
