//! The marker files of an app, and the order in which they change.

use quark_core::{AppName, Result, Share, Slot};

use crate::files;
use crate::layout::Layout;
use crate::state::AppState;

/// What the markers choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) active: Slot,
    pub(crate) backup: bool,
    /// The share of the requests that goes to the other slot.
    pub(crate) canary: Option<Share>,
}

/// One step that requests can see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Backup(bool),
    Active(Slot),
}

/// The steps to `to`, in an order in which no request can see a slot that
/// `from` and `to` both keep from serving:
///
/// 1. a backup that is no longer wanted goes first: were the slots switched
///    before, the slot that has just been taken out of service would stand in;
/// 2. then the slots are switched, by one create or unlink;
/// 3. a backup that is wanted anew comes last: were it set before, the slot
///    that is about to serve would stand in before it was said to be ready.
///
/// A backup that is wanted before and after stays through the switch: both
/// slots may serve then, and each stands in for the other.
///
/// Each step is taken whatever `from` says, because what is there already
/// costs nothing and `from` may be out of date.
fn steps(backup: bool, active: Slot) -> [Step; 2] {
    if backup { [Step::Active(active), Step::Backup(true)] } else { [Step::Backup(false), Step::Active(active)] }
}

/// The hundredths of the requests, one of which each request belongs to.
const BUCKETS: u8 = 100;

impl Choice {
    /// One slot serves alone.
    pub(crate) fn of(active: Slot) -> Self {
        Self { active, backup: false, canary: None }
    }

    /// Makes the markers choose this. Users see it before the disk does: one
    /// wait for the disk is enough for all steps and for the state that was
    /// written before them, and it may take longer than all the rest.
    ///
    /// A share shrinks before all other steps and grows after them, one
    /// hundredth of the requests at a time: no request can meet more of it than
    /// was or will be, and none the share of the choice before beside the slot
    /// of this one. The slots that a share is between both serve anyway.
    pub(crate) fn make(self, layout: &Layout, app: &AppName) -> Result<()> {
        let share = self.canary.map_or(0, Share::percent);
        (share..BUCKETS).try_for_each(|bucket| files::unlink(&layout.canary_marker(app, bucket)))?;
        for step in steps(self.backup, self.active) {
            match step {
                Step::Active(Slot::Green) => files::touch(&layout.green_marker(app))?,
                Step::Active(Slot::Blue) => files::unlink(&layout.green_marker(app))?,
                Step::Backup(true) => files::touch(&layout.backup_marker(app))?,
                Step::Backup(false) => files::unlink(&layout.backup_marker(app))?,
            }
        }
        (0..share).try_for_each(|bucket| files::touch(&layout.canary_marker(app, bucket)))?;
        AppState::sync(layout, app)?;
        files::sync(&layout.markers())
    }
}

/// The share that the markers of an app give to the slot that is not active.
pub(crate) fn share(layout: &Layout, app: &AppName) -> Option<Share> {
    let there = (0..BUCKETS).filter(|bucket| layout.canary_marker(app, *bucket).exists()).count();
    u8::try_from(there).ok().and_then(|share| Share::of_hundred(share).ok())
}

/// Removes the markers of an app that has no site file any more.
pub(crate) fn clear(layout: &Layout, app: &AppName) -> Result<()> {
    Choice::of(Slot::Blue).make(layout, app)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every pair of choices, step by step: the slot that is kept from serving
    /// by both sides never serves and never stands in.
    #[test]
    fn no_step_lets_a_slot_serve_that_must_not() {
        let choices = Slot::BOTH
            .into_iter()
            .flat_map(|active| [true, false].map(|backup| Choice { backup, ..Choice::of(active) }));
        let choices: Vec<_> = choices.collect();
        let serves = |choice: &Choice, slot| choice.active == slot || choice.backup;
        for from in &choices {
            for to in &choices {
                let mut now = *from;
                for step in steps(to.backup, to.active) {
                    match step {
                        Step::Active(active) => now.active = active,
                        Step::Backup(backup) => now.backup = backup,
                    }
                    for slot in Slot::BOTH {
                        let allowed = serves(from, slot) || serves(to, slot);
                        assert!(allowed || !serves(&now, slot), "{from:?} to {to:?} by {now:?}");
                    }
                }
                assert_eq!(now, *to);
            }
        }
    }

    #[test]
    fn markers_are_made_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout { home: folder.path().to_owned(), include_dir: folder.path().to_owned() };
        std::fs::create_dir(layout.markers()).unwrap();
        std::fs::create_dir(layout.states()).unwrap();
        let app = AppName::parse("shop").unwrap();
        let shared = |percent| Choice { canary: Share::of_hundred(percent).ok(), ..Choice::of(Slot::Blue) };
        for percent in [1, 99, 30, 0] {
            shared(percent).make(&layout, &app).unwrap();
            assert_eq!(share(&layout, &app).map_or(0, Share::percent), percent);
            assert_eq!(files::list(&layout.markers()).unwrap().len(), usize::from(percent));
        }
        Choice { backup: true, ..Choice::of(Slot::Green) }.make(&layout, &app).unwrap();
        let mut names = files::list(&layout.markers()).unwrap();
        names.sort();
        assert_eq!(names, ["shop.backup", "shop.green"]);
        clear(&layout, &app).unwrap();
        assert!(files::list(&layout.markers()).unwrap().is_empty());
    }
}
