//! What a person sees of the runs.

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _, stderr, stdout};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use quark_core::simulation::{Hunt, Outcome, Report, Tally};

/// How many failed runs are shown with their traces.
const SHOWN: usize = 3;
/// How often a line is printed where there is no terminal.
const EVERY: Duration = Duration::from_secs(30);

/// One line while the runs go on, the figures at the end.
pub(crate) struct Progress {
    began: Instant,
    bar: ProgressBar,
    told: std::sync::Mutex<Told>,
}

#[derive(Default)]
struct Told {
    runs: u64,
    violations: u64,
    last: Duration,
}

impl Progress {
    pub(crate) fn begin(seeds: u64) -> Self {
        let bar = if stderr().is_terminal() { ProgressBar::new(seeds) } else { ProgressBar::hidden() };
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len} seeds  {per_sec}  {msg}  {eta} left");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self { began: Instant::now(), bar, told: std::sync::Mutex::default() }
    }

    /// Counts a run.
    pub(crate) fn count(&self, report: &Report) {
        let mut told = self.told.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        told.runs += 1;
        told.violations += u64::from(report.violation().is_some());
        self.bar.inc(1);
        self.bar.set_message(format!("{} violations", told.violations));
        let elapsed = self.began.elapsed();
        if self.bar.is_hidden() && elapsed.saturating_sub(told.last) >= EVERY {
            told.last = elapsed;
            print(&format!("{} seeds, {} violations, {:.0} s", told.runs, told.violations, elapsed.as_secs_f64()));
        }
    }

    /// Prints a line beside the progress.
    pub(crate) fn say(&self, text: &str) {
        self.bar.suspend(|| print(text));
    }

    /// Prints the whole trace of a run.
    pub(crate) fn trace(&self, report: &Report) {
        self.bar.suspend(|| {
            for line in report.trace() {
                print(line);
            }
            print(&format!("{report}"));
        });
    }

    /// Prints what failed, and the figures.
    pub(crate) fn end(&self, outcome: &Outcome, options: &str) {
        self.bar.finish_and_clear();
        for report in outcome.failures.iter().take(SHOWN) {
            print(&format!("{report}{options}\n"));
        }
        let mut by_name: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
        for report in &outcome.failures {
            if let Some(violation) = report.violation() {
                by_name.entry(violation.invariant).or_default().push(report.seed());
            }
        }
        for (name, seeds) in &by_name {
            let some: Vec<_> = seeds.iter().take(12).map(u64::to_string).collect();
            print(&format!("violated {name}: {} seeds: {}", seeds.len(), some.join(" ")));
        }
        figures(&outcome.tally, self.began.elapsed());
    }
}

fn figures(tally: &Tally, took: Duration) {
    let real = took.as_secs_f64();
    let hours = tally.virtual_time.as_secs_f64() / 3600.0;
    let ended = tally.succeeded + tally.failed + tally.cancelled + tally.superseded + tally.rolled_back;
    print(&format!(
        "seeds        {} in {real:.1} s ({:.1} ms each)",
        tally.runs,
        real * 1000.0 / tally.runs.max(1) as f64
    ));
    print(&format!(
        "deployments  {ended}: {} succeeded, {} failed, {} cancelled, {} superseded, {} rolled back",
        tally.succeeded, tally.failed, tally.cancelled, tally.superseded, tally.rolled_back
    ));
    print(&format!("calls        {} ({} effects), {} polls", tally.calls, tally.effects, tally.polls));
    print(&format!("virtual      {hours:.1} h, {:.0} times real time", hours * 3600.0 / real.max(0.001)));
    let faults: Vec<_> = tally.faults.iter().map(|(fault, times)| format!("{times} {fault}")).collect();
    print(&format!("faults       {}: {}", tally.all_faults(), faults.join(", ")));
    let happened: Vec<_> = tally.happenings.iter().map(|(event, times)| format!("{times} {event}")).collect();
    print(&format!("events       {}: {}", tally.happenings.values().sum::<u64>(), happened.join(", ")));
    print(&format!("{} violations", tally.violations));
}

/// Prints how a planted bug was found.
pub(crate) fn hunt(hunt: &Hunt) {
    let name = hunt.bug.as_str();
    match hunt.found.as_ref().and_then(|report| report.violation().map(|violation| (report, violation))) {
        Some((report, violation)) => {
            print(&format!("{name:26} {:>6} seeds  {} ({})", hunt.seeds, violation.invariant, hunt.bug.describe()));
            tracing_line(report);
        }
        None => print(&format!("{name:26} NOT FOUND in {} seeds ({})", hunt.seeds, hunt.bug.describe())),
    }
}

fn tracing_line(report: &Report) {
    if stderr().is_terminal() {
        print(&format!("{:26} again: {} --trace", "", report.command()));
    }
}

/// Prints how many planted bugs were found.
pub(crate) fn hunted(planted: usize, needed: &[u64]) {
    let mut sorted = needed.to_vec();
    sorted.sort_unstable();
    let median = sorted.get(sorted.len() / 2).copied().unwrap_or(0);
    let most = sorted.last().copied().unwrap_or(0);
    print(&format!(
        "found {} of {planted} planted bugs; half of them within {median} seeds, all that were found within {most}",
        needed.len()
    ));
}

fn print(text: &str) {
    // Whoever closed the pipe has seen enough.
    let _ = writeln!(stdout().lock(), "{text}");
}
