//! A store with one fault: how much all instances may use together.

use quark_core::backend::Commit;
use quark_core::deployment::{Instance, InstanceState, Reservation};
use quark_core::{Error, Result, Store};
use tokio::task::yield_now;

use super::broken::Broken;
use super::fault::Fault;

fn sum<'a>(instances: impl IntoIterator<Item = &'a Instance>) -> Reservation {
    instances.into_iter().map(|instance| instance.resources.into()).sum()
}

impl Broken {
    /// Judges by itself whether there is room, where that is what is wrong.
    pub(super) async fn misjudge_room(&self, commit: &mut Commit) -> Option<Error> {
        let room = commit.guard.room?;
        let all = self.present(commit).await.unwrap();
        let written = |known: &Instance| commit.instances.iter().any(|instance| instance.name == known.name);
        let kept: Vec<Instance> = commit.instances.clone().into_iter().filter(stays).collect();
        let others: Vec<_> = all.iter().filter(|known| !written(known)).cloned().collect();
        let (before, after) = (sum(&all), sum(&others) + sum(&kept));
        let judged = match self.fault {
            Fault::IgnoresRoom => Ok(()),
            Fault::MakesRoomPerApp => {
                let own = |known: &&Instance| known.deployment == commit.deployment.id;
                let (before, others) = (sum(all.iter().filter(own)), sum(others.iter().filter(own)));
                room.check(before, others + sum(&kept))
            }
            Fault::CountsRewrittenTwice => room.check(before, before + sum(&kept)),
            Fault::RefusesAtTheEdge => {
                let mut tighter = room;
                tighter.memory_bytes = room.memory_bytes.map(|most| most - 1);
                tighter.check(before, after)
            }
            Fault::RefusesWhoTakesNothing => room.check(Reservation::default(), after),
            Fault::CountsWhatIsGone => {
                let gone = sum(&self.memory().removed);
                room.check(before + gone, after + gone)
            }
            Fault::RacesForRoom => {
                // Others look before this one writes.
                yield_now().await;
                room.check(before, after)
            }
            _ => return None,
        };
        commit.guard.room = None;
        judged.err()
    }

    async fn present(&self, commit: &Commit) -> Result<Vec<Instance>> {
        let mut all = self.inner.instances(&commit.deployment.app).await?;
        for app in self.inner.apps().await? {
            if app.spec.name != commit.deployment.app {
                all.extend(self.inner.instances(&app.spec.name).await?);
            }
        }
        Ok(all)
    }
}

fn stays(instance: &Instance) -> bool {
    instance.state != InstanceState::Removed
}
