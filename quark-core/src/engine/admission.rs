//! Whether the machine has room for what a deployment is about to do: by what is
//! reserved, and by what is measured. What serves is not touched by any of this.
//!
//! A guard in the store ([`Room`]) is what decides about reservations; what is
//! counted here comes before, so that nobody builds for an hour what has no room
//! then, and tells people what holds it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::draft::Draft;
use super::explain::{Wait, span};
use super::host_policy::{HostPolicy, Purpose};
use super::shared::Shared;
use super::step::STORE_AWAY;
use crate::app::{AppName, Resources};
use crate::backend::{HostCapacity, HostGauge, Metric, Snapshot};
use crate::clock::Timestamp;
use crate::deployment::{
    Amount, AppRecord, Deployment, DeploymentId, DeploymentKind, Instance, Reservation, Room, Shortage, StepName,
};
use crate::error::ErrorKind;
use crate::planted::planted;
use crate::{Error, Result};

/// The code of an error that is none yet: the deployment looks again later.
pub(super) const WAITS: &str = "waits_for_host";

/// How long a deployment waits before it looks at the machine again.
const AGAIN: Duration = Duration::from_secs(5);
/// Who is so late to look again has ended, or was taken elsewhere.
const GONE: Duration = Duration::from_secs(60);

/// What an engine knows of its machine.
#[derive(Debug)]
pub(super) struct Admission {
    gauge: Option<Arc<dyn HostGauge>>,
    policy: HostPolicy,
    /// Who waits. Nothing of it is stored: whoever starts anew waits anew.
    waiting: Mutex<BTreeMap<DeploymentId, Waiting>>,
}

/// Since when somebody waits, and for what.
#[derive(Clone, Debug)]
struct Waiting {
    since: Duration,
    asked: Duration,
    shortage: Shortage,
    why: String,
}

impl Admission {
    pub(super) fn new(gauge: Option<Arc<dyn HostGauge>>, policy: HostPolicy) -> Self {
        Self { gauge, policy, waiting: Mutex::default() }
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeMap<DeploymentId, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What became of a look at the machine, for whoever may wait. `now` is monotonic.
    fn bear(&self, id: DeploymentId, measured: Result<()>, now: Duration) -> Result<()> {
        let mut waiting = self.waiting();
        waiting.retain(|other, it| *other == id || now <= it.asked.saturating_add(GONE));
        let Err(error) = measured else {
            waiting.remove(&id);
            return Ok(());
        };
        let shortage = Shortage::of_code(error.code()).unwrap_or(Shortage::Memory);
        let since = waiting.get(&id).map_or(now, |known| known.since);
        if now.saturating_sub(since) >= self.policy.patience {
            waiting.remove(&id);
            return Err(error);
        }
        let why = error.message().to_owned();
        waiting.insert(id, Waiting { since, asked: now, shortage, why });
        let left = self.policy.patience.saturating_sub(now.saturating_sub(since));
        Err(Error::new(ErrorKind::Unavailable, error.message().to_owned())
            .with_code(WAITS)
            .with_retry_after(AGAIN.min(left)))
    }
}

impl Shared {
    /// What the machine has now; `None` if nobody looks.
    pub(super) async fn host_capacity(&self) -> Result<Option<HostCapacity>> {
        let Some(gauge) = &self.admission.gauge else { return Ok(None) };
        self.ask("the machine", gauge.capacity()).await.map(Some)
    }

    /// Refuses at once what the machine could never run. A machine that cannot be
    /// looked at says nothing: the deployment will.
    pub(super) async fn refuse_what_never_fits(&self, wanted: Resources) -> Result<()> {
        let capacity = match self.host_capacity().await {
            Ok(Some(capacity)) => capacity,
            Ok(None) => return Ok(()),
            Err(error) => {
                tracing::debug!(report = error.report(), "whether there is room is asked later");
                return Ok(());
            }
        };
        self.could_run(&capacity, wanted).inspect_err(|error| self.count_refusal(error))
    }

