//! What a gauge promises.

use super::fixture::HostFixture;
use crate::backend::HostCapacity;
use crate::conformance::CaseResult;
use crate::conformance::outcome::{ensure, worked};

async fn look(fixture: &dyn HostFixture) -> CaseResult<HostCapacity> {
    worked("looking at the machine", fixture.gauge().capacity().await)
}

/// What is told of a part comes with the whole, and is not more than that; only the load may be.
pub async fn a_part_comes_with_its_whole_and_is_not_more(fixture: &dyn HostFixture) -> CaseResult {
    let told = look(fixture).await?;
    let parts = [
        ("memory", told.memory_available_bytes, told.memory_bytes),
        ("disk", told.disk_free_bytes, told.disk_bytes),
        ("pids", told.pids_used, told.pids),
    ];
    for (what, part, whole) in parts {
        let fits = part.is_none_or(|part| whole.is_some_and(|whole| part <= whole));
        ensure!(fits, "of the {what}, {part:?} of {whole:?} is told");
    }
    let load = told.cpu_load_millis.is_none() || told.cpu_millis.is_some();
    ensure!(load, "a load is told, and not of how many processors: {told:?}");
    Ok(())
}

/// A whole that is told is not 0: what nobody knows is `None`.
pub async fn a_whole_that_is_told_is_not_nothing(fixture: &dyn HostFixture) -> CaseResult {
    let told = look(fixture).await?;
    for (what, whole) in wholes(&told) {
        ensure!(whole != Some(0), "a machine without any {what} is told of: {told:?}");
    }
    ensure!(told != HostCapacity::default(), "nothing at all is known of the machine");
    Ok(())
}

/// The whole stays as it is while the machine does.
pub async fn the_whole_stays_as_it_is(fixture: &dyn HostFixture) -> CaseResult {
    let first = look(fixture).await?;
    fixture.occupy(3).await?;
    let then = look(fixture).await?;
    ensure!(wholes(&first) == wholes(&then), "the machine was {first:?} and is {then:?}");
    Ok(())
}

/// Each answer is as of now: what is taken or given back meanwhile is in the next one.
pub async fn each_answer_is_as_of_now(fixture: &dyn HostFixture) -> CaseResult {
    /// More than come and go on a machine by themselves in a moment.
    const MANY: u64 = 200;
    let Some(before) = look(fixture).await?.pids_used else { return Ok(()) };
    fixture.occupy(MANY).await?;
    let after = look(fixture).await?.pids_used;
    let grown = after.is_some_and(|after| after >= before.saturating_add(MANY / 2));
    ensure!(grown, "{before} processes were there, {MANY} came, and {after:?} are told of");
    Ok(())
}

fn wholes(told: &HostCapacity) -> [(&'static str, Option<u64>); 4] {
    [("CPU", told.cpu_millis), ("memory", told.memory_bytes), ("disk", told.disk_bytes), ("processes", told.pids)]
}
