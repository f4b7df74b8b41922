//! Many writers at once: each write is whole, and none spoils another.

use std::collections::HashSet;

use quark_core::ErrorKind;
use quark_core::backend::Store;
use quark_core::deployment::{EventKind, State, Version};

use crate::fixture::{Fixture, create};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_writers_get_every_version_once() {
    let fixture = Fixture::new().await;
    let active = fixture.admitted("shop").await;
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let (store, mut commit) = (fixture.store.clone(), active.commit());
        writers.spawn(async move {
            let mut got = Vec::new();
            while got.len() < 10 {
                match store.commit(commit.clone()).await {
                    Ok(version) => {
                        got.push(version);
                        commit.guard.version = version;
                    }
                    Err(error) => {
                        assert_eq!(error.code(), "version_changed");
                        commit.guard.version = store.deployment(commit.deployment.id).await.unwrap().unwrap().version;
                    }
                }
            }
            got
        });
    }
    let versions: Vec<Version> = writers.join_all().await.into_iter().flatten().collect();
    assert_eq!(versions.iter().collect::<HashSet<_>>().len(), 160);
    let last = fixture.store.deployment(active.deployment.id).await.unwrap().unwrap().version;
    assert_eq!(Some(&last), versions.iter().max());
    assert_eq!(last.0, active.deployment.version.0 + 160);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_refused_write_leaves_its_neighbours_alone() {
    let fixture = Fixture::new().await;
    let mut writers = tokio::task::JoinSet::new();
    for number in 0..40_u32 {
        let active = fixture.admitted(&format!("app-{number}")).await;
        let store = fixture.store.clone();
        writers.spawn(async move {
            let mut commit = active.commit();
            commit.events = vec![EventKind::Retired];
            if number % 2 == 1 {
                commit.guard.version = Version(99);
            }
            let result = store.commit(commit).await;
            let stored = store.deployment(active.deployment.id).await.unwrap().unwrap();
            let events = store.events(Some(active.deployment.id), 0, 10).await.unwrap();
            if number % 2 == 1 {
                assert_eq!(result.unwrap_err().code(), "version_changed");
                assert_eq!((stored.version, events.len()), (active.deployment.version, 1));
            } else {
                assert_eq!(stored.version, result.unwrap());
                assert_eq!(events.len(), 2);
            }
        });
    }
    writers.join_all().await;
    let events = fixture.store.events(None, 0, 1000).await.unwrap();
    let sequences: Vec<u64> = events.iter().map(|event| event.sequence).collect();
    assert_eq!(sequences, (1..=60).collect::<Vec<_>>(), "refused writes leave no gaps");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_of_many_is_admitted() {
    let fixture = Fixture::new().await;
    let mut active = fixture.admitted("shop").await;
    active.deployment.state = State::Completed;
    fixture.store.commit(active.commit()).await.unwrap();
    let mut waiting = Vec::new();
    for _ in 0..8 {
        waiting.push(create(&fixture.store, "shop", active.deployment.created_at).await);
    }
    let mut admissions = tokio::task::JoinSet::new();
    for deployment in waiting.clone() {
        let (store, mut commit) = (fixture.store.clone(), active.commit());
        commit.guard.version = deployment.version;
        commit.guard.admits = true;
        commit.deployment = deployment;
        commit.deployment.state = State::Admitted;
        admissions.spawn(async move { store.commit(commit).await });
    }
    let (admitted, refused): (Vec<_>, Vec<_>) =
        admissions.join_all().await.into_iter().partition(std::result::Result::is_ok);
    assert_eq!(admitted.len(), 1);
    assert!(refused.iter().all(|error| error.as_ref().is_err_and(|error| error.code() == "app_busy")));
    let first = fixture.store.deployment(waiting[0].id).await.unwrap().unwrap();
    assert_eq!(first.state, State::Admitted, "the earliest comes first");
}

#[tokio::test]
async fn a_caller_that_goes_away_harms_nobody() {
    let fixture = Fixture::new().await;
    let active = fixture.admitted("shop").await;
    for _ in 0..50 {
        let store = fixture.store.clone();
        let commit = active.commit();
        let gone = tokio::spawn(async move { store.commit(commit).await });
        tokio::task::yield_now().await;
        gone.abort();
    }
    let stored = fixture.store.deployment(active.deployment.id).await.unwrap().unwrap();
    let mut commit = active.commit();
    commit.guard.version = stored.version;
    match fixture.store.commit(commit).await {
        Ok(version) => assert_eq!(version, stored.version.next()),
        // One that had gone was done in between.
        Err(error) => assert_eq!(error.kind(), ErrorKind::Conflict),
    }
}