    fn could_run(&self, capacity: &HostCapacity, wanted: Resources) -> Result<()> {
        let hint = "lower the app's `resources`, or take a larger machine";
        let judged = self.admission.policy.could_run(capacity, wanted);
        judged.map_err(|error| error.with_field("app.resources").with_hint(hint))
    }

    /// Counts what is refused for lack of room.
    pub(super) fn count_refusal(&self, error: &Error) {
        if let Some(reason) = Shortage::of_code(error.code()) {
            self.metrics.record(Metric::AdmissionRefused { reason });
        }
    }

    /// What a deployment waits for, if it waits for the machine here.
    pub(super) fn waits_for_host(&self, id: DeploymentId) -> Option<Wait> {
        let waiting = self.admission.waiting().get(&id).cloned()?;
        if self.clock.monotonic() > waiting.asked.saturating_add(AGAIN * 3) {
            // It goes on elsewhere, or has other worries by now.
            return None;
        }
        let waited = self.clock.monotonic().saturating_sub(waiting.since);
        let until = self.now().after(self.admission.policy.patience.saturating_sub(waited));
        Some(Wait::Host { shortage: waiting.shortage, why: waiting.why, until })
    }

    /// Looks whether there is room for a step; how much all instances may reserve
    /// once it is written. The error says what there is no room for, or, with the
    /// code [`WAITS`], when to look again.
    pub(super) async fn admit(&self, draft: &Draft, step: StepName) -> Result<Option<Room>> {
        let deployment = &draft.snapshot().deployment;
        let builds = matches!(step, StepName::Fetch | StepName::Build);
        // A hook is measured, and not reserved for: it is there for a while only.
        let hook = matches!(step, StepName::PreDeploy | StepName::PrePromote);
        if !builds && !hook && !matches!(step, StepName::Clear | StepName::Create) {
            return Ok(None);
        }
        let Some(capacity) = self.host_capacity().await? else { return Ok(None) };
        if draft.admits() && !self.is_next(deployment).await? {
            // Its turn has not come; the store says so.
            return Ok(None);
        }
        let policy = &self.admission.policy;
        let wanted = deployment.release.resources;
        self.could_run(&capacity, wanted)?;
        let room = policy.room(&capacity);
        // What a first hook does, a migration say, must not be done in vain.
        if !matches!(step, StepName::Create | StepName::PrePromote) {
            self.count_room(draft, &room, builds).await?;
        }
        let is_rollback = matches!(deployment.kind, DeploymentKind::Rollback { .. });
        let purpose = match builds {
            true => Purpose::Build { heeds_load: !is_rollback && self.places.taken() <= 1 },
            false if step == StepName::Clear => Purpose::Run(less(wanted, draft.snapshot())),
            false => Purpose::Run(wanted.into()),
        };
        self.admission.bear(deployment.id, policy.measure(&capacity, purpose), self.clock.monotonic())?;
        Ok(Some(room))
    }

    /// Whether there would be room for a deployment that nobody has begun, which
    /// `builds` or not: how much is reserved beside it, what it needs, and how
    /// much there is; and why it would be refused now. `None` if nobody looks.
    pub(super) async fn room_for(&self, snapshot: &Snapshot, builds: bool) -> Result<Option<(RoomLeft, Result<()>)>> {
        let Some(capacity) = self.host_capacity().await? else { return Ok(None) };
        let own = &snapshot.deployment;
        let wanted = own.release.resources;
        let room = self.admission.policy.room(&capacity);
        let all = self.holders(own, snapshot.app.as_ref(), &snapshot.instances).await?;
        let reserved: Reservation = all.iter().map(|holder| holder.instance.resources.into()).sum();
        let free_disk = capacity.disk_free_bytes;
        let left = RoomLeft { reserved, needed: wanted.into(), room, free_disk };
        let judged = self.could_run(&capacity, wanted).and_then(|()| {
            let fits = room.check(reserved, reserved + wanted.into());
            fits.map_err(|error| told(&error, &all, self.now()))?;
            let is_rollback = matches!(own.kind, DeploymentKind::Rollback { .. });
            if builds {
                self.admission.policy.measure(&capacity, Purpose::Build { heeds_load: !is_rollback })?;
            }
            self.admission.policy.measure(&capacity, Purpose::Run(wanted.into()))
        });
        Ok(Some((left, judged)))
    }

