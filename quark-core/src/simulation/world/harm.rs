//! What the world does to containers and jobs.

use std::time::Duration;

use super::World;
use super::program::Fate;
use crate::app::CommitSha;
use crate::backend::{Call, ContainerState, Labels};
use crate::deployment::{ContainerName, DeploymentId, Fence};
use crate::memory::Health;
use crate::simulation::chance::Chance;
use crate::simulation::change::Change;
use crate::simulation::executor::{ProcessId, lock};

impl World {
    /// Kills a container that serves or one that does not, and removes it as
    /// well if that is wanted. Whether there was one.
    pub(crate) async fn harm(&self, live: bool, remove: bool, chance: &mut Chance) -> bool {
        let candidates: Vec<ContainerName> = self.with_ledger(|ledger| {
            let serves = |name: &ContainerName| {
                ledger.container(name).is_some_and(|it| {
                    let route = ledger.app(&it.app).and_then(|app| app.route.as_ref());
                    route.is_some_and(|route| route.endpoint == it.endpoint)
                })
            };
            let all = ledger.containers().filter(|it| remove || it.is_running()).map(|it| it.name.clone());
            let hooks = ledger.hooks().filter(|it| remove || it.state == ContainerState::Running);
            all.chain(hooks.map(|it| it.name.clone())).filter(|name| serves(name) == live).collect()
        });
        let Some(name) = chance.pick(&candidates).cloned() else { return false };
        if remove {
            self.remove_by_hand(&name).await
        } else {
            self.kill(&name).await
        }
        true
    }

    /// Kills the process of a container.
    pub async fn kill(&self, name: &ContainerName) {
        self.inner.sim.change(ProcessId::WORLD, &Change::ContainerHarmed(name));
        if !self.inner.memory.runtime.kill(name)
            && let Ok(Some(observed)) = self.backends().runtime.inspect(name).await
        {
            // Another runtime: nobody waits for what it runs to end by itself.
            let _ = self.backends().runtime.stop(&self.by_hand(), &observed.id, Duration::ZERO).await;
        }
        self.look(name).await;
    }

    /// Kills and removes a container behind the engines' backs.
    pub async fn remove_by_hand(&self, name: &ContainerName) {
        self.kill(name).await;
        let runtime = &self.backends().runtime;
        if let Ok(Some(observed)) = runtime.inspect(name).await {
            // It does not run any more, and carries no label that is asked for.
            let _ = runtime.remove(&self.by_hand(), &observed.id, &Labels::new()).await;
        }
        self.look(name).await;
    }

    /// Ends all containers and starts again those that ran, as a restart of
    /// the runtime does.
    pub(crate) async fn restart_containers(&self) {
        let running: Vec<ContainerName> = self.with_ledger(|ledger| {
            let instances = ledger.containers().filter(|it| it.is_running()).map(|it| it.name.clone());
            let hooks = ledger.hooks().filter(|it| it.state == ContainerState::Running).map(|it| it.name.clone());
            instances.chain(hooks).collect()
        });
        for name in &running {
            self.kill(name).await;
        }
        let runtime = &self.backends().runtime;
        for name in &running {
            if let Ok(Some(observed)) = runtime.inspect(name).await {
                // One whose address is taken stays down, as it would.
                let _ = runtime.start(&self.by_hand(), &observed.id).await;
            }
            self.look(name).await;
        }
    }

    async fn look(&self, name: &ContainerName) {
        match self.backends().runtime.inspect(name).await {
            Ok(Some(observed)) => self.inner.sim.change(ProcessId::WORLD, &Change::ContainerSeen(&observed)),
            _ => self.inner.sim.change(ProcessId::WORLD, &Change::ContainerRemoved(name)),
        }
    }

    fn by_hand(&self) -> Call {
        let clock = std::sync::Arc::clone(&self.inner.backends.clock);
        Call::new("by hand", Fence::default(), Duration::from_secs(60)).with_clock(clock)
    }

    /// Loses all jobs of the queue in memory.
    pub fn flush_queue(&self) {
        self.inner.memory.queue.flush();
    }

    pub(super) fn set_fate(&self, commit: &CommitSha, fate: Option<Fate>) {
        if let Some(fate) = fate {
            lock(&self.inner.fates).insert(commit.clone(), fate);
        }
    }

