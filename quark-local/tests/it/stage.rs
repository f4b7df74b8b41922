//! `Stage`: an installation in a temporary folder, with programs to run.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use quark_core::app::{Artifact, EnvVars};
use quark_core::backend::{
    BuildKey, BuildRequest, Call, ContainerId, ContainerRuntime, ContainerSpec, ContainerState, ImageBuilder,
    InstanceSpec, LogChunk, LogSelection, LogSink, NoLog, Purpose,
};
use quark_core::deployment::Fence;
use quark_core::process::{ProcessRef, Signal};
use quark_core::testing::sample_app;
use quark_core::{
    AppName, Argv, CommitSha, ContainerName, DeploymentId, EnvKey, LogStream, RelativePath, Resources, Result, Secret,
    Slot,
};
use quark_local::{LocalBuilder, LocalConfig, LocalRuntime};
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tokio::sync::Notify;

/// Longer than anything that works takes, on a machine that is busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// An installation. What it runs is ended when it is dropped.
pub(crate) struct Stage {
    folder: TempDir,
    pub(crate) config: LocalConfig,
    pub(crate) builder: LocalBuilder,
    pub(crate) runtime: LocalRuntime,
}

impl Stage {
    pub(crate) fn new() -> Self {
        Self::with(|config| config)
    }

    pub(crate) fn with(change: impl FnOnce(LocalConfig) -> LocalConfig) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = change(LocalConfig::new(folder.path().join("state")).with_ports(ports()));
        let builder = LocalBuilder::open(config.clone()).unwrap();
        let runtime = LocalRuntime::open(config.clone()).unwrap();
        Self { folder, config, builder, runtime }
    }

    pub(crate) fn state(&self) -> &Path {
        self.config.state_dir()
    }

    /// All processes of the installation, by the mark that it sets.
    pub(crate) fn processes(&self) -> Vec<ProcessRef> {
        let state = self.state().canonicalize().unwrap();
        let mut mark = hex::encode(Sha256::digest(state.as_os_str().as_encoded_bytes()));
        mark.truncate(16);
        marked("QUARK_STATE", &mark)
    }

    /// A source tree with these files, which is no repository.
    pub(crate) fn source(&self, files: &[(&str, &str)]) -> PathBuf {
        let tree = tempfile::tempdir_in(self.folder.path()).unwrap().keep();
        for (name, text) in files {
            let file = tree.join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(&file, text).unwrap();
            if text.starts_with("#!") {
                fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
            }
        }
        tree
    }

    pub(crate) async fn build(&self, source: &Path, log: &dyn LogSink) -> Result<Artifact> {
        self.build_with(&call(), source, log).await
    }

    pub(crate) async fn build_with(&self, call: &Call, source: &Path, log: &dyn LogSink) -> Result<Artifact> {
        let (app, commit, dockerfile) = inputs();
        let key = key_of(source);
        let request = BuildRequest { app: &app, key: &key, commit: &commit, source, dockerfile: &dockerfile };
        self.builder.build(call, request, log).await
    }

    /// An image that starts the sample app.
    pub(crate) async fn sample(&self) -> Artifact {
        let source = self.source(&[("quark.toml", "[start]\ncommand = ['./sample-app']")]);
        let program = tokio::task::spawn_blocking(sample_app::build).await.unwrap().unwrap();
        fs::copy(program, source.join("sample-app")).unwrap();
        self.build(&source, &NoLog).await.unwrap()
    }

    /// An image whose start command is a script. A test may use a shell as the
    /// program under test; the library never does.
    pub(crate) async fn script(&self, text: &str) -> Artifact {
        let toml = "[start]\ncommand = ['./script', '$PORT']";
        let source = self.source(&[("quark.toml", toml), ("script", &format!("#!/bin/sh\n{text}\n"))]);
        self.build(&source, &NoLog).await.unwrap()
    }

    pub(crate) async fn spec(&self, artifact: Artifact, arguments: &[&str]) -> ContainerSpec {
        let app = AppName::parse("shop").unwrap();
        let deployment = DeploymentId::generate();
        let command = (!arguments.is_empty())
            .then(|| Argv::new(["./sample-app"].into_iter().chain(arguments.iter().copied())).unwrap());
        ContainerSpec {
            name: ContainerName::of(&app, deployment, 0),
            installation: "test".to_owned(),
            purpose: Purpose::Instance(InstanceSpec {
                replica: 0,
                slot: Slot::Blue,
                port: 8080,
                endpoint: self.runtime.allocate_endpoint(&app, Slot::Blue, &[]).await.unwrap(),
            }),
            app,
            deployment,
            fence: Fence(1),
            artifact,
            command,
            env: EnvVars::new(),
            resources: Resources::default(),
        }
    }

    /// Creates and starts the sample app with these options.
    pub(crate) async fn begin(&self, arguments: &[&str]) -> ContainerSpec {
        let spec = self.spec(self.sample().await, arguments).await;
        self.start(&spec).await.unwrap();
        spec
    }

    /// Creates and starts a script.
    pub(crate) async fn begin_script(&self, text: &str) -> ContainerSpec {
        let spec = self.spec(self.script(text).await, &[]).await;
        self.start(&spec).await.unwrap();
        spec
    }

    pub(crate) async fn start(&self, spec: &ContainerSpec) -> Result<()> {
        self.runtime.create(&call(), spec).await.unwrap();
        self.runtime.start(&call(), &id(spec)).await
    }

    /// Another object for the same folder, as the next engine would have it.
    pub(crate) fn another(&self) -> LocalRuntime {
        LocalRuntime::open(self.config.clone()).unwrap()
    }

    pub(crate) fn container_file(&self, spec: &ContainerSpec, file: &str) -> PathBuf {
        self.state().join("containers").join(spec.name.as_str()).join(file)
    }

    /// Waits until the container has printed a line.
    pub(crate) async fn prints(&self, spec: &ContainerSpec, wanted: &str) {
        let selection = LogSelection { tail: None, follow: true };
        let mut lines = self.runtime.logs(&id(spec), selection).await.unwrap();
        let seen = async {
            while let Some(chunk) = lines.next().await {
                if chunk.unwrap().text.starts_with(wanted) {
                    return;
                }
            }
            panic!("it ended without printing `{wanted}`");
        };
        tokio::time::timeout(PATIENCE, seen).await.unwrap();
    }

    /// All that a container prints until it ends.
    pub(crate) async fn output(&self, spec: &ContainerSpec) -> Vec<LogChunk> {
        let selection = LogSelection { tail: None, follow: true };
        let lines = self.runtime.logs(&id(spec), selection).await.unwrap();
        let chunks: Vec<_> = tokio::time::timeout(PATIENCE, lines.collect()).await.unwrap();
        chunks.into_iter().map(Result::unwrap).collect()
    }

    pub(crate) async fn state_of(&self, spec: &ContainerSpec) -> ContainerState {
        self.runtime.inspect(&spec.name).await.unwrap().unwrap().state
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // Without the runtime under test: what it forgets must end too.
        while let Some(process) = self.processes().first() {
            let _ended_by_itself = process.signal(Signal::Kill);
            std::thread::yield_now();
        }
    }
}

