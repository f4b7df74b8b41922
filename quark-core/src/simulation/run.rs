//! `Simulation`: one run from its seed to its report.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;

use super::chance::Chance;
use super::change::Change;
use super::events::{Happening, chaos};
use super::executor::{Executor, ProcessId, Stepped};
use super::faults::{Fault, Faults, Profile, Script};
use super::invariants::{Invariant, all, rest};
use super::report::{Report, Tally};
use super::scenario::Scenario;
use super::sim::Sim;
use super::trace::Trace;
use super::world::{Backends, Furniture, World};
use crate::Result;
use crate::deployment::{DeploymentId, State};

/// How long the world may take to come to rest once nothing goes wrong any more.
const TO_REST: Duration = Duration::from_secs(600);
/// How much longer for each deployment that waits its turn then: a probe that
/// fails at its deadline, and the way back, or the watch over what serves.
const PER_WAITING: Duration = Duration::from_secs(60);
/// After how long a person looks at what is left over.
const LOOKED_AT: Duration = Duration::from_secs(240);
/// How long a store that went back in time may go unnoticed in calm.
const NOTICED: Duration = Duration::from_secs(180);
/// How long all must stay as it should be.
const REST: Duration = Duration::from_secs(15);
/// Polls without any time passing after which a run counts as spinning.
const SPINNING: u64 = 50_000;

type Story = Arc<dyn Fn(World) -> BoxFuture<'static, Result<()>> + Send + Sync>;
type Refit = Arc<dyn Fn(Backends) -> Backends + Send + Sync>;
type Check = Arc<dyn Fn() -> Box<dyn Invariant> + Send + Sync>;

/// One run of engines in a simulated world; see the [module](crate::simulation).
#[derive(Clone)]
#[must_use = "a simulation does nothing before it is run"]
pub struct Simulation {
    seed: u64,
    scenario: Scenario,
    story: Option<Story>,
    profile: Option<Profile>,
    script: Script,
    refit: Option<Refit>,
    checks: Vec<Check>,
    engines: Option<usize>,
    keeps_trace: bool,
    keeps_calls: bool,
    #[cfg(feature = "planted-bugs")]
    planted: Option<crate::planted::Bug>,
    restarts: Option<bool>,
}

impl fmt::Debug for Simulation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Simulation").field("seed", &self.seed).field("scenario", &self.scenario).finish_non_exhaustive()
    }
}

