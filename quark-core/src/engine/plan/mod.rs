//! What a wish would lead to, before anything is done: the engine's own
//! decisions, made ahead of time (`rehearse`), with what stands in their way.

mod gather;
mod model;
mod rehearse;
mod text;

use super::admission::RoomLeft;
use super::api::DeploymentEngine;
use super::explain::{self, Explanation, Facts, Finding};
use super::wish::Wish;
use crate::app::{AppName, Artifact, CommitSha, Domain};
use crate::backend::Snapshot;
use crate::deployment::{Deployment, DeploymentKind, Expectation, Failure, Serving, State, StepName, Superseding};
use crate::{Error, ErrorKind, Result};

use super::decide::warm_standby;
pub use model::{Downtime, Earlier, Effect, Fate, Obstacle, Plan, PlannedStep, PlannedWish};
use rehearse::{Known, rehearse};

impl DeploymentEngine {
    /// What a wish would lead to, step by step, and what stands in its way.
    /// Nothing is done, and nothing is written. Safe to drop.
    ///
    /// What is resolved here is what [`apply`](Self::apply) deploys: the commit
    /// that the branch points at now. An image that is named by a tag is pulled
    /// when it is deployed.
    ///
    /// # Errors
    ///
    /// As [`deploy`](Self::deploy), [`rollback`](Self::rollback) and
    /// [`remove_app`](Self::remove_app): what would be refused has no plan. What
    /// would be accepted and fail has one, with an [`Obstacle`].
    pub async fn plan(&self, app: &AppName, wish: Wish) -> Result<Plan> {
        let (facts, asked) = Box::pin(gather::gather(self, app, wish)).await?;
        plan(&facts, asked)
    }

    /// Does what was planned, if what the plan was made from is still so: when
    /// it is applied, and once more when its turn comes, before anything is
    /// done. The same plan applied twice is one deployment.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Conflict`] with code `plan_outdated`, and what has changed;
    /// else as [`plan`](Self::plan).
    pub async fn apply(&self, plan: PlannedWish) -> Result<Deployment> {
        self.wish(&plan.app, plan.wish, Some(plan.expects)).await
    }
}

/// What was asked, and what was found out about it.
#[derive(Clone, Debug)]
struct Asked {
    wish: Wish,
    /// The deployment that it would become.
    deployment: Deployment,
    commit: Option<CommitSha>,
    artifact: Option<Artifact>,
    /// What could not be found out, or would be refused.
    failures: Vec<Failure>,
    base: Domain,
    room: Option<RoomLeft>,
}

fn plan(facts: &Facts, asked: Asked) -> Result<Plan> {
    let explanation = explain::explain(facts);
    let live = facts.live.as_ref();
    let mut deployment = asked.deployment;
    if deployment.kind == DeploymentKind::Deploy && asked.commit.is_some() {
        deployment.revision.commit.clone_from(&asked.commit);
    }
    let snapshot = Snapshot {
        deployment: deployment.clone(),
        app: Some(facts.app.clone()),
        steps: Vec::new(),
        instances: facts.instances.clone(),
    };
    let known = Known {
        commit: asked.commit,
        artifact: asked.artifact,
        journal: live.map_or(&[], |live| &live.steps),
        base: &asked.base,
        now: facts.at,
    };
    let warm = warm_standby(&snapshot);
    let rehearsed = rehearse(snapshot, live.map(|live| &live.deployment), &known)?;
    let mut obstacles = waits(&explanation);
    if deployment.kind == DeploymentKind::Remove {
        // It takes a stuck one with it.
        obstacles.retain(|obstacle| !matches!(obstacle, Obstacle::Waits { finding: Finding::Stuck { .. } }));
    }
    let failures = rehearsed.failure.into_iter().chain(asked.failures).chain(refusal(facts, &deployment));
    obstacles.splice(0..0, failures.map(|failure| Obstacle::Fails { failure }));
    let before = live.map(|live| &live.deployment.release);
    let removes = deployment.kind == DeploymentKind::Remove;
    Ok(Plan {
        app: facts.app.spec.name.clone(),
        at: facts.at,
        version: live.filter(|_| removes).map_or_else(
            || explain::version(&deployment.release, &deployment),
            |live| explain::version(&live.deployment.release, &live.deployment),
        ),
        changes: before.filter(|_| !removes).map(|before| deployment.release.changes_since(before)).unwrap_or_default(),
        earlier: earlier(facts, &deployment),
        downtime: downtime(&explanation, &deployment.kind),
        steps: rehearsed.steps,
        room: asked.room,
        obstacles,
        wish: PlannedWish {
            app: facts.app.spec.name.clone(),
            wish: asked.wish,
            expects: expectation(facts, &facts.app.serving, warm),
        },
        kind: deployment.kind,
        live: explanation.live,
    })
}

