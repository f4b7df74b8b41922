//! Versions that are not fit to serve: each fails with a sentence that says
//! what happened, and the live version is untouched.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use quark_core::git::GitFetcher;
use quark_core::testing::http::TestClient;
use quark_core::{
    App, AppName, CommitSha, Conclusion, DeployRequest, Deployment, DeploymentEngine, HealthCheck, Source, StepName,
};
use quark_local::{LocalBuilder, LocalConfig, LocalRuntime, ProxyConfig, ProxyRouter};
use quark_store::{SqliteConfig, SqliteStore};
use tempfile::TempDir;

struct World {
    folder: TempDir,
    engine: DeploymentEngine,
    proxy: ProxyRouter,
    live: String,
}

const HOST: &str = "shop.localhost";

fn name() -> AppName {
    AppName::parse("shop").unwrap()
}

impl World {
    /// An engine with one version live.
    async fn new() -> Self {
        let folder = quark_tests::sample_repository().unwrap();
        let state = folder.path().join("state");
        fs::create_dir(&state).unwrap();
        let store = SqliteStore::open(SqliteConfig::new(state.join("quark.db"))).await.unwrap();
        let local = LocalConfig::new(state.join("local"));
        let proxy = ProxyRouter::bind(ProxyConfig::new("127.0.0.1:0".parse().unwrap())).await.unwrap();
        let engine = DeploymentEngine::builder(
            store.clone(),
            store.queue(),
            LocalRuntime::open(local.clone()).unwrap(),
            proxy.clone(),
        )
        .with_builder(LocalBuilder::open(local).unwrap())
        .with_source(GitFetcher::new())
        .with_work_dir(state.join("work"))
        .with_local_repositories(folder.path())
        .start()
        .await
        .unwrap();
        let health =
            HealthCheck { interval: Duration::from_millis(50), ..HealthCheck::http("/healthz".parse().unwrap()) };
        let app = App::new("shop", Source::git(&quark_tests::url_of(&folder), "main").unwrap())
            .unwrap()
            .with_health(health.with_deadline(Duration::from_secs(2)))
            .without_bake();
        engine.create_app(app).await.unwrap();
        let mut world = Self { folder, engine, proxy, live: String::new() };
        let deployment = world.deploy(DeployRequest::default()).await;
        assert_eq!(deployment.conclusion, Some(Conclusion::Succeeded), "{:?}", deployment.failure);
        world.live = world.answer().await;
        world
    }

    fn repository(&self) -> std::path::PathBuf {
        self.folder.path().join("repository")
    }

    fn commit(&self, files: &[(&str, &str)]) -> DeployRequest {
        let commit = quark_tests::commit(&self.repository(), files).unwrap();
        DeployRequest::commit(CommitSha::parse(commit).unwrap())
    }

    async fn deploy(&self, request: DeployRequest) -> Deployment {
        let deployment = self.engine.deploy(&name(), request).await.unwrap();
        tokio::time::timeout(Duration::from_secs(60), self.engine.wait(deployment.id)).await.unwrap().unwrap()
    }

    async fn answer(&self) -> String {
        let answer = TestClient::new(self.proxy.local_addr()).get(HOST, "/").await.unwrap();
        answer.ok().unwrap()
    }

    /// This must fail at `step` with `code`, say what to do, and change nothing.
    async fn refuses(&self, request: DeployRequest, step: StepName, code: &str) -> Deployment {
        let deployment = self.deploy(request).await;
        assert_eq!(deployment.conclusion, Some(Conclusion::Failed), "{code}");
        let failure = deployment.failure.clone().unwrap();
        assert_eq!((failure.step, failure.code.as_str()), (Some(step), code), "{failure}");
        let sentence = failure.to_string();
        assert!(failure.hint.is_some() && !sentence.contains('\0') && sentence.len() < 4000, "{sentence}");
        assert_eq!(self.answer().await, self.live, "{code}: the live version was touched");
        let containers = fs::read_dir(self.folder.path().join("state/local/containers")).unwrap().count();
        assert_eq!(containers, 1, "{code}: something is left");
        let mut installations = fs::read_dir(self.folder.path().join("state/work")).unwrap().flatten();
        assert!(installations.all(|folder| is_empty(&folder.path())), "{code}: a checkout is left");
        deployment
    }

    async fn end(self) {
        let removal = self.engine.remove_app(&name(), "test").await.unwrap();
        self.engine.wait(removal.id).await.unwrap();
        self.engine.shutdown().await;
    }
}

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).unwrap().next().is_none()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn versions_that_are_not_fit_to_serve() {
    let world = World::new().await;
    let start = |command: &str| format!("[start]\ncommand = {command}\n");
    for (toml, step, code) in [
        (start("[\"./server\", \"--never-listen\"]"), StepName::Probe, "never_listened"),
        (start("[\"./server\", \"--exit\", \"3\"]"), StepName::Probe, "exited"),
        (start("[\"/usr/bin/env\", \"SAMPLE_HEALTHY=false\", \"./server\"]"), StepName::Probe, "unhealthy"),
        (start("[\"./nope\"]"), StepName::Build, "command_not_found"),
        (format!("[build]\ncommand = [\"false\"]\n{}", start("[\"./server\"]")), StepName::Build, "build_failed"),
        ("[start]\ncommand = \"a shell line; rm -rf /\"\n".to_owned(), StepName::Build, "invalid_quark_toml"),
    ] {
        let request = world.commit(&[("quark.toml", &toml)]);
        world.refuses(request, step, code).await;
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_that_something_else_holds() {
    let world = World::new().await;
    let serving = world.engine.app(&name()).await.unwrap().serving;
    let idle = serving.endpoint(serving.idle_slot()).unwrap().socket_addr().unwrap();
    let held = TcpListener::bind(idle).unwrap();
    let request = world.commit(&[]);
    // Whoever holds it may stay: the deployment gets another port.
    let done = world.deploy(request).await;
    assert_eq!(done.conclusion, Some(Conclusion::Succeeded), "{:?}", done.failure);
    let steps = world.engine.steps(done.id).await.unwrap();
    let taken = steps.iter().filter_map(|step| step.failure.as_ref()).find(|failure| failure.code == "port_taken");
    assert!(taken.unwrap().message.contains(&idle.to_string()));
    drop(held);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sources_that_do_not_exist() {
    let world = World::new().await;
    let unknown = DeployRequest::commit(CommitSha::parse("0".repeat(40)).unwrap());
    world.refuses(unknown, StepName::Fetch, "commit_not_found").await;
    let branch = DeployRequest { branch: Some("nowhere".parse().unwrap()), ..DeployRequest::default() };
    world.refuses(branch, StepName::Fetch, "branch_not_found").await;
    fs::rename(world.repository(), world.folder.path().join("elsewhere")).unwrap();
    world.refuses(DeployRequest::default(), StepName::Fetch, "repository_not_found").await;
    world.end().await;
}
