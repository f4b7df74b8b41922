//! One deployment, from the request to its end: what the engine and its store
//! cost when containers start at once. Every second one also clears a slot.

#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark")]

use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use quark_benches::{deploy, engine, names};
use quark_core::memory::{MemoryQueue, MemoryStore};
use quark_core::{Clock, SystemClock};
use quark_store::{SqliteConfig, SqliteStore, Synchronous};
use tokio::runtime::Runtime;

fn deployments(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let app = names(1).unwrap().remove(0);
    let mut group = criterion.benchmark_group("deployment");

    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let queue = MemoryQueue::new(Arc::clone(&clock));
    let memory =
        runtime.block_on(engine(MemoryStore::with_queue(clock, queue.clone()), queue, folder.path(), 1)).unwrap();
    group.bench_function("memory", |bencher| {
        bencher.to_async(&runtime).iter(|| async { deploy(&memory, &app).await.unwrap() });
    });

    for (name, synchronous) in [("sqlite-full", Synchronous::Full), ("sqlite-normal", Synchronous::Normal)] {
        let config = SqliteConfig::new(folder.path().join(name)).with_synchronous(synchronous);
        let store = runtime.block_on(SqliteStore::open(config)).unwrap();
        let engine = runtime.block_on(engine(store.clone(), store.queue(), folder.path(), 1)).unwrap();
        group.bench_function(name, |bencher| {
            bencher.to_async(&runtime).iter(|| async { deploy(&engine, &app).await.unwrap() });
        });
    }
    group.finish();
}

criterion_group!(benches, deployments);
criterion_main!(benches);
