//! A runtime of one thread: writes and reads in place, what blocks elsewhere.

use quark_core::backend::{Claim, Queue, Store};
use quark_core::deployment::LogStream;
use quark_core::{Clock, ErrorKind};
use quark_store::Synchronous;

use crate::fixture::{Fixture, TTL, owner, spec};

#[test]
fn everything_works_on_it() {
    for synchronous in [Synchronous::Full, Synchronous::Normal] {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let fixture = Fixture::with(synchronous).await;
            let (store, queue, at) = (&fixture.store, fixture.store.queue(), fixture.clock.now());
            let active = fixture.admitted("shop").await;
            let id = active.deployment.id;
            // Too many for a thread that others wait for.
            let lines: Vec<_> = (0..2000).map(|n| (at, LogStream::Stdout, format!("line {n}"))).collect();
            store.append_log(id, lines).await.unwrap();
            assert_eq!(store.log(id, 0, usize::MAX).await.unwrap().len(), 2000);
            assert_eq!(store.snapshot(id).await.unwrap().unwrap().deployment, active.deployment);
            let claimed = queue.claim(&owner("engine-1"), 1, TTL).await.unwrap();
            assert_eq!(queue.ack(claimed[0].token).await.unwrap(), Claim::Held);
            store.leap().await.unwrap();
            assert_eq!(store.commit(active.commit()).await.unwrap_err().kind(), ErrorKind::Fenced);
            store.close().await.unwrap();
        });
    }
}

/// A store outlives the runtime in which it was opened.
#[test]
fn another_runtime_goes_on() {
    for synchronous in [Synchronous::Full, Synchronous::Normal] {
        let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let fixture = runtime().block_on(Fixture::with(synchronous));
        let at = fixture.clock.now();
        runtime().block_on(async {
            fixture.store.create_app(spec("shop"), at).await.unwrap();
            assert_eq!(fixture.store.apps().await.unwrap().len(), 1);
            fixture.store.close().await.unwrap();
        });
    }
}
