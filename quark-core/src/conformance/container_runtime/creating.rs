//! The cases about making containers.

use std::collections::BTreeSet;

use super::bench::{Bench, call, run};
use super::fixture::{ProgramKind, RuntimeFixture};
use crate::ErrorKind;
use crate::app::{EnvKey, Secret};
use crate::backend::{ContainerSpec, ContainerState};
use crate::conformance::CaseResult;
use crate::conformance::outcome::{ensure, refused, within, worked};
use crate::deployment::Slot;

/// "`create` twice with one spec yields the same container, the second time `adopted`."
pub async fn creating_twice_adopts(fixture: &dyn RuntimeFixture) -> CaseResult {
    let bench = &Bench::new(fixture);
    run(bench, async {
        let spec = bench.spec(ProgramKind::Serves).await?;
        let first = bench.create(&spec).await?;
        ensure!(!first.adopted, "the first create says that it adopted something");
        let created = bench.look(&spec).await?;
        ensure!(created.state == ContainerState::Created, "a created container is {:?}", created.state);
        ensure!(created.id == first.id, "inspect and create differ about the id of `{}`", spec.name);
        ensure!(created.labels == spec.labels(), "the labels are {:?} instead of {:?}", created.labels, spec.labels());

        let another = fixture.another().await;
        for runtime in [&bench.runtime, &another] {
            let again = worked("create", within("create", runtime.create(&call(), &spec)).await?)?;
            ensure!(again.adopted && again.id == first.id, "creating again yields {again:?} instead of {first:?}");
        }
        bench.start(&first.id).await?;
        let running = bench.create(&spec).await?;
        ensure!(running.adopted && running.id == first.id, "creating what runs yields {running:?}");
        let state = bench.look(&spec).await?.state;
        ensure!(state == ContainerState::Running, "creating what runs has made it {state:?}");
        Ok(())
    })
    .await
}

/// "`create` with a name that is taken by another spec is a `Conflict`."
pub async fn a_name_belongs_to_one_spec(fixture: &dyn RuntimeFixture) -> CaseResult {
    let bench = &Bench::new(fixture);
    run(bench, async {
        let spec = bench.spec(ProgramKind::Serves).await?;
        bench.create(&spec).await?;
        let before = bench.look(&spec).await?;
        let mut other = spec.clone();
        let key = worked("naming a variable", EnvKey::parse("OTHER"))?;
        worked("setting a variable", other.env.set(key, Secret::new("1")))?;
        let done = within("create", bench.runtime.create(&call(), &other)).await?;
        refused("create with a taken name", done, ErrorKind::Conflict, None)?;
        let after = bench.look(&spec).await?;
        ensure!(after == before, "a refused create has changed {before:?} to {after:?}");
        Ok(())
    })
    .await
}

/// "`create` of an image that is not there is `NotFound` with code `image_not_found`."
pub async fn an_unknown_image_is_not_found(fixture: &dyn RuntimeFixture) -> CaseResult {
    let bench = &Bench::new(fixture);
    run(bench, async {
        let spec = bench.spec(ProgramKind::Serves).await?;
        let spec = ContainerSpec { artifact: fixture.unknown_artifact(), ..spec };
        let done = within("create", bench.runtime.create(&call(), &spec)).await?;
        refused("create of an unknown image", done, ErrorKind::NotFound, Some("image_not_found"))?;
        let found = bench.find(&spec).await?;
        ensure!(found.is_none(), "a refused create has left {found:?}");
        Ok(())
    })
    .await
}

/// "Chooses an address … that nothing listens on now and that is not in `taken`."
pub async fn allocated_endpoints_differ(fixture: &dyn RuntimeFixture) -> CaseResult {
    let bench = &Bench::new(fixture);
    run(bench, async {
        let made = bench.serve(bench.spec(ProgramKind::Serves).await?).await?;
        let mut seen = BTreeSet::from([Bench::endpoint_of(&made.spec)?.clone()]);
        for slot in [Slot::Blue, Slot::Green, Slot::Blue, Slot::Green] {
            let endpoint = bench.endpoint(&made.spec.app, slot).await?;
            ensure!(seen.insert(endpoint.clone()), "`{endpoint}` was allocated twice");
        }
        let alone = bench.runtime.allocate_endpoint(&made.spec.app, Slot::Green, &[]);
        let alone = worked("allocate_endpoint", within("allocate_endpoint", alone).await?)?;
        ensure!(
            alone != *Bench::endpoint_of(&made.spec)?,
            "`{alone}` was allocated although a container listens on it"
        );
        Ok(())
    })
    .await
}
