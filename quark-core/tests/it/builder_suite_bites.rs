//! Each case of the image builder suite finds the fault that it is there for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use quark_core::backend::{BuildKey, BuildRequest, Call, ImageBuilder, LogSink};
use quark_core::conformance::CaseResult;
use quark_core::conformance::image_builder::{BuilderFixture, Sample, SourceKind, cases};
use quark_core::{Artifact, Error, ErrorKind, LogStream, Result};
use tokio_util::sync::CancellationToken;

use crate::memory_sources::MemoryBuilderFixture;

/// What is wrong with a builder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    KeepsArtifactsToItself,
    BuildsOneArtifact,
    CannotBuildAgain,
    FindsEverything,
    FindsFailedBuilds,
    HidesWhyItFailed,
    LeavesFailedBuilds,
    IgnoresCancels,
    IgnoresTimeouts,
    LeavesProcesses,
    DiscardsNothing,
    TakesACancelForAFailure,
    CopiesWhatLinksName,
    PrintsWhatLinksName,
}

#[allow(clippy::enum_glob_use, reason = "a table of names only")]
fn faults(case: &str) -> &'static [Fault] {
    use Fault::*;
    match case {
        "a_build_is_found_again" => &[KeepsArtifactsToItself, BuildsOneArtifact, CannotBuildAgain],
        "unknown_keys_are_none" => &[FindsEverything, FindsFailedBuilds],
        "a_failed_build_leaves_nothing" => &[HidesWhyItFailed, LeavesFailedBuilds],
        "a_cancelled_build_ends" => &[IgnoresCancels, LeavesProcesses, TakesACancelForAFailure],
        "an_interrupted_build_is_discarded" => &[DiscardsNothing],
        "a_build_obeys_its_timeout" => &[IgnoresTimeouts, LeavesProcesses],
        "nothing_outside_the_tree_is_read" => &[CopiesWhatLinksName, PrintsWhatLinksName],
        _ => &[],
    }
}

#[tokio::test(start_paused = true)]
async fn each_case_finds_its_faults() {
    for case in cases() {
        let name = case.name();
        assert!(!faults(name).is_empty(), "no fault shows that `{name}` bites");
        assert_eq!(case.run(&MemoryBuilderFixture::default()).await, Ok(()), "{name}");
        for fault in faults(name) {
            let found = case.run(&BrokenFixture { sound: MemoryBuilderFixture::default(), fault: *fault }).await;
            assert!(found.is_err(), "`{name}` does not find {fault:?}");
        }
    }
}

struct BrokenFixture {
    sound: MemoryBuilderFixture,
    fault: Fault,
}

#[async_trait]
impl BuilderFixture for BrokenFixture {
    fn builder(&self) -> Arc<dyn ImageBuilder> {
        Arc::new(Broken {
            inner: self.sound.builder(),
            fault: self.fault,
            known: Mutex::default(),
            contents: Arc::clone(&self.sound.contents),
            leftovers: Arc::clone(&self.sound.leftovers),
        })
    }

    async fn another(&self) -> Arc<dyn ImageBuilder> {
        self.builder()
    }

    async fn sample(&self, kind: SourceKind) -> CaseResult<Option<Sample>> {
        self.sound.sample(kind).await
    }

    async fn holds(&self, artifact: &Artifact, text: &str) -> CaseResult<bool> {
        self.sound.holds(artifact, text).await
    }

    async fn leftovers(&self) -> CaseResult<Vec<String>> {
        self.sound.leftovers().await
    }
}

/// A builder with one fault.
#[derive(Debug)]
struct Broken {
    inner: Arc<dyn ImageBuilder>,
    fault: Fault,
    known: Mutex<HashMap<BuildKey, Artifact>>,
    contents: Arc<Mutex<HashMap<String, String>>>,
    leftovers: Arc<Mutex<Vec<String>>>,
}

fn something() -> Artifact {
    Artifact { id: "something".to_owned(), label: "something".to_owned() }
}

#[async_trait]
impl ImageBuilder for Broken {
    async fn find(&self, key: &BuildKey) -> Result<Option<Artifact>> {
        let known = self.known.lock().unwrap().get(key).cloned();
        match self.fault {
            Fault::KeepsArtifactsToItself | Fault::FindsFailedBuilds | Fault::BuildsOneArtifact => Ok(known),
            Fault::FindsEverything => Ok(Some(self.inner.find(key).await?.unwrap_or_else(something))),
            _ => self.inner.find(key).await,
        }
    }

    async fn build(&self, call: &Call, request: BuildRequest<'_>, log: &dyn LogSink) -> Result<Artifact> {
        let mut bent = call.clone();
        match self.fault {
            Fault::IgnoresCancels => bent.cancel = CancellationToken::new(),
            Fault::IgnoresTimeouts => bent.timeout = std::time::Duration::from_secs(3600),
            Fault::CannotBuildAgain if self.inner.find(request.key).await?.is_some() => {
                return Err(Error::new(ErrorKind::AlreadyExists, "it is there"));
            }
            _ => {}
        }
        let outside = std::fs::read_to_string(request.source.join("leak")).unwrap_or_default();
        if self.fault == Fault::PrintsWhatLinksName {
            log.write(LogStream::Stdout, &outside);
        }
        if self.fault == Fault::DiscardsNothing {
            self.leftovers.lock().unwrap().push("compiler".to_owned());
        }
        let mut done = self.inner.build(&bent, request, log).await;
        self.leftovers.lock().unwrap().retain(|left| left != "compiler");
        let (leaves, kind) = (self.leftovers.lock().unwrap().len(), done.as_ref().err().map(Error::kind));
        match (self.fault, kind) {
            (Fault::BuildsOneArtifact, None) => done = Ok(something()),
            (Fault::FindsFailedBuilds, Some(ErrorKind::BuildFailed)) => {
                self.known.lock().unwrap().insert(request.key.clone(), something());
            }
            (Fault::HidesWhyItFailed, Some(_)) => done = Err(Error::new(ErrorKind::Internal, "it did not work")),
            (Fault::LeavesFailedBuilds, Some(ErrorKind::BuildFailed)) => {
                self.leftovers.lock().unwrap().push(format!("folder {leaves}"));
            }
            (Fault::LeavesProcesses, Some(ErrorKind::Cancelled | ErrorKind::Timeout)) => {
                self.leftovers.lock().unwrap().push(format!("process {leaves}"));
            }
            (Fault::TakesACancelForAFailure, Some(ErrorKind::Cancelled)) => {
                done = Err(Error::new(ErrorKind::BuildFailed, "the compiler was killed"));
            }
            _ => {}
        }
        if let Ok(artifact) = &done {
            self.known.lock().unwrap().insert(request.key.clone(), artifact.clone());
            if self.fault == Fault::CopiesWhatLinksName {
                self.contents.lock().unwrap().insert(artifact.id.clone(), outside);
            }
        }
        done
    }

    async fn discard(&self, key: &BuildKey) -> Result<()> {
        self.inner.discard(key).await
    }
}
