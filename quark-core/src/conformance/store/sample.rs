//! What the cases write: everything is filled in, so that nothing that a store
//! forgets goes unnoticed.

use std::sync::Arc;
use std::time::Duration;

use crate::app::{
    App, Argv, Artifact, BranchName, CommitSha, Domain, HealthCheck, HealthPath, Resources, Source, Timing,
};
use crate::clock::Timestamp;
use crate::deployment::{
    Answer, Approval, Bake, BakeOutcome, Canary, CanaryOutcome, ContainerName, Deployment, DeploymentId,
    DeploymentKind, Endpoint, Expectation, Failure, Fence, Generation, IdempotencyKey, Instance, InstanceState,
    Liveness, Occupant, Revision, Serving, Share, Slot, Standby, State, StepName, StepOutput, StepPhase, StepRecord,
    TeamId, Traffic, Trigger, Version,
};
use crate::error::{ErrorClass, ErrorKind};
use crate::{EnvKey, Result, Secret};

/// More than any case has of anything.
pub(super) const ALL: usize = 10_000;

/// A moment with microseconds, `number` seconds after the first.
pub(super) fn moment(number: u64) -> Timestamp {
    Timestamp::from_micros(1_600_000_000_123_456).after(Duration::from_secs(number))
}

/// What people may write, and what no store may stumble over.
pub(super) const ODD_TEXT: &str = "Zoë's \"build\" \\ {} 'x'); -- %s\n\t✓ 漢字 🦀";

/// An app that says something about everything.
pub(super) fn app(name: &str) -> Result<App> {
    let mut app = App::new(name, Source::git("https://git.test/team/shop.git", "release/1.x")?)?
        .with_domain(Domain::parse(format!("{name}.test"))?)
        .with_domain(Domain::parse(format!("www.{name}.test"))?)
        .with_port(8123)
        .with_health(HealthCheck::http(HealthPath::parse("/health?deep=1")?).with_deadline(Duration::from_millis(1501)))
        .with_resources(Resources::new(250, 128 << 20, 77)?)
        .with_command(Argv::new(["serve", "--title", "two words"])?)
        .with_timing(Timing { grace: Duration::from_millis(61_001), ..Timing::default() });
    app.env.set(EnvKey::parse("TITLE")?, Secret::new("Zoë's \"shop\" $HOME 🦀"))?;
    Ok(app)
}

/// A deployment of `app` that nobody has begun.
pub(super) fn deployment(app: &App, at: Timestamp) -> Result<Deployment> {
    let id = DeploymentId::generate();
    Ok(Deployment {
        id,
        app: app.name.clone(),
        team: TeamId::default(),
        sequence: 0,
        kind: DeploymentKind::Deploy,
        release: Arc::new(app.clone()),
        revision: Revision { branch: Some(BranchName::parse("feature/y")?), commit: None },
        artifact: None,
        slot: None,
        state: State::Queued,
        conclusion: None,
        failure: None,
        cancel: None,
        fence: Fence::default(),
        version: Version::default(),
        created_by: ODD_TEXT.to_owned(),
        trigger: Trigger::Push,
        key: Some(IdempotencyKey::parse(format!("wish/{id}"))?),
        approval: None,
        bake: None,
        expects: Some(Expectation { version: Version(3), live: Some(id), standby: None }),
        liveness: None,
        canary: None,
        created_at: at,
        started_at: None,
        finished_at: None,
    })
}

/// A question to people, with nothing left out.
pub(super) fn approval() -> Approval {
    let answer = Answer { by: ODD_TEXT.to_owned(), at: moment(60), approved: true, comment: Some("fine".to_owned()) };
    Approval {
        answers: vec![answer],
        decided_at: Some(moment(61)),
        unwell: 2,
        ..Approval::ask(artifact(), "nonce".to_owned(), moment(59))
    }
}

