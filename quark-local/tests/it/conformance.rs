//! The runtime and the builder keep the contracts of their traits.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use quark_core::app::Artifact;
use quark_core::backend::{ContainerRuntime, ImageBuilder};
use quark_core::conformance::CaseResult;
use quark_core::conformance::container_runtime::{ProgramKind, RuntimeFixture};
use quark_core::conformance::image_builder::{BuilderFixture, Sample, SourceKind};
use quark_core::{Argv, CommitSha, DeploymentId, RelativePath};
use quark_local::LocalBuilder;

use crate::stage::Stage;

mod runtime {
    quark_core::container_runtime_conformance!(async { super::Running::start().await });
}

mod builder {
    quark_core::image_builder_conformance!(async { super::Building(super::Stage::new()) });
}

struct Running {
    stage: Stage,
    sample: Artifact,
    installation: String,
}

impl Running {
    async fn start() -> Self {
        let stage = Stage::new();
        let sample = stage.sample().await;
        Self { stage, sample, installation: DeploymentId::generate().to_string() }
    }
}

#[async_trait]
impl RuntimeFixture for Running {
    fn runtime(&self) -> Arc<dyn ContainerRuntime> {
        Arc::new(self.stage.runtime.clone())
    }

    async fn another(&self) -> Arc<dyn ContainerRuntime> {
        Arc::new(self.stage.another())
    }

    fn installation(&self) -> String {
        self.installation.clone()
    }

    async fn program(&self, kind: ProgramKind) -> CaseResult<(Artifact, Option<Argv>)> {
        let words: &[&str] = match kind {
            ProgramKind::Serves => return Ok((self.sample.clone(), None)),
            ProgramKind::IgnoresStop => &["./sample-app", "--ignore-term"],
            ProgramKind::PrintsAndExits => &["./sample-app", "--print", "200", "--exit", "0"],
            ProgramKind::Fails => &["./sample-app", "--print", "1", "--exit", "3"],
            ProgramKind::PrintsEnvironment => &["./sample-app", "--print-env"],
            ProgramKind::Missing => &["./no-such-program"],
            other => return Err(format!("{other:?} is not known here")),
        };
        let command = Argv::new(words.iter().copied()).map_err(|error| error.report())?;
        Ok((self.sample.clone(), Some(command)))
    }
}

struct Building(Stage);

impl Building {
    /// A tree whose build runs a script.
    fn tree(&self, script: &str) -> PathBuf {
        let toml = "[build]\ncommand = ['./build']\n[start]\ncommand = ['./build']";
        self.0.source(&[("quark.toml", toml), ("build", &format!("#!/bin/sh\n{script}\n"))])
    }
}

#[async_trait]
impl BuilderFixture for Building {
    fn builder(&self) -> Arc<dyn ImageBuilder> {
        Arc::new(self.0.builder.clone())
    }

    async fn another(&self) -> Arc<dyn ImageBuilder> {
        Arc::new(LocalBuilder::open(self.0.config.clone()).unwrap())
    }

    async fn sample(&self, kind: SourceKind) -> CaseResult<Option<Sample>> {
        let source = match kind {
            SourceKind::Builds => self.tree("echo built > result"),
            SourceKind::Fails => self.tree("echo broken >&2; exit 1"),
            SourceKind::NeverEnds => self.tree("sleep 300 &\nsetsid sleep 300 &\necho busy\nsleep 300"),
            SourceKind::LinksOutside { text } => {
                let outside = self.0.state().with_file_name("outside");
                fs::write(&outside, text).unwrap();
                let source = self.tree("cat leak; cp leak copy");
                symlink(outside, source.join("leak")).unwrap();
                source
            }
            other => return Err(format!("{other:?} is not known here")),
        };
        let id = DeploymentId::generate().as_uuid().simple().to_string();
        let commit = CommitSha::parse(format!("{id}00000000")).unwrap();
        Ok(Some(Sample { commit, source, dockerfile: RelativePath::dockerfile() }))
    }

    async fn holds(&self, artifact: &Artifact, text: &str) -> CaseResult<bool> {
        let key = artifact.id.strip_prefix("local:").unwrap();
        let tree = self.0.state().join("images").join(key).join("tree");
        Ok(files(&tree).iter().any(|file| fs::read_to_string(file).is_ok_and(|found| found.contains(text))))
    }

    async fn leftovers(&self) -> CaseResult<Vec<String>> {
        let processes = self.0.processes().into_iter().map(|process| format!("{process:?}"));
        let unfinished = fs::read_dir(self.0.state().join("images")).unwrap().map(|entry| entry.unwrap().path());
        let unfinished = unfinished.filter(|path| !path.join("image.json").exists());
        Ok(processes.chain(unfinished.map(|path| path.display().to_string())).collect())
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}
