//! The list of all points at which an engine is killed, with what must be
//! true while nobody looks after the apps.
//!
//! Each line: what is tested; where the engine dies
//! (`examples/server/crash_points.rs` says what the names mean); what it is doing; which version nginx answers with
//! while it is dead, `or` between two that share the requests; which containers Docker
//! has then. Versions are numbers; `-` is none.

use std::collections::BTreeSet;

use quark_core::StepName;
use serde::Deserialize as _;
use serde::de::{self, Visitor};
use serde::forward_to_deserialize_any;

use super::scenario::Scenario::{self, *};

/// A point at which an engine is killed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Point {
    /// Where.
    pub(super) at: &'static str,
    /// What it is doing.
    pub(super) scenario: Scenario,
    /// Which version serves meanwhile.
    pub(super) serves: &'static str,
    /// Which containers are there meanwhile.
    pub(super) containers: &'static str,
}

macro_rules! points {
    ($($name:ident: $at:literal, $scenario:ident, $serves:literal, $containers:literal;)*) => {
        const POINTS: &[Point] = &[
            $(Point { at: $at, scenario: $scenario, serves: $serves, containers: $containers },)*
        ];

        mod on_docker {
            use super::*;
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let point = Point { at: $at, scenario: $scenario, serves: $serves, containers: $containers };
                super::super::dies_and_recovers("docker", point).await;
            })*
        }
    };
}

