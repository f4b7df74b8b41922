//! The suites that all container runtimes and all image builders pass.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures_util::TryStreamExt;
use quark_core::conformance::CaseResult;
use quark_core::conformance::container_runtime::{ProgramKind, RuntimeFixture};
use quark_core::conformance::image_builder::{BuilderFixture, Sample, SourceKind};
use quark_core::{Argv, Artifact, CommitSha, ContainerRuntime, DeploymentId, ImageBuilder, RelativePath};
use quark_docker::DockerRuntime;
use tempfile::TempDir;

use crate::world::{MARK, World};

struct Fixture(World);

#[async_trait]
impl RuntimeFixture for Fixture {
    fn runtime(&self) -> Arc<dyn ContainerRuntime> {
        Arc::new(self.0.runtime.clone())
    }

    async fn another(&self) -> Arc<dyn ContainerRuntime> {
        Arc::new(DockerRuntime::connect(self.0.config.clone()).await.unwrap())
    }

    fn installation(&self) -> String {
        self.0.installation.clone()
    }

    async fn program(&self, kind: ProgramKind) -> CaseResult<(Artifact, Option<Argv>)> {
        let words = match kind {
            // The image says what to start.
            ProgramKind::Serves => return Ok((self.0.sample().await, None)),
            ProgramKind::IgnoresStop => ["/sample-app", "--ignore-term"].to_vec(),
            ProgramKind::PrintsAndExits => ["/sample-app", "--print", "200", "--exit", "0"].to_vec(),
            ProgramKind::Fails => ["/sample-app", "--print", "1", "--exit", "3"].to_vec(),
            ProgramKind::PrintsEnvironment => ["/sample-app", "--print-env"].to_vec(),
            ProgramKind::Missing => ["/no-such-program"].to_vec(),
            other => return Err(format!("{other:?} is not known here")),
        };
        Ok((self.0.sample().await, Some(Argv::new(words).unwrap())))
    }
}

mod runtime {
    use super::*;

    quark_core::container_runtime_conformance!(optional async { World::find().await.map(Fixture) });
}

/// A world, and the source trees that were asked for.
struct Building {
    world: World,
    trees: Mutex<Vec<TempDir>>,
}

impl Building {
    async fn find() -> Option<Self> {
        Some(Self { world: World::find().await?, trees: Mutex::default() })
    }
}

#[async_trait]
impl BuilderFixture for Building {
    fn builder(&self) -> Arc<dyn ImageBuilder> {
        Arc::new(self.world.runtime.builder())
    }

    async fn another(&self) -> Arc<dyn ImageBuilder> {
        Arc::new(DockerRuntime::connect(self.world.config.clone()).await.unwrap().builder())
    }

    async fn sample(&self, kind: SourceKind) -> CaseResult<Option<Sample>> {
        let folder = tempfile::tempdir().unwrap();
        let instructions = match kind {
            // Each commit is an image of its own.
            SourceKind::Builds => format!("ENV SAMPLE_VERSION={}", DeploymentId::generate()),
            SourceKind::Fails => r#"RUN ["/sample-app", "--exit", "1"]"#.to_owned(),
            // Steps that are still to come must not begin either.
            SourceKind::NeverEnds => {
                "RUN [\"/sample-app\", \"--print\", \"1\", \"--never-listen\"]\nENV A=1\nENV B=2".to_owned()
            }
            SourceKind::LinksOutside { text } => {
                let outside = folder.path().join("outside");
                fs::write(&outside, text).unwrap();
                fs::create_dir(folder.path().join("tree")).unwrap();
                symlink(outside, folder.path().join("tree/leak")).unwrap();
                "COPY leak /copy\nRUN [\"/sample-app\", \"--exit\", \"0\"]".to_owned()
            }
            other => return Err(format!("{other:?} is not known here")),
        };
        let source = folder.path().join("tree");
        fs::create_dir_all(&source).unwrap();
        let mark = format!("LABEL {MARK}={}", self.world.app);
        let base = self.world.sample().await.label;
        fs::write(source.join("Dockerfile"), format!("FROM {base}\n{mark}\n{instructions}\n")).unwrap();
        self.trees.lock().unwrap().push(folder);
        let id = DeploymentId::generate().as_uuid().simple().to_string();
        let commit = CommitSha::parse(format!("{id}00000000")).unwrap();
        Ok(Some(Sample { commit, source, dockerfile: RelativePath::dockerfile() }))
    }

    async fn holds(&self, artifact: &Artifact, text: &str) -> CaseResult<bool> {
        let archive: Vec<_> = self.world.docker.export_image(&artifact.id).try_collect().await.unwrap();
        Ok(archive.concat().windows(text.len()).any(|part| part == text.as_bytes()))
    }

    /// Images without a name are the daemon's cache.
    async fn leftovers(&self) -> CaseResult<Vec<String>> {
        let mut left = Vec::new();
        for id in self.world.steps().await {
            // It may be gone by now, which is too late.
            let found = self.world.docker.inspect_container(&id, None).await;
            left.push(format!(
                "{id}: {:?}",
                found.map(|found| (found.state.and_then(|state| state.status), found.args))
            ));
        }
        Ok(left)
    }
}

mod builder {
    use super::*;

    quark_core::image_builder_conformance!(optional async { Building::find().await });
}
