//! Each invariant bites: a mistake that is planted breaks it, and nothing that
//! is not true of the engine as it is.

use quark_core::planted::Bug;
use quark_core::simulation::{Fault, Happening, Hunt, Profile, Report, Runner, Scenario, Simulation};

/// The invariant that shows a planted bug, by a seed of the first thousand.
fn shown_by(bug: Bug) -> &'static str {
    let hunt = Hunt::run(bug, 0, 1000, None);
    let found = hunt.found.unwrap_or_else(|| panic!("{} was not found", bug.as_str()));
    let report = found.to_string();
    assert!(report.contains(&format!("--plant {}", bug.as_str())), "{report}");
    found.violation().unwrap().invariant
}

/// The first report that fails where this goes wrong often.
fn where_it_is_usual(bug: Option<Bug>, seeds: u64, happening: Happening, fault: Fault) -> Option<Report> {
    let simulation = |seed| {
        let simulation = Simulation::new(seed);
        let profile = simulation.profile().with_happening(happening, 60_000).with_fault(fault, 20_000);
        let simulation = simulation.with_profile(profile);
        match bug {
            Some(bug) => simulation.with_planted(bug),
            None => simulation,
        }
    };
    Runner::new(simulation).with_stop_after(1).run(0..seeds, |_| {}).failures.into_iter().next()
}

#[test]
fn a_deadline_that_moves_is_seen() {
    assert_eq!(shown_by(Bug::DeadlineMoves), "deadlines-stay");
}

#[test]
fn a_rollback_with_other_settings_is_seen() {
    assert_eq!(shown_by(Bug::TodaysSettings), "exact-release");
}

/// Also by the story that goes back, without any chance in it.
#[test]
fn a_rollback_over_other_settings_needs_no_luck_to_be_seen() {
    let run = Simulation::new(0).with_scenario(Scenario::Rollback).with_planted(Bug::TodaysSettings).run();
    assert_eq!(run.violation().expect("it was not seen").invariant, "exact-release");
}

#[test]
fn restarts_without_end_or_cause_are_seen() {
    assert_eq!(shown_by(Bug::RestartsWithoutEnd), "few-restarts");
    assert_eq!(shown_by(Bug::RestartsTheWell), "restarted-for-cause");
}

#[test]
fn going_back_to_what_nobody_has_asked_for_its_health_is_seen() {
    let shown = shown_by(Bug::RollsBackToTheDead);
    // Who is not asked often enough may be dead, or may just not have been asked.
    assert!(["left-for-cause", "often-enough"].contains(&shown), "{shown}");
}

#[test]
fn a_death_that_nobody_has_seen_is_seen() {
    assert_eq!(shown_by(Bug::DeathUnseen), "death-seen");
}

#[test]
fn an_illness_that_nobody_is_told_of_is_seen() {
    assert_eq!(shown_by(Bug::IllnessNotTold), "converges");
}

#[test]
fn a_backup_that_does_not_run_is_seen() {
    assert_eq!(shown_by(Bug::DeadBackup), "backup-runs");
}

#[test]
fn work_under_a_lease_that_has_run_out_is_seen() {
    assert_eq!(shown_by(Bug::WorkAfterLoss), "lease-held");
}

#[test]
fn a_lease_that_is_not_renewed_is_seen() {
    // Either is true; which one is seen first is the seed's choice.
    assert!(["lease-held", "lease-renewed"].contains(&shown_by(Bug::LeaseNotRenewed)));
    // Also where nothing is done under it: the engine only waits.
    let calm = |seed| Simulation::new(seed).with_profile(Profile::calm()).with_planted(Bug::LeaseNotRenewed);
    let outcome = Runner::new(calm).run(0..300, |_| {});
    let shown = outcome.failures.iter().filter_map(|report| report.violation());
    assert!(shown.into_iter().any(|violation| violation.invariant == "lease-renewed"), "{:?}", outcome.tally);
}

#[test]
fn leases_that_end_by_the_time_of_day_are_seen() {
    assert_eq!(shown_by(Bug::WallClockLeases), "fences-grow");
}

#[test]
fn an_older_commit_over_a_newer_one_is_seen() {
    assert_eq!(shown_by(Bug::OlderCommitWins), "newest-commit");
}

