//! What an engine is doing when it dies, and how that must end.

use serde_json::{Value, json};

use super::docker::Docker;
use super::host::Host;
use super::scene::{Scene, Version};

/// What an engine is doing when it dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scenario {
    /// Version 1 is the first.
    First,
    /// Version 2 takes the place of version 1.
    Replace,
    /// Likewise, and its image has to be built.
    Build,
    /// Version 3 takes the place of version 2, while version 1 stands by.
    ReplaceStandby,
    /// Version 2 takes the place of version 1, which is not kept.
    Retire,
    /// Likewise as `Replace`, with programs that run beside the deployment.
    Hooked,
    /// Likewise as `Retire`, with a program that runs at the end.
    HookedRetire,
    /// Version 2 ends as soon as it is started.
    Fail,
    /// The router does not like version 2.
    Refuse,
    /// Version 2 is cancelled while it is built.
    CancelBuilding,
    /// Version 2 is cancelled while it does not become healthy.
    CancelProbing,
    /// Version 3 is asked for while version 2 does not become healthy.
    Supersede,
    /// From version 2 back to version 1, which stands by.
    RollBack,
    /// Version 2 is not well any more once it serves, and is taken back by itself.
    TakeBack,
    /// Version 2 gets half of the requests before it takes the place of version 1.
    Share,
    /// Likewise, and it is cancelled while it has half of them.
    CancelShare,
    /// The app is removed, with version 2 live and version 1 standing by.
    Remove,
    /// An engine starts, and finds that somebody has removed the container of
    /// version 2, which was live.
    Mend,
    /// An engine starts, and finds a container that nothing refers to.
    Collect,
    /// Version 1 is not well any more, and is restarted in its place.
    Restart,
}

/// What an engine is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Request {
    /// A version.
    Deploy(Version),
    /// The end of the newest deployment.
    Cancel,
    /// The version before.
    RollBack,
    /// The end of the app.
    Remove,
    /// Nothing: what serves is not well from now on.
    Sicken,
    /// Nothing: the newest deployment is waited for until an event of this
    /// stream has this value in this field.
    Reach(&'static str, &'static str, &'static str),
}

/// How a scenario must end.
pub(super) struct End {
    /// What becomes of the deployment.
    pub(super) conclusion: &'static str,
    /// Which version serves.
    pub(super) serves: &'static str,
    /// Which containers are there.
    pub(super) containers: &'static str,
    /// Which versions users see meanwhile, in this order; any, if none is named.
    pub(super) seen: &'static [&'static str],
}

impl Scenario {
    /// How long a standby is kept, in milliseconds.
    pub(super) fn grace(self) -> u32 {
        if matches!(self, Self::Retire | Self::HookedRetire) { 0 } else { 600_000 }
    }

    /// How the app is watched once a version serves, if it is.
    pub(super) fn bake(self) -> Option<Value> {
        (self == Self::TakeBack).then(|| json!({ "duration_ms": 120_000, "interval_ms": 200, "failures": 1 }))
    }

    /// How the app is asked for its health while it serves, if it is.
    pub(super) fn liveness(self) -> Option<Value> {
        (self == Self::Restart).then(|| json!({ "interval_ms": 1_000, "failures": 1, "restarts": 100 }))
    }

    /// How long a process may take to become healthy, in milliseconds.
    pub(super) fn deadline(self) -> u32 {
        // So long it may also be unwell right after an engine was started.
        if self == Self::Restart { 5_000 } else { 60_000 }
    }

    /// Whether something is started again of what serves, which takes a moment.
    pub(super) fn starts_again(self) -> bool {
        matches!(self, Self::Mend | Self::Restart)
    }

    /// Whether what serves when the engine has died at `point` is well.
    pub(super) fn serves_well(self, point: &str, serves: &str) -> bool {
        match self {
            Self::TakeBack => serves == self.end().serves,
            Self::Restart => !matches!(point, "before:restart" | "intent:restart"),
            _ => true,
        }
    }
    /// The programs that run beside deployments.
    pub(super) fn hooks(self) -> Value {
        let hook = json!({ "command": ["./server", "--print", "1", "--exit", "0"] });
        match self {
            Self::Hooked => json!({ "pre_deploy": hook, "pre_promote": hook, "post_promote": hook }),
            Self::HookedRetire => json!({ "post_retire": hook }),
            _ => json!({}),
        }
    }
    /// Which share of the requests a version gets first, and for how long, if it does.
    pub(super) fn canary(self) -> Option<Value> {
        let hold = match self {
            Self::Share => 2_000,
            Self::CancelShare => 120_000,
            _ => return None,
        };
        Some(json!({ "steps": [{ "percent": 50, "hold_ms": hold }], "interval_ms": 200 }))
    }

    /// Whether something is taken away after the end of the deployment.
    pub(super) fn retires(self) -> bool {
        matches!(self, Self::Retire | Self::HookedRetire | Self::TakeBack)
    }