impl Simulation {
    /// The run of a seed: the random scenario, with the faults of the seed.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            scenario: Scenario::Random,
            story: None,
            profile: None,
            script: Script::new(),
            refit: None,
            checks: Vec::new(),
            engines: None,
            keeps_trace: false,
            keeps_calls: false,
            #[cfg(feature = "planted-bugs")]
            planted: None,
            restarts: None,
        }
    }

    /// What people want. Every scenario but the random one is calm, unless
    /// a profile or a script says otherwise.
    pub fn with_scenario(mut self, scenario: Scenario) -> Self {
        self.scenario = scenario;
        self
    }

    /// A story of one's own instead of a scenario. An error ends it early, and
    /// is written into the trace; [`World::fail`] makes the run fail.
    pub fn with_story<F>(mut self, story: impl Fn(World) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        self.story = Some(Arc::new(move |world| Box::pin(story(world))));
        self
    }

    /// How often what goes wrong, instead of what the seed says.
    pub fn with_profile(mut self, profile: Profile) -> Self {
        self.profile = Some(profile);
        self
    }

    /// Faults and crashes at certain places, beside those of the profile.
    pub fn with_script(mut self, script: Script) -> Self {
        self.script = script;
        self
    }

    /// Puts other backends in the place of those in memory, or around them.
    /// What goes wrong goes wrong between the engine and them.
    pub fn with_backends(mut self, refit: impl Fn(Backends) -> Backends + Send + Sync + 'static) -> Self {
        self.refit = Some(Arc::new(refit));
        self
    }

    /// Checks an invariant beside those of [`invariants`](super::invariants).
    pub fn with_invariant<I: Invariant + 'static>(mut self, check: impl Fn() -> I + Send + Sync + 'static) -> Self {
        self.checks.push(Arc::new(move || Box::new(check())));
        self
    }

    /// That many engines, each on a machine of its own, on the same backends.
    pub fn with_engines(mut self, engines: usize) -> Self {
        self.engines = Some(engines.max(1));
        self
    }

    /// Whether all engines are started anew when nothing goes wrong any more.
    /// Some seeds of the random scenario leave them running, unless it is said
    /// here; every other run starts them anew unless nothing went wrong at all.
    pub fn with_restart(mut self, restarts: bool) -> Self {
        self.restarts = Some(restarts);
        self
    }

    /// Keeps every line of the trace, not only the last ones.
    pub fn keep_trace(mut self) -> Self {
        self.keeps_trace = true;
        self
    }

    /// Keeps what engines asked of their backends.
    pub fn keep_calls(mut self) -> Self {
        self.keeps_calls = true;
        self
    }

    /// Plants a bug that the run should find.
    #[cfg(feature = "planted-bugs")]
    pub fn with_planted(mut self, bug: crate::planted::Bug) -> Self {
        self.planted = Some(bug);
        self
    }

    /// How often what goes wrong in this run.
    #[must_use]
    pub fn profile(&self) -> Profile {
        self.profile.clone().unwrap_or_else(|| self.usual_profile(&Chance::new(self.seed)))
    }

    /// Runs from the beginning to rest, or to the first violation.
    #[must_use]
    pub fn run(&self) -> Report {
        #[cfg(feature = "planted-bugs")]
        let _planted = self.planted.map(crate::planted::plant);
        let chance = Chance::new(self.seed);
        let profile = self.profile();
        let faults = Faults::new(profile.clone(), self.script.clone(), self.keeps_calls, chance.fork("faults"));
        let invariants = all().into_iter().chain(self.checks.iter().map(|check| check())).collect();
        let executor = Executor::new(chance.fork("schedule"));
        let sim = Arc::new(Sim::new(executor, Trace::new(self.keeps_trace), faults, invariants));
        let refit = |backends| match &self.refit {
            Some(refit) => refit(backends),
            None => backends,
        };
        let world = World::new(&sim, self.furniture(&chance), &chance, refit);
        let over = Arc::new(AtomicBool::new(false));
        let (ends, directed) = (Arc::clone(&over), self.clone());
        let stage = world.clone();
        world.spawn(async move {
            directed.direct(&stage, profile, &chance).await;
            ends.store(true, Ordering::Relaxed);
        });
        self.turn(&sim, &world, &over);
        sim.executor.clear();
        self.report(&sim, world.polls(0))
    }

    fn usual_profile(&self, chance: &Chance) -> Profile {
        if self.story.is_none() && self.scenario == Scenario::Random {
            return Profile::swarm(&mut chance.fork("profile"));
        }
        // Time passes in every step, so that there is one in which to act.
        Profile::calm().with_latency(Duration::from_millis(20))
    }

    fn furniture(&self, chance: &Chance) -> Furniture {
        let mut chance = chance.fork("furniture");
        let is_random = self.story.is_none() && self.scenario == Scenario::Random;
        let drawn = match chance.below(4) {
            0 | 1 => 1,
            2 => 2,
            _ => 3,
        };
        let ports = if is_random && chance.one_in(3) { Some(7) } else { self.scenario.ports() };
        let queue_in_store = chance.below(4) != 0;
        Furniture {
            engines: self.engines.unwrap_or(if is_random { drawn } else { 1 }),
            ports,
            queue_in_store: queue_in_store || !is_random,
            lease: Duration::from_secs(if is_random { chance.between(6, 30) } else { 10 }),
            room: if is_random { chance.one_in(4).then(|| chance.between(2, 5)) } else { self.scenario.room() },
        }
    }

    /// Steps until the story is over or an invariant is broken.
    fn turn(&self, sim: &Arc<Sim>, world: &World, over: &AtomicBool) {
        let mut crashes = self.script.crashes.iter().copied().peekable();
        let mut spinning = 0;
        while !over.load(Ordering::Relaxed) && !sim.is_violated() {
            match sim.executor.step() {
                Stepped::Polled(process) => {
                    spinning += 1;
                    if spinning > SPINNING {
                        sim.violate("no-spinning", format!("{SPINNING} polls, and no time has passed"));
                    }
                    if let Some(polls) = crashes.peek()
                        && world.host_of(process) == Some(0)
                        && world.polls(0) >= *polls
                    {
                        crashes.next();
                        world.crash(0, Duration::from_millis(500), false);
                    }
                }
                Stepped::Panicked(_) => sim.violate("no-panic", "a task panicked; its words are above".to_owned()),
                Stepped::Waited => spinning = 0,
                Stepped::Idle => sim.violate("converges", "everybody waits, and for nothing".to_owned()),
            }
        }
    }

    /// The world's own part: the story with all that happens meanwhile, then
    /// peace, then rest.
    async fn direct(&self, world: &World, profile: Profile, chance: &Chance) {
        for host in 0..world.engines() {
            world.start(host);
        }
        let story = async {
            match &self.story {
                Some(story) => story(world.clone()).await,
                None => self.scenario.play(world).await,
            }
        };
        let told = tokio::select! {
            biased;
            told = story => told,
            () = chaos(world.clone(), profile.clone(), chance.fork("events")) => Ok(()),
        };
        if let Err(error) = told {
            world.tell(format_args!("the story ends early: {}", error.code()));
        }
        world.restore_if_kept();
        world.with_faults(Faults::heal);
        world.jump_store_clock(0);
        if world.is_tight() {
            world.set_busy(false);
        }
        let calm = profile.is_calm() && self.script == Script::new();
        let by_chance = self.scenario != Scenario::Random || chance.fork("restart").one_in(2);
        if self.restarts.unwrap_or(!calm && by_chance) {
            world.restart_all();
        }
        world.sim().change(ProcessId::WORLD, &Change::Healed);
        if let Err((invariant, how)) = come_to_rest(world).await {
            world.sim().violate(invariant, how);
            return;
        }
        // What the store has forgotten was counted all the same.
        if !world.was_restored()
            && let Err(how) = world.counts_agree(calm)
        {
            world.sim().violate("counted-once", how);
        }
        if let Err(how) = rest::events_are_whole(world).await {
            world.sim().violate("reliable-events", how);
        }
        if let Err(how) = rest::logs_are_whole(world).await {
            world.sim().violate("reliable-logs", how);
        }
        if let Err(how) = rest::secrets_are_kept(world, world.secrets()).await {
            world.sim().violate("no-secrets", how);
        }
        if calm
            && self.story.is_none()
            && let Err(how) = world.with_ledger(|ledger| self.scenario.ends_well(ledger))
        {
            world.fail(how);
        }
    }

    fn report(&self, sim: &Sim, engine_polls: u64) -> Report {
        let (virtual_time, polls) = (sim.executor.now(), sim.executor.polls());
        sim.with(|state| {
            let (hash, trace) = state.trace.finish();
            let mut tally = Tally {
                runs: 1,
                violations: u64::from(state.violation.is_some()),
                polls,
                engine_polls,
                calls: state.faults.count,
                effects: state.effects,
                virtual_time,
                ..Tally::default()
            };
            let met = Fault::ALL.into_iter().zip(state.faults.met);
            tally.faults = met.filter(|(_, times)| *times > 0).collect();
            let happened = Happening::ALL.into_iter().zip(state.happened);
            tally.happenings = happened.filter(|(_, times)| *times > 0).collect();
            for conclusion in state.ledger.deployments().filter_map(|entry| entry.conclusion) {
                tally.count(conclusion);
            }
            Report {
                seed: self.seed,
                script: self.script.clone(),
                #[cfg(feature = "planted-bugs")]
                planted: self.planted,
                scenario: self.story.is_none().then_some(self.scenario),
                violation: state.violation.take(),
                hash,
                trace,
                calls: std::mem::take(&mut state.faults.calls),
                tally,
            }
        })
    }
}

