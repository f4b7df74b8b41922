//! Runs whole engines in simulated worlds, one per seed, and says what broke.
//!
//! ```text
//! cargo run --release --example simulate -- --seeds 10000
//! cargo run --release --example simulate -- --exhaustive
//! cargo run --release --example simulate -- --plant all
//! ```
//!
//! The last one plants known mistakes, one at a time, and fails if one of them
//! is not found within 10,000 seeds.

mod show;

use std::process::ExitCode;

use clap::Parser;
use quark_core::planted::Bug;
use quark_core::simulation::{
    Exhaustive, Fault, Happening, Hunt, Outcome, Profile, Report, Runner, Scenario, Script, Simulation,
};

/// Runs whole engines in simulated worlds, one per seed, and says what broke.
#[derive(Debug, Parser)]
#[command(name = "simulate")]
struct Arguments {
    /// How many seeds to run.
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    first_seed: u64,
    /// What people want: `random`, or a story such as `update`.
    #[arg(long, default_value_t = Scenario::Random)]
    scenario: Scenario,
    /// Threads; all processors unless it is said.
    #[arg(long)]
    threads: Option<usize>,
    /// Nothing goes wrong, whatever the seed says.
    #[arg(long)]
    calm: bool,
    /// Sets how often a fault befalls a call, per million, such as `late=1000`.
    #[arg(long = "fault", value_name = "FAULT=RATE", value_parser = fault)]
    faults: Vec<(Fault, u32)>,
    /// Sets how often something happens, per million seconds, such as `clock_jump=0`.
    #[arg(long = "event", value_name = "EVENT=RATE", value_parser = happening)]
    events: Vec<(Happening, u32)>,
    /// Prints the whole trace of each seed.
    #[arg(long)]
    trace: bool,
    /// Begins no further seed after that many have failed.
    #[arg(long, default_value_t = 20)]
    stop_after: u64,
    /// Tries everything that can go wrong once in each story (or in the one of
    /// `--scenario`): a crash at every poll, every fault at every call.
    #[arg(long)]
    exhaustive: bool,
    /// Plants a bug, or `all` one after the other, and says by which invariant
    /// and within how many seeds it is found; fails if one is not.
    #[arg(long, value_name = "BUG", value_parser = bug)]
    plant: Option<Planted>,
    /// Kills the first engine when it has been polled that often.
    #[arg(long = "crash-at", value_name = "POLL")]
    crashes: Vec<u64>,
    /// Lets a call, counted from 0, meet a fault.
    #[arg(long = "meet", value_name = "CALL=FAULT", value_parser = meeting)]
    meetings: Vec<(u64, Fault)>,
}

#[derive(Clone, Copy, Debug)]
enum Planted {
    All,
    One(Bug),
}

fn bug(text: &str) -> Result<Planted, String> {
    let names = || Bug::ALL.iter().map(|bug| bug.as_str()).collect::<Vec<_>>().join(", ");
    match Bug::ALL.iter().find(|bug| bug.as_str() == text) {
        Some(bug) => Ok(Planted::One(*bug)),
        None if text == "all" => Ok(Planted::All),
        None => Err(format!("`all` or one of {}", names())),
    }
}

fn meeting(text: &str) -> Result<(u64, Fault), String> {
    let names = || Fault::ALL.map(Fault::as_str).join(", ");
    let (call, wanted) = text.split_once('=').ok_or("a call and a fault, such as 17=late")?;
    let fault = Fault::ALL.into_iter().find(|fault| fault.as_str() == wanted);
    let fault = fault.ok_or_else(|| format!("one of {}", names()))?;
    Ok((call.parse().map_err(|_| "a call is a number".to_owned())?, fault))
}

fn fault(text: &str) -> Result<(Fault, u32), String> {
    rate(text, &Fault::ALL, Fault::as_str)
}

fn happening(text: &str) -> Result<(Happening, u32), String> {
    rate(text, &Happening::ALL, Happening::as_str)
}

fn rate<T: Copy>(text: &str, all: &[T], name: impl Fn(T) -> &'static str) -> Result<(T, u32), String> {
    let names = || all.iter().map(|one| name(*one)).collect::<Vec<_>>().join(", ");
    let (wanted, rate) = text.split_once('=').unwrap_or((text, "10000"));
    let found = all.iter().find(|one| name(**one) == wanted).ok_or_else(|| format!("one of {}", names()))?;
    Ok((*found, rate.parse().map_err(|_| "a rate is a number per million".to_owned())?))
}

