//! Cases about how much all instances may use together.

use std::sync::Arc;

use super::fixture::StoreFixture;
use super::sample;
use super::scene::{Scene, loaded, unchanged};
use crate::ErrorKind;
use crate::app::Resources;
use crate::backend::{Commit, Lease};
use crate::conformance::CaseResult;
use crate::conformance::crowd::{CROWD, at_once};
use crate::conformance::outcome::{ensure, worked};
use crate::deployment::{ContainerName, Deployment, Instance, InstanceState, Room, Slot};

const MIB: u64 = 1 << 20;

/// What one instance of these cases may use.
fn size(memory_mib: u64) -> CaseResult<Resources> {
    worked("making limits", Resources::new(1000, memory_mib * MIB, 100))
}

/// An instance of a deployment, that may use so much.
fn instance(deployment: &Deployment, replica: u16, memory_mib: u64, state: InstanceState) -> CaseResult<Instance> {
    Ok(Instance {
        name: ContainerName::of(&deployment.app, deployment.id, replica),
        replica,
        resources: size(memory_mib)?,
        ..sample::instance(deployment, Slot::Green, state)
    })
}

/// A commit that writes these instances if all of all apps may use so much memory together.
fn within(lease: &Lease, deployment: &Deployment, mib: u64, instances: Vec<Instance>) -> Commit {
    let mut commit = unchanged(lease, deployment);
    commit.guard.room = Some(Room { memory_bytes: Some(mib * MIB), ..Room::default() });
    commit.instances = instances;
    commit
}

/// `commit` with `room` for less than all instances of all apps may use once it is written is refused as
/// [`Room::check`] says and changes nothing; an instance counts once from when it is written until it is removed.
pub async fn commit_keeps_to_the_room(fixture: &dyn StoreFixture) -> CaseResult {
    use InstanceState::{Healthy, Planned, Removed};
    let scene = Scene::new(fixture);
    let (_, shop, lease) = scene.active("shop").await?;
    let (_, blog, other_lease) = scene.active("blog").await?;
    scene.commit(within(&lease, &shop, 1000, vec![instance(&shop, 0, 600, Planned)?])).await?;
    let shop = scene.read(shop.id).await?;

    // That of another app counts, and a refusal leaves no trace.
    let exhausted = (ErrorKind::ResourceExhausted, Some("no_room_for_memory"));
    let mut too_much = loaded(&other_lease, &blog);
    too_much.guard.room = Some(Room { memory_bytes: Some(1000 * MIB), ..Room::default() });
    too_much.instances = vec![instance(&blog, 0, 401, Planned)?];
    scene.refuses("a commit for which there is no room", too_much.clone(), exhausted.0, exhausted.1).await?;
    let told = [
        ("no_room_for_cpu", Room { cpu_millis: Some(1999), ..Room::default() }),
        ("no_room_for_pids", Room { pids: Some(199), ..Room::default() }),
    ];
    for (code, room) in told {
        too_much.guard.room = Some(room);
        scene.refuses("a commit for which there is no room", too_much.clone(), exhausted.0, Some(code)).await?;
    }
    // What fits exactly fits.
    scene.commit(within(&other_lease, &blog, 1000, vec![instance(&blog, 0, 400, Planned)?])).await?;
    let blog = scene.read(blog.id).await?;

    // Written again, it counts once, and in the size that it has now.
    scene.commit(within(&lease, &shop, 1000, vec![instance(&shop, 0, 600, Healthy)?])).await?;
    let shop = scene.read(shop.id).await?;
    let grown = within(&lease, &shop, 1000, vec![instance(&shop, 0, 601, Healthy)?]);
    scene.refuses("growing beyond the room", grown, exhausted.0, exhausted.1).await?;

    // Who takes nothing more is not refused, however little room there is by now.
    scene.commit(within(&lease, &shop, 10, vec![instance(&shop, 0, 500, Healthy)?])).await?;
    let shop = scene.read(shop.id).await?;
    // What goes makes room for what comes with it.
    let swapped = vec![instance(&shop, 0, 500, Removed)?, instance(&shop, 1, 600, Planned)?];
    scene.commit(within(&lease, &shop, 1000, swapped)).await?;
    let shop = scene.read(shop.id).await?;
    scene.commit(within(&lease, &shop, 1000, vec![instance(&shop, 1, 600, Removed)?])).await?;
    // What is gone counts no more.
    let grown = vec![instance(&blog, 1, 600, Planned)?];
    scene.commit(within(&other_lease, &blog, 1000, grown)).await?;
    // Without a limit there is none.
    let shop = scene.read(shop.id).await?;
    let mut free = unchanged(&lease, &shop);
    free.instances = vec![instance(&shop, 2, 4000, Planned)?];
    scene.commit(free).await?;
    Ok(())
}

/// Of several commits at once that fit alone and not together, those that fit are written.
pub async fn commits_at_once_share_the_room(fixture: &dyn StoreFixture) -> CaseResult {
    let scene = Scene::new(fixture);
    let mut commits = Vec::new();
    for number in 0..CROWD {
        let (_, deployment, lease) = scene.active(&format!("app-{number}")).await?;
        let planned = instance(&deployment, 0, 100, InstanceState::Planned)?;
        commits.push(within(&lease, &deployment, 250, vec![planned]));
    }
    let said = at_once(commits.into_iter().map(|commit| {
        let store = Arc::clone(&scene.store);
        async move { store.commit(commit).await }
    }));
    let (mut written, mut refused) = (0, 0);
    for answer in said.await? {
        match answer {
            Ok(_) => written += 1,
            Err(error) if error.code() == "no_room_for_memory" => refused += 1,
            Err(error) => return Err(format!("a commit for which there is no room is refused as {error:?}")),
        }
    }
    ensure!(written == 2, "of {} commits 2 fit, and {written} were written", written + refused);
    let apps = worked("reading all apps", scene.store.apps().await)?;
    let mut found = 0;
    for app in apps {
        found += worked("reading instances", scene.store.instances(&app.spec.name).await)?.len();
    }
    ensure!(found == 2, "2 instances were written, and {found} are there");
    Ok(())
}
