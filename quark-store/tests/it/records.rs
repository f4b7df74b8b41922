//! What is written is read back equal, down to the odd values.

use std::time::Duration;

use quark_core::app::{Artifact, Resources};
use quark_core::backend::{CancelOutcome, Store};
use quark_core::deployment::{
    CancelRequest, Conclusion, ContainerName, Deployment, DeploymentId, DeploymentKind, Endpoint, EventKind, Failure,
    Fence, Instance, InstanceState, LogStream, Occupant, Serving, Slot, Standby, State, StepName, StepOutput,
    StepPhase, StepRecord, SupersedePolicy,
};
use quark_core::{Clock, Error, ErrorKind, Timestamp};

use crate::fixture::{Active, Fixture, create, deployment, job, name, spec};

fn failure() -> Failure {
    Failure::from_error(StepName::Probe, &Error::new(ErrorKind::Unhealthy, "no 'answer'; \u{1F600} \0").with_hint("h"))
}

fn step(name: StepName, attempt: u32, at: Timestamp) -> StepRecord {
    StepRecord {
        name,
        attempt,
        phase: StepPhase::Intent,
        fence: Fence(3),
        resumed: 2,
        started_at: at,
        finished_at: None,
        deadline: at.after(Duration::from_secs(1)),
        output: None,
        failure: None,
    }
}

#[tokio::test]
async fn a_commit_is_read_back_whole() {
    let fixture = Fixture::new().await;
    let Active { lease, deployment: mut wanted, app } = fixture.admitted("shop").await;
    let at = fixture.clock.now();
    wanted.artifact = Some(Artifact { id: "sha256:1".to_owned(), label: "quark/shop:1".to_owned() });
    wanted.slot = Some(Slot::Green);
    wanted.state = State::Completed;
    wanted.conclusion = Some(Conclusion::Failed);
    wanted.failure = Some(failure());
    wanted.finished_at = Some(at);
    let active = Active { lease, deployment: wanted.clone(), app };
    let mut commit = active.commit();
    let occupant = Occupant { deployment: wanted.id, slot: Slot::Green, restores: None };
    let serving = Serving {
        contested: None,
        live: Some(occupant.clone()),
        standby: Some(Standby { occupant, retire_at: at, retiring: true }),
        previous: Some(DeploymentId::generate()),
        generation: quark_core::deployment::Generation(7),
        domains: spec("shop").domains,
        blue: Some(Endpoint::new("127.0.0.1:31000")),
        green: Some(Endpoint::new("127.0.0.1:31001")),
        canary: quark_core::Share::of_hundred(25).ok(),
    };
    commit.serving = Some(serving.clone());
    let mut done = step(StepName::Probe, 1, at);
    done.phase = StepPhase::Failed;
    done.finished_at = Some(at);
    done.output = Some(StepOutput { note: Some("slow".to_owned()), ..StepOutput::default() });
    done.failure = Some(failure());
    commit.steps = vec![done.clone()];
    let instance = Instance {
        name: ContainerName::of(&name("shop"), wanted.id, 0),
        deployment: wanted.id,
        replica: 0,
        slot: Slot::Green,
        state: InstanceState::Planned,
        endpoint: Endpoint::new("127.0.0.1:31001"),
        resources: Resources::new(250, 128 << 20, 77).unwrap(),
    };
    commit.instances = vec![instance.clone()];
    wanted.version = fixture.store.commit(commit).await.unwrap();

    let snapshot = fixture.store.snapshot(wanted.id).await.unwrap().unwrap();
    assert_eq!(snapshot.deployment, wanted);
    assert_eq!(snapshot.app.unwrap().serving, serving);
    assert_eq!(snapshot.steps, [done]);
    assert_eq!(snapshot.instances, [instance]);
}

#[tokio::test]
async fn steps_keep_the_order_in_which_they_were_begun() {
    let fixture = Fixture::new().await;
    let mut active = fixture.admitted("shop").await;
    let at = fixture.clock.now();
    for (name, attempt, phase) in [
        (StepName::Start, 1, StepPhase::Intent),
        (StepName::Fetch, 1, StepPhase::Intent),
        (StepName::Start, 1, StepPhase::Failed),
        (StepName::Start, 2, StepPhase::Intent),
        (StepName::Fetch, 1, StepPhase::Done),
    ] {
        let mut commit = active.commit();
        commit.steps = vec![StepRecord { phase, ..step(name, attempt, at) }];
        active.deployment.version = fixture.store.commit(commit).await.unwrap();
    }
    let steps = fixture.store.snapshot(active.deployment.id).await.unwrap().unwrap().steps;
    let found: Vec<_> = steps.iter().map(|step| (step.name, step.attempt, step.phase)).collect();
    let expected = [
        (StepName::Start, 1, StepPhase::Failed),
        (StepName::Fetch, 1, StepPhase::Done),
        (StepName::Start, 2, StepPhase::Intent),
    ];
    assert_eq!(found, expected);
}