/// Ports that no other test of this run uses: two that run at once would now
/// and then be given the same one before the first listens on it.
fn ports() -> std::ops::RangeInclusive<u16> {
    const EACH: u16 = 50;
    const STAGES: u16 = 200;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let begin = u16::try_from(std::process::id() * 37 % u32::from(STAGES)).unwrap();
    let first = 20_000 + (begin + NEXT.fetch_add(1, Ordering::Relaxed)) % STAGES * EACH;
    first..=first + EACH - 1
}

fn inputs() -> (AppName, CommitSha, RelativePath) {
    (AppName::parse("shop").unwrap(), CommitSha::parse("a".repeat(40)).unwrap(), RelativePath::dockerfile())
}

/// A key that belongs to this source alone.
pub(crate) fn key_of(source: &Path) -> BuildKey {
    let (app, commit, _) = inputs();
    let name = source.file_name().unwrap().to_str().unwrap().replace('.', "x");
    BuildKey::of(&app, &commit, &RelativePath::parse(name).unwrap())
}

pub(crate) fn call() -> Call {
    Call::new("test", Fence(1), PATIENCE)
}

pub(crate) fn id(spec: &ContainerSpec) -> ContainerId {
    ContainerId(spec.name.to_string())
}

pub(crate) fn set(spec: &mut ContainerSpec, key: &str, value: &str) {
    spec.env.set(EnvKey::parse(key).unwrap(), Secret::new(value)).unwrap();
}

/// The processes that carry a mark and have not ended.
pub(crate) fn marked(key: &str, value: &str) -> Vec<ProcessRef> {
    let all = quark_core::process::find(key, value).unwrap();
    all.into_iter().filter(ProcessRef::is_alive).collect()
}

pub(crate) fn processes_of(spec: &ContainerSpec) -> Vec<ProcessRef> {
    marked("QUARK_CONTAINER", spec.name.as_str())
}

/// Waits until something is so.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut is_so: impl FnMut() -> F) {
    let wait = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("waited for: {what}"));
}

/// Keeps the lines of a build, and tells when one comes.
#[derive(Default)]
pub(crate) struct Lines {
    lines: Mutex<Vec<(LogStream, String)>>,
    came: Notify,
}

impl Lines {
    pub(crate) fn all(&self) -> Vec<String> {
        self.lines.lock().unwrap().iter().map(|(_, text)| text.clone()).collect()
    }

    pub(crate) async fn has(&self, wanted: &str) {
        let seen = async {
            while !self.all().iter().any(|line| line == wanted) {
                self.came.notified().await;
            }
        };
        tokio::time::timeout(PATIENCE, seen).await.unwrap_or_else(|_| panic!("no line `{wanted}`"));
    }
}

impl LogSink for Lines {
    fn write(&self, stream: LogStream, text: &str) {
        self.lines.lock().unwrap().push((stream, text.to_owned()));
        self.came.notify_one();
    }
}
