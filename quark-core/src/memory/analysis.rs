//! `MemoryAnalysis`: traffic that a test or a simulation makes up.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use crate::Result;
use crate::app::AppName;
use crate::backend::{AnalysisSource, Traffic};
use crate::clock::Clock;
use crate::deployment::{Endpoint, Slot};

/// Requests that are kept; those before them are forgotten.
const KEPT: usize = 100_000;

/// Traffic that is told of, instead of seen. Clones know the same.
#[derive(Clone)]
pub struct MemoryAnalysis {
    clock: Arc<dyn Clock>,
    requests: Arc<Mutex<VecDeque<Request>>>,
}

#[derive(Clone, Debug)]
struct Request {
    app: AppName,
    slot: Slot,
    endpoint: Endpoint,
    ended_at: Duration,
    /// Nothing, if it was not answered.
    answer: Option<(u16, Duration)>,
}

impl MemoryAnalysis {
    /// No traffic, in the time of `clock`.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, requests: Arc::default() }
    }

    /// A request that ends now: with this status after that time, or without an
    /// answer.
    pub fn end(&self, app: &AppName, slot: Slot, endpoint: &Endpoint, answer: Option<(u16, Duration)>) {
        let (app, endpoint, ended_at) = (app.clone(), endpoint.clone(), self.clock.monotonic());
        let mut requests = self.requests();
        if requests.len() == KEPT {
            requests.pop_front();
        }
        requests.push_back(Request { app, slot, endpoint, ended_at, answer });
    }

    fn requests(&self) -> MutexGuard<'_, VecDeque<Request>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for MemoryAnalysis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryAnalysis").field("requests", &self.requests().len()).finish_non_exhaustive()
    }
}

#[async_trait]
impl AnalysisSource for MemoryAnalysis {
    async fn traffic(&self, app: &AppName, slot: Slot, endpoint: &Endpoint, window: Duration) -> Result<Traffic> {
        let now = self.clock.monotonic();
        let requests = self.requests();
        let recent = requests.iter().rev().take_while(|request| now.saturating_sub(request.ended_at) <= window);
        let own = recent.filter(|request| (&request.app, request.slot, &request.endpoint) == (app, slot, endpoint));
        let (mut traffic, mut took) = (Traffic::default(), Vec::new());
        for request in own {
            traffic.requests += 1;
            traffic.failed += u64::from(request.answer.is_none_or(|(status, _)| (500..600).contains(&status)));
            took.extend(request.answer.map(|(_, took)| took));
        }
        took.sort_unstable();
        // The last of those that are in the 95 %.
        let last = (took.len() * 95).div_ceil(100).checked_sub(1);
        traffic.p95 = last.and_then(|last| took.get(last).copied());
        Ok(traffic)
    }
}