/// What must still be so when the plan is applied. `warm` says that it goes back
/// to what stands by.
fn expectation(facts: &Facts, serving: &Serving, warm: bool) -> Expectation {
    Expectation {
        version: facts.app.version,
        live: serving.live.as_ref().map(|live| live.deployment),
        standby: serving.standby.as_ref().filter(|_| warm).map(|standby| standby.occupant.deployment),
    }
}

/// What becomes of the deployments that have not ended.
fn earlier(facts: &Facts, newer: &Deployment) -> Vec<Earlier> {
    let makes_way = |earlier: &Deployment| match earlier.state {
        State::Baking => newer.kind != DeploymentKind::Deploy,
        State::Stuck => newer.kind == DeploymentKind::Remove,
        _ => false,
    };
    let fate = |earlier: &Deployment| match newer.release.supersede.verdict(newer, earlier) {
        _ if makes_way(earlier) => Fate::MakesWay,
        Superseding::Ends => Fate::Ends,
        Superseding::Stops => Fate::Stops,
        Superseding::Stays | Superseding::Refuses => Fate::ComesFirst,
    };
    let told =
        |earlier: &Deployment| Earlier { deployment: earlier.id, sequence: earlier.sequence, fate: fate(earlier) };
    facts.unfinished.iter().map(told).collect()
}

/// Why it would be refused at once, because of one that has not ended.
fn refusal(facts: &Facts, newer: &Deployment) -> Option<Failure> {
    let refuses = |earlier: &&Deployment| newer.release.supersede.verdict(newer, earlier) == Superseding::Refuses;
    let earlier = facts.unfinished.iter().find(refuses)?;
    let text = format!("deployment `{}` of the app has not ended, and the app takes one at a time", earlier.id);
    let error = Error::new(ErrorKind::Conflict, text).with_code("deployment_under_way");
    Some(before_any_step(&error))
}

/// What the engine says is wrong, and has to be over first.
fn waits(explanation: &Explanation) -> Vec<Obstacle> {
    let hinders = |finding: &&Finding| {
        matches!(
            finding,
            Finding::SafeMode { .. }
                | Finding::RuntimeAway { .. }
                | Finding::RouterAway { .. }
                | Finding::Stuck { .. }
                | Finding::MendFails { .. }
                | Finding::RetirementFails { .. }
        )
    };
    explanation.findings.iter().filter(hinders).map(|finding| Obstacle::Waits { finding: finding.clone() }).collect()
}

fn downtime(explanation: &Explanation, kind: &DeploymentKind) -> Downtime {
    let is_down = |finding: &Finding| {
        matches!(finding, Finding::ContainerMissing { .. } | Finding::ContainerStopped { .. } | Finding::NoRoute)
    };
    match kind {
        _ if explanation.live.is_none() => Downtime::NothingServes,
        DeploymentKind::Remove => Downtime::ForGood,
        _ if explanation.findings.iter().any(is_down) => Downtime::AlreadyDown,
        _ => Downtime::None,
    }
}

/// What would fail before any step is done.
fn before_any_step(error: &Error) -> Failure {
    Failure { step: None, ..Failure::from_error(StepName::Fetch, error) }
}