    async fn is_next(&self, deployment: &Deployment) -> Result<bool> {
        let unfinished = self.store.unfinished(Some(&deployment.app)).await.map_err(store_away)?;
        Ok(unfinished.first().is_none_or(|first| first.id == deployment.id))
    }

    /// Whether there would be room by what is reserved now; before a build, when
    /// all standbys have gone, which they do by themselves.
    async fn count_room(&self, draft: &Draft, room: &Room, standbys_go: bool) -> Result<()> {
        let snapshot = draft.snapshot();
        let own = &snapshot.deployment;
        let all = self.holders(own, snapshot.app.as_ref(), &snapshot.instances).await.map_err(store_away)?;
        let stays = |holder: &&Holder| !(holder.until.is_some() && (standbys_go || planted!(StandbyNotCounted)));
        let before: Reservation = all.iter().filter(stays).map(|holder| holder.instance.resources.into()).sum();
        let after = before + own.release.resources.into();
        room.check(before, after).map_err(|error| told(&error, &all, self.now()))
    }

    /// Says of a refusal of the store what holds the room, if that can be read.
    pub(super) async fn explain_refusal(&self, draft: &Draft, error: Error) -> Error {
        let snapshot = draft.snapshot();
        match self.holders(&snapshot.deployment, snapshot.app.as_ref(), &snapshot.instances).await {
            Ok(all) => told(&error, &all, self.now()),
            Err(_) => error,
        }
    }

    /// The instances that hold room for which a deployment has to wait: not its
    /// own, nor what is in the slot that it will take.
    async fn holders(&self, own: &Deployment, app: Option<&AppRecord>, known: &[Instance]) -> Result<Vec<Holder>> {
        let mut holders = Vec::new();
        let live = app.and_then(|app| app.serving.live.as_ref()).map(|live| live.slot);
        let serves = |instance: &&Instance| Some(instance.slot) == live && instance.deployment != own.id;
        holders.extend(known.iter().filter(serves).map(|instance| Holder::new(&own.app, instance, None)));
        for app in self.store.apps().await? {
            let name = &app.spec.name;
            if *name == own.app {
                continue;
            }
            let standby = app.serving.standby.as_ref();
            for instance in self.store.instances(name).await? {
                let stands_by = standby.filter(|standby| standby.occupant.slot == instance.slot);
                holders.push(Holder::new(name, &instance, stands_by.map(|standby| standby.retire_at)));
            }
        }
        if planted!(RoomCountedTwice) {
            holders.extend(holders.clone());
        }
        Ok(holders)
    }
}

/// What a machine has for a deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RoomLeft {
    /// What all instances beside it may use together.
    pub reserved: Reservation,
    /// What it may use itself.
    pub needed: Reservation,
    /// What all may use together.
    pub room: Room,
    /// What is free on the disk, in bytes, if that is known.
    pub free_disk: Option<u64>,
}

/// What a new version needs besides what is about to be taken away in its slot.
fn less(wanted: Resources, snapshot: &Snapshot) -> Reservation {
    let slot = snapshot.app.as_ref().map(|app| app.serving.idle_slot());
    let goes = |instance: &&Instance| Some(instance.slot) == slot && instance.deployment != snapshot.deployment.id;
    let freed: Reservation = snapshot.instances.iter().filter(goes).map(|instance| instance.resources.into()).sum();
    Reservation::from(wanted) - freed
}

fn store_away(error: Error) -> Error {
    error.with_code(STORE_AWAY)
}

