//! A seed is one run, and the engine comes through it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use quark_core::Conclusion;
use quark_core::simulation::{Fault, Happening, Profile, Program, Runner, Scenario, Simulation};

/// What a person would run first: if this fails, so does everything else.
#[test]
fn the_engine_comes_through_what_seeds_make_of_its_world() {
    let outcome = Runner::new(Simulation::new).with_stop_after(1).run(0..300, |_| {});
    assert_eq!(outcome.tally.violations, 0, "{}", outcome.failures[0]);
    assert!(outcome.tally.succeeded > 300, "so few have been deployed that nothing was shown: {:?}", outcome.tally);
    for fault in Fault::ALL.into_iter().filter(|fault| *fault != Fault::Ignored) {
        assert!(outcome.tally.faults.contains_key(&fault), "{fault} was never met");
    }
    for happening in Happening::ALL {
        assert!(outcome.tally.happenings.contains_key(&happening), "{happening} never happened");
    }
}

#[test]
fn the_same_seed_is_the_same_run() {
    let hashes = || {
        let hashes = Mutex::new(Vec::new());
        Runner::new(Simulation::new).run(1000..1200, |report| {
            hashes.lock().unwrap().push((report.seed(), report.hash()));
        });
        let mut hashes = hashes.into_inner().unwrap();
        hashes.sort();
        hashes
    };
    let first = hashes();
    assert_eq!(first, hashes());
    let mut different: Vec<_> = first.iter().map(|(_, hash)| hash).collect();
    different.sort();
    different.dedup();
    assert_eq!(different.len(), 200, "two seeds are the same run");
}

#[test]
fn every_story_ends_well_when_nothing_goes_wrong() {
    for scenario in Scenario::ALL.into_iter().filter(|scenario| *scenario != Scenario::Random) {
        for seed in 0..5 {
            let report = Simulation::new(seed).with_scenario(scenario).run();
            assert!(report.violation().is_none(), "{report}");
            assert!(report.tally().faults.is_empty() && report.tally().happenings.is_empty());
        }
    }
}

#[test]
fn every_story_comes_to_rest_when_much_goes_wrong() {
    for scenario in Scenario::ALL.into_iter().filter(|scenario| *scenario != Scenario::Random) {
        for seed in 0..5 {
            let profile = Simulation::new(seed).profile();
            let profile = profile.with_happening(Happening::EngineCrash, 30_000).with_fault(Fault::ReplyLost, 30_000);
            let report = Simulation::new(seed).with_scenario(scenario).with_profile(profile).run();
            assert!(report.violation().is_none(), "{report}");
        }
    }
}

#[test]
fn time_costs_nothing() {
    let slept = Arc::new(Mutex::new(Duration::ZERO));
    let told = Arc::clone(&slept);
    let story = move |world: quark_core::simulation::World| {
        let told = Arc::clone(&told);
        async move {
            let began = world.now();
            world.sleep(Duration::from_secs(24 * 3600)).await;
            *told.lock().unwrap() = world.now() - began;
            Ok(())
        }
    };
    let report = Simulation::new(1).with_profile(Profile::calm()).with_story(story).run();
    assert!(report.violation().is_none(), "{report}");
    assert_eq!(*slept.lock().unwrap(), Duration::from_secs(24 * 3600));
}

#[test]
fn a_story_of_ones_own_meets_faults_and_can_fail_the_run() {
    let failed = Arc::new(AtomicUsize::new(0));
    for seed in 0..20 {
        let profile = Profile::calm().with_fault(Fault::Refused, 100_000);
        let count = Arc::clone(&failed);
        let story = move |world: quark_core::simulation::World| {
            let count = Arc::clone(&count);
            async move {
                let app = world.create_app("shop").await?;
                let ended = world.release(&app, Program::Good).await?;
                count.fetch_add(usize::from(ended != Some(Conclusion::Succeeded)), Ordering::Relaxed);
                world.fail("because it says so");
                Ok(())
            }
        };
        let report = Simulation::new(seed).with_profile(profile).with_story(story).run();
        let violation = report.violation().expect("it failed");
        assert_eq!((violation.invariant, violation.how.as_str()), ("scenario", "because it says so"));
        assert!(report.tally().faults.contains_key(&Fault::Refused), "{report}");
    }
    // One call in ten is refused: some deployments succeed all the same.
    assert!(failed.load(Ordering::Relaxed) < 20);
}
