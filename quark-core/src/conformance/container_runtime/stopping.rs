//! The cases about ending containers.

use std::time::Duration;

use super::bench::{Bench, GRACE, Made, call, run};
use super::fixture::{ProgramKind, RuntimeFixture};
use crate::ErrorKind;
use crate::backend::container_runtime::label;
use crate::backend::{ContainerState, StopOutcome};
use crate::conformance::CaseResult;
use crate::conformance::outcome::{ensure, refused, within, worked};
use crate::deployment::DeploymentId;

/// "`stop` returns when the process has exited: its endpoint can be used again at once."
pub async fn stop_returns_when_the_process_has_exited(fixture: &dyn RuntimeFixture) -> CaseResult {
    let bench = &Bench::new(fixture);
    run(bench, async {
        let mut spec = bench.spec(ProgramKind::Serves).await?;
        for _ in 0..3 {
            let made = bench.serve(spec.clone()).await?;
            let outcome = stop(bench, &made, GRACE).await?;
            ensure!(outcome == StopOutcome::Exited, "a program that ends when it is asked to was {outcome:?}");
            let state = bench.look(&spec).await?.state;
            ensure!(matches!(state, ContainerState::Exited { .. }), "a stopped container is {state:?}");
            // Another deployment takes the same place.
            let next = bench.spec(ProgramKind::Serves).await?;
            spec = next.at(Bench::endpoint_of(&spec)?.clone());
        }
        Ok(())
    })
    .await
}

/// "`stop` kills what ignores the signal, after the grace time."
pub async fn stop_kills_what_ignores_the_signal(fixture: &dyn RuntimeFixture) -> CaseResult {
    let bench = &Bench::new(fixture);
    run(bench, async {
        let made = bench.serve(bench.spec(ProgramKind::IgnoresStop).await?).await?;
        let grace = Duration::from_secs(1);
        let began = tokio::time::Instant::now();
        let outcome = stop(bench, &made, grace).await?;
        ensure!(outcome == StopOutcome::Killed, "a program that ignores the signal was {outcome:?}");
        ensure!(began.elapsed() >= grace, "it was killed after {:?} of {grace:?}", began.elapsed());
        let state = bench.look(&made.spec).await?.state;
        ensure!(matches!(state, ContainerState::Exited { .. }), "a killed container is {state:?}");
        let next = bench.spec(ProgramKind::Serves).await?;
        bench.serve(next.at(Bench::endpoint_of(&made.spec)?.clone())).await?;
        Ok(())
    })
    .await
}

/// "`stop` and `remove` of what is stopped or gone succeed."
pub async fn ending_what_has_ended_succeeds(fixture: &dyn RuntimeFixture) -> CaseResult {
    let bench = &Bench::new(fixture);
    run(bench, async {
        let spec = bench.spec(ProgramKind::Serves).await?;
        let created = Made { id: bench.create(&spec).await?.id, spec };
        let outcome = stop(bench, &created, GRACE).await?;
        ensure!(outcome == StopOutcome::AlreadyStopped, "a container that was never started was {outcome:?}");

        let made = bench.serve(bench.spec(ProgramKind::Serves).await?).await?;
        stop(bench, &made, GRACE).await?;
        let outcome = stop(bench, &made, GRACE).await?;
        ensure!(outcome == StopOutcome::AlreadyStopped, "a stopped container was {outcome:?}");
        for Made { spec, id } in [&created, &made] {
            for _ in 0..2 {
                worked("remove", within("remove", bench.runtime.remove(&call(), id, &spec.labels())).await?)?;
                ensure!(bench.find(spec).await?.is_none(), "a removed container is still there");
            }
        }
        let outcome = stop(bench, &made, GRACE).await?;
        ensure!(outcome == StopOutcome::AlreadyStopped, "a removed container was {outcome:?}");
        Ok(())
    })
    .await
}

/// "`remove` of a container whose labels differ from those expected is a
/// `Conflict` and removes nothing."
pub async fn remove_checks_the_labels(fixture: &dyn RuntimeFixture) -> CaseResult {
    let bench = &Bench::new(fixture);
    run(bench, async {
        let spec = bench.spec(ProgramKind::Serves).await?;
        let id = bench.create(&spec).await?.id;
        let before = bench.look(&spec).await?;
        let stranger = DeploymentId::generate().to_string();
        for (name, value) in [(label::DEPLOYMENT, stranger.as_str()), (label::INSTALLATION, ""), ("quark.none", "1")] {
            let mut wrong = spec.labels();
            wrong.insert(name.to_owned(), value.to_owned());
            let done = within("remove", bench.runtime.remove(&call(), &id, &wrong)).await?;
            refused(&format!("remove with another `{name}`"), done, ErrorKind::Conflict, None)?;
            let after = bench.look(&spec).await?;
            ensure!(after == before, "a refused remove has changed {before:?} to {after:?}");
        }
        Ok(())
    })
    .await
}

/// "Removes a stopped container … `Conflict` if … it still runs."
pub async fn running_containers_are_not_removed(fixture: &dyn RuntimeFixture) -> CaseResult {
    let bench = &Bench::new(fixture);
    run(bench, async {
        let made = bench.serve(bench.spec(ProgramKind::Serves).await?).await?;
        let done = within("remove", bench.runtime.remove(&call(), &made.id, &made.spec.labels())).await?;
        refused("remove of a running container", done, ErrorKind::Conflict, None)?;
        let state = bench.look(&made.spec).await?.state;
        ensure!(state == ContainerState::Running, "a refused remove has made a container {state:?}");
        Ok(())
    })
    .await
}

async fn stop(bench: &Bench<'_>, made: &Made, grace: Duration) -> CaseResult<StopOutcome> {
    worked("stop", within("stop", bench.runtime.stop(&call(), &made.id, grace)).await?)
}
