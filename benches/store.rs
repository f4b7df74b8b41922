//! Jobs through the queue of one SQLite file: queued, claimed, acknowledged,
//! with as many at once as stand in the name.

#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark")]

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use quark_benches::names;
use quark_core::backend::{JobKind, NewJob, Priority, Queue};
use quark_core::{DeploymentId, OwnerId, Timestamp};
use quark_store::{SqliteConfig, SqliteQueue, SqliteStore};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

async fn round(queue: SqliteQueue, owner: OwnerId) {
    let now = Timestamp::from_micros(0);
    let job =
        NewJob::new(JobKind::Deploy, DeploymentId::generate(), names(1).unwrap().remove(0), Priority::DEPLOY, now);
    queue.enqueue(job).await.unwrap();
    for job in queue.claim(&owner, 1, Duration::from_secs(60)).await.unwrap() {
        queue.ack(job.token).await.unwrap();
    }
}

fn jobs(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let store = runtime.block_on(SqliteStore::open(SqliteConfig::new(folder.path().join("quark.db")))).unwrap();
    let owner = OwnerId::unique();
    let mut group = criterion.benchmark_group("jobs");
    for at_once in [1_u64, 32] {
        group.throughput(Throughput::Elements(at_once));
        group.bench_with_input(BenchmarkId::from_parameter(at_once), &at_once, |bencher, at_once| {
            bencher.to_async(&runtime).iter(|| async {
                let rounds: JoinSet<()> = (0..*at_once).map(|_| round(store.queue(), owner.clone())).collect();
                rounds.join_all().await;
            });
        });
    }
    group.finish();
}

criterion_group!(benches, jobs);
criterion_main!(benches);
