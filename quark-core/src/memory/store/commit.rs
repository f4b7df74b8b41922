//! The one write of an engine: first everything is compared, then everything
//! is changed, so that a refusal leaves no trace.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::tables::Tables;
use crate::Result;
use crate::app::AppName;
use crate::backend::store::refusal;
use crate::backend::{Commit, NewJob};
use crate::deployment::{
    ContainerName, Deployment, Instance, InstanceState, Reservation, Serving, StepRecord, Version,
};
use crate::planted::planted;

impl Tables {
    /// Whether `commit` may happen.
    pub(super) fn check(&self, commit: &Commit) -> Result<()> {
        let guard = &commit.guard;
        self.leases.check(&guard.lease)?;
        let stored = &self.row(commit.deployment.id)?.deployment;
        if guard.lease.app != stored.app {
            // A lease gives no right to other apps.
            return Err(refusal::fenced(&stored.app));
        }
        if stored.version != guard.version {
            return Err(refusal::version_changed());
        }
        if guard.unless_cancelled && stored.cancel.is_some() {
            return Err(refusal::cancelled(stored.id));
        }
        let wanted = &commit.deployment;
        let same_end =
            (wanted.state, wanted.conclusion, &wanted.failure) == (stored.state, stored.conclusion, &stored.failure);
        if stored.state.is_terminal() && !same_end {
            return Err(refusal::deployment_ended(stored.id));
        }
        self.check_order(stored, wanted, guard.admits)?;
        self.check_room(commit, &stored.app)?;
        commit.serving.as_ref().map_or(Ok(()), |serving| self.check_serving(stored, serving))
    }

    /// Whether no other deployment of the app comes first.
    fn check_order(&self, stored: &Deployment, wanted: &Deployment, admits: bool) -> Result<()> {
        let becomes_active = wanted.state.is_active() && !stored.state.is_active();
        if planted!(TwoAdmitted) || (!admits && !becomes_active) {
            return Ok(());
        }
        let others = self.unfinished.iter().filter(|(_, app)| **app == stored.app);
        for other in others.filter_map(|((_, id), _)| self.deployments.get(id)).map(|row| &row.deployment) {
            let waits_longer = admits && !other.state.is_active() && other.sequence < stored.sequence;
            if other.id != stored.id && (other.state.is_active() || waits_longer) {
                return Err(refusal::app_busy(other.id));
            }
        }
        Ok(())
    }

    /// Whether there is room for all instances as they will be.
    fn check_room(&self, commit: &Commit, app: &AppName) -> Result<()> {
        let Some(room) = commit.guard.room.filter(|_| !planted!(RoomNotGuarded)) else { return Ok(()) };
        let counts = |app: &AppName, known: &Instance| {
            let standby = self.apps.get(app).and_then(|app| app.serving.standby.as_ref());
            !(planted!(StandbyNotCounted) && standby.is_some_and(|standby| standby.occupant.slot == known.slot))
        };
        let all = self.instances.iter().flat_map(|(app, own)| own.values().map(move |known| (app, known)));
        let counted = all.filter(|(app, known)| counts(app, known));
        let before = counted.map(|(_, known)| known.resources.into()).sum();
        let own = self.instances.get(app);
        let mut after: Reservation = before;
        // One that is written twice is as it was written last.
        let written: BTreeMap<_, _> = commit.instances.iter().map(|instance| (&instance.name, instance)).collect();
        for (name, instance) in written {
            if let Some(known) = own.and_then(|own| own.get(name)) {
                after = after - known.resources.into();
            }
            if instance.state != InstanceState::Removed {
                after = after + instance.resources.into();
            }
        }
        room.check(before, after)
    }

    fn check_serving(&self, stored: &Deployment, serving: &Serving) -> Result<()> {
        if !self.apps.contains_key(&stored.app) {
            return Err(refusal::app_not_found(&stored.app));
        }
        for endpoint in [&serving.blue, &serving.green].into_iter().flatten() {
            if self.endpoints.get(endpoint).is_some_and(|app| *app != stored.app) {
                return Err(refusal::endpoint_taken(endpoint.as_str()));
            }
        }
        Ok(())
    }

    /// Makes a change that was checked; the jobs that follow are handed back.
    pub(super) fn apply(&mut self, commit: Commit) -> Result<(Version, Vec<NewJob>)> {
        let Commit { guard, deployment, serving, steps, instances, events, jobs, forget_app, hand_back, at } = commit;
        let id = deployment.id;
        let row = self.row_mut(id)?;
        let version = guard.version.next();
        let stored = &row.deployment;
        // Who it is, and what was asked for, never changes, whatever the writer says.
        let written = Deployment {
            app: stored.app.clone(),
            team: stored.team.clone(),
            sequence: stored.sequence,
            kind: stored.kind.clone(),
            release: Arc::clone(&stored.release),
            created_at: stored.created_at,
            created_by: stored.created_by.clone(),
            trigger: stored.trigger,
            key: stored.key.clone(),
            cancel: stored.cancel.clone(),
            version,
            ..deployment
        };
        let (app, terminal, created_at) = (written.app.clone(), written.state.is_terminal(), written.created_at);
        row.deployment = written;
        for step in steps {
            write_step(&mut row.steps, step);
        }
        if terminal {
            self.unfinished.remove(&(created_at, id));
        }
        let present = self.instances.entry(app.clone()).or_default();
        for instance in instances {
            write_instance(present, instance);
        }
        if let Some(serving) = serving
            && let Some(record) = self.apps.get_mut(&app)
        {
            self.endpoints.retain(|_, holder| *holder != app);
            let held = [&serving.blue, &serving.green].into_iter().flatten();
            self.endpoints.extend(held.map(|endpoint| (endpoint.clone(), app.clone())));
            record.serving = serving;
        }
        for kind in events {
            self.tell(id, kind, at);
        }
        if hand_back.is_some() {
            self.leases.release(&guard.lease);
        }
        if forget_app {
            self.forget_app(&app);
        }
        Ok((version, jobs))
    }
}

fn write_step(steps: &mut Vec<StepRecord>, step: StepRecord) {
    let same = |known: &&mut StepRecord| (known.name, known.attempt) == (step.name, step.attempt);
    match steps.iter_mut().find(same) {
        Some(known) => *known = step,
        None => steps.push(step),
    }
}

fn write_instance(present: &mut BTreeMap<ContainerName, Instance>, new: Instance) {
    if new.state == InstanceState::Removed {
        present.remove(&new.name);
    } else {
        present.insert(new.name.clone(), new);
    }
}
