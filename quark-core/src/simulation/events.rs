//! What happens to a simulated world from outside.

use std::fmt;
use std::time::Duration;

use super::chance::Chance;
use super::faults::{Backend, Profile};
use super::world::World;

/// Something that happens to a world from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Happening {
    /// An engine is killed, and started again some time later.
    EngineCrash,
    /// An engine does nothing for 40 s, and then goes on as if nothing had been.
    EngineFreeze,
    /// The clock of an engine's machine jumps by up to an hour.
    ClockJump,
    /// The store does not answer for a while.
    StoreAway,
    /// The queue does not answer for a while.
    QueueAway,
    /// The runtime does not answer for a while; containers go on.
    RuntimeAway,
    /// The runtime is restarted, and all containers with it.
    RuntimeRestart,
    /// The router does not answer for a while; it goes on serving.
    RouterAway,
    /// The router refuses the next configuration.
    RouteRefused,
    /// The disk is full for the next writes.
    DiskFull,
    /// A container that does not serve dies.
    IdleKilled,
    /// The container that serves dies.
    LiveKilled,
    /// Somebody removes a container that does not serve.
    IdleRemoved,
    /// Somebody removes the container that serves.
    LiveRemoved,
    /// All jobs are lost.
    QueueFlushed,
    /// The clock of the machine of store and queue jumps by up to two minutes.
    StoreClockJump,
    /// The store goes back to a copy of it that was made before.
    StoreRestored,
}

impl Happening {
    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::EngineCrash,
        Self::EngineFreeze,
        Self::ClockJump,
        Self::StoreAway,
        Self::QueueAway,
        Self::RuntimeAway,
        Self::RuntimeRestart,
        Self::RouterAway,
        Self::RouteRefused,
        Self::DiskFull,
        Self::IdleKilled,
        Self::LiveKilled,
        Self::IdleRemoved,
        Self::LiveRemoved,
        Self::QueueFlushed,
        Self::StoreClockJump,
        Self::StoreRestored,
    ];

    /// Its name in reports and on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::EngineCrash => "engine_crash",
            Self::EngineFreeze => "engine_freeze",
            Self::ClockJump => "clock_jump",
            Self::StoreAway => "store_away",
            Self::QueueAway => "queue_away",
            Self::RuntimeAway => "runtime_away",
            Self::RuntimeRestart => "runtime_restart",
            Self::RouterAway => "router_away",
            Self::RouteRefused => "route_refused",
            Self::DiskFull => "disk_full",
            Self::IdleKilled => "idle_killed",
            Self::LiveKilled => "live_killed",
            Self::IdleRemoved => "idle_removed",
            Self::LiveRemoved => "live_removed",
            Self::QueueFlushed => "queue_flushed",
            Self::StoreClockJump => "store_clock_jump",
            Self::StoreRestored => "store_restored",
        }
    }

    /// Whether it only ends a container: programs do that.
    pub(crate) fn is_life(self) -> bool {
        matches!(self, Self::IdleKilled | Self::LiveKilled | Self::IdleRemoved | Self::LiveRemoved)
    }

    /// Its place in [`Happening::ALL`].
    pub(crate) fn index(self) -> usize {
        Self::ALL.iter().position(|happening| *happening == self).unwrap_or(0)
    }

    /// Whether any seed may have it. After a restore so much history is lost
    /// that it would hide the rest: few seeds have it.
    pub(crate) fn is_usual(self) -> bool {
        self != Self::StoreRestored
    }
}

impl fmt::Display for Happening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Lets things happen, as often as the profile says, until it is dropped.
pub(crate) async fn chaos(world: World, profile: Profile, mut chance: Chance) {
    loop {
        let step = Duration::from_millis(chance.between(200, 1800));
        world.sleep(step).await;
        world.fulfil_fates();
        for happening in Happening::ALL {
            // The rate is per second, and a step is a second on average.
            if chance.happens(profile.happening(happening)) {
                happen(&world, happening, &mut chance).await;
            }
        }
    }
}

async fn happen(world: &World, happening: Happening, chance: &mut Chance) {
    let happened = match happening {
        Happening::EngineCrash => {
            let longest = if chance.one_in(4) { 90 } else { 3 };
            let after = chance.up_to(Duration::from_secs(longest));
            let host = chance.index(world.engines());
            let renamed = chance.one_in(5);
            world.crash(host, after, renamed)
        }
        Happening::EngineFreeze => world.freeze(chance.index(world.engines()), Duration::from_secs(40)),
        Happening::ClockJump => {
            let hour = 3_600_000_000;
            let micros = i64::try_from(chance.below(2 * hour)).unwrap_or(0) - i64::try_from(hour).unwrap_or(0);
            world.jump_clock(chance.index(world.engines()), micros);
            true
        }
        Happening::StoreAway => away(world, Backend::Store, 20, chance),
        Happening::QueueAway => away(world, Backend::Queue, 60, chance),
        Happening::RuntimeAway => away(world, Backend::Runtime, 60, chance),
        Happening::RuntimeRestart => {
            away(world, Backend::Runtime, 20, chance);
            world.restart_containers().await;
            true
        }
        Happening::RouterAway => away(world, Backend::Router, 60, chance),
        Happening::RouteRefused => world.with_faults(|faults| {
            faults.refuse_routes(chance.between(1, 3));
            true
        }),
        Happening::DiskFull => world.with_faults(|faults| {
            faults.fill_disk(chance.between(1, 20));
            true
        }),
        Happening::IdleKilled => world.harm(false, false, chance).await,
        Happening::LiveKilled => world.harm(true, false, chance).await,
        Happening::IdleRemoved => world.harm(false, true, chance).await,
        Happening::LiveRemoved => world.harm(true, true, chance).await,
        Happening::QueueFlushed => {
            world.flush_queue();
            true
        }
        Happening::StoreClockJump => {
            let longest = 120_000_000;
            let micros = i64::try_from(chance.below(2 * longest)).unwrap_or(0) - i64::try_from(longest).unwrap_or(0);
            world.jump_store_clock(micros);
            true
        }
        Happening::StoreRestored => world.keep_or_restore(),
    };
    if happened {
        world.note(happening);
    }
}

fn away(world: &World, backend: Backend, longest: u64, chance: &mut Chance) -> bool {
    let until = world.now() + Duration::from_secs(chance.between(1, longest));
    world.with_faults(|faults| faults.take_away(backend, until));
    true
}
