//! A queue behind a network.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::gate::Gate;
use super::op::Op;
use super::store::boxed;
use crate::Result;
use crate::backend::{Claim, ClaimToken, ClaimedJob, DeadJob, Enqueued, NewJob, Queue, QueueDepth};
use crate::deployment::OwnerId;

/// A queue behind a network.
#[derive(Debug)]
pub(crate) struct FaultyQueue {
    pub(crate) gate: Gate,
    pub(crate) inner: Arc<dyn Queue>,
}

#[async_trait]
impl Queue for FaultyQueue {
    async fn enqueue(&self, job: NewJob) -> Result<Enqueued> {
        let make = || {
            let (inner, job) = (Arc::clone(&self.inner), job.clone());
            boxed(async move { inner.enqueue(job).await })
        };
        self.gate.effect(Op::QueueEnqueue, make).await
    }

    async fn claim(&self, owner: &OwnerId, most: usize, visibility: Duration) -> Result<Vec<ClaimedJob>> {
        let make = || {
            let (inner, owner) = (Arc::clone(&self.inner), owner.clone());
            boxed(async move { inner.claim(&owner, most, visibility).await })
        };
        self.gate.effect(Op::QueueClaim, make).await
    }

    async fn heartbeat(&self, token: ClaimToken, visibility: Duration) -> Result<Claim> {
        let make = || {
            let inner = Arc::clone(&self.inner);
            boxed(async move { inner.heartbeat(token, visibility).await })
        };
        self.gate.effect(Op::QueueHeartbeat, make).await
    }

    async fn ack(&self, token: ClaimToken) -> Result<Claim> {
        let make = || {
            let inner = Arc::clone(&self.inner);
            boxed(async move { inner.ack(token).await })
        };
        self.gate.effect(Op::QueueAck, make).await
    }

    async fn nack(&self, token: ClaimToken, delay: Duration, counted: bool, reason: &str) -> Result<Claim> {
        let make = || {
            let (inner, reason) = (Arc::clone(&self.inner), reason.to_owned());
            boxed(async move { inner.nack(token, delay, counted, &reason).await })
        };
        self.gate.effect(Op::QueueNack, make).await
    }

    async fn reclaim(&self, owner: &OwnerId) -> Result<u64> {
        let make = || {
            let (inner, owner) = (Arc::clone(&self.inner), owner.clone());
            boxed(async move { inner.reclaim(&owner).await })
        };
        self.gate.effect(Op::QueueReclaim, make).await
    }

    async fn dead(&self, most: usize) -> Result<Vec<DeadJob>> {
        self.gate.read(Op::QueueDead, self.inner.dead(most)).await
    }

    async fn depth(&self) -> Result<QueueDepth> {
        self.gate.read(Op::QueueDepth, self.inner.depth()).await
    }

    async fn wait(&self, longest: Duration) {
        // A hint: nothing that goes wrong here matters.
        self.inner.wait(longest).await;
    }
}