    /// What is deployed before.
    pub(super) fn before(self) -> &'static [Version] {
        match self {
            Self::First => &[],
            Self::ReplaceStandby | Self::RollBack | Self::Remove | Self::Mend => &[Version::One, Version::Two],
            _ => &[Version::One],
        }
    }

    /// Which containers that leaves.
    pub(super) fn containers_before(self) -> String {
        let versions: Vec<_> = self.before().iter().map(|version| version.number()).collect();
        if versions.is_empty() { "-".to_owned() } else { versions.join(", ") }
    }

    /// Whether users are served from beginning to end.
    pub(super) fn serves_throughout(self) -> bool {
        !matches!(self, Self::First | Self::Remove | Self::Restart)
    }

    /// How long the slowest requests take, in milliseconds: longer than an
    /// engine is dead, if they go to what is stopped after that.
    pub(super) fn slowest(self) -> u64 {
        if matches!(self, Self::Retire | Self::HookedRetire | Self::Refuse) { 1_000 } else { 50 }
    }

    /// Whether the first build of the new version lasts.
    pub(super) fn hangs(self, point: &str) -> bool {
        self == Self::CancelBuilding || point.starts_with("log:")
    }

    /// What is asked for, with what is waited for in between. The engine dies
    /// in the course of the last request.
    pub(super) fn requests(self) -> Vec<Request> {
        use Request::{Cancel, Deploy, Reach, Remove, RollBack, Sicken};
        const PRINTS: Request = Reach("logs", "text", "line 1");
        const PROBES: Request = Reach("events", "step", "probe");
        const BAKES: Request = Reach("events", "event", "bake_started");
        const SHARES: Request = Reach("events", "event", "canary_shifted");
        match self {
            Self::First => vec![Deploy(Version::One)],
            Self::Replace | Self::Hooked | Self::HookedRetire | Self::Retire | Self::Refuse | Self::Share => {
                vec![Deploy(Version::Two)]
            }
            Self::CancelShare => vec![Deploy(Version::Two), SHARES, Cancel],
            Self::Build => vec![Deploy(Version::Slow)],
            Self::ReplaceStandby => vec![Deploy(Version::Three)],
            Self::Fail => vec![Deploy(Version::Crashing)],
            Self::CancelBuilding => vec![Deploy(Version::Endless), PRINTS, Cancel],
            Self::CancelProbing => vec![Deploy(Version::Sick), PROBES, Cancel],
            Self::Supersede => vec![Deploy(Version::Sick), PROBES, Deploy(Version::Three)],
            Self::RollBack => vec![RollBack],
            Self::TakeBack => vec![Deploy(Version::Two), BAKES, Sicken],
            Self::Remove => vec![Remove],
            Self::Mend | Self::Collect => Vec::new(),
            Self::Restart => vec![Sicken],
        }
    }

    /// Whether the engine finds at its start what it dies of.
    pub(super) fn begins_with_damage(self) -> bool {
        matches!(self, Self::Mend | Self::Collect)
    }

    /// Does to the machine what people do.
    pub(super) fn damage(self, docker: &Docker) {
        match self {
            Self::Mend => docker.remove_version("2"),
            Self::Collect => docker.copy_version("1"),
            _ => {}
        }
    }

    /// Asks, and waits for the death of the engine.
    pub(super) async fn ask(self, scene: &Scene, host: Host, point: &str) {
        if self == Self::Refuse {
            scene.refuse();
        }
        let mut requests = self.requests();
        let last = requests.pop().unwrap();
        for request in requests {
            host.ask(scene, request).await;
        }
        host.ask_to_death(scene, point, last).await;
    }

    /// What is asked for again, because whoever asked was never told that the
    /// wish was written down, and it was not.
    pub(super) fn again(self, point: &str) -> Option<Request> {
        let lost = matches!(point, "before:queued" | "before:cancel");
        self.requests().pop().filter(|_| lost)
    }

    /// How it must end.
    pub(super) fn end(self) -> End {
        let (conclusion, serves, containers, seen): (_, _, _, &[_]) = match self {
            Self::First => ("succeeded", "1", "1", &[]),
            Self::Replace | Self::Hooked | Self::Build => ("succeeded", "2", "1, 2", &["1", "2"]),
            Self::ReplaceStandby => ("succeeded", "3", "2, 3", &["2", "3"]),
            Self::Retire | Self::HookedRetire => ("succeeded", "2", "2", &["1", "2"]),
            Self::Fail => ("failed", "1", "1", &["1"]),
            Self::Refuse => ("failed", "1", "1", &["1", "2", "1"]),
            Self::CancelBuilding | Self::CancelProbing => ("cancelled", "1", "1", &["1"]),
            Self::Supersede => ("succeeded", "3", "1, 3", &["1", "3"]),
            Self::RollBack => ("succeeded", "1", "1, 2", &["2", "1"]),
            Self::TakeBack => ("rolled_back", "1", "1", &["1", "2", "1"]),
            // Users see both versions for a while, in any order.
            Self::Share => ("succeeded", "2", "1, 2", &[]),
            Self::CancelShare => ("cancelled", "1", "1", &[]),
            Self::Remove => ("succeeded", "-", "-", &[]),
            Self::Mend => ("succeeded", "2", "1, 2", &["2", "1", "2"]),
            Self::Collect => ("succeeded", "1", "1", &["1"]),
            Self::Restart => ("succeeded", "1", "1", &[]),
        };
        End { conclusion, serves, containers, seen }
    }
}
