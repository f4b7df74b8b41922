//! Runs whole engines in simulated worlds, one per seed, and says what broke.
//!
//! `cargo run --release --features simulate --example simulate -- --seeds 10000`

mod show;

use std::process::ExitCode;

use clap::Parser;
use quark_core::simulation::{Fault, Happening, Profile, Report, Runner, Scenario, Simulation};

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
    if outcome.tally.violations == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
