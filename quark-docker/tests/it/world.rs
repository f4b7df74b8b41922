//! What the tests share: a daemon, an image, and a broom.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use bollard::Docker;
use bollard::query_parameters::{
    CreateImageOptionsBuilder, ListContainersOptionsBuilder, ListImagesOptionsBuilder, RemoveContainerOptionsBuilder,
    RemoveImageOptionsBuilder,
};
use futures_util::{FutureExt, StreamExt, TryStreamExt};
use quark_core::backend::container_runtime::label;
use quark_core::backend::{
    Call, ContainerId, ContainerSpec, ContainerState, InstanceSpec, Labels, LogChunk, LogSelection, ObservedContainer,
    Purpose,
};
use quark_core::deployment::Fence;
use quark_core::testing::{requirement, sample_app};
use quark_core::{
    AppName, Argv, Artifact, ContainerName, ContainerRuntime, DeploymentId, EnvVars, ErrorKind, ImageRef, LogStream,
    Resources, Slot,
};
use quark_docker::{DockerConfig, DockerRuntime};
use tokio::sync::OnceCell;
use uuid::Uuid;

/// Longer than anything that works takes, on a machine that is busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A label that the layers of one test's builds have.
pub(crate) const MARK: &str = "quark-test";

/// A daemon, and a name under which one test makes things in it.
pub(crate) struct World {
    pub(crate) docker: Docker,
    pub(crate) runtime: DockerRuntime,
    pub(crate) config: DockerConfig,
    pub(crate) installation: String,
    /// The app whose images and containers the test makes.
    pub(crate) app: AppName,
}

impl World {
    /// `None` if there is no daemon to test with.
    pub(crate) async fn find() -> Option<Self> {
        let socket = PathBuf::from(requirement("docker", "QUARK_TEST_DOCKER")?);
        let config = DockerConfig::new().with_socket(&socket).with_ports(ports());
        let docker = Docker::connect_with_unix(socket.to_str().unwrap(), 60, bollard::API_DEFAULT_VERSION).unwrap();
        let runtime = DockerRuntime::connect(config.clone()).await.unwrap();
        let unique = Uuid::new_v4().simple().to_string();
        let app = AppName::parse(format!("t{}", &unique[..12])).unwrap();
        Some(Self { docker, runtime, config, installation: unique, app })
    }

    /// Runs a test and clears up behind it, also when it fails.
    pub(crate) async fn run(test: impl AsyncFnOnce(&Self)) {
        let Some(world) = Self::find().await else { return };
        let done = AssertUnwindSafe(test(&world)).catch_unwind().await;
        world.sweep().await;
        if let Err(panic) = done {
            resume_unwind(panic);
        }
    }

    pub(crate) fn labels(&self) -> Labels {
        Labels::from([(label::INSTALLATION.to_owned(), self.installation.clone())])
    }

    /// The image with the sample app as `/sample-app`, made once for all tests.
    pub(crate) async fn sample(&self) -> Artifact {
        static SAMPLE: OnceCell<Artifact> = OnceCell::const_new();
        SAMPLE.get_or_init(|| self.import_sample()).await.clone()
    }

    async fn import_sample(&self) -> Artifact {
        let program = tokio::task::spawn_blocking(sample_app::build).await.unwrap().unwrap();
        // The folder is named after everything that the program is made from.
        let key = program.parent().unwrap().file_name().unwrap().to_str().unwrap();
        let name = ImageRef::parse(format!("quark-test/sample:{key}")).unwrap();
        if self.docker.inspect_image(name.as_str()).await.is_ok() {
            return self.runtime.ensure_image(&call(), &name).await.unwrap();
        }
        let program = std::fs::read(&program).unwrap();
        let mut archive = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(program.len() as u64);
        header.set_mode(0o755);
        archive.append_data(&mut header, "sample-app", program.as_slice()).unwrap();
        let tree = archive.into_inner().unwrap();
        let options = CreateImageOptionsBuilder::new()
            .from_src("-")
            .repo("quark-test/sample")
            .tag(key)
            .changes(vec!["CMD [\"/sample-app\"]".to_owned()])
            .build();
        let messages = self.docker.create_image(Some(options), Some(bollard::body_full(tree.into())), None);
        messages.try_for_each(|_| async { Ok(()) }).await.unwrap();
        self.runtime.ensure_image(&call(), &name).await.unwrap()
    }

    /// A spec of the sample app with these arguments.
    pub(crate) async fn spec(&self, arguments: &[&str]) -> ContainerSpec {
        let deployment = DeploymentId::generate();
        let command = Argv::new(["/sample-app"].iter().chain(arguments).copied()).unwrap();
        ContainerSpec {
            name: ContainerName::of(&self.app, deployment, 0),
            installation: self.installation.clone(),
            app: self.app.clone(),
            deployment,
            fence: Fence(1),
            artifact: self.sample().await,
            command: Some(command),
            env: EnvVars::new(),
            resources: Resources::default(),
            purpose: Purpose::Instance(InstanceSpec {
                replica: 0,
                slot: Slot::Blue,
                port: 8080,
                endpoint: self.runtime.allocate_endpoint(&self.app, Slot::Blue, &[]).await.unwrap(),
            }),
        }
    }

