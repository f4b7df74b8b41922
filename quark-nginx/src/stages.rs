//! How a change of a route is taken apart, so that no request can meet a
//! configuration and a marker that do not fit each other.

use quark_core::Slot;

use crate::markers::Choice;
use crate::site::Shape;
use crate::status::InForce;

/// One part of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Set the markers of an app that nothing serves yet.
    Prepare(Choice),
    /// Set the markers.
    Choose(Choice),
    /// Put another site file into force.
    Reshape(Shape),
    /// Wait until no worker with the site file before is left.
    Settle,
}

/// The parts of the change from what is `now` in force to `shape` and `choice`.
/// `reshape` says that the site file in force or on disk is another one.
pub(crate) fn stages(now: Option<&InForce>, shape: &Shape, choice: Choice, reshape: bool) -> Vec<Stage> {
    let Some(now) = now else {
        // The markers come first: with the first answer of the new server, the
        // slot that serves is the right one.
        return vec![Stage::Prepare(Choice::of(choice.active)), Stage::Reshape(shape.clone()), Stage::Choose(choice)];
    };
    if !reshape {
        return vec![Stage::Choose(choice)];
    }
    let moved = |slot| now.address(slot) != shape.address(slot);
    let mut stages = Vec::new();
    // Whoever stands in must be the one that was said to be ready. One that stays
    // where it is may answer for a slot that is down, until the last stage.
    let backup = now.backup() && !Slot::BOTH.into_iter().any(moved);
    // Who gets a share was said to be ready, too: it comes anew, at last.
    if now.backup() && !backup || now.canary.is_some() {
        stages.push(Stage::Choose(Choice { backup, ..Choice::of(now.active) }));
    }
    if choice.active == now.active {
        stages.push(Stage::Reshape(shape.clone()));
    } else {
        // The slot that serves keeps its address until the other one serves.
        let meanwhile = shape.clone().with_address(now.active, now.address(now.active));
        let again = meanwhile != *shape;
        stages.push(Stage::Reshape(meanwhile));
        if moved(choice.active) {
            // An old worker would send requests to the address before.
            stages.push(Stage::Settle);
        }
        if again {
            stages.push(Stage::Choose(Choice::of(choice.active)));
            stages.push(Stage::Reshape(shape.clone()));
        }
    }
    stages.push(Stage::Choose(choice));
    stages
}

#[cfg(test)]
mod tests {
    use quark_core::{AppName, Domain};

    use super::*;
    use crate::status::Mode;

    const BLUE: Choice = Choice { active: Slot::Blue, backup: false, canary: None };
    const GREEN: Choice = Choice { active: Slot::Green, ..BLUE };

    fn shape(blue: u16, green: u16) -> Shape {
        let address = |port| ([127, 0, 0, 1], port).into();
        let app = AppName::parse("shop").unwrap();
        Shape { app, domains: vec![Domain::localhost()], blue: address(blue), green: address(green) }
    }

    fn now(blue: u16, green: u16, choice: Choice) -> InForce {
        let Shape { blue, green, .. } = shape(blue, green);
        let mode = if choice.backup { Mode::Backed } else { Mode::Alone };
        InForce { shape: String::new(), blue, green, active: choice.active, mode, canary: choice.canary }
    }

    #[test]
    fn a_switch_is_markers_only() {
        let found = stages(Some(&now(1, 2, BLUE)), &shape(1, 2), GREEN, false);
        assert_eq!(found, [Stage::Choose(GREEN)]);
    }

    #[test]
    fn a_share_is_markers_only_and_is_not_there_while_nginx_reads_other_files() {
        let shared = Choice { canary: quark_core::Share::of_hundred(5).ok(), ..BLUE };
        assert_eq!(stages(Some(&now(1, 2, BLUE)), &shape(1, 2), shared, false), [Stage::Choose(shared)]);
        let found = stages(Some(&now(1, 2, shared)), &shape(1, 2), GREEN, true);
        assert_eq!(found, [Stage::Choose(BLUE), Stage::Reshape(shape(1, 2)), Stage::Choose(GREEN)]);
        let found = stages(None, &shape(1, 2), shared, true);
        assert_eq!(found, [Stage::Prepare(BLUE), Stage::Reshape(shape(1, 2)), Stage::Choose(shared)]);
    }

    #[test]
    fn a_new_app_gets_its_markers_first_and_its_backup_last() {
        let backed = Choice { backup: true, ..GREEN };
        let found = stages(None, &shape(1, 2), backed, true);
        assert_eq!(found, [Stage::Prepare(GREEN), Stage::Reshape(shape(1, 2)), Stage::Choose(backed)]);
    }

    #[test]
    fn other_names_come_before_the_switch_and_leave_the_backup_alone() {
        let backed = |choice| Choice { backup: true, ..choice };
        let found = stages(Some(&now(1, 2, backed(BLUE))), &shape(1, 2), backed(GREEN), true);
        assert_eq!(found, [Stage::Reshape(shape(1, 2)), Stage::Choose(backed(GREEN))]);
    }

    #[test]
    fn a_backup_stands_in_until_it_is_the_one_that_serves() {
        let backed = Choice { backup: true, ..BLUE };
        let found = stages(Some(&now(1, 2, backed)), &shape(1, 2), GREEN, true);
        assert_eq!(found, [Stage::Reshape(shape(1, 2)), Stage::Choose(GREEN)]);
    }

    #[test]
    fn a_slot_that_moves_is_never_reached_by_its_old_address() {
        let found = stages(Some(&now(1, 2, BLUE)), &shape(1, 3), GREEN, true);
        assert_eq!(found, [Stage::Reshape(shape(1, 3)), Stage::Settle, Stage::Choose(GREEN)]);
        let found = stages(Some(&now(1, 2, BLUE)), &shape(4, 3), GREEN, true);
        let parts = [
            Stage::Reshape(shape(1, 3)),
            Stage::Settle,
            Stage::Choose(GREEN),
            Stage::Reshape(shape(4, 3)),
            Stage::Choose(GREEN),
        ];
        assert_eq!(found, parts);
    }

    #[test]
    fn a_backup_that_moves_does_not_stand_in_meanwhile() {
        let backed = Choice { backup: true, ..BLUE };
        let found = stages(Some(&now(1, 2, backed)), &shape(1, 3), backed, true);
        assert_eq!(found, [Stage::Choose(BLUE), Stage::Reshape(shape(1, 3)), Stage::Choose(backed)]);
    }
}
