//! One case for each bullet of the contract.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::fixture::{BuilderFixture, Sample, SourceKind};
use crate::app::{AppName, Artifact};
use crate::backend::{BuildKey, BuildRequest, Call, ImageBuilder, LogSink};
use crate::conformance::outcome::{PATIENCE, ensure, refused, within, worked};
use crate::conformance::{CaseResult, outcome};
use crate::deployment::{DeploymentId, Fence, LogStream};
use crate::{ErrorKind, Result};

/// "After a successful `build`, `find` with the same key yields the same artifact."
pub async fn a_build_is_found_again(fixture: &dyn BuilderFixture) -> CaseResult {
    let Some(first) = Build::of(fixture, SourceKind::Builds).await? else { return Ok(()) };
    let Some(second) = Build::of(fixture, SourceKind::Builds).await? else { return Ok(()) };
    let builder = fixture.builder();
    let built = worked("build", first.run(&*builder, &call()).await?)?;
    let other = worked("build", second.run(&*builder, &call()).await?)?;
    ensure!(built != other, "two commits have become one artifact: {built:?}");
    let another = fixture.another().await;
    for builder in [&builder, &another] {
        first.found(&**builder, Some(&built)).await?;
        second.found(&**builder, Some(&other)).await?;
    }
    // An engine that died before it wrote the artifact down builds again.
    worked("discard", within("discard", builder.discard(&first.key)).await?)?;
    let again = worked("build", first.run(&*another, &call()).await?)?;
    first.found(&*builder, Some(&again)).await?;
    second.found(&*builder, Some(&other)).await
}

/// "`find` of an unknown key, or after a failed build, is `None`."
pub async fn unknown_keys_are_none(fixture: &dyn BuilderFixture) -> CaseResult {
    let Some(never) = Build::of(fixture, SourceKind::Builds).await? else { return Ok(()) };
    let Some(other) = Build::of(fixture, SourceKind::Builds).await? else { return Ok(()) };
    let builder = fixture.builder();
    worked("build", other.run(&*builder, &call()).await?)?;
    never.found(&*builder, None).await?;
    // There is nothing to discard, which is well.
    worked("discard", within("discard", builder.discard(&never.key)).await?)?;
    never.found(&*builder, None).await?;
    let Some(failing) = Build::of(fixture, SourceKind::Fails).await? else { return Ok(()) };
    ensure!(failing.run(&*builder, &call()).await?.is_err(), "a source that cannot be built was built");
    failing.found(&*builder, None).await
}

/// "A failed build is `BuildFailed` and leaves nothing behind."
pub async fn a_failed_build_leaves_nothing(fixture: &dyn BuilderFixture) -> CaseResult {
    let Some(failing) = Build::of(fixture, SourceKind::Fails).await? else { return Ok(()) };
    let builder = fixture.builder();
    for _ in 0..2 {
        let done = failing.run(&*builder, &call()).await?;
        refused("build of a bad source", done, ErrorKind::BuildFailed, None)?;
        failing.found(&*builder, None).await?;
        nothing_is_left(fixture).await?;
    }
    Ok(())
}

/// "A cancelled build ends within a second or two and leaves no process behind."
pub async fn a_cancelled_build_ends(fixture: &dyn BuilderFixture) -> CaseResult {
    let Some(endless) = Build::of(fixture, SourceKind::NeverEnds).await? else { return Ok(()) };
    let builder = fixture.builder();
    let call = call();
    let cancel = async {
        let line = endless.log.line().await;
        call.cancel.cancel();
        line
    };
    let (done, line) = tokio::join!(endless.run(&*builder, &call), cancel);
    line?;
    refused("a cancelled build", done?, ErrorKind::Cancelled, None)?;
    endless.found(&*builder, None).await?;
    nothing_is_left(fixture).await?;

    // A wish that comes before the beginning counts too.
    refused("a build cancelled before", endless.run(&*builder, &call).await?, ErrorKind::Cancelled, None)?;
    nothing_is_left(fixture).await
}

