//! The reference server: the engine behind its HTTP API.
//!
//! ```text
//! cargo run --example server --features server -- --state ./state
//! ```
//!
//! At its first start it prints the API's token, once. SIGTERM and Ctrl-C end
//! it in order: requests in flight are finished, applications keep running and
//! are found again at the next start.

mod backends;
mod config;
#[cfg(feature = "crash-points")]
mod crash_points;
mod token;

use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use quark_core::backend::Store;
use quark_core::git::GitFetcher;
use quark_core::metrics::PrometheusMetrics;
use quark_core::{DeploymentEngine, Domain, EngineConfig, OwnerId};
use quark_http::ApiConfig;
use quark_store::{SqliteConfig, SqliteStore};
use tokio::signal::unix::{SignalKind, signal};

use config::Config;

/// Deployments are made of many small allocations on several threads; the
/// system's own allocator costs a sixth of their processor time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long requests in flight are waited for at the end.
const GRACE: Duration = Duration::from_secs(25);

#[tokio::main]
async fn main() -> Result<()> {
    let config = Config::parse();
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::try_from_env("QUARK_LOG").unwrap_or_else(|_| "info".into()))
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
    serve(config).await
}

async fn serve(config: Config) -> Result<()> {
    // Two servers on one folder would fight over it. The lock goes with the process.
    let _lock = config.lock_state()?;
    let token = token::load_or_make(&config.state)?;
    let store = SqliteStore::open(SqliteConfig::new(config.state.join("quark.db"))).await?;
    let metrics = Arc::new(PrometheusMetrics::new()?);
    let front = backends::Front::open(&config).await?;
    let (runtime, builder) = backends::containers(&config).await?;

    let engine_config = EngineConfig {
        // The lock makes sure that there is one; so it may go on at once after a crash.
        owner: OwnerId::parse("server")?,
        base_domain: Domain::parse(&config.base_domain)?,
        local_repositories: config.allow_local_repositories.clone(),
        host: config.host_policy(),
        ..EngineConfig::new(config.state.join("work"))
    };
    let (journal, router): (Arc<dyn Store>, _) = (Arc::new(store.clone()), front.router());
    #[cfg(feature = "crash-points")]
    let (journal, router) = crash_points::put_around(journal, router);
    let engine = DeploymentEngine::builder_dyn(journal, Arc::new(store.queue()), runtime, router);
    let engine = match front.proxy() {
        // It sees each request, and so knows what users get.
        Some(proxy) => engine.with_analysis(proxy.clone()),
        None => engine,
    };
    let engine = if config.no_host_limits { engine } else { engine.with_host(backends::host(&config)) };
    let engine = engine
        .with_config(engine_config)
        .with_builder_dyn(builder)
        .with_source(GitFetcher::new())
        .with_metrics(Arc::<PrometheusMetrics>::clone(&metrics))
        .start()
        .await?;

    let api = quark_http::api(engine.clone(), ApiConfig::new(token).with_metrics(metrics));
    let listener = tokio::net::TcpListener::bind(config.listen).await.context("the API cannot listen")?;
    tracing::info!(api = %listener.local_addr()?, apps = %front.address(), "ready");

    let stop = engine.clone();
    let serving = axum_serve(listener, api, async move {
        asked_to_stop().await;
        tracing::info!("ending; applications keep running");
        // Ends the event streams too, which the API waits for.
        stop.shutdown().await;
    });
    serving.await?;
    front.shutdown(GRACE).await;
    store.close().await?;
    Ok(())
}

/// Serves until `stop`, then finishes what is in flight, but not for ever.
async fn axum_serve(
    listener: tokio::net::TcpListener,
    api: axum::Router,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<()> {
    let (stopping, mut stopped) = tokio::sync::watch::channel(false);
    let server = axum::serve(listener, api).with_graceful_shutdown(async move {
        stop.await;
        stopping.send_replace(true);
    });
    let late = async {
        // An error means that the sender is gone: the server has ended.
        let _ = stopped.wait_for(|stopped| *stopped).await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        served = server => served.context("the API broke"),
        () = late => {
            tracing::warn!("requests to the API did not end in time and were cut");
            Ok(())
        }
    }
}

async fn asked_to_stop() {
    let terminate = async {
        match signal(SignalKind::terminate()) {
            Ok(mut signal) => _ = signal.recv().await,
            Err(error) => {
                tracing::warn!(%error, "SIGTERM cannot be heard");
                std::future::pending::<()>().await;
            }
        }
    };
    tokio::select! {
        () = terminate => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}
