//! What a program of the memory runtime does once it is started.

use std::time::Duration;

use crate::app::HookPoint;

/// How a started program answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Health {
    /// It listens and answers 200.
    #[default]
    Healthy,
    /// It listens and answers 503 that many times, then 200.
    WarmsUp(u32),
    /// It listens and answers with this status.
    Status(u16),
    /// It listens and never answers.
    Hangs,
    /// It runs and never listens.
    NeverListens,
    /// It ends with this code as soon as it is started.
    ExitsAtOnce(i32),
}

impl Health {
    /// Whether a program like this holds its endpoint.
    #[must_use]
    pub fn listens(self) -> bool {
        !matches!(self, Self::NeverListens | Self::ExitsAtOnce(_))
    }
}

/// How a hook of a program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HookRun {
    /// It ends with this code as soon as it is started.
    Ends(i32),
    /// It ends with this code after a while.
    Takes(Duration, i32),
    /// It has to be stopped.
    Hangs,
}

/// What a program of the memory runtime does once it is started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Behaviour {
    /// How it answers.
    pub health: Health,
    /// The lines that it prints when it is started, before anything else happens.
    pub prints: Vec<String>,
    /// Whether it then prints each of its variables as `KEY=value`, a line
    /// break in a value written as `\n`.
    pub prints_environment: bool,
    /// Whether it has to be killed.
    pub ignores_stop: bool,
    /// Whether the image holds no such program.
    pub program_missing: bool,
    /// The ports that it listens on instead of its own, for [`Health::NeverListens`].
    pub elsewhere: Vec<u16>,
    /// How the hook at a point runs; one that is not named ends well at once.
    pub hooks: Vec<(HookPoint, HookRun)>,
}

impl Behaviour {
    /// A program that is well.
    #[must_use]
    pub fn healthy() -> Self {
        Self::default()
    }

    /// A program that answers like `health`.
    #[must_use]
    pub fn with_health(health: Health) -> Self {
        Self { health, ..Self::default() }
    }

    /// Sets the lines that it prints.
    #[must_use]
    pub fn printing<T: Into<String>>(mut self, lines: impl IntoIterator<Item = T>) -> Self {
        self.prints = lines.into_iter().map(Into::into).collect();
        self
    }

    /// Makes it print its variables.
    #[must_use]
    pub fn printing_environment(mut self) -> Self {
        self.prints_environment = true;
        self
    }

    /// Makes it ignore the signal to stop.
    #[must_use]
    pub fn ignoring_stop(mut self) -> Self {
        self.ignores_stop = true;
        self
    }

    /// Sets how the hook at a point runs.
    #[must_use]
    pub fn running_hook(mut self, point: HookPoint, run: HookRun) -> Self {
        self.hooks.push((point, run));
        self
    }

    /// How the hook at a point runs.
    pub(super) fn hook(&self, point: HookPoint) -> HookRun {
        let named = self.hooks.iter().rev().find(|(known, _)| *known == point);
        named.map_or(HookRun::Ends(0), |(_, run)| *run)
    }

    /// Makes the program missing in its image.
    #[must_use]
    pub fn missing(mut self) -> Self {
        self.program_missing = true;
        self
    }
}