/// "What a build has left whose engine has died is gone after `discard`, also if
/// another engine asks for it."
pub async fn an_interrupted_build_is_discarded(fixture: &dyn BuilderFixture) -> CaseResult {
    let Some(endless) = Build::of(fixture, SourceKind::NeverEnds).await? else { return Ok(()) };
    let (builder, call) = (fixture.builder(), call());
    // Whoever dies drops what it was waiting for.
    tokio::select! {
        done = endless.run(&*builder, &call) => return Err(format!("a build that never ends has ended: {:?}", done?)),
        line = endless.log.line() => line?,
    }
    let another = fixture.another().await;
    worked("discard", within("discard", another.discard(&endless.key)).await?)?;
    nothing_is_left(fixture).await?;
    endless.found(&*another, None).await
}

/// "Obeys … `call.timeout`."
pub async fn a_build_obeys_its_timeout(fixture: &dyn BuilderFixture) -> CaseResult {
    let Some(endless) = Build::of(fixture, SourceKind::NeverEnds).await? else { return Ok(()) };
    let builder = fixture.builder();
    let call = outcome::call(Fence(1), Duration::from_secs(1));
    let done = endless.run(&*builder, &call).await?;
    refused("a build that takes too long", done, ErrorKind::Timeout, None)?;
    endless.found(&*builder, None).await?;
    nothing_is_left(fixture).await
}

/// "Nothing outside the source tree is read, also not through symbolic links."
pub async fn nothing_outside_the_tree_is_read(fixture: &dyn BuilderFixture) -> CaseResult {
    let text = format!("secret-{}", DeploymentId::generate());
    let kind = SourceKind::LinksOutside { text: text.clone() };
    let Some(build) = Build::of(fixture, kind).await? else { return Ok(()) };
    let builder = fixture.builder();
    // It may be refused, or built without what the link names.
    match build.run(&*builder, &call()).await? {
        Ok(artifact) => ensure!(!fixture.holds(&artifact, &text).await?, "the artifact holds a file from outside"),
        Err(error) => ensure!(!error.report().contains(&text), "the error shows a file from outside"),
    }
    ensure!(!build.log.contains(&text), "the log shows a file from outside");
    Ok(())
}

async fn nothing_is_left(fixture: &dyn BuilderFixture) -> CaseResult {
    let left = fixture.leftovers().await?;
    ensure!(left.is_empty(), "the build has left {left:?}");
    Ok(())
}

/// A build that can be run.
struct Build {
    app: AppName,
    sample: Sample,
    key: BuildKey,
    log: Log,
}

impl Build {
    async fn of(fixture: &dyn BuilderFixture, kind: SourceKind) -> CaseResult<Option<Self>> {
        let app = worked("making a name", AppName::parse("shop"))?;
        let sample = fixture.sample(kind).await?;
        Ok(sample.map(|sample| {
            let key = BuildKey::of(&app, &sample.commit, &sample.dockerfile);
            Self { app, sample, key, log: Log::default() }
        }))
    }

    async fn run(&self, builder: &dyn ImageBuilder, call: &Call) -> CaseResult<Result<Artifact>> {
        let Sample { commit, source, dockerfile } = &self.sample;
        let request = BuildRequest { app: &self.app, key: &self.key, commit, source, dockerfile };
        within("build", builder.build(call, request, &self.log)).await
    }

    async fn found(&self, builder: &dyn ImageBuilder, wanted: Option<&Artifact>) -> CaseResult {
        let found = worked("find", within("find", builder.find(&self.key)).await?)?;
        ensure!(found.as_ref() == wanted, "find yields {found:?} instead of {wanted:?}");
        Ok(())
    }
}

fn call() -> Call {
    // Compilers may be slow; whoever hangs is found by `within`.
    outcome::call(Fence(1), PATIENCE)
}

/// What a build has printed.
#[derive(Default)]
struct Log {
    lines: Mutex<Vec<String>>,
    count: watch::Sender<usize>,
}

impl Log {
    /// Waits for a line.
    async fn line(&self) -> CaseResult {
        let mut count = self.count.subscribe();
        within("a line of the build", count.wait_for(|count| *count > 0)).await?.map_err(|error| error.to_string())?;
        Ok(())
    }

    fn contains(&self, text: &str) -> bool {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).iter().any(|line| line.contains(text))
    }
}

impl LogSink for Log {
    fn write(&self, _: LogStream, text: &str) {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).push(text.to_owned());
        self.count.send_modify(|count| *count += 1);
    }
}