    pub(crate) async fn create(&self, spec: &ContainerSpec) -> ContainerId {
        self.runtime.create(&call(), spec).await.unwrap().id
    }

    pub(crate) async fn begin(&self, spec: &ContainerSpec) -> ContainerId {
        let id = self.create(spec).await;
        self.runtime.start(&call(), &id).await.unwrap();
        id
    }

    /// Starts a container and waits until it says that it listens.
    pub(crate) async fn serve(&self, spec: &ContainerSpec) -> ContainerId {
        let id = self.begin(spec).await;
        let follow = LogSelection { tail: None, follow: true };
        let mut output = self.runtime.logs(&id, follow).await.unwrap();
        let listens = async {
            while let Some(chunk) = output.next().await {
                if chunk.unwrap().text.starts_with("listening on ") {
                    return;
                }
            }
            panic!("the sample app ended");
        };
        tokio::time::timeout(PATIENCE, listens).await.unwrap();
        id
    }

    /// Waits until a container has ended, and returns how.
    pub(crate) async fn ended(&self, spec: &ContainerSpec) -> ContainerState {
        let ended = async {
            loop {
                let state = self.look(spec).await.state;
                if matches!(state, ContainerState::Exited { .. }) {
                    return state;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, ended).await.unwrap()
    }

    pub(crate) async fn look(&self, spec: &ContainerSpec) -> ObservedContainer {
        self.runtime.inspect(&spec.name).await.unwrap().unwrap()
    }

    /// All that a container has printed, or will have when it ends.
    pub(crate) async fn output(&self, id: &ContainerId, follow: bool) -> Vec<LogChunk> {
        let output = self.runtime.logs(id, LogSelection { tail: None, follow }).await.unwrap();
        tokio::time::timeout(PATIENCE, output.try_collect()).await.unwrap().unwrap()
    }

    /// What a program prints to standard output until it ends.
    pub(crate) async fn printed(&self, spec: &ContainerSpec) -> Vec<String> {
        let id = self.begin(spec).await;
        let output = self.output(&id, true).await.into_iter();
        output.filter(|chunk| chunk.stream == LogStream::Stdout).map(|chunk| chunk.text).collect()
    }

    /// The containers in which steps of this test's builds run. Those that
    /// run an image of a build have the same label, and more.
    pub(crate) async fn steps(&self) -> Vec<String> {
        let mark = format!("{MARK}={}", self.app);
        let filters = HashMap::from([("label", vec![mark])]);
        let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
        let found = self.docker.list_containers(Some(options)).await.unwrap();
        let steps = found.into_iter().filter(|container| {
            container.labels.as_ref().is_none_or(|labels| !labels.contains_key(label::INSTALLATION))
        });
        steps.filter_map(|container| container.id).collect()
    }

    async fn sweep(&self) {
        for container in self.runtime.list(&self.labels()).await.unwrap() {
            let options = RemoveContainerOptionsBuilder::new().force(true).build();
            self.docker.remove_container(&container.id.0, Some(options)).await.unwrap();
        }
        let gone = async {
            while !self.steps().await.is_empty() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, gone).await.unwrap();
        // What was built, and layers of builds that failed.
        for label in [format!("{}={}", label::APP, self.app), format!("{MARK}={}", self.app)] {
            let options = ListImagesOptionsBuilder::new().filters(&HashMap::from([("label", vec![label])])).build();
            for image in self.docker.list_images(Some(options)).await.unwrap() {
                let options = RemoveImageOptionsBuilder::new().force(true).build();
                self.docker.remove_image(&image.id, Some(options), None).await.unwrap();
            }
        }
    }
}

pub(crate) fn call() -> Call {
    Call::new("test", Fence(1), PATIENCE)
}

/// Ports that no other test of this run has at the same time, and that no
/// outgoing connection gets.
fn ports() -> std::ops::RangeInclusive<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    const EACH: u16 = 32;
    const SHARES: u16 = 2_752 / EACH;
    let first = u16::try_from(std::process::id() % u32::from(SHARES)).unwrap();
    let share = (first + NEXT.fetch_add(1, Ordering::Relaxed)) % SHARES;
    let start = 30_000 + share * EACH;
    start..=start + EACH - 1
}

/// Checks the kind and the code of an error.
#[track_caller]
pub(crate) fn refused<T: std::fmt::Debug>(done: quark_core::Result<T>, kind: ErrorKind, code: &str) {
    let error = done.unwrap_err();
    assert_eq!((error.kind(), error.code()), (kind, code), "{}", error.report());
}
