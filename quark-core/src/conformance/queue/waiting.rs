//! The case about waiting for work.

use std::sync::Arc;
use std::time::Duration;

use super::fixture::QueueFixture;
use super::scene::{LONG, Scene};
use crate::conformance::CaseResult;
use crate::conformance::outcome::within;

/// `wait` returns when a job is queued that is ready.
pub async fn wait_returns_when_a_job_is_queued(fixture: &dyn QueueFixture) -> CaseResult {
    let scene = Scene::new(fixture)?;
    let waiter = || {
        let queue = Arc::clone(&scene.queue);
        let waiting = tokio::spawn(async move { queue.wait(LONG).await });
        tokio_util::task::AbortOnDropHandle::new(waiting)
    };
    // Several, and each more than once: a wake-up for one must not be all.
    for _ in 0..3 {
        let waiters = [waiter(), waiter(), waiter()];
        tokio::task::yield_now().await;
        let job = scene.queued().await?;
        for waiter in waiters {
            let waited = within("waiting while a job is queued", waiter).await?;
            waited.map_err(|error| format!("waiting broke off: {error}"))?;
        }
        // A job that was queued before the wait is no reason to wait either.
        within("waiting when a job is ready", scene.queue.wait(LONG)).await?;
        let claimed = scene.claim_only(&scene.one, &job, LONG).await?;
        scene.ack(&claimed).await?;
    }
    within("waiting for no time", scene.queue.wait(Duration::ZERO)).await
}