/// A watch over a version, with nothing left out.
pub(super) fn bake() -> Result<Bake> {
    Ok(Bake {
        began_at: moment(62),
        ends_at: moment(63),
        unwell: 2,
        unwell_at: Some(moment(64)),
        unseen: 1,
        failure: Some(failure()),
        traffic_before: Some(Traffic { requests: 700, failed: 3, p95: Some(Duration::from_millis(12)) }),
        previous: Some(DeploymentId::generate()),
        domains: vec![Domain::parse("before.test")?],
        outcome: Some(BakeOutcome::Held),
    })
}

/// What was seen of a version while it is live, with nothing left out.
pub(super) fn liveness() -> Liveness {
    Liveness {
        restarts: vec![moment(65), moment(66)],
        unwell_since: Some(moment(67)),
        failure: Some(failure()),
        looping_since: Some(moment(68)),
        rollback: Some(DeploymentId::generate()),
        held: Some(failure()),
    }
}
/// The way of a version through its steps, with nothing left out.
pub(super) fn canary() -> Result<Canary> {
    Ok(Canary {
        began_at: moment(55),
        step: 1,
        share: Some(Share::of_hundred(25)?),
        held_since: Some(moment(56)),
        ends_at: Some(moment(58)),
        held: Duration::from_millis(60_250),
        unwell: 2,
        unwell_at: Some(moment(57)),
        unseen: 1,
        failure: Some(failure()),
        outcome: Some(CanaryOutcome::TakenBack),
    })
}

/// Why something failed, with nothing left out.
pub(super) fn failure() -> Failure {
    Failure {
        step: Some(StepName::Build),
        kind: ErrorKind::BuildFailed,
        code: "compiler_said_no".to_owned(),
        class: ErrorClass::Permanent,
        message: ODD_TEXT.to_owned(),
        hint: Some("read the log".to_owned()),
        field: Some("app.dockerfile".to_owned()),
    }
}

/// A commit of git.
pub(super) fn commit_sha() -> Result<CommitSha> {
    CommitSha::parse("0123456789abcdef0123456789abcdef01234567")
}

/// An image.
pub(super) fn artifact() -> Artifact {
    Artifact { id: format!("sha256:{}", "a1".repeat(32)), label: "shop:0123456".to_owned() }
}

/// A step that was begun.
pub(super) fn step(name: StepName, attempt: u32, at: Timestamp) -> StepRecord {
    StepRecord {
        name,
        attempt,
        phase: StepPhase::Intent,
        fence: Fence(attempt.into()),
        resumed: 3,
        started_at: at,
        finished_at: None,
        deadline: at.after(Duration::from_millis(90_001)),
        output: None,
        failure: None,
    }
}

/// The same step, done.
pub(super) fn done(step: StepRecord, at: Timestamp) -> Result<StepRecord> {
    let output = StepOutput {
        commit: Some(commit_sha()?),
        artifact: Some(artifact()),
        reused: true,
        note: Some(ODD_TEXT.to_owned()),
        exit_code: Some(-1),
    };
    Ok(StepRecord { phase: StepPhase::Done, finished_at: Some(at), output: Some(output), ..step })
}

/// The first instance of a deployment.
pub(super) fn instance(deployment: &Deployment, slot: Slot, state: InstanceState) -> Instance {
    Instance {
        name: ContainerName::of(&deployment.app, deployment.id, 0),
        deployment: deployment.id,
        replica: 0,
        slot,
        state,
        endpoint: Endpoint::new(format!("{}-{slot}:8123", deployment.app)),
        resources: deployment.release.resources,
    }
}

/// What serves once `live` was promoted in front of `before`.
pub(super) fn serving(live: &Deployment, before: DeploymentId) -> Serving {
    let occupant = |deployment, slot| Occupant { deployment, slot, restores: Some(before) };
    Serving {
        contested: Some(crate::deployment::Slot::Blue),
        live: Some(occupant(live.id, Slot::Green)),
        standby: Some(Standby { occupant: occupant(before, Slot::Blue), retire_at: moment(600), retiring: true }),
        previous: Some(before),
        generation: Generation(41),
        domains: live.release.domains.clone(),
        blue: Some(Endpoint::new(format!("{}-blue:8123", live.app))),
        green: Some(Endpoint::new(format!("{}-green:8123", live.app))),
        canary: Share::of_hundred(25).ok(),
    }
}