/// Something that holds room.
#[derive(Clone, Debug)]
struct Holder {
    app: AppName,
    instance: Instance,
    /// When it is retired, if it stands by.
    until: Option<Timestamp>,
}

impl Holder {
    fn new(app: &AppName, instance: &Instance, until: Option<Timestamp>) -> Self {
        Self { app: app.clone(), instance: instance.clone(), until }
    }

    fn amount(&self, shortage: Shortage) -> u64 {
        let resources = self.instance.resources;
        match shortage {
            Shortage::Cpu => resources.cpu_millis().into(),
            Shortage::Pids => resources.pids().into(),
            _ => resources.memory_bytes(),
        }
    }
}

/// How many apps are named that hold what is short.
const NAMED: usize = 5;

/// A refusal with what holds the room, the most first, and what could be done.
fn told(error: &Error, all: &[Holder], now: Timestamp) -> Error {
    let Some(shortage) = Shortage::of_code(error.code()) else {
        return Error::new(error.kind(), error.message().to_owned());
    };
    let mut sizes: BTreeMap<(&AppName, u64), u64> = BTreeMap::new();
    for holder in all {
        *sizes.entry((&holder.app, holder.amount(shortage))).or_default() += 1;
    }
    let mut sizes: Vec<_> = sizes.into_iter().collect();
    sizes.sort_by_key(|((_, size), count)| std::cmp::Reverse(size.saturating_mul(*count)));
    let mut text = error.message().to_owned();
    for (position, ((app, size), count)) in sizes.iter().take(NAMED).enumerate() {
        let size = Amount(shortage, *size);
        let sign = if position == 0 { ':' } else { ',' };
        // Writing to a text does not fail.
        let _ = write!(text, "{sign} {app} {count} x {size:#}");
    }
    if let Some(more @ 1..) = sizes.len().checked_sub(NAMED) {
        let _ = write!(text, " and {more} more");
    }
    let standby = all.iter().filter_map(|holder| Some((holder.until?, holder))).min_by_key(|(until, _)| *until);
    let hint = match standby {
        Some((until, holder)) => format!(
            "the standby of `{}` holds {:#} for another {}; deploy again then",
            holder.app,
            Amount(shortage, holder.amount(shortage)),
            span(until.since(now)),
        ),
        None => "the old and the new version run side by side for a while: lower `resources` of apps, \
                 remove an app, or take a larger machine"
            .to_owned(),
    };
    Error::new(error.kind(), text).with_code(shortage.code()).with_hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Duration = Duration::from_secs(100);

    fn short() -> Result<()> {
        Err(Error::new(ErrorKind::ResourceExhausted, "the machine is busy").with_code("no_room_for_cpu"))
    }

    #[test]
    fn a_spike_is_waited_for_and_no_longer_than_patience_lasts() {
        let admission = Admission::new(None, HostPolicy::default());
        let id = DeploymentId::generate();
        let after = |seconds| START + Duration::from_secs(seconds);
        assert_eq!(admission.bear(id, short(), after(0)).unwrap_err().code(), WAITS);
        let error = admission.bear(id, short(), after(118)).unwrap_err();
        assert_eq!((error.code(), error.retry_after()), (WAITS, Some(Duration::from_secs(2))));
        assert_eq!(admission.bear(id, short(), after(120)).unwrap_err().code(), "no_room_for_cpu");
        // It has passed, so the next one has its own time.
        assert_eq!(admission.bear(id, short(), after(121)).unwrap_err().code(), WAITS);
        assert!(admission.bear(id, Ok(()), after(150)).is_ok());
        assert_eq!(admission.bear(id, short(), after(300)).unwrap_err().code(), WAITS);
    }

    #[test]
    fn who_does_not_look_again_is_forgotten() {
        let admission = Admission::new(None, HostPolicy::default());
        assert!(admission.bear(DeploymentId::generate(), short(), START).is_err());
        assert!(admission.bear(DeploymentId::generate(), short(), START + GONE * 2).is_err());
        assert_eq!(admission.waiting().len(), 1);
    }
}
