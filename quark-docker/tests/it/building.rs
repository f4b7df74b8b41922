//! Building images.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bollard::query_parameters::CommitContainerOptionsBuilder;
use quark_core::backend::{BuildKey, BuildRequest, Call, ContainerSpec, LogSink, NoLog};
use quark_core::{AppName, Artifact, CommitSha, ErrorKind, ImageBuilder, LogStream, RelativePath, Result};
use quark_docker::DockerRuntime;
use tempfile::TempDir;
use tokio::sync::Notify;

use crate::world::{MARK, PATIENCE, World, call, refused};

/// Keeps lines, and tells when a certain one has come.
#[derive(Default)]
struct Lines {
    lines: Mutex<Vec<(LogStream, String)>>,
    came: Notify,
}

impl LogSink for Lines {
    fn write(&self, stream: LogStream, text: &str) {
        self.lines.lock().unwrap().push((stream, text.to_owned()));
        self.came.notify_one();
    }
}

impl Lines {
    fn all(&self) -> Vec<(LogStream, String)> {
        self.lines.lock().unwrap().clone()
    }

    fn has(&self, stream: LogStream, text: &str) -> bool {
        self.all().contains(&(stream, text.to_owned()))
    }

    async fn until(&self, text: &str) {
        let came = async {
            while !self.all().iter().any(|(_, line)| line.contains(text)) {
                self.came.notified().await;
            }
        };
        tokio::time::timeout(PATIENCE, came).await.unwrap();
    }
}

/// A tree whose Dockerfile starts from the image with the sample app.
struct Tree {
    folder: TempDir,
    app: AppName,
    commit: CommitSha,
    dockerfile: RelativePath,
}