points! {
    // The request for a deployment, and its turn.
    before_a_deployment_is_written:     "before:queued",    Replace, "1", "1";
    after_a_deployment_was_written:     "after:queued",     Replace, "1", "1";
    before_the_admission:               "before:admitted",  Replace, "1", "1";
    after_the_admission:                "after:admitted",   Replace, "1", "1";

    // A version that has no image yet.
    before_the_intent_to_fetch:         "before:fetch",     Build, "1", "1";
    before_fetching:                    "intent:fetch",     Build, "1", "1";
    after_fetching:                     "outcome:fetch",    Build, "1", "1";
    after_the_outcome_of_fetching:      "after:fetch",      Build, "1", "1";
    before_the_intent_to_build:         "before:build",     Build, "1", "1";
    before_building:                    "intent:build",     Build, "1", "1";
    while_building:                     "log:line 1",       Build, "1", "1";
    after_building:                     "outcome:build",    Build, "1", "1";
    after_the_outcome_of_building:      "after:build",      Build, "1", "1";

    // A slot that is still taken by the version before the last.
    before_the_intent_to_clear:         "before:clear",     ReplaceStandby, "2", "1, 2";
    before_clearing:                    "intent:clear",     ReplaceStandby, "2", "1, 2";
    after_clearing:                     "outcome:clear",    ReplaceStandby, "2", "2";
    after_the_outcome_of_clearing:      "after:clear",      ReplaceStandby, "2", "2";

    // A new version beside the old one.
    before_the_intent_to_create:        "before:create",    Replace, "1", "1";
    before_creating:                    "intent:create",    Replace, "1", "1";
    after_creating:                     "outcome:create",   Replace, "1", "1, 2 created";
    after_the_outcome_of_creating:      "after:create",     Replace, "1", "1, 2 created";
    before_the_intent_to_start:         "before:start",     Replace, "1", "1, 2 created";
    before_the_start:                   "intent:start",     Replace, "1", "1, 2 created";
    after_the_start:                    "outcome:start",    Replace, "1", "1, 2";
    after_the_outcome_of_the_start:     "after:start",      Replace, "1", "1, 2";
    before_the_intent_to_probe:         "before:probe",     Replace, "1", "1, 2";
    while_probing:                      "intent:probe",     Replace, "1", "1, 2";
    after_probing:                      "outcome:probe",    Replace, "1", "1, 2";
    after_the_outcome_of_probing:       "after:probe",      Replace, "1", "1, 2";

    // The switch.
    before_the_intent_to_promote:       "before:promote",   Replace, "1", "1, 2";
    before_the_promotion:               "intent:promote",   Replace, "1", "1, 2";
    after_the_promotion:                "outcome:promote",  Replace, "2", "1, 2";
    after_the_outcome_of_the_promotion: "after:promote",    Replace, "2", "1, 2";
    before_the_first_promotion:         "intent:promote",   First, "-", "1";
    after_the_first_promotion:          "outcome:promote",  First, "1", "1";

    // The end of the old version.
    before_the_intent_to_drain:         "before:drain",     Retire, "2", "1, 2";
    before_draining:                    "intent:drain",     Retire, "2", "1, 2";
    after_draining:                     "outcome:drain",    Retire, "2", "1, 2";
    after_the_outcome_of_draining:      "after:drain",      Retire, "2", "1, 2";
    before_the_intent_to_retire:        "before:retire",    Retire, "2", "1, 2";
    before_retiring:                    "intent:retire",    Retire, "2", "1, 2";
    after_retiring:                     "outcome:retire",   Retire, "2", "2";
    after_the_outcome_of_retiring:      "after:retire",     Retire, "2", "2";

    // A version that exits instead of serving.
    after_probing_what_is_dead:         "outcome:probe",    Fail, "1", "1, 2 exited";
    before_the_intent_to_undo:          "before:undo",      Fail, "1", "1, 2 exited";
    before_undoing:                     "intent:undo",      Fail, "1", "1, 2 exited";
    after_undoing:                      "outcome:undo",     Fail, "1", "1";
    after_the_outcome_of_undoing:       "after:undo",       Fail, "1", "1";

    // A router that switches and then says that it could not.
    after_a_promotion_that_fails:       "outcome:promote",  Refuse, "2", "1, 2";
    after_the_failure_of_a_promotion:   "after:promote",    Refuse, "2", "1, 2";
    before_the_intent_to_revert:        "before:revert",    Refuse, "2", "1, 2";
    before_reverting:                   "intent:revert",    Refuse, "2", "1, 2";
    after_reverting:                    "outcome:revert",   Refuse, "1", "1, 2";
    after_the_outcome_of_reverting:     "after:revert",     Refuse, "1", "1, 2";
    after_undoing_what_was_promoted:    "outcome:undo",     Refuse, "1", "1";

    // Somebody who changes their mind.
    before_a_cancel_is_written:         "before:cancel",    CancelProbing, "1", "1, 2";
    after_a_cancel_while_probing:       "after:cancel",     CancelProbing, "1", "1, 2";
    before_undoing_what_was_probed:     "intent:undo",      CancelProbing, "1", "1, 2";
    after_undoing_what_was_probed:      "outcome:undo",     CancelProbing, "1", "1";
    after_a_cancel_while_building:      "after:cancel",     CancelBuilding, "1", "1";
    before_undoing_a_build:             "intent:undo",      CancelBuilding, "1", "1";
    after_undoing_a_build:              "outcome:undo",     CancelBuilding, "1", "1";

    // A newer version that does not wait for this one.
    before_a_newer_version_is_written:  "before:queued",    Supersede, "1", "1, 2";
    after_a_newer_version_was_written:  "after:queued",     Supersede, "1", "1, 2";
    after_undoing_what_was_superseded:  "outcome:undo",     Supersede, "1", "1";

    // Back to the version before, which still runs.
    before_a_rollback_is_written:       "before:queued",    RollBack, "2", "1, 2";
    after_a_rollback_was_written:       "after:queued",     RollBack, "2", "1, 2";
    while_probing_the_standby:          "intent:probe",     RollBack, "2", "1, 2";
    before_the_intent_to_go_back:       "before:promote",   RollBack, "2", "1, 2";
    before_going_back:                  "intent:promote",   RollBack, "2", "1, 2";
    after_going_back:                   "outcome:promote",  RollBack, "1", "1, 2";
    after_the_outcome_of_going_back:    "after:promote",    RollBack, "1", "1, 2";

    // A version that is not well any more once it serves.
    before_the_intent_to_take_back:     "before:roll_back",  TakeBack, "2", "1, 2";
    before_taking_back:                 "intent:roll_back",  TakeBack, "2", "1, 2";
    after_taking_back:                  "outcome:roll_back", TakeBack, "1", "1, 2";
    after_the_outcome_of_taking_back:   "after:roll_back",   TakeBack, "1", "1, 2";

    // Programs that run beside a deployment, and what they leave.
    before_the_intent_of_the_first_hook: "before:pre_deploy",   Hooked, "1", "1";
    before_the_first_hook:               "intent:pre_deploy",   Hooked, "1", "1";
    after_the_first_hook:                "outcome:pre_deploy",  Hooked, "1", "1, 2 exited";
    after_the_outcome_of_the_first_hook: "after:pre_deploy",    Hooked, "1", "1, 2 exited";
    before_the_intent_to_tidy:           "before:tidy",         Hooked, "1", "1, 2 exited";
    before_tidying:                      "intent:tidy",         Hooked, "1", "1, 2 exited";
    after_tidying:                       "outcome:tidy",        Hooked, "1", "1";
    after_the_outcome_of_tidying:        "after:tidy",          Hooked, "1", "1";
    before_the_intent_of_a_second_hook:  "before:pre_promote",  Hooked, "1", "1, 2";
    before_a_second_hook:                "intent:pre_promote",  Hooked, "1", "1, 2";
    after_a_second_hook:                 "outcome:pre_promote", Hooked, "1", "1, 2 exited, 2";
    after_the_outcome_of_a_second_hook:  "after:pre_promote",   Hooked, "1", "1, 2 exited, 2";
    before_the_intent_of_a_later_hook:   "before:post_promote", Hooked, "2", "1, 2";
    before_a_later_hook:                 "intent:post_promote", Hooked, "2", "1, 2";
    after_a_later_hook:                  "outcome:post_promote", Hooked, "2", "1, 2 exited, 2";
    after_the_outcome_of_a_later_hook:   "after:post_promote",  Hooked, "2", "1, 2 exited, 2";
    before_the_intent_of_the_last_hook:  "before:post_retire",  HookedRetire, "2", "2";
    before_the_last_hook:                "intent:post_retire",  HookedRetire, "2", "2";
    after_the_last_hook:                 "outcome:post_retire", HookedRetire, "2", "2 exited, 2";
    after_the_outcome_of_the_last_hook:  "after:post_retire",   HookedRetire, "2", "2 exited, 2";
    // A version that gets half of the requests first.
    before_the_intent_to_shift:         "before:shift",     Share, "1", "1, 2";
    before_shifting:                    "intent:shift",     Share, "1", "1, 2";
    after_shifting:                     "outcome:shift",    Share, "1 or 2", "1, 2";
    after_the_outcome_of_shifting:      "after:shift",      Share, "1 or 2", "1, 2";
    before_promoting_what_has_a_share:  "intent:promote",   Share, "1 or 2", "1, 2";

    // Likewise, and somebody changes their mind.
    after_a_cancel_of_what_has_a_share: "after:cancel",     CancelShare, "1 or 2", "1, 2";
    before_taking_a_share_back:         "intent:revert",    CancelShare, "1 or 2", "1, 2";
    after_taking_a_share_back:          "outcome:revert",   CancelShare, "1", "1, 2";
    after_undoing_what_had_a_share:     "outcome:undo",     CancelShare, "1", "1";

    // The end of an app.
    before_a_removal_is_written:        "before:queued",    Remove, "2", "1, 2";
    after_a_removal_was_written:        "after:queued",     Remove, "2", "1, 2";
    before_the_intent_to_unroute:       "before:unroute",   Remove, "2", "1, 2";
    before_unrouting:                   "intent:unroute",   Remove, "2", "1, 2";
    after_unrouting:                    "outcome:unroute",  Remove, "-", "1, 2";
    after_the_outcome_of_unrouting:     "after:unroute",    Remove, "-", "1, 2";
    before_the_intent_to_remove:        "before:undo",      Remove, "-", "1, 2";
    before_removing:                    "intent:undo",      Remove, "-", "1, 2";
    after_removing:                     "outcome:undo",     Remove, "-", "-";
    after_the_outcome_of_removing:      "after:undo",       Remove, "-", "-";

    // A live container that was removed by hand; the standby stands in for it.
    before_the_intent_to_mend:          "before:mend",      Mend, "1", "1";
    before_mending:                     "intent:mend",      Mend, "1", "1";
    after_mending:                      "outcome:mend",     Mend, "2", "1, 2";
    after_the_outcome_of_mending:       "after:mend",       Mend, "2", "1, 2";

    // A container that nobody asked for.
    before_the_intent_to_collect:       "before:collect",   Collect, "1", "1, 1";
    before_collecting:                  "intent:collect",   Collect, "1", "1, 1";
    after_collecting:                   "outcome:collect",  Collect, "1", "1";
    after_the_outcome_of_collecting:    "after:collect",    Collect, "1", "1";

    // A version that falls ill long after it was promoted, and has nothing beside it.
    before_the_intent_to_restart:       "before:restart",   Restart, "1", "1";
    before_restarting:                  "intent:restart",   Restart, "1", "1";
    after_restarting:                   "outcome:restart",  Restart, "1", "1";
    after_the_outcome_of_restarting:    "after:restart",    Restart, "1", "1";
}