#[test]
fn a_push_of_what_was_rolled_back_is_seen() {
    assert_eq!(shown_by(Bug::RolledBackAgain), "stays-rolled-back");
}

#[test]
fn a_standby_that_is_retired_early_is_seen() {
    assert_eq!(shown_by(Bug::RetiredBeforeItsTime), "standby-kept");
}

#[test]
fn a_rollback_to_what_is_being_retired_is_seen() {
    assert_eq!(shown_by(Bug::RetiringIsTaken), "retiring-left");
}

/// Also one of a version that waits for people: the engine has not gone round
/// and round in the same moment.
#[test]
fn a_cancel_that_is_ignored_is_seen() {
    assert_eq!(shown_by(Bug::CancelIgnored), "cancel-wins");
}

#[test]
fn a_version_that_too_few_have_agreed_to_is_seen() {
    for bug in [Bug::ApprovedByOne, Bug::ExpiryIgnored, Bug::OtherImageApproved] {
        assert_eq!(shown_by(bug), "approved-first", "{}", bug.as_str());
    }
}

#[test]
fn a_standby_that_is_retired_while_nothing_else_answers_is_seen() {
    assert_eq!(shown_by(Bug::NeededIsRetired), "needed-stays");
}

#[test]
fn what_is_live_and_stays_down_while_a_build_takes_long_is_seen() {
    assert_eq!(shown_by(Bug::LiveNotLookedAfter), "mended-soon");
}

#[test]
fn a_share_that_is_not_taken_back_is_seen() {
    assert_eq!(shown_by(Bug::ShareNotTakenBack), "protected");
}

#[test]
fn a_version_that_gets_its_users_too_early_is_seen() {
    for bug in [Bug::CanarySkipsAStep, Bug::PromotedOnUnwellCanary] {
        assert_eq!(shown_by(bug), "step-by-step", "{}", bug.as_str());
    }
}

#[test]
fn a_share_that_is_too_large_is_seen() {
    assert_eq!(shown_by(Bug::MoreThanItsShare), "share-meant");
}

#[test]
fn one_good_answer_is_seen_to_be_too_few() {
    assert_eq!(shown_by(Bug::OneAnswerIsEnough), "often-enough");
}

#[test]
fn a_log_that_starts_anew_is_seen() {
    assert_eq!(shown_by(Bug::LogStartsAnew), "reliable-logs");
}

#[test]
fn a_route_that_is_mended_during_a_switch_is_seen() {
    let report = where_it_is_usual(Some(Bug::MendsDuringSwitch), 500, Happening::EngineCrash, Fault::ReplyLost);
    assert_eq!(report.expect("it was not found").violation().unwrap().invariant, "mend-waits");
}

/// The store goes back in every one of these: engines notice, people resume
/// them, and all comes to rest.
#[test]
fn a_store_that_goes_back_in_time_is_not_believed() {
    let real = where_it_is_usual(None, 60, Happening::StoreRestored, Fault::Slow);
    assert!(real.is_none(), "{}", real.unwrap());
    let report = where_it_is_usual(Some(Bug::DoubtIgnored), 200, Happening::StoreRestored, Fault::Slow);
    let shown = report.expect("it was not found").violation().unwrap().invariant;
    // What follows from believing it may be seen before that it is believed.
    assert!(["safe-mode", "protected"].contains(&shown), "{shown}");
}

#[test]
fn room_that_is_given_twice_is_seen() {
    assert_eq!(shown_by(Bug::RoomNotGuarded), "room-kept");
    assert_eq!(shown_by(Bug::StandbyNotCounted), "room-kept");
}

#[test]
fn a_refusal_without_a_cause_is_seen() {
    assert_eq!(shown_by(Bug::RoomCountedTwice), "refused-for-cause");
}

#[test]
fn an_overlay_that_is_reversed_is_seen() {
    assert_eq!(shown_by(Bug::OverlayReversed), "overlaid");
}

#[test]
fn a_change_that_does_not_reach_the_previews_is_seen() {
    assert_eq!(shown_by(Bug::PreviewsForgotten), "overlaid");
}
