//! The simulator sees what is wrong: each backend here breaks its contract, or
//! each world, and a seed shows it.

use std::sync::Arc;
use std::time::Duration;

use quark_core::simulation::{
    Backends, Change, Circumstances, Invariant, Ledger, Profile, Program, Report, Runner, Scenario, Simulation, World,
};

use super::broken::{Obedient, Optimist, Untidy};

/// The first failure that seeds show with these backends.
fn shown(refit: impl Fn(Backends) -> Backends + Clone + Send + Sync + 'static, most: u64) -> Report {
    let simulation = |seed| Simulation::new(seed).with_backends(refit.clone());
    let outcome = Runner::new(simulation).with_stop_after(1).run(0..most, |_| {});
    outcome.failures.into_iter().next().unwrap_or_else(|| panic!("{most} seeds have shown nothing"))
}

fn broken(report: &Report) -> &'static str {
    report.violation().unwrap().invariant
}

#[test]
fn a_router_that_obeys_old_orders_is_seen() {
    let report = shown(|backends| Backends { router: Arc::new(Obedient::default()), ..backends }, 500);
    // An old order is one of an old lease, or one of this lease that is late; a late one may take a route away,
    // or lead to what is gone.
    assert!(["route-order", "fences-grow", "route-kept", "healthy-route"].contains(&broken(&report)), "{report}");
    assert!(report.to_string().contains(&report.command()), "{report}");
}

#[test]
fn a_runtime_that_forgets_to_remove_is_seen() {
    let refit =
        |backends: Backends| Backends { runtime: Arc::new(Untidy::new(Arc::clone(&backends.runtime))), ..backends };
    let report = Simulation::new(1).with_scenario(Scenario::Update).with_backends(refit).run();
    assert_eq!(broken(&report), "converges", "{report}");
}

/// What is said to be well serves: the story, not the engine, sees that it is not.
#[test]
fn a_prober_that_lies_is_seen_by_the_story() {
    let refit = |backends: Backends| Backends { prober: Arc::new(Optimist), ..backends };
    let report = Simulation::new(1).with_scenario(Scenario::GoodToBad).with_backends(refit).run();
    assert_eq!(broken(&report), "scenario", "{report}");
}

/// Nobody deploys in the first minute.
#[derive(Debug)]
struct LateRisers;

impl Invariant for LateRisers {
    fn name(&self) -> &'static str {
        "late-risers"
    }

    fn after(&mut self, ledger: &Ledger, change: &Change<'_>, when: &Circumstances) -> Result<(), String> {
        match change {
            Change::DeploymentCreated(_) if when.at < Duration::from_secs(60) => {
                Err(format!("{} deployments after {:?}", ledger.deployments().count(), when.at))
            }
            _ => Ok(()),
        }
    }
}

#[test]
fn an_invariant_of_ones_own_is_checked() {
    let story = |early: bool| {
        move |world: World| async move {
            let app = world.create_app("shop").await?;
            world.sleep(Duration::from_secs(if early { 1 } else { 60 })).await;
            world.release(&app, Program::Good).await?;
            Ok(())
        }
    };
    let simulation = Simulation::new(1).with_profile(Profile::calm()).with_invariant(|| LateRisers);
    let report = simulation.clone().with_story(story(false)).run();
    assert!(report.violation().is_none(), "{report}");
    let report = simulation.with_story(story(true)).run();
    assert_eq!(broken(&report), "late-risers");
    assert!(report.violation().unwrap().how.starts_with("1 deployments"), "{report}");
}
