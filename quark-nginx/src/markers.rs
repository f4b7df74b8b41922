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

/// The steps to a choice, in an order in which no request can see a slot that
/// the choices before and after both keep from serving, nor miss one that both
/// let serve, be it as the one that stands in:
///
/// - a backup that is wanted comes before the slots are switched, so that the
///   slot that has served stands in from the first request on;
/// - one that is not goes after that: a slot that is down would be alone for a
///   moment, although the other one has stood in for it.
///
/// The slots are switched by one create or unlink. Each step is taken whatever
/// was before, because what is there already costs nothing and what is known of
/// it may be out of date.
fn steps(backup: bool, active: Slot) -> [Step; 2] {
    if backup { [Step::Backup(true), Step::Active(active)] } else { [Step::Active(active), Step::Backup(false)] }
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
    /// by both sides never serves and never stands in, and the one that both let
    /// serve, or stand in, does so without a gap.
    #[test]
    fn no_step_lets_a_slot_serve_that_must_not_or_leaves_one_out_that_may() {
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
                        let stays = serves(from, slot) && serves(to, slot);
                        assert!(!stays || serves(&now, slot), "{from:?} to {to:?} by {now:?}");
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
