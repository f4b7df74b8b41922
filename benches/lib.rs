//! What the benchmarks share: engines over backends without a world, so that
//! only the engine and the store are measured.

use std::sync::Arc;
use std::time::Duration;

use quark_core::backend::{Queue, Store};
use quark_core::memory::{Behaviour, MemoryProber, MemoryRouter, MemoryRuntime};
use quark_core::{App, AppName, DeployRequest, DeploymentEngine, HealthCheck, ImageRef, Result, Source, Timing};

/// The app that is deployed.
///
/// # Errors
///
/// None that a constant name could cause.
pub fn name() -> Result<AppName> {
    AppName::parse("shop")
}

/// An engine over `store` whose containers are healthy at once, and its app.
///
/// # Errors
///
/// What the store reports.
pub async fn engine(store: impl Store, queue: impl Queue, work: &std::path::Path) -> Result<DeploymentEngine> {
    let runtime = MemoryRuntime::new();
    runtime.publish(&ImageRef::parse("shop:1")?, Behaviour::healthy());
    let engine = DeploymentEngine::builder_dyn(
        Arc::new(store),
        Arc::new(queue),
        Arc::new(runtime.clone()),
        Arc::new(MemoryRouter::new()),
    )
    .with_prober(MemoryProber::new(&runtime))
    .with_work_dir(work)
    .start()
    .await?;
    let health = HealthCheck { interval: Duration::from_millis(10), successes: 1, ..HealthCheck::http("/".parse()?) };
    let timing = Timing { drain: Duration::ZERO, ..Timing::default() };
    engine.create_app(App::new("shop", Source::image("shop:1")?)?.with_health(health).with_timing(timing)).await?;
    Ok(engine)
}

/// One deployment, from the request to its end.
///
/// # Errors
///
/// What the engine reports; a deployment that failed.
pub async fn deploy(engine: &DeploymentEngine) -> Result<()> {
    let deployment = engine.deploy(&name()?, DeployRequest::default()).await?;
    let ended = engine.wait(deployment.id).await?;
    match ended.failure {
        None => Ok(()),
        Some(failure) => Err(quark_core::Error::new(failure.kind, failure.message)),
    }
}