impl Arguments {
    fn simulation(&self, seed: u64) -> Simulation {
        let mut simulation = Simulation::new(seed).with_scenario(self.scenario);
        if self.calm || !self.faults.is_empty() || !self.events.is_empty() {
            let mut profile = if self.calm { Profile::calm() } else { simulation.profile() };
            for (fault, rate) in &self.faults {
                profile = profile.with_fault(*fault, *rate);
            }
            for (happening, rate) in &self.events {
                profile = profile.with_happening(*happening, *rate);
            }
            simulation = simulation.with_profile(profile);
        }
        let mut script = Script::new();
        for poll in &self.crashes {
            script = script.crash(*poll);
        }
        for (call, fault) in &self.meetings {
            script = script.fault(*call, *fault);
        }
        simulation = simulation.with_script(script);
        if let Some(Planted::One(bug)) = self.plant {
            simulation = simulation.with_planted(bug);
        }
        if self.trace { simulation.keep_trace() } else { simulation }
    }

    /// What the command that shows a run again needs beside its seed.
    fn options(&self) -> String {
        let faults = self.faults.iter().map(|(fault, rate)| format!(" --fault {fault}={rate}"));
        let events = self.events.iter().map(|(event, rate)| format!(" --event {event}={rate}"));
        let calm = self.calm.then(|| " --calm".to_owned());
        calm.into_iter().chain(faults).chain(events).collect()
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let clean = if arguments.exhaustive {
        exhaust(&arguments)
    } else if let (Some(planted), false) = (arguments.plant, arguments.trace) {
        hunt(&arguments, planted)
    } else {
        simulate(&arguments)
    };
    if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Everything that can go wrong once; whether all went well.
fn exhaust(arguments: &Arguments) -> bool {
    let one = (arguments.scenario != Scenario::Random).then_some(arguments.scenario);
    let stories = Scenario::ALL.into_iter().filter(|story| *story != Scenario::Random);
    let stories: Vec<_> = stories
        .filter(|story| one.is_none_or(|one| one == *story))
        .map(|story| (story, Exhaustive::new(story)))
        .collect();
    let shown = show::Progress::begin(stories.iter().map(|(_, all)| all.len() as u64).sum());
    let mut outcome = Outcome::default();
    let mut counts = quark_core::simulation::Counts::default();
    for (story, all) in &stories {
        let done = all.run(arguments.threads, |report| shown.count(report));
        shown.say(&format!("{story:22} {}, {} violations", all.counts(), done.tally.violations));
        counts.add(all.counts());
        outcome.tally.add(&done.tally);
        outcome.failures.extend(done.failures);
    }
    shown.end(&outcome, "");
    shown.say(&format!("exhaustive: {counts}"));
    outcome.tally.is_clean()
}

/// Looks for planted bugs; whether all were found.
fn hunt(arguments: &Arguments, planted: Planted) -> bool {
    let bugs = match &planted {
        Planted::All => Bug::ALL,
        Planted::One(bug) => std::slice::from_ref(bug),
    };
    let most = arguments.seeds.max(if matches!(planted, Planted::All) { 10_000 } else { 1 });
    let mut needed = Vec::new();
    for bug in bugs {
        let hunt = Hunt::run(*bug, arguments.first_seed, most, arguments.threads);
        show::hunt(&hunt);
        needed.extend(hunt.found.is_some().then_some(hunt.seeds));
    }
    show::hunted(bugs.len(), &needed);
    needed.len() == bugs.len()
}

/// Runs seeds; whether all went well.
fn simulate(arguments: &Arguments) -> bool {
    let shown = show::Progress::begin(arguments.seeds);
    let mut runner = Runner::new(|seed| arguments.simulation(seed)).with_stop_after(arguments.stop_after);
    if let Some(threads) = arguments.threads {
        runner = runner.with_threads(threads);
    }
    let last = arguments.first_seed.saturating_add(arguments.seeds);
    let outcome = runner.run(arguments.first_seed..last, |report: &Report| {
        shown.count(report);
        if arguments.trace && report.violation().is_none() {
            shown.trace(report);
        }
    });
    shown.end(&outcome, &arguments.options());
    outcome.tally.is_clean()
}
