//! The cases about starting containers.

use super::bench::{Bench, call, run};
use super::fixture::{ProgramKind, RuntimeFixture};
use crate::ErrorKind;
use crate::backend::{ContainerState, Listening, LogSelection};
use crate::conformance::CaseResult;
use crate::conformance::outcome::{ensure, refused, within, worked};

/// "`start` of a running container succeeds and does not start it again."
pub async fn starting_twice_starts_once(fixture: &dyn RuntimeFixture) -> CaseResult {
    let bench = &Bench::new(fixture);
    run(bench, async {
        let made = bench.serve(bench.spec(ProgramKind::Serves).await?).await?;
        let before = bench.look(&made.spec).await?;
        ensure!(before.state == ContainerState::Running, "a started container is {:?}", before.state);
        ensure!(before.started_at.is_some(), "nobody can tell whether a running container was started again");
        let another = fixture.another().await;
        for runtime in [&bench.runtime, &another] {
            worked("start", within("start", runtime.start(&call(), &made.id)).await?)?;
            let after = bench.look(&made.spec).await?;
            ensure!(after == before, "starting what runs has changed {before:?} to {after:?}");
        }
        let printed = bench.lines(&made.id, LogSelection::default()).await?;
        let starts = printed.iter().filter(|line| line.starts_with("listening on ")).count();
        ensure!(starts == 1, "the program was started {starts} times: {printed:?}");
        Ok(())
    })
    .await
}

/// "`start` when the endpoint is taken by something else is `ResourceExhausted`
/// with code `port_taken`."
pub async fn a_taken_endpoint_is_told(fixture: &dyn RuntimeFixture) -> CaseResult {
    let bench = &Bench::new(fixture);
    run(bench, async {
        let spec = bench.spec(ProgramKind::Serves).await?;
        let Some(taken) = fixture.taken(Bench::endpoint_of(&spec)?).await? else { return Ok(()) };
        let id = bench.create(&spec).await?.id;
        let done = within("start", bench.runtime.start(&call(), &id)).await?;
        refused("start at a taken endpoint", done, ErrorKind::ResourceExhausted, Some("port_taken"))?;
        let state = bench.look(&spec).await?.state;
        ensure!(state != ContainerState::Running, "a container runs although its start failed");
        drop(taken);
        Ok(())
    })
    .await
}

/// "`start` of a program that does not exist is an error with code
/// `command_not_found`, or the container is seen `Exited` at once."
pub async fn a_missing_program_is_told(fixture: &dyn RuntimeFixture) -> CaseResult {
    let bench = &Bench::new(fixture);
    run(bench, async {
        let spec = bench.spec(ProgramKind::Missing).await?;
        let id = bench.create(&spec).await?.id;
        match within("start", bench.runtime.start(&call(), &id)).await? {
            Err(error) => {
                ensure!(error.code() == "command_not_found", "start failed in another way: {}", error.report());
            }
            Ok(()) => {
                let state = bench.exited(&spec).await?;
                let failed = matches!(state, ContainerState::Exited { code, .. } if code != Some(0));
                ensure!(failed, "a program that does not exist has ended well: {state:?}");
            }
        }
        Ok(())
    })
    .await
}

/// "Looks at what listens at the endpoint of a container": the container
/// itself, or the runtime cannot tell.
pub async fn what_listens_is_ours(fixture: &dyn RuntimeFixture) -> CaseResult {
    let bench = &Bench::new(fixture);
    run(bench, async {
        let made = bench.serve(bench.spec(ProgramKind::Serves).await?).await?;
        let seen = bench.runtime.listening(&made.id, Bench::endpoint_of(&made.spec)?);
        let seen = worked("listening", within("listening", seen).await?)?;
        ensure!(matches!(seen, Listening::Ours | Listening::Unknown), "a container that listens is seen as {seen:?}");

        let spec = bench.spec(ProgramKind::Serves).await?;
        let id = bench.create(&spec).await?.id;
        let seen =
            worked("listening", within("listening", bench.runtime.listening(&id, Bench::endpoint_of(&spec)?)).await?)?;
        ensure!(seen != Listening::Ours, "a container that was not started is seen listening");
        Ok(())
    })
    .await
}