impl Tree {
    async fn new(world: &World, instructions: &str) -> Self {
        let sample = world.sample().await;
        let folder = tempfile::tempdir().unwrap();
        let dockerfile = format!("FROM {}\nLABEL {MARK}={}\n{instructions}\n", sample.label, world.app);
        fs::write(folder.path().join("Dockerfile"), dockerfile).unwrap();
        let commit = format!("{}00000000", uuid::Uuid::new_v4().simple());
        Self {
            folder,
            app: world.app.clone(),
            commit: CommitSha::parse(commit).unwrap(),
            dockerfile: RelativePath::dockerfile(),
        }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn key(&self) -> BuildKey {
        BuildKey::of(&self.app, &self.commit, &self.dockerfile)
    }

    async fn build(&self, world: &World, call: &Call, log: &dyn LogSink) -> Result<Artifact> {
        let request = BuildRequest {
            app: &self.app,
            key: &self.key(),
            commit: &self.commit,
            source: self.path(),
            dockerfile: &self.dockerfile,
        };
        world.runtime.builder().build(call, request, log).await
    }
}

async fn spec_of(world: &World, artifact: Artifact, arguments: &[&str]) -> ContainerSpec {
    ContainerSpec { artifact, ..world.spec(arguments).await }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tree_becomes_an_image_that_runs_and_is_found_again() {
    World::run(async |world| {
        let tree = Tree::new(world, "COPY data /data\nENV SAMPLE_VERSION=built").await;
        fs::create_dir(tree.path().join("data")).unwrap();
        let builder = world.runtime.builder();
        assert_eq!(builder.find(&tree.key()).await.unwrap(), None);
        let lines = Lines::default();
        let built = tree.build(world, &call(), &lines).await.unwrap();
        let tag = format!("quark/{}:{}-{}", world.app, tree.commit.short(), &tree.key().as_str()[..12]);
        assert_eq!(built.label, tag);
        assert_eq!(builder.find(&tree.key()).await.unwrap(), Some(built.clone()));
        assert!(lines.all().iter().any(|(_, line)| line.starts_with("Step 2/")), "{:?}", lines.all());

        let image = world.docker.inspect_image(&tag).await.unwrap();
        assert_eq!(image.id.as_ref(), Some(&built.id));
        let labels = image.config.unwrap().labels.unwrap();
        assert_eq!(
            (labels["quark.build"].as_str(), labels["quark.app"].as_str()),
            (tree.key().as_str(), world.app.as_str())
        );

        // What the image says is started, with its own variables.
        let spec = ContainerSpec { command: None, ..spec_of(world, built.clone(), &[]).await };
        let id = world.serve(&spec).await;
        // What is left of builds is not confused with what runs their image.
        builder.discard(&tree.key()).await.unwrap();
        assert_eq!(world.look(&spec).await.id, id);

        // Building again, as after a lost answer, yields the same image.
        assert_eq!(tree.build(world, &call(), &NoLog).await.unwrap(), built);
        let another = DockerRuntime::connect(world.config.clone()).await.unwrap().builder();
        assert_eq!(another.find(&tree.key()).await.unwrap(), Some(built));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_made_from_ours_is_not_taken_for_it() {
    World::run(async |world| {
        let tree = Tree::new(world, "ENV A=1").await;
        let built = tree.build(world, &call(), &NoLog).await.unwrap();
        let id = world.create(&spec_of(world, built.clone(), &[]).await).await;
        let options =
            CommitContainerOptionsBuilder::new().container(&id.0).repo("stranger").tag(world.app.as_str()).build();
        world.docker.commit_container(options, bollard::models::ContainerConfig::default()).await.unwrap();
        assert_eq!(world.runtime.builder().find(&tree.key()).await.unwrap(), Some(built.clone()));
        let options = bollard::query_parameters::RemoveImageOptionsBuilder::new().force(true).build();
        world.docker.remove_image(&built.label, Some(options), None).await.unwrap();
        assert_eq!(world.runtime.builder().find(&tree.key()).await.unwrap(), None);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_fails_is_named_with_its_last_words() {
    World::run(async |world| {
        let tree = Tree::new(world, r#"RUN ["/sample-app", "--print", "5", "--exit", "3"]"#).await;
        let lines = Lines::default();
        let error = tree.build(world, &call(), &lines).await.unwrap_err();
        assert_eq!((error.kind(), error.code()), (ErrorKind::BuildFailed, "build_step_failed"), "{}", error.report());
        assert_eq!(
            error.message(),
            r#"`RUN ["/sample-app", "--print", "5", "--exit", "3"]` ended with exit code 3, after `line 3 / line 4 / line 5`"#
        );
        assert!(lines.has(LogStream::Stdout, "line 1") && lines.has(LogStream::Stdout, "line 5"));
        assert_eq!(world.runtime.builder().find(&tree.key()).await.unwrap(), None);
        assert_eq!(world.steps().await.len(), 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_of_a_step_come_without_colours_and_as_errors() {
    World::run(async |world| {
        let tree = Tree::new(world, r#"RUN ["/sample-app", "--no-such-option"]"#).await;
        let lines = Lines::default();
        let error = tree.build(world, &call(), &lines).await.unwrap_err();
        assert!(error.message().contains("ended with exit code 2"), "{error}");
        assert!(lines.has(LogStream::Stderr, "sample-app: `--no-such-option` is not known here"), "{:?}", lines.all());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_built_is_told() {
    World::run(async |world| {
        for (dockerfile, code) in [
            ("FROM 127.0.0.1:1/none:1\n", "base_image_unavailable"),
            ("FROM no-such-image-anywhere.invalid/x:1\n", "base_image_unavailable"),
            ("FROM scratch\nCOPY --from=127.0.0.1:1/none:1 /a /a\n", "base_image_unavailable"),
            ("FROM scratch\nCOPY missing /\n", "build_step_failed"),
            ("FROM scratch\nFROG\n", "dockerfile_invalid"),
            ("", "dockerfile_invalid"),
            ("# only a comment\n", "dockerfile_invalid"),
        ] {
            let tree = Tree::new(world, "").await;
            fs::write(tree.path().join("Dockerfile"), dockerfile).unwrap();
            let error = tree.build(world, &call(), &NoLog).await.unwrap_err();
            assert_eq!(
                (error.kind(), error.code()),
                (ErrorKind::BuildFailed, code),
                "{dockerfile:?} {}",
                error.report()
            );
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_outside_the_tree_is_read() {
    World::run(async |world| {
        let mut tree = Tree::new(world, "COPY . /app").await;
        symlink("/etc/hostname", tree.path().join("Linkfile")).unwrap();
        for (dockerfile, code) in [("Linkfile", "path_escapes_context"), ("Missing", "dockerfile_not_found")] {
            tree.dockerfile = RelativePath::parse(dockerfile).unwrap();
            refused(tree.build(world, &call(), &NoLog).await, ErrorKind::InvalidInput, code);
        }
        // As a file of the tree the link is copied as a link.
        tree.dockerfile = RelativePath::dockerfile();
        let built = tree.build(world, &call(), &NoLog).await.unwrap();
        let id = world.create(&spec_of(world, built, &[]).await).await;
        assert_eq!(files(world, &id.0, "/app").await, ["app/Dockerfile", "app/Linkfile -> /etc/hostname"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_ignored_does_not_reach_the_image() {
    World::run(async |world| {
        let tree = Tree::new(world, "COPY . /app").await;
        for path in ["src/a.rs", "target/x", "docs/a.md", "docs/keep.md", ".git/config", ".env"] {
            fs::create_dir_all(tree.path().join(path).parent().unwrap()).unwrap();
            fs::write(tree.path().join(path), "x").unwrap();
        }
        fs::write(
            tree.path().join(".dockerignore"),
            "target\n**/*.md\n!docs/keep.md\n.env\nDockerfile\n.dockerignore\n",
        )
        .unwrap();
        let built = tree.build(world, &call(), &NoLog).await.unwrap();
        let id = world.create(&spec_of(world, built, &[]).await).await;
        assert_eq!(files(world, &id.0, "/app").await, ["app/docs/keep.md", "app/src/a.rs"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_build_ends_and_leaves_nothing_running() {
    World::run(async |world| {
        let tree = Tree::new(world, r#"RUN ["/sample-app", "--print", "1", "--never-listen"]"#).await;
        let lines = Arc::new(Lines::default());
        let call = call();
        let cancel = async {
            lines.until("line 1").await;
            assert_eq!(world.steps().await.len(), 1);
            call.cancel.cancel();
        };
        let (built, ()) = tokio::join!(tree.build(world, &call, &*lines), cancel);
        assert_eq!(built.unwrap_err().kind(), ErrorKind::Cancelled);
        assert_eq!(world.steps().await.len(), 0);
        assert_eq!(world.runtime.builder().find(&tree.key()).await.unwrap(), None);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_may_not_take_longer_than_its_call() {
    World::run(async |world| {
        let tree = Tree::new(world, r#"RUN ["/sample-app", "--never-listen"]"#).await;
        let mut call = call();
        call.timeout = Duration::from_secs(2);
        let error = tree.build(world, &call, &NoLog).await.unwrap_err();
        assert_eq!((error.kind(), error.operation()), (ErrorKind::Timeout, Some("builder.build")));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_of_a_build_has_a_limit_of_memory() {
    World::run(async |world| {
        // More than a number of 32 bits holds, as the option of the client library is.
        const LIMIT: u64 = 3 << 30;
        let config = world.config.clone().with_build_memory(Some(LIMIT));
        let runtime = DockerRuntime::connect(config).await.unwrap();
        let tree = Tree::new(world, r#"RUN ["/sample-app", "--print", "1", "--never-listen"]"#).await;
        let (key, lines, call) = (tree.key(), Lines::default(), call());
        let request = BuildRequest {
            app: &tree.app,
            key: &key,
            commit: &tree.commit,
            source: tree.path(),
            dockerfile: &tree.dockerfile,
        };
        let builder = runtime.builder();
        let look = async {
            lines.until("line 1").await;
            let running = world.steps().await;
            let container = world.docker.inspect_container(&running[0], None).await.unwrap();
            let host = container.host_config.unwrap();
            call.cancel.cancel();
            (host.memory, host.memory_swap)
        };
        let (_, limits) = tokio::join!(builder.build(&call, request, &lines), look);
        assert_eq!(limits, (Some(LIMIT as i64), Some(LIMIT as i64)));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_an_interrupted_build_only_its_own_containers_are_removed() {
    World::run(async |world| {
        let endless = r#"RUN ["/sample-app", "--print", "1", "--never-listen"]"#;
        let (first, second) = (Tree::new(world, endless).await, Tree::new(world, endless).await);
        let (lines, others, call) = (Lines::default(), Lines::default(), call());
        // As if its engine had died.
        tokio::select! {
            _ = first.build(world, &call, &lines) => panic!("it has ended"),
            () = lines.until("line 1") => {}
        }
        let other = async {
            others.until("line 1").await;
            world.runtime.builder().discard(&first.key()).await.unwrap();
            assert_eq!(world.steps().await.len(), 1, "the other build goes on");
            call.cancel.cancel();
        };
        let (built, ()) = tokio::join!(second.build(world, &call, &others), other);
        assert_eq!(built.unwrap_err().kind(), ErrorKind::Cancelled);
        assert_eq!(world.steps().await.len(), 0);
    })
    .await;
}

/// The files and links below a folder of a container.
async fn files(world: &World, container: &str, folder: &str) -> Vec<String> {
    use bollard::query_parameters::DownloadFromContainerOptionsBuilder;
    use futures_util::TryStreamExt;

    let options = DownloadFromContainerOptionsBuilder::new().path(folder).build();
    let archive: Vec<_> = world.docker.download_from_container(container, Some(options)).try_collect().await.unwrap();
    let archive = archive.concat();
    let mut archive = tar::Archive::new(archive.as_slice());
    let mut files = Vec::new();
    for entry in archive.entries().unwrap() {
        let entry = entry.unwrap();
        let path = entry.path().unwrap().display().to_string();
        match entry.link_name().unwrap() {
            Some(target) => files.push(format!("{path} -> {}", target.display())),
            None if entry.header().entry_type().is_file() => files.push(path),
            None => {}
        }
    }
    files.sort();
    files
}
