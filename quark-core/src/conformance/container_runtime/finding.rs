//! The cases about finding containers.

use std::collections::BTreeSet;

use super::bench::{Bench, GRACE, call, lines, run};
use super::fixture::{ProgramKind, RuntimeFixture};
use crate::backend::container_runtime::label;
use crate::backend::{ContainerSpec, ContainerState, Labels, LogSelection, Purpose};
use crate::conformance::CaseResult;
use crate::conformance::outcome::{ensure, within, worked};
use crate::deployment::{ContainerName, DeploymentId, Slot};

/// "`inspect` of an unknown name is `None`."
pub async fn unknown_names_are_none(fixture: &dyn RuntimeFixture) -> CaseResult {
    let bench = &Bench::new(fixture);
    run(bench, async {
        let one = bench.spec(ProgramKind::Serves).await?;
        let (spec, shorter, longer) = (replica(&one, 10), replica(&one, 1), replica(&one, 100));
        ensure!(bench.find(&spec).await?.is_none(), "inspect finds what was never created");
        let id = bench.create(&spec).await?.id;
        for other in [&shorter, &longer] {
            ensure!(bench.find(other).await?.is_none(), "inspect of `{}` finds `{}`", other.name, spec.name);
        }
        worked("remove", within("remove", bench.runtime.remove(&call(), &id, &spec.labels())).await?)?;
        ensure!(bench.find(&spec).await?.is_none(), "inspect finds what was removed");
        Ok(())
    })
    .await
}

/// Another replica of the same deployment.
fn replica(one: &ContainerSpec, number: u16) -> ContainerSpec {
    let mut other = ContainerSpec { name: ContainerName::of(&one.app, one.deployment, number), ..one.clone() };
    if let Purpose::Instance(instance) = &mut other.purpose {
        instance.replica = number;
    }
    other
}

/// "`list` yields exactly the containers that carry all the labels asked for."
pub async fn list_yields_what_carries_all_labels(fixture: &dyn RuntimeFixture) -> CaseResult {
    let bench = &Bench::new(fixture);
    run(bench, async {
        let first = bench.spec(ProgramKind::Serves).await?;
        let second = bench.spec(ProgramKind::Serves).await?;
        let replica = replica(&first, 1).at(bench.endpoint(&first.app, Slot::Blue).await?);
        for spec in [&first, &second, &replica] {
            bench.create(spec).await?;
        }
        let installation = (label::INSTALLATION, fixture.installation());
        let deployment = (label::DEPLOYMENT, first.deployment.to_string());
        let nobody = (label::DEPLOYMENT, DeploymentId::generate().to_string());
        for (labels, wanted) in [
            (vec![installation.clone()], vec![&first, &second, &replica]),
            (vec![installation.clone(), deployment.clone()], vec![&first, &replica]),
            (vec![deployment, (label::REPLICA, "1".to_owned())], vec![&replica]),
            (vec![installation, nobody], vec![]),
        ] {
            let labels: Labels = labels.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
            let listed = worked("list", within("list", bench.runtime.list(&labels)).await?)?;
            let names: Vec<_> = listed.iter().map(|container| container.name.clone()).collect();
            let wanted: BTreeSet<_> = wanted.into_iter().map(|spec| spec.name.clone()).collect();
            let exact = names.len() == wanted.len() && names.iter().all(|name| wanted.contains(name));
            ensure!(exact, "list of {labels:?} yields {names:?} instead of {wanted:?}");
            for container in listed {
                let inspected = worked("inspect", within("inspect", bench.runtime.inspect(&container.name)).await?)?;
                ensure!(
                    inspected.as_ref() == Some(&container),
                    "list and inspect differ: {container:?}, {inspected:?}"
                );
            }
        }
        Ok(())
    })
    .await
}

/// "A container outlives the runtime object that started it, and another
/// object finds it."
pub async fn containers_outlive_their_runtime(fixture: &dyn RuntimeFixture) -> CaseResult {
    let bench = &Bench::new(fixture);
    run(bench, async {
        let spec = bench.spec(ProgramKind::Serves).await?;
        let first = fixture.another().await;
        let id = worked("create", within("create", first.create(&call(), &spec)).await?)?.id;
        worked("start", within("start", first.start(&call(), &id)).await?)?;
        let before = worked("inspect", within("inspect", first.inspect(&spec.name)).await?)?;
        drop(first);

        let second = fixture.another().await;
        let found = worked("inspect", within("inspect", second.inspect(&spec.name)).await?)?;
        ensure!(found.is_some() && found == before, "another object sees {found:?} instead of {before:?}");
        let running = found.is_some_and(|found| found.state == ContainerState::Running && found.id == id);
        ensure!(running, "the container does not run any more");
        let listed = worked("list", within("list", second.list(&spec.labels())).await?)?;
        ensure!(listed.len() == 1, "another object lists {listed:?}");
        worked("stop", within("stop", second.stop(&call(), &id, GRACE)).await?)?;
        let state = bench.look(&spec).await?.state;
        ensure!(matches!(state, ContainerState::Exited { .. }), "a stopped container is {state:?}");
        lines(&*second, &id, LogSelection::default()).await?;
        worked("remove", within("remove", second.remove(&call(), &id, &spec.labels())).await?)
    })
    .await
}