/// Waits until all is as it should be, also after the last effect that is
/// still on its way has arrived.
async fn come_to_rest(world: &World) -> Result<(), (&'static str, String)> {
    let began = world.now();
    let waiting = world.with_ledger(|ledger| ledger.deployments().filter(|entry| !entry.state.is_terminal()).count());
    let base = if world.was_restored() { TO_REST * 2 } else { TO_REST };
    let longest = base + PER_WAITING * u32::try_from(waiting).unwrap_or(u32::MAX);
    let mut rested = false;
    loop {
        let seen = rest::look(world).await;
        if let Some(how) = world.unnoticed().await {
            if world.now() > began + NOTICED {
                return Err(("safe-mode", how));
            }
            world.sleep(Duration::from_secs(2)).await;
            continue;
        }
        match seen {
            Ok(()) if rested => return Ok(()),
            Ok(()) => {
                rested = true;
                world.tell("all is as it should be");
                while world.sim().with(|state| state.underway > 0) {
                    world.sleep(Duration::from_secs(1)).await;
                }
                world.sleep(REST).await;
                continue;
            }
            Err(how) if world.now() > began + longest => return Err(("converges", how)),
            Err(_) => {}
        }
        world.sleep(Duration::from_secs(2)).await;
        let stuck: Vec<DeploymentId> = world.with_ledger(|ledger| {
            ledger.deployments().filter(|entry| entry.state == State::Stuck).map(|entry| entry.id).collect()
        });
        for id in stuck {
            // Somebody looks after what is stuck; the lease may be held just now.
            let _ = world.retry(id).await;
        }
        if world.now() > began + LOOKED_AT {
            // So much may be left that the engines do not dare to remove it.
            let _ = world.collect_garbage().await;
            let _ = world.remove_forgotten().await;
        }
    }
}
