//! A store that goes back in time, and the person who looks after what follows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::World;
use crate::Result;
use crate::backend::Labels;
use crate::deployment::ContainerName;
use crate::memory::Backup;
use crate::simulation::change::Change;
use crate::simulation::events::Happening;
use crate::simulation::executor::{ProcessId, lock};
use crate::simulation::ledger::Ledger;

/// How often the person looks.
const LOOK: Duration = Duration::from_secs(1);

/// What became of the copy of the store.
#[derive(Default)]
pub(super) enum Past {
    /// None was made.
    #[default]
    Unknown,
    /// It was made, and can be brought back.
    Kept(Box<(Backup, Ledger)>),
    /// It was brought back. Engines had noted that the store was at this event.
    BroughtBack(u64),
}

impl World {
    /// Makes a copy of the store, or brings it back if there is one. Whether
    /// the store went back in time.
    pub(crate) fn keep_or_restore(&self) -> bool {
        if !self.inner.own_store {
            return false;
        }
        let mut past = lock(&self.inner.past);
        match &*past {
            Past::Unknown => {
                let ledger = self.with_ledger(Ledger::clone);
                *past = Past::Kept(Box::new((self.inner.memory.store.backup(), ledger)));
                self.tell("a copy of the store is made");
                false
            }
            Past::Kept(copy) => {
                let (backup, ledger) = copy.as_ref();
                self.inner.memory.store.restore(backup);
                self.inner.sim.with(|state| state.restores += 1);
                self.inner.sim.change(ProcessId::WORLD, &Change::StoreRestored(ledger));
                *past = Past::BroughtBack(self.inner.disk.highest());
                let person = self.clone();
                self.spawn(async move { person.look_after().await });
                true
            }
            Past::BroughtBack(_) => false,
        }
    }

    /// Brings the copy of the store back if there is one.
    pub(crate) fn restore_if_kept(&self) {
        let kept = matches!(&*lock(&self.inner.past), Past::Kept(_));
        if kept && self.keep_or_restore() {
            self.note(Happening::StoreRestored);
        }
    }

    /// Whether the store went back in time.
    pub(crate) fn was_restored(&self) -> bool {
        matches!(&*lock(&self.inner.past), Past::BroughtBack(_))
    }

    /// Why an engine must have noticed by now that the store went back, if
    /// none has.
    pub(crate) async fn unnoticed(&self) -> Option<String> {
        let noted = match &*lock(&self.inner.past) {
            Past::BroughtBack(noted) if !self.inner.doubted.load(Ordering::Relaxed) => *noted,
            _ => return None,
        };
        let position = self.backends().store.position().await.ok()?;
        let behind = position < noted;
        behind.then(|| format!("the store was at event {noted}, is at {position}, and no engine has noticed"))
    }

    /// A person sees which engines are in safe mode, and resumes each after a while.
    async fn look_after(&self) {
        let patience = Duration::from_secs(self.with_chance(|chance| chance.between(70, 140)));
        let mut since: BTreeMap<ProcessId, Duration> = BTreeMap::new();
        loop {
            self.sleep(LOOK).await;
            for (process, engine) in self.up() {
                let doubts = engine.safe_mode().is_some();
                if !doubts {
                    since.remove(&process);
                    continue;
                }
                if !since.contains_key(&process) {
                    self.inner.sim.change(process, &Change::SafeMode(true));
                }
                self.inner.doubted.store(true, Ordering::Relaxed);
                let began = *since.entry(process).or_insert_with(|| self.now());
                let waited = self.now().saturating_sub(began);
                // It may not work at once: the store may be away.
                if waited >= patience && waited.as_secs().is_multiple_of(10) {
                    let sim = std::sync::Arc::clone(&self.inner.sim);
                    let resuming = async move {
                        if engine.resume().await.is_ok() {
                            sim.change(process, &Change::SafeMode(false));
                        }
                    };
                    self.inner.sim.executor.spawn(process, Box::pin(resuming));
                }
            }
        }
    }

    /// The person removes the containers that the store has forgotten. Engines
    /// leave them alone.
    pub(crate) async fn remove_forgotten(&self) -> Result<()> {
        if !self.was_restored() || self.up().iter().any(|(_, engine)| engine.safe_mode().is_some()) {
            return Ok(());
        }
        let mut known: BTreeSet<ContainerName> = BTreeSet::new();
        let store = &self.backends().store;
        for app in store.apps().await? {
            known.extend(store.instances(&app.spec.name).await?.into_iter().map(|instance| instance.name));
        }
        for container in self.backends().runtime.list(&Labels::new()).await? {
            if !known.contains(&container.name) {
                self.remove_by_hand(&container.name).await;
            }
        }
        Ok(())
    }
}
