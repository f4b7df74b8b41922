//! What the quickstart shows: spinners and colours on a terminal, plain lines
//! in a pipe.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use console::style;
use futures_util::StreamExt;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use quark_core::{Conclusion, Deployment, DeploymentEngine, DeploymentId, EventKind, StepName};

use crate::Report;
use crate::judgement::Harm;

/// Where progress is shown.
#[derive(Debug)]
pub(crate) struct Show {
    spinner: ProgressBar,
    on_terminal: bool,
}

impl Show {
    pub(crate) fn new() -> Self {
        let on_terminal = console::user_attended();
        let target = if on_terminal { ProgressDrawTarget::stdout() } else { ProgressDrawTarget::hidden() };
        let spinner = ProgressBar::with_draw_target(None, target);
        // The template is a constant; if it were refused the default would do.
        if let Ok(look) = ProgressStyle::with_template("  {spinner:.cyan} {msg} {elapsed:.dim}") {
            spinner.set_style(look.tick_strings(&["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏", " "]));
        }
        if on_terminal {
            spinner.enable_steady_tick(Duration::from_millis(80));
        }
        Self { spinner, on_terminal }
    }

    #[allow(clippy::print_stdout, reason = "an example that people watch")]
    fn line(&self, text: &str) {
        if self.on_terminal {
            self.spinner.suspend(|| println!("{text}"));
        } else {
            println!("{text}");
        }
    }

    pub(crate) fn title(&self, title: &str, about: &str) {
        self.line(&format!("{}  {}", style(title).bold().cyan(), style(about).dim()));
    }

    pub(crate) fn heading(&self, text: &str) {
        self.line(&format!("\n{}", style(text).bold()));
    }

    pub(crate) fn doing(&self, what: &str) {
        self.spinner.reset_elapsed();
        self.spinner.set_message(what.to_owned());
    }

    pub(crate) fn done(&self, what: &str, note: &str) {
        self.spinner.set_message("waiting");
        self.line(&format!("  {} {what:<34} {}", style("✓").green(), style(note).dim()));
    }

    pub(crate) fn fact(&self, what: &str, value: &str) {
        self.line(&format!("  {} {what:<34} {value}", style("→").cyan()));
    }

    pub(crate) fn quote(&self, text: &str) {
        self.line(&format!("  {} {text}", style("│").dim()));
    }

    /// Shows a deployment's steps as they happen, and returns its end.
    pub(crate) async fn follow(&self, engine: &DeploymentEngine, id: DeploymentId) -> Result<Deployment> {
        let mut events = engine.watch(id, 0);
        let mut began = HashMap::new();
        while let Some(event) = events.next().await {
            match event?.kind {
                EventKind::StepStarted { step, .. } => {
                    began.insert(step, Instant::now());
                    self.doing(doing(step));
                }
                EventKind::StepSucceeded { step, note, .. } => {
                    let took = began.get(&step).map(Instant::elapsed).unwrap_or_default();
                    let took = format!("{:>5} ms", took.as_millis());
                    self.done(&format!("{:<9}{took}", step.as_str()), &note.unwrap_or_default());
                }
                EventKind::StepFailed { failure, .. } => {
                    self.spinner.set_message("waiting");
                    self.line(&format!("  {} {failure}", style("✗").red()));
                }
                EventKind::BakeStarted { .. } => self.doing("watching it"),
                EventKind::CanaryShifted { percent, .. } => self.doing(&format!("watching it with {percent}")),
                EventKind::BakeUnwell { failure, .. } | EventKind::CanaryUnwell { failure, .. } => {
                    self.line(&format!("  {} {}", style("!").yellow(), failure.message));
                }
                EventKind::Completed { conclusion, .. } => {
                    let word = match conclusion {
                        Conclusion::Succeeded => style(conclusion.to_string()).green(),
                        _ => style(conclusion.to_string()).yellow(),
                    };
                    self.spinner.set_message("waiting");
                    self.line(&format!("  {} deployment {word}", style("■").dim()));
                }
                _ => {}
            }
        }
        let deployment = engine.deployment(id).await?;
        if deployment.conclusion.is_none() {
            bail!("deployment {id} is {} and goes no further", deployment.state);
        }
        Ok(deployment)
    }

    pub(crate) fn summary(&self, report: &Report) {
        self.spinner.finish_and_clear();
        let failed = if report.failed == 0 {
            style("0 failed".to_owned()).green().bold()
        } else {
            style(format!("{} failed", report.failed)).red().bold()
        };
        self.heading("What your users saw");
        self.fact("requests", &format!("{}, {failed}", report.requests));
        self.fact("of them five seconds long", &report.slow_requests.to_string());
        self.fact("WebSocket messages echoed", &report.web_socket_messages.to_string());
        self.fact("deploying commit 2 took", &format!("{} ms, build included", report.deploy.as_millis()));
        self.fact("time to promote", &report.promote);
        self.fact("time to roll back (warm)", &format!("{} ms from request to done", report.roll_back.as_millis()));
        let [all, few] = &report.harm;
        let share = |harm: &Harm| format!("{} of {} requests failed", harm.failed, harm.requests);
        let served = format!("{}, in the {:.1} s that it served", share(all), all.lasted.as_secs_f64());
        self.fact("commit 4, before it was taken back", &served);
        self.fact("the same, to 25 % of the users", &share(few));
        for failure in &report.first_failures {
            self.line(&format!("  {} {failure}", style("✗").red()));
        }
        self.heading("Where to go from here");
        self.fact(
            "the same on Docker and nginx",
            "cargo run --example quickstart --features docker,nginx -- --docker --nginx",
        );
        self.fact("a server with an HTTP API", "cargo run --example server --features server -- --help");
        self.fact("the code you just ran", "examples/quickstart/main.rs");
        self.fact("in your own program", "README.md; the pipeline is quark-core/src/engine/mod.rs");
        self.fact("the app was at", &report.url);
    }
}

fn doing(step: StepName) -> &'static str {
    match step {
        StepName::Fetch => "fetching the commit",
        StepName::Build => "building",
        StepName::Clear => "emptying the idle slot",
        StepName::Create => "creating the instance",
        StepName::Start => "starting it",
        StepName::Probe => "asking for its health",
        StepName::Shift => "sending it a share of the requests",
        StepName::Revert => "putting the route back",
        StepName::Promote => "switching",
        StepName::RollBack => "going back to the version before",
        StepName::Undo => "taking away what was made",
        StepName::PreDeploy | StepName::PrePromote | StepName::PostPromote => "running a hook",
        StepName::Unroute => "taking the route away",
        _ => "working",
    }
}