#[tokio::test]
async fn a_forgotten_app_leaves_its_history_and_its_numbering() {
    let fixture = Fixture::new().await;
    let mut active = fixture.admitted("shop").await;
    let at = fixture.clock.now();
    fixture.store.append_log(active.deployment.id, vec![(at, LogStream::System, "bye".to_owned())]).await.unwrap();
    active.deployment.state = State::Completed;
    let mut commit = active.commit();
    commit.serving = Some(Serving { blue: Some(Endpoint::new("127.0.0.1:31000")), ..Serving::default() });
    commit.forget_app = true;
    fixture.store.commit(commit).await.unwrap();

    assert_eq!(fixture.store.app(&name("shop")).await.unwrap(), None);
    assert!(fixture.store.snapshot(active.deployment.id).await.unwrap().unwrap().app.is_none());
    assert_eq!(fixture.store.log(active.deployment.id, 0, 10).await.unwrap().len(), 1);
    // Its host name and its address are free again.
    let mut other = spec("other");
    other.domains = spec("shop").domains;
    fixture.store.create_app(other, at).await.unwrap();
    let mut again = spec("shop");
    again.domains.clear();
    fixture.store.create_app(again, at).await.unwrap();
    assert_eq!(create(&fixture.store, "shop", at).await.sequence, 2);
    let lease = fixture.store.acquire_lease(&name("shop"), &active.lease.owner, crate::fixture::TTL).await.unwrap();
    assert!(lease.fence > active.lease.fence, "fences are never given twice");
}

#[tokio::test]
async fn a_removal_closes_the_app_for_more() {
    let fixture = Fixture::new().await;
    let at = fixture.clock.now();
    let record = fixture.store.create_app(spec("shop"), at).await.unwrap();
    let removal = Deployment { kind: DeploymentKind::Remove, ..deployment("shop", at) };
    let job = job(&removal);
    let created = fixture.store.create_deployment(removal, job, SupersedePolicy::Serial).await.unwrap().deployment;
    assert_eq!(fixture.store.deployment(created.id).await.unwrap(), Some(created));
    assert_eq!(fixture.store.app(&name("shop")).await.unwrap().unwrap().removed_at, Some(at));
    let update = fixture.store.update_app(spec("shop"), record.version, at).await.unwrap_err();
    assert_eq!(update.code(), "app_removed");
}

#[tokio::test]
async fn a_wish_to_cancel_does_not_stand_in_the_way_of_the_engine() {
    let fixture = Fixture::new().await;
    let mut active = fixture.admitted("shop").await;
    let (id, at) = (active.deployment.id, fixture.clock.now());
    for _ in 0..2 {
        assert_eq!(
            fixture.store.request_cancel(id, CancelRequest::new("ann", at)).await.unwrap(),
            CancelOutcome::Requested
        );
    }
    let events = fixture.store.events(Some(id), 0, 10).await.unwrap();
    let wishes = events.iter().filter(|event| matches!(event.kind, EventKind::CancelRequested { .. })).count();
    assert_eq!(wishes, 1);
    // The writer has not seen the wish; it stays all the same.
    active.deployment.version = fixture.store.commit(active.commit()).await.unwrap();
    let stored = fixture.store.deployment(id).await.unwrap().unwrap();
    assert_eq!(stored.cancel.map(|cancel| cancel.by), Some("ann".to_owned()));
}

#[tokio::test]
async fn long_logs_are_numbered_without_gaps() {
    let fixture = Fixture::new().await;
    fixture.store.create_app(spec("shop"), fixture.clock.now()).await.unwrap();
    let id = create(&fixture.store, "shop", fixture.clock.now()).await.id;
    let at = fixture.clock.now();
    let lines: Vec<_> = (0..1234).map(|n| (at, LogStream::Stdout, format!("line {n} '\"\0\u{FFFD}"))).collect();
    fixture.store.append_log(id, lines.clone()).await.unwrap();
    fixture.store.append_log(id, Vec::new()).await.unwrap();
    fixture.store.append_log(id, vec![(at, LogStream::Stderr, String::new())]).await.unwrap();

    let read = fixture.store.log(id, 0, usize::MAX).await.unwrap();
    assert!(read.iter().zip(1..).all(|(line, number)| line.sequence == number));
    assert_eq!(read.len(), 1235);
    assert!(read.iter().zip(&lines).all(|(line, (_, _, text))| line.text == *text));
    assert_eq!(fixture.store.log(id, 1234, 10).await.unwrap()[0].stream, LogStream::Stderr);
    assert!(fixture.store.log(id, u64::MAX, 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn errors_show_no_secret() {
    let fixture = Fixture::new().await;
    let at = fixture.clock.now();
    fixture.store.create_app(spec("shop"), at).await.unwrap();
    let first = create(&fixture.store, "shop", at).await;
    let job = job(&first);
    let error = fixture.store.create_deployment(first, job, SupersedePolicy::Serial).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    assert!(!format!("{error:?} {} {:?}", error.report(), fixture.store).contains("hunter2"));
}
