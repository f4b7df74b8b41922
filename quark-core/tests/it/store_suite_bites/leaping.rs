//! A store with one fault: what is said of the numbers that it gives.

use quark_core::deployment::Instance;
use quark_core::{AppName, AppRecord, Event, Result, Store};

use super::broken::Broken;
use super::fault::Fault;

/// How far the sound store leaps.
const LEAP: u64 = 1 << 32;

impl Broken {
    pub(super) async fn read_position(&self) -> Result<u64> {
        let position = self.inner.position().await?;
        Ok(match self.fault {
            Fault::TellsTheNextPosition => position + 1,
            Fault::StartsAtOne => position.max(1),
            Fault::TellsAnOldPosition => position.min(3),
            Fault::LeapsWithoutEvents => position % LEAP,
            _ => position,
        })
    }

    pub(super) async fn go_on(&self) -> Result<()> {
        self.memory().leapt = true;
        if self.fault == Fault::LeapsNowhere { Ok(()) } else { self.inner.leap().await }
    }

    pub(super) fn has_leapt(&self) -> bool {
        self.memory().leapt
    }

    /// Remembers what was created after a leap.
    pub(super) fn note_new(&self, app: &AppName) {
        let mut memory = self.memory();
        if memory.leapt {
            memory.late.insert(app.clone());
        }
    }

    /// An app as a faulty store shows it.
    pub(super) fn bend_app(&self, mut app: AppRecord) -> AppRecord {
        let late = self.memory().late.contains(&app.spec.name);
        match self.fault {
            Fault::ForgetsVariables => app.spec.env = quark_core::EnvVars::new(),
            Fault::LeapsWithoutGenerations => app.serving.generation.0 %= LEAP,
            Fault::LeapsForKnownApps if late => app.serving.generation.0 %= LEAP,
            _ => {}
        }
        app
    }

    /// The fence that a faulty store gives instead.
    pub(super) fn bend_fence(&self, app: &AppName, fence: u64) -> u64 {
        let memory = self.memory();
        match self.fault {
            Fault::RepeatsFences => 1,
            Fault::FencesNamesakesAnew if memory.forgotten.contains_key(app) => 1,
            Fault::LeapsWithoutFences => fence % LEAP,
            Fault::LeapsForKnownApps if memory.late.contains(app) => fence % LEAP,
            _ => fence,
        }
    }

    pub(super) fn bend_sequences(&self, events: &mut [Event]) {
        for event in events {
            match self.fault {
                Fault::LeapsWithoutEvents => event.sequence %= LEAP,
                Fault::RenumbersEvents if self.has_leapt() && event.sequence < LEAP => event.sequence += LEAP,
                _ => {}
            }
        }
    }

    pub(super) async fn read_instances(&self, app: &AppName) -> Result<Vec<Instance>> {
        let mut instances = self.inner.instances(app).await?;
        match self.fault {
            Fault::ShowsRemovedInstances => instances.extend(self.memory().removed.iter().cloned()),
            Fault::ForgetsInstancesOfTheGone if self.inner.app(app).await?.is_none() => instances.clear(),
            Fault::MixesInstances => {
                for other in self.inner.apps().await? {
                    if other.spec.name != *app {
                        instances.extend(self.inner.instances(&other.spec.name).await?);
                    }
                }
            }
            Fault::ListsInstancesBackwards => instances.reverse(),
            _ => {}
        }
        Ok(instances)
    }
}