    /// Lets happen to what has users what its program was made for.
    pub(crate) fn fulfil_fates(&self) {
        let fates = lock(&self.inner.fates).clone();
        if fates.is_empty() {
            return;
        }
        let live: Vec<(DeploymentId, CommitSha)> = self.with_ledger(|ledger| {
            let live = ledger.apps().filter_map(|app| Some(app.serving.live.as_ref()?.deployment));
            let shares = ledger.apps().filter(|app| app.serving.canary.is_some());
            let canaries = shares.filter_map(|app| Some(ledger.active(&app.name)?.id));
            live.chain(canaries).filter_map(|id| Some((id, ledger.deployment(id)?.commit.clone()?))).collect()
        });
        for (id, commit) in live {
            let Some(fate) = fates.get(&commit).copied() else { continue };
            if !lock(&self.inner.fulfilled).insert(id) {
                continue;
            }
            let world = self.clone();
            self.spawn(async move { world.fulfil(id, fate).await });
        }
    }

    async fn fulfil(&self, id: DeploymentId, fate: Fate) {
        match fate {
            Fate::FailsUsers(after) => {
                self.sleep(after).await;
                self.fail_users(id).await;
            }
            Fate::Dies(after) => {
                self.sleep(after).await;
                self.kill_all(id).await;
            }
            Fate::Sickens(after) => {
                self.sleep(after).await;
                self.set_health(id, Health::Status(500));
            }
            Fate::Ails(after) => {
                self.sleep(after).await;
                self.set_health(id, Health::Status(500));
                self.sleep(after).await;
                self.set_health(id, Health::Healthy);
            }
            // Each start is followed by that, as long as things may go wrong.
            Fate::KeepsSickening(after) | Fate::KeepsDying(after) => {
                while self.serves_in_trouble(id) {
                    self.sleep(after).await;
                    match fate {
                        _ if !self.serves_in_trouble(id) => return,
                        Fate::KeepsDying(_) => self.kill_all(id).await,
                        _ => self.set_health(id, Health::Status(500)),
                    }
                }
            }
        }
    }

    /// Whether a deployment is live, and things may still go wrong.
    fn serves_in_trouble(&self, id: DeploymentId) -> bool {
        self.with_ledger(|ledger| {
            let app = ledger.deployment(id).and_then(|entry| ledger.app(&entry.app));
            let live = app.and_then(|app| app.serving.live.as_ref());
            live.is_some_and(|live| live.deployment == id) && ledger.healed_at().is_none()
        })
    }

    fn running_of(&self, id: DeploymentId) -> Vec<ContainerName> {
        self.with_ledger(|ledger| {
            ledger.containers().filter(|it| it.deployment == id && it.is_running()).map(|it| it.name.clone()).collect()
        })
    }

    async fn kill_all(&self, id: DeploymentId) {
        for name in self.running_of(id) {
            self.kill(&name).await;
        }
    }

    fn set_health(&self, id: DeploymentId, health: Health) {
        for name in self.running_of(id) {
            self.inner.sim.change(ProcessId::WORLD, &Change::ContainerHarmed(&name));
            self.inner.memory.runtime.set_health(&name, health);
        }
    }

    /// Users of a version get errors, as long as they are sent there and for a minute.
    async fn fail_users(&self, id: DeploymentId) {
        for _ in 0..60 {
            let place = self.with_ledger(|ledger| {
                let own = ledger.deployment(id)?;
                let app = ledger.app(&own.app)?;
                let is_live = app.serving.live.as_ref().is_some_and(|live| live.deployment == id);
                let has_share = app.serving.canary.is_some() && own.state.is_active();
                let slot = own.slot.filter(|_| is_live || has_share)?;
                Some((app.name.clone(), slot, app.serving.endpoint(slot)?.clone()))
            });
            let Some((app, slot, endpoint)) = place else { return };
            for request in 0..30 {
                let status = if request % 5 == 0 { 500 } else { 200 };
                self.inner.memory.analysis.end(&app, slot, &endpoint, Some((status, Duration::from_millis(5))));
            }
            self.sleep(Duration::from_secs(1)).await;
        }
    }
}
