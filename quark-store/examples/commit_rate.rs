//! How many commits per second the SQLite store makes on this machine.
//!
//! `cargo run -p quark-store --example commit_rate [folder]`

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quark_core::app::{App, Source};
use quark_core::backend::{Commit, Guard, JobKind, NewJob, Priority, Store};
use quark_core::deployment::{
    Deployment, DeploymentId, DeploymentKind, EventKind, Fence, OwnerId, Revision, State, SupersedePolicy, TeamId,
    Trigger, Version,
};
use quark_core::{Clock, Result, SystemClock};
use quark_store::{SqliteConfig, SqliteStore, Synchronous};

const MEASURED: Duration = Duration::from_secs(3);

#[tokio::main]
#[allow(clippy::print_stdout, reason = "the figures are what this program is for")]
async fn main() -> Result<()> {
    let folder = std::env::args_os().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    println!("{:<12} {:>10} {:>12} {:>14}", "synchronous", "committers", "commits/s", "ms per commit");
    for synchronous in [Synchronous::Full, Synchronous::Normal] {
        for committers in [1, 8, 32] {
            let path = folder.join(format!("quark-commit-rate-{}.db", DeploymentId::generate()));
            let store = SqliteStore::open(SqliteConfig::new(&path).with_synchronous(synchronous)).await?;
            let rate = measure(&store, committers).await?;
            store.close().await?;
            // The log and its index went with the last connection.
            if let Err(error) = std::fs::remove_file(&path) {
                println!("{} stays: {error}", path.display());
            }
            let each = 1000.0 * f64::from(committers) / rate;
            println!("{:<12} {committers:>10} {rate:>12.0} {each:>14.2}", format!("{synchronous:?}"));
        }
    }
    Ok(())
}

/// Commits per second of so many deployments at work, each waiting for its last commit.
async fn measure(store: &SqliteStore, committers: u32) -> Result<f64> {
    let mut commits = Vec::new();
    for number in 0..committers {
        commits.push(first_commit(store, &format!("app-{number}")).await?);
    }
    let started = Instant::now();
    let mut working = tokio::task::JoinSet::new();
    for mut commit in commits {
        let store = store.clone();
        working.spawn(async move {
            let mut done = 0_u32;
            while started.elapsed() < MEASURED {
                commit.guard.version = store.commit(commit.clone()).await?;
                commit.guard.admits = false;
                done += 1;
            }
            Ok(done)
        });
    }
    let done: u32 = working.join_all().await.into_iter().sum::<Result<u32>>()?;
    Ok(f64::from(done) / started.elapsed().as_secs_f64())
}

/// What an engine commits at each step: the deployment's row and an event.
async fn first_commit(store: &SqliteStore, name: &str) -> Result<Commit> {
    let at = SystemClock::new().now();
    let spec = App::new(name, Source::git("https://git.example.com/acme/shop", "main")?)?;
    store.create_app(spec.clone(), at).await?;
    let deployment = Deployment {
        id: DeploymentId::generate(),
        app: spec.name.clone(),
        team: TeamId::default(),
        sequence: 0,
        kind: DeploymentKind::Deploy,
        release: Arc::new(spec),
        revision: Revision::default(),
        artifact: None,
        slot: None,
        state: State::Queued,
        conclusion: None,
        failure: None,
        cancel: None,
        fence: Fence(0),
        version: Version(0),
        created_by: "commit_rate".to_owned(),
        trigger: Trigger::Request,
        key: None,
        approval: None,
        bake: None,
        expects: None,
        liveness: None,
        canary: None,
        created_at: at,
        started_at: None,
        finished_at: None,
    };
    let job = NewJob::new(JobKind::Deploy, deployment.id, deployment.app.clone(), Priority::DEPLOY, at);
    let mut deployment = store.create_deployment(deployment, job, SupersedePolicy::Serial).await?.deployment;
    let lease = store.acquire_lease(&deployment.app, &OwnerId::unique(), Duration::from_secs(600)).await?;
    deployment.state = State::Admitted;
    Ok(Commit {
        guard: Guard { lease, version: deployment.version, unless_cancelled: true, admits: true, room: None },
        deployment,
        serving: None,
        steps: Vec::new(),
        instances: Vec::new(),
        events: vec![EventKind::StateChanged { from: State::Queued, to: State::Admitted }],
        jobs: Vec::new(),
        forget_app: false,
        hand_back: None,
        at,
    })
}
