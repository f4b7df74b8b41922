//! The queue on the store's file.

use std::time::Duration;

use quark_core::Clock;
use quark_core::backend::{Claim, Enqueued, JobKind, NewJob, Priority, Queue, Store};
use quark_core::deployment::DeploymentId;

use crate::fixture::{Fixture, TTL, create, name, owner, spec};

fn some_job(fixture: &Fixture) -> NewJob {
    let at = fixture.clock.now();
    NewJob::new(JobKind::Deploy, DeploymentId::generate(), name("shop"), Priority::DEPLOY, at)
}

#[tokio::test]
async fn a_refused_commit_queues_nothing() {
    let fixture = Fixture::new().await;
    let active = fixture.admitted("shop").await;
    let before = fixture.store.queue().depth().await.unwrap();
    let mut commit = active.commit();
    commit.guard.version = commit.guard.version.next();
    commit.jobs = vec![some_job(&fixture)];
    fixture.store.commit(commit).await.unwrap_err();
    assert_eq!(fixture.store.queue().depth().await.unwrap(), before);
}

#[tokio::test]
async fn a_deployment_wakes_those_who_wait() {
    let fixture = Fixture::new().await;
    fixture.store.create_app(spec("shop"), fixture.clock.now()).await.unwrap();
    let queue = fixture.store.queue();
    // The clock stands still: only a job can end this wait.
    let waiting = tokio::spawn(async move { queue.wait(Duration::from_secs(3600)).await });
    fixture.clock.sleepers(1).await;
    create(&fixture.store, "shop", fixture.clock.now()).await;
    waiting.await.unwrap();
}

#[tokio::test]
async fn waiting_ends_when_a_delayed_job_is_due() {
    let fixture = Fixture::new().await;
    let queue = fixture.store.queue();
    let mut job = some_job(&fixture);
    job.run_at = job.run_at.after(Duration::from_millis(500));
    queue.enqueue(job).await.unwrap();
    let waiting = tokio::spawn(async move { queue.wait(Duration::from_secs(3600)).await });
    fixture.clock.sleepers(1).await;
    fixture.clock.advance(Duration::from_millis(500));
    waiting.await.unwrap();
    assert_eq!(fixture.store.queue().claim(&owner("engine-1"), 1, TTL).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_job_of_another_process_is_seen_by_polling() {
    let fixture = Fixture::new().await;
    let other = fixture.open_again().await;
    let queue = fixture.store.queue();
    let job = some_job(&fixture);
    let waiting = tokio::spawn(async move {
        queue.wait(Duration::from_secs(3600)).await;
        queue.claim(&owner("engine-1"), 1, TTL).await.unwrap()
    });
    fixture.clock.sleepers(1).await;
    other.queue().enqueue(job.clone()).await.unwrap();
    fixture.clock.advance(Duration::from_secs(1));
    assert_eq!(waiting.await.unwrap()[0].job, job);
    other.close().await.unwrap();
}

#[tokio::test]
async fn a_job_keeps_its_own_time_when_it_is_given_back() {
    let fixture = Fixture::new().await;
    let (queue, job) = (fixture.store.queue(), some_job(&fixture));
    queue.enqueue(job.clone()).await.unwrap();
    let claimed = queue.claim(&owner("engine-1"), 1, TTL).await.unwrap();
    let nacked = queue.nack(claimed[0].token, Duration::from_secs(5), true, "busy").await.unwrap();
    assert_eq!(nacked, Claim::Held);
    assert!(queue.claim(&owner("engine-1"), 1, TTL).await.unwrap().is_empty());
    fixture.clock.advance(Duration::from_secs(5));
    let again = queue.claim(&owner("engine-1"), 1, TTL).await.unwrap();
    assert_eq!((&again[0].job, again[0].attempt), (&job, 2));
}

#[tokio::test]
async fn a_last_claim_that_ran_out_frees_the_key_at_once() {
    let fixture = Fixture::new().await;
    let queue = fixture.store.queue();
    let job = NewJob { max_attempts: 1, ..some_job(&fixture) };
    let Enqueued::New(first) = queue.enqueue(job.clone()).await.unwrap() else { panic!("the key is new") };
    queue.claim(&owner("engine-1"), 1, TTL).await.unwrap();
    assert_eq!(queue.enqueue(job.clone()).await.unwrap(), Enqueued::Duplicate(first));
    fixture.clock.advance(TTL);
    let dead = queue.dead(10).await.unwrap();
    assert_eq!((dead.len(), dead[0].id, dead[0].reason.as_str()), (1, first, "its claim ran out (attempt 1 of 1)"));
    assert!(matches!(queue.enqueue(job).await.unwrap(), Enqueued::New(_)));
    let depth = queue.depth().await.unwrap();
    assert_eq!((depth.ready, depth.dead), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_processes_share_the_jobs_without_overlap() {
    let fixture = Fixture::new().await;
    let other = fixture.open_again().await;
    for _ in 0..60 {
        fixture.store.queue().enqueue(some_job(&fixture)).await.unwrap();
    }
    let mut workers = tokio::task::JoinSet::new();
    for number in 0..6 {
        let queue = if number % 2 == 0 { fixture.store.queue() } else { other.queue() };
        workers.spawn(async move {
            let (worker, mut done) = (owner(&format!("engine-{number}")), Vec::new());
            loop {
                let claimed = queue.claim(&worker, 3, TTL).await.unwrap();
                if claimed.is_empty() {
                    return done;
                }
                for job in claimed {
                    assert_eq!(queue.ack(job.token).await.unwrap(), Claim::Held);
                    done.push(job.token.job);
                }
            }
        });
    }
    let mut done: Vec<_> = workers.join_all().await.into_iter().flatten().collect();
    done.sort_unstable();
    done.dedup();
    assert_eq!(done.len(), 60, "each job was done once");
    other.close().await.unwrap();
}
