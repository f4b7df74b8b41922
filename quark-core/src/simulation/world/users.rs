//! Users, whose requests go where the router sends them.

use std::time::Duration;

use super::World;
use crate::app::AppName;
use crate::deployment::ContainerName;

/// Time between two handfuls of requests, and how many that are.
const EVERY: Duration = Duration::from_millis(500);
const AT_ONCE: usize = 5;

impl World {
    /// Sends requests of users to an app until the end of the story: where the
    /// router in memory sends them, some of which take a while. Nothing that has
    /// a request may be stopped, and none goes to what was never found well.
    pub(crate) async fn use_app(self, app: AppName) {
        loop {
            if self.with_ledger(|ledger| ledger.healed_at().is_some()) {
                return;
            }
            for _ in 0..AT_ONCE {
                let long = self.with_chance(|chance| chance.up_to(Duration::from_millis(1500)));
                self.request(&app, long);
            }
            self.sleep(EVERY).await;
        }
    }

    /// One request, which takes so long.
    fn request(&self, app: &AppName, long: Duration) {
        let Some(open) = self.inner.memory.router.open(app) else { return };
        let reached: Option<(ContainerName, bool)> = self.with_ledger(|ledger| {
            let there = ledger.at(open.endpoint())?;
            Some((there.name.clone(), there.found_well || there.harmed))
        });
        // Where nothing listens a user is told so at once; whose fault that is, others say.
        let Some((name, is_fit)) = reached else { return };
        if !is_fit {
            return self.fail(format!("a user was sent to {name}, which was never found well"));
        }
        let (world, app) = (self.clone(), app.clone());
        self.spawn(async move {
            world.sleep(long).await;
            let is_there = world.with_ledger(|ledger| {
                ledger.container(&name).is_some_and(|it| it.is_running() || it.harmed) || ledger.was_harmed(&name)
            });
            if !is_there {
                world.fail(format!("{name} was stopped while it had a request"));
            }
            let (slot, endpoint) = (open.slot(), open.endpoint().clone());
            world.inner.memory.analysis.end(&app, slot, &endpoint, Some((200, Duration::from_millis(5))));
            drop(open);
        });
    }
}
