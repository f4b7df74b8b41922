//! What was acknowledged survives `kill -9`.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use quark_core::backend::Store;
use quark_core::{Clock, DeploymentId, SystemClock};
use quark_store::{SqliteConfig, SqliteStore, Synchronous};
use rusqlite::Connection;

use crate::fixture;

/// Names the file to write to; set for the child only.
const FILE: &str = "QUARK_STORE_TEST_FILE";
/// Committers in the child.
const WRITERS: usize = 4;
/// Acknowledgements that are waited for before the kill.
const ENOUGH: usize = 200;

/// What the child runs: commits until it is killed, and prints what was acknowledged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_that_commits_until_it_is_killed() {
    let Some(path) = std::env::var_os(FILE).map(PathBuf::from) else { return };
    // Killing a process loses nothing that the operating system has.
    let config = SqliteConfig::new(path).with_synchronous(Synchronous::Normal);
    let store = SqliteStore::open(config).await.unwrap();
    let round = DeploymentId::generate().as_uuid().simple().to_string();
    let mut writers = tokio::task::JoinSet::new();
    for number in 0..WRITERS {
        let app = format!("a{number}-{}", &round[20..]);
        let active = fixture::admitted(&store, &app, SystemClock::new().now()).await;
        let store = store.clone();
        writers.spawn(async move {
            let mut commit = active.commit();
            loop {
                commit.guard.version = store.commit(commit.clone()).await.unwrap();
                let line = format!("{} {}\n", commit.deployment.id, commit.guard.version.0);
                std::io::stdout().write_all(line.as_bytes()).unwrap();
            }
        });
    }
    writers.join_all().await;
}

fn spawn_child(path: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "durability::child_that_commits_until_it_is_killed", "--nocapture", "--test-threads=1"])
        .env(FILE, path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Runs the child, kills it in the middle of its work and returns the highest
/// version of each deployment that it was told to be stored.
fn acknowledged(path: &Path) -> HashMap<DeploymentId, u64> {
    let mut child = spawn_child(path);
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let (mut versions, mut seen, mut killed, mut line) = (HashMap::new(), 0, false, String::new());
    loop {
        line.clear();
        // The last line may have been cut off by the kill.
        if output.read_line(&mut line).unwrap() == 0 || !line.ends_with('\n') {
            break;
        }
        let mut words = line.split_whitespace();
        let id = words.next().and_then(|word| word.parse::<DeploymentId>().ok());
        if let (Some(id), Some(version)) = (id, words.next().and_then(|word| word.parse::<u64>().ok())) {
            let known = versions.entry(id).or_insert(version);
            *known = version.max(*known);
            seen += 1;
            // All of them must be at work.
            if !killed && seen >= ENOUGH && versions.len() == WRITERS {
                // SIGKILL; what is in the pipe already still counts.
                child.kill().unwrap();
                killed = true;
            }
        }
    }
    child.wait().unwrap();
    assert!(killed, "the child ended by itself after {seen} commits");
    versions
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_to_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("quark.db");
    let mut all = HashMap::new();
    for round in 1..=3 {
        let file = path.clone();
        let versions = tokio::task::spawn_blocking(move || acknowledged(&file)).await.unwrap();
        assert_eq!(versions.len(), WRITERS);
        all.extend(versions);

        let store = SqliteStore::open(SqliteConfig::new(&path)).await.unwrap();
        for (id, version) in &all {
            let stored = store.deployment(*id).await.unwrap().unwrap().version.0;
            assert!(stored >= *version, "{id}: version {version} was acknowledged, {stored} is stored");
        }
        store.close().await.unwrap();

        let connection = Connection::open(&path).unwrap();
        let verdict: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(verdict, "ok", "round {round}");
        connection.close().unwrap();
    }
}
