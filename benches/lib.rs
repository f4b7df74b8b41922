//! What the benchmarks share: engines over backends without a world, so that
//! only the engine and the store are measured, and what is known of the machine.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use quark_core::backend::{Queue, Store};
use quark_core::memory::{Behaviour, MemoryProber, MemoryRouter, MemoryRuntime};
use quark_core::{
    App, AppName, DeployRequest, Deployment, DeploymentEngine, EngineConfig, HealthCheck, ImageRef, Result, Source,
    Timing,
};

/// The names of so many apps.
///
/// # Errors
///
/// None that a number could cause.
pub fn names(apps: usize) -> Result<Vec<AppName>> {
    (1..=apps).map(|number| AppName::parse(format!("app-{number}"))).collect()
}

/// An engine over `store` that works on so many apps at once, and the apps.
/// Their containers are healthy at once.
///
/// # Errors
///
/// What the store reports.
pub async fn engine(store: impl Store, queue: impl Queue, work: &Path, apps: usize) -> Result<DeploymentEngine> {
    let runtime = MemoryRuntime::new();
    let image = ImageRef::parse("shop:1")?;
    runtime.publish(&image, Behaviour::healthy());
    let mut config = EngineConfig::new(work);
    // No image is built here, so that would be a wait for nothing.
    config.workers = config.workers.max(apps + 1);
    config.builds = apps;
    let engine = DeploymentEngine::builder_dyn(
        Arc::new(store),
        Arc::new(queue),
        Arc::new(runtime.clone()),
        Arc::new(MemoryRouter::new()),
    )
    .with_config(config)
    .with_prober(MemoryProber::new(&runtime))
    .start()
    .await?;
    let health = HealthCheck { interval: Duration::from_millis(10), successes: 1, ..HealthCheck::http("/".parse()?) };
    let timing = Timing { drain: Duration::ZERO, ..Timing::default() };
    for name in names(apps)? {
        let app = App::new(name.as_str(), Source::Image { image: image.clone() })?;
        // The peers do not watch what they have switched to.
        engine.create_app(app.with_health(health.clone()).with_timing(timing).without_bake()).await?;
    }
    Ok(engine)
}

/// One deployment, from the request to its end.
///
/// # Errors
///
/// What the engine reports; a deployment that failed.
pub async fn deploy(engine: &DeploymentEngine, app: &AppName) -> Result<Deployment> {
    let deployment = engine.deploy(app, DeployRequest::default()).await?;
    let ended = engine.wait(deployment.id).await?;
    match ended.failure {
        None => Ok(ended),
        Some(failure) => Err(quark_core::Error::new(failure.kind, failure.message)),
    }
}

/// The processor time that this process has used up to a moment.
#[derive(Clone, Copy, Debug)]
pub struct Cpu(Option<Duration>);

impl Cpu {
    /// Up to now; unknown on systems that do not tell.
    #[must_use]
    pub fn now() -> Self {
        #[cfg(unix)]
        {
            let used = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
            Self(Duration::try_from(used).ok())
        }
        #[cfg(not(unix))]
        Self(None)
    }

    /// Since that moment.
    #[must_use]
    pub fn since(self) -> Option<Duration> {
        Some(Self::now().0?.saturating_sub(self.0?))
    }
}

/// How busy the machine is: the load of the last minute, and the share of the
/// last 10 seconds in which some task waited for a processor. Rows that were
/// measured on a busy machine say little.
#[must_use]
pub fn load() -> (Option<f64>, Option<f64>) {
    let load = std::fs::read_to_string("/proc/loadavg").ok();
    let pressure = std::fs::read_to_string("/proc/pressure/cpu").ok();
    let waited = pressure.as_deref().and_then(|text| text.split("avg10=").nth(1));
    (first_number(load.as_deref()), first_number(waited))
}

fn first_number(text: Option<&str>) -> Option<f64> {
    text?.split_whitespace().next()?.parse().ok()
}
