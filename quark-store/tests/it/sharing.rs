//! Two stores on one file, as two processes have them.

use std::time::Duration;

use quark_core::Clock;
use quark_core::ErrorKind;
use quark_core::OwnerId;
use quark_core::backend::Store;
use quark_core::deployment::{Deployment, SupersedePolicy};

use crate::fixture::{Fixture, TTL, create, deployment, job, name, owner, spec};

#[tokio::test]
async fn each_sees_the_leases_of_the_other() {
    let fixture = Fixture::new().await;
    let (one, two) = (fixture.store.clone(), fixture.open_again().await);
    let first = one.acquire_lease(&name("shop"), &owner("engine-1"), TTL).await.unwrap();

    fixture.clock.advance(Duration::from_secs(10));
    let held = two.acquire_lease(&name("shop"), &owner("engine-2"), TTL).await.unwrap_err();
    assert_eq!((held.kind(), held.code()), (ErrorKind::Conflict, "lease_held"));
    assert_eq!(held.retry_after(), Some(Duration::from_secs(20)));

    fixture.clock.advance(Duration::from_secs(20));
    let second = two.acquire_lease(&name("shop"), &owner("engine-2"), TTL).await.unwrap();
    assert!(second.fence > first.fence);
    assert_eq!(one.renew_lease(&first, TTL).await.unwrap_err().kind(), ErrorKind::Fenced);
    two.close().await.unwrap();
}

#[tokio::test]
async fn a_commit_is_fenced_by_the_other_process() {
    let fixture = Fixture::new().await;
    let active = fixture.admitted("shop").await;
    let two = fixture.open_again().await;
    fixture.clock.advance(TTL);
    two.acquire_lease(&name("shop"), &owner("engine-2"), TTL).await.unwrap();

    let before = fixture.store.snapshot(active.deployment.id).await.unwrap().unwrap();
    let error = fixture.store.commit(active.commit()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fenced);
    let after = two.snapshot(active.deployment.id).await.unwrap().unwrap();
    assert_eq!(after.deployment, before.deployment);
    two.close().await.unwrap();
}

#[tokio::test]
async fn a_lease_that_ran_out_still_counts_until_somebody_takes_it() {
    let (fixture, other) = (Fixture::new().await, OwnerId::parse("other").unwrap());
    let mut active = fixture.admitted("shop").await;
    fixture.clock.advance(TTL);
    active.deployment.version = fixture.store.commit(active.commit()).await.unwrap();
    fixture.store.acquire_lease(&active.lease.app, &other, TTL).await.unwrap();
    assert_eq!(fixture.store.commit(active.commit()).await.unwrap_err().kind(), ErrorKind::Fenced);
    assert_eq!(fixture.store.renew_lease(&active.lease, TTL).await.unwrap_err().kind(), ErrorKind::Fenced);
}

#[tokio::test]
async fn both_number_the_same_deployments() {
    let fixture = Fixture::new().await;
    let (one, two) = (fixture.store.clone(), fixture.open_again().await);
    let at = fixture.clock.now();
    one.create_app(spec("shop"), at).await.unwrap();
    let mut creating = tokio::task::JoinSet::new();
    for number in 0..20 {
        let store = if number % 2 == 0 { one.clone() } else { two.clone() };
        creating.spawn(async move { create(&store, "shop", at).await.sequence });
    }
    let mut sequences = creating.join_all().await;
    sequences.sort_unstable();
    assert_eq!(sequences, (1..=20).collect::<Vec<_>>());
    two.close().await.unwrap();
}

#[tokio::test]
async fn of_both_only_the_newest_deployment_is_left() {
    let fixture = Fixture::new().await;
    let (one, two) = (fixture.store.clone(), fixture.open_again().await);
    let at = fixture.clock.now();
    one.create_app(spec("shop"), at).await.unwrap();
    let mut creating = tokio::task::JoinSet::new();
    for number in 0..20 {
        let store = if number % 2 == 0 { one.clone() } else { two.clone() };
        let draft = Deployment { key: Some(format!("push/{}", number / 4).parse().unwrap()), ..deployment("shop", at) };
        let job = job(&draft);
        creating.spawn(async move { store.create_deployment(draft, job, SupersedePolicy::Coalesce).await.unwrap() });
    }
    let created = creating.join_all().await;
    assert_eq!(created.iter().filter(|created| !created.existing).count(), 5, "one for each key");
    let listed = one.deployments(&name("shop"), None, 100).await.unwrap();
    let sequences: Vec<u64> = listed.iter().map(|deployment| deployment.sequence).collect();
    assert_eq!(sequences, [5, 4, 3, 2, 1]);
    let unfinished = two.unfinished(None).await.unwrap();
    assert_eq!(unfinished, listed[..1]);
    two.close().await.unwrap();
}
