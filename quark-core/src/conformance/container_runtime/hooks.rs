//! The cases about containers that do one thing and end.

use super::bench::{Bench, Made, call, run};
use super::fixture::{ProgramKind, RuntimeFixture};
use crate::backend::container_runtime::label;
use crate::backend::{ContainerState, LogSelection};
use crate::conformance::CaseResult;
use crate::conformance::outcome::{ensure, within, worked};

const ALL: LogSelection = LogSelection { tail: None, follow: false };

/// "A hook runs to its end and is not started again: neither by the runtime,
/// nor by a `start` that comes late or twice, which succeeds. Its exit code can
/// be seen."
pub async fn a_hook_runs_to_its_end_once(fixture: &dyn RuntimeFixture) -> CaseResult {
    let bench = &Bench::new(fixture);
    run(bench, async {
        let made = bench.begin(bench.hook(ProgramKind::PrintsAndExits).await?).await?;
        let followed = bench.lines(&made.id, LogSelection { tail: None, follow: true }).await?;
        ensure!(followed.len() == 200, "a hook that prints 200 lines has printed {}", followed.len());
        bench.exited(&made.spec).await?;
        let before = bench.look(&made.spec).await?;
        let again = bench.create(&made.spec).await?;
        ensure!(again.adopted && again.id == made.id, "a hook that has ended was made once more");
        let another = fixture.another().await;
        for runtime in [&bench.runtime, &another] {
            worked("start", within("start", runtime.start(&call(), &made.id)).await?)?;
            let after = bench.look(&made.spec).await?;
            ensure!(after == before, "starting a hook that has ended has changed {before:?} to {after:?}");
        }
        let printed = bench.lines(&made.id, ALL).await?.len();
        ensure!(printed == 200, "a hook that prints 200 lines has printed {printed}: it ran again");
        worked("remove", within("remove", bench.runtime.remove(&call(), &made.id, &made.spec.labels())).await?)?;
        // What was removed may be made anew, and is another one.
        let Made { id, .. } = bench.begin(made.spec.clone()).await?;
        bench.exited(&made.spec).await?;
        let printed = bench.lines(&id, ALL).await?.len();
        ensure!(printed == 200, "a hook that was made anew has printed {printed} lines instead of 200");
        Ok(())
    })
    .await
}

/// "Its exit code can be seen."
pub async fn a_hook_tells_how_it_ended(fixture: &dyn RuntimeFixture) -> CaseResult {
    let bench = &Bench::new(fixture);
    run(bench, async {
        for (kind, expected) in [(ProgramKind::PrintsAndExits, 0), (ProgramKind::Fails, 3)] {
            let made = bench.begin(bench.hook(kind).await?).await?;
            let state = bench.exited(&made.spec).await?;
            let same = matches!(state, ContainerState::Exited { code: Some(code), .. } if code == expected);
            ensure!(same, "a hook that ended with code {expected} is {state:?}");
        }
        Ok(())
    })
    .await
}

/// "A hook listens nowhere: it is started though the endpoints of its app are
/// taken, and `PORT` is not set." It cannot be mistaken for an instance.
pub async fn a_hook_is_no_instance(fixture: &dyn RuntimeFixture) -> CaseResult {
    let bench = &Bench::new(fixture);
    run(bench, async {
        let instance = bench.serve(bench.spec(ProgramKind::Serves).await?).await?;
        let made = bench.begin(bench.hook(ProgramKind::PrintsEnvironment).await?).await?;
        bench.exited(&made.spec).await?;
        let printed = bench.lines(&made.id, ALL).await?;
        let port = printed.iter().find(|line| line.starts_with("PORT="));
        ensure!(port.is_none(), "a hook was given {port:?}");
        let seen = bench.look(&made.spec).await?.labels;
        ensure!(seen.contains_key(label::HOOK), "a hook is labelled {seen:?}");
        let instances = [label::SLOT, label::REPLICA].into_iter().any(|label| seen.contains_key(label));
        ensure!(!instances, "a hook is labelled as an instance: {seen:?}");
        let seen = bench.look(&instance.spec).await?;
        ensure!(seen.state == ContainerState::Running, "an instance is {:?} after a hook ran beside it", seen.state);
        ensure!(!seen.labels.contains_key(label::HOOK), "an instance is labelled as a hook");
        Ok(())
    })
    .await
}
