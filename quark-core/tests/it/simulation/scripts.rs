//! Faults and crashes at one place, for those who try one after the other.

use quark_core::simulation::{Fault, Op, Report, Scenario, Script, Simulation};

fn update(script: Script) -> Report {
    Simulation::new(3).with_scenario(Scenario::Update).with_script(script).keep_calls().keep_trace().run()
}

#[test]
fn the_fault_befalls_the_very_call() {
    let calm = update(Script::new());
    assert!(calm.violation().is_none(), "{calm}");
    let create = calm.calls().iter().position(|op| *op == Op::RuntimeCreate).unwrap();
    let report = update(Script::new().fault(create as u64, Fault::ReplyLost));
    assert!(report.violation().is_none(), "{report}");
    assert_eq!(report.tally().faults.get(&Fault::ReplyLost), Some(&1));
    let met = report.trace().iter().filter(|line| line.contains("runtime.create meets reply_lost")).count();
    assert_eq!(met, 1, "{report}");
    // What was there before the fault is the same run.
    assert_eq!(calm.calls()[..=create], report.calls()[..=create]);
}

#[test]
fn every_call_of_an_update_may_be_refused_or_done_without_an_answer() {
    let calls = update(Script::new()).calls().to_vec();
    for (number, op) in calls.iter().enumerate() {
        for fault in [Fault::Refused, Fault::ReplyLost].into_iter().filter(|fault| op.faults().contains(fault)) {
            let report = update(Script::new().fault(number as u64, fault));
            assert!(report.violation().is_none(), "call {number}, {op}: {fault}\n{report}");
        }
    }
}

#[test]
fn the_crash_is_between_two_polls() {
    let calm = update(Script::new());
    let mut died_at = Vec::new();
    for polls in (1..600).step_by(29) {
        let report = update(Script::new().crash(polls));
        assert!(report.violation().is_none(), "after {polls} polls\n{report}");
        died_at.extend(report.trace().iter().position(|line| line.ends_with("e1.1   is dead")));
        assert_ne!(report.hash(), calm.hash());
    }
    assert_eq!(died_at.len(), 21);
    assert!(died_at.is_sorted(), "{died_at:?}");
}

#[test]
fn the_command_shows_the_same_run() {
    let report = update(Script::new());
    assert_eq!(
        report.command(),
        "cargo run --release --example simulate -- --seeds 1 --first-seed 3 --scenario update"
    );
}
