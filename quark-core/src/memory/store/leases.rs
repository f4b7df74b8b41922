//! Leases: who may act on an app, and until when.

use std::collections::HashMap;
use std::time::Duration;

use crate::Result;
use crate::app::AppName;
use crate::backend::Lease;
use crate::backend::store::refusal;
use crate::deployment::{Fence, OwnerId};
use crate::planted::planted;

/// The leases of all apps. Rows stay for ever: the fence of an app must never
/// be given twice, not even when an app of the same name comes again.
#[derive(Clone, Default)]
pub(super) struct Leases {
    rows: HashMap<AppName, Row>,
    /// The fences of apps that are not known yet begin above it.
    leapt: u64,
}

#[derive(Clone, Default)]
struct Row {
    /// Nobody once it was released.
    owner: Option<OwnerId>,
    fence: Fence,
    /// By the clock's monotonic time.
    until: Duration,
}

impl Leases {
    pub(super) fn acquire(&mut self, app: &AppName, owner: &OwnerId, now: Duration, ttl: Duration) -> Result<Lease> {
        let new = Row { fence: Fence(self.leapt), ..Row::default() };
        let row = self.rows.entry(app.clone()).or_insert(new);
        let held_by_other = row.owner.as_ref().is_some_and(|holder| holder != owner);
        if held_by_other && row.until > now {
            return Err(refusal::lease_held(app, row.until.saturating_sub(now)));
        }
        row.owner = Some(owner.clone());
        row.fence = Fence(row.fence.0 + 1);
        row.until = now.saturating_add(ttl);
        Ok(Lease { app: app.clone(), owner: owner.clone(), fence: row.fence })
    }

    pub(super) fn renew(&mut self, lease: &Lease, now: Duration, ttl: Duration) -> Result<()> {
        self.check(lease)?;
        if let Some(row) = self.rows.get_mut(&lease.app) {
            row.until = now.saturating_add(ttl);
        }
        Ok(())
    }

    /// Takes every lease away and goes on with higher fences.
    pub(super) fn leap(&mut self, stride: u64) {
        self.leapt = self.leapt.saturating_add(stride);
        for row in self.rows.values_mut() {
            row.owner = None;
            row.fence = Fence(row.fence.0.saturating_add(stride));
        }
    }

    pub(super) fn release(&mut self, lease: &Lease) {
        if self.check(lease).is_ok()
            && let Some(row) = self.rows.get_mut(&lease.app)
        {
            row.owner = None;
        }
    }

    /// Whether `lease` is the last one of its app and was not released. Time
    /// does not matter here: as long as nobody took over, nothing was missed.
    pub(super) fn check(&self, lease: &Lease) -> Result<()> {
        let row = self.rows.get(&lease.app);
        let held = row.is_some_and(|row| row.fence == lease.fence && row.owner.as_ref() == Some(&lease.owner));
        if held || planted!(NoFencing) { Ok(()) } else { Err(refusal::fenced(&lease.app)) }
    }
}
