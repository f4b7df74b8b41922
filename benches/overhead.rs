//! What a deployment costs beside its containers: many deployments over fake
//! containers, one app at a time and sixteen at once, over each store. One line
//! of JSON per row, in the format of the peers that `beside.py` runs next to it.
//!
//! `deploy-overhead [deployments per row] [stores] [apps at once]`, for example
//! `deploy-overhead 2000 sqlite,sqlite-full,memory 1,16`. `TMPDIR` says where the
//! database files are; a folder in memory would measure no disk.

use std::num::ParseIntError;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use quark_benches::{Cpu, deploy, engine, load, names};
use quark_core::memory::{MemoryQueue, MemoryStore};
use quark_core::{AppName, Clock, DeploymentEngine, Error, ErrorKind, Result, SystemClock};
use quark_store::{SqliteConfig, SqliteStore, Synchronous};
use serde_json::json;
use tokio::task::JoinSet;

/// The reference server's, too.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// As in the peer's rows: one app, and sixteen.
const AT_ONCE: &str = "1,16";

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let wrong = |question: &'static str| move |_: ParseIntError| Error::new(ErrorKind::InvalidInput, question);
    let deployments = arguments.next().map_or(Ok(2000), |number| number.parse());
    let deployments = deployments.map_err(wrong("how many deployments per row?"))?;
    let stores = arguments.next().unwrap_or_else(|| "sqlite,sqlite-full,memory".to_owned());
    let at_once = arguments.next().unwrap_or_else(|| AT_ONCE.to_owned());
    let at_once: Vec<usize> = at_once
        .split(',')
        .map(|number| number.parse().map_err(wrong("how many apps at once?")))
        .collect::<Result<_>>()?;
    for store in stores.split(',') {
        for &at_once in &at_once {
            let folder = tempfile::tempdir().map_err(|error| {
                Error::new(ErrorKind::Unavailable, "there is no temporary folder").with_source(error)
            })?;
            match store {
                "sqlite" => sqlite(store, Synchronous::Normal, folder.path(), at_once, deployments).await?,
                "sqlite-full" => sqlite(store, Synchronous::Full, folder.path(), at_once, deployments).await?,
                "memory" => memory(store, folder.path(), at_once, deployments).await?,
                _ => return Err(Error::new(ErrorKind::InvalidInput, format!("`{store}` is not a store"))),
            }
        }
    }
    Ok(())
}

async fn sqlite(row: &str, synchronous: Synchronous, folder: &Path, at_once: usize, deployments: u64) -> Result<()> {
    let config = SqliteConfig::new(folder.join("quark.db")).with_synchronous(synchronous);
    let store = SqliteStore::open(config).await?;
    let engine = engine(store.clone(), store.queue(), folder, at_once).await?;
    measure(row, &engine, at_once, deployments).await?;
    engine.shutdown().await;
    store.close().await
}

async fn memory(row: &str, folder: &Path, at_once: usize, deployments: u64) -> Result<()> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let queue = MemoryQueue::new(Arc::clone(&clock));
    let engine = engine(MemoryStore::with_queue(clock, queue.clone()), queue, folder, at_once).await?;
    measure(row, &engine, at_once, deployments).await?;
    engine.shutdown().await;
    Ok(())
}

/// What one app's deployments took, one after the other.
#[derive(Default)]
struct Lane {
    took: Vec<Duration>,
    /// Writes of the deployments' rows, each one a transaction.
    commits: u64,
    steps: usize,
}

async fn measure(row: &str, engine: &DeploymentEngine, at_once: usize, deployments: u64) -> Result<()> {
    let left = Arc::new(AtomicU64::new(deployments));
    let (began, cpu) = (Instant::now(), Cpu::now());
    let lanes: JoinSet<Result<Lane>> =
        names(at_once)?.into_iter().map(|app| lane(engine.clone(), app, Arc::clone(&left))).collect();
    let lanes = lanes.join_all().await.into_iter().collect::<Result<Vec<_>>>()?;
    let seconds = began.elapsed().as_secs_f64();
    print(row, at_once, seconds, cpu.since(), &lanes);
    Ok(())
}

async fn lane(engine: DeploymentEngine, app: AppName, left: Arc<AtomicU64>) -> Result<Lane> {
    let mut lane = Lane::default();
    let one_less = |left: u64| left.checked_sub(1);
    let mut last = None;
    while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok() {
        let began = Instant::now();
        let ended = deploy(&engine, &app).await?;
        lane.took.push(began.elapsed());
        lane.commits += ended.version.0;
        last = Some(ended.id);
    }
    if let Some(last) = last {
        lane.steps = engine.steps(last).await?.len();
    }
    Ok(lane)
}

#[allow(clippy::print_stdout, clippy::cast_precision_loss, reason = "the figures are what this program is for")]
fn print(row: &str, at_once: usize, seconds: f64, cpu: Option<Duration>, lanes: &[Lane]) {
    let mut took: Vec<Duration> = lanes.iter().flat_map(|lane| lane.took.iter().copied()).collect();
    took.sort_unstable();
    let n = took.len();
    let at = |share: f64| {
        // The same rounding as the peer's.
        let index = (share * n.saturating_sub(1) as f64).round() as usize;
        took.get(index).map(|took| rounded(took.as_secs_f64() * 1e3, 3))
    };
    let per_deployment = seconds * 1e6 / n as f64;
    let commits = lanes.iter().map(|lane| lane.commits).sum::<u64>() as f64 / n as f64;
    let steps = lanes.iter().map(|lane| lane.steps).max().unwrap_or_default();
    let (load1, psi10) = load();
    let line = json!({
        "bench": format!("deploy_overhead_{row}_c{at_once}"),
        "peer": "quark",
        "n": n,
        "seconds": rounded(seconds, 4),
        "rate": rounded(n as f64 / seconds, 2),
        "p50_ms": at(0.5),
        "p99_ms": at(0.99),
        "commits": rounded(commits, 2),
        "us_per_commit": rounded(per_deployment / commits, 1),
        "steps": steps,
        "us_per_step": rounded(per_deployment / steps as f64, 1),
        "cpu_us_per_op": cpu.map(|cpu| rounded(cpu.as_secs_f64() * 1e6 / n as f64, 1)),
        "load1": load1,
        "psi10": psi10,
    });
    println!("{line}");
}

fn rounded(value: f64, digits: i32) -> f64 {
    let factor = 10_f64.powi(digits);
    (value * factor).round() / factor
}