/// The points that are also tried without Docker.
macro_rules! without_docker {
    ($($name:ident: $at:literal, $scenario:ident;)*) => {
        fn find(at: &str, scenario: Scenario) -> Point {
            let found = POINTS.iter().find(|point| point.at == at && point.scenario == scenario);
            *found.expect("the point is in the list")
        }
        mod behind_nginx {
            use super::*;
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::super::dies_and_recovers("nginx", find($at, $scenario)).await;
            })*
        }
        mod behind_the_proxy {
            use super::*;
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::super::dies_and_recovers("proxy", find($at, $scenario)).await;
            })*
        }
    };
}

without_docker! {
    while_building: "log:line 1", Build;
    before_the_start: "intent:start", Replace;
    after_the_start: "outcome:start", Replace;
    while_probing: "intent:probe", Replace;
    before_taking_back: "intent:roll_back", TakeBack;
    after_taking_back: "outcome:roll_back", TakeBack;
    before_restarting: "intent:restart", Restart;
    after_restarting: "outcome:restart", Restart;
    before_shifting: "intent:shift", Share;
    after_shifting: "outcome:shift", Share;
    before_taking_a_share_back: "intent:revert", CancelShare;
    after_taking_a_share_back: "outcome:revert", CancelShare;
    before_the_promotion: "intent:promote", Replace;
    after_the_promotion: "outcome:promote", Replace;
    before_the_first_hook: "intent:pre_deploy", Hooked;
    after_the_first_hook: "outcome:pre_deploy", Hooked;
    after_tidying: "outcome:tidy", Hooked;
    after_a_second_hook: "outcome:pre_promote", Hooked;
    after_a_later_hook: "outcome:post_promote", Hooked;
    after_the_last_hook: "outcome:post_retire", HookedRetire;
    before_draining: "intent:drain", Retire;
    before_retiring: "intent:retire", Retire;
    after_retiring: "outcome:retire", Retire;
}

/// Asks serde which steps there are.
struct Names<'a>(&'a mut &'static [&'static str]);

impl<'de> de::Deserializer<'de> for Names<'_> {
    type Error = de::value::Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
        Err(de::Error::custom("only the names are wanted"))
    }
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        names: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        *self.0 = names;
        self.deserialize_any(visitor)
    }
    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

#[test]
fn every_step_has_a_point_in_each_of_its_phases() {
    let mut steps: &[&str] = &[];
    StepName::deserialize(Names(&mut steps)).unwrap_err();
    assert!(steps.len() >= 12, "the steps were not understood: {steps:?}");
    let there: BTreeSet<_> = POINTS.iter().map(|point| point.at.to_owned()).collect();
    let wanted =
        steps.iter().flat_map(|step| ["before", "intent", "outcome", "after"].map(|phase| format!("{phase}:{step}")));
    let missing: Vec<_> = wanted.filter(|point| !there.contains(point)).collect();
    assert!(missing.is_empty(), "no engine dies at {missing:?}");
}

#[test]
fn no_point_is_there_twice() {
    let mut seen = BTreeSet::new();
    for point in POINTS {
        assert!(seen.insert((point.at, format!("{:?}", point.scenario))), "{point:?}");
    }
}
