//! What an engine is doing when it dies, and how that must end.

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
    /// The app is removed, with version 2 live and version 1 standing by.
    Remove,
    /// An engine starts, and finds that somebody has removed the container of
    /// version 2, which was live.
    Mend,
    /// An engine starts, and finds a container that nothing refers to.
    Collect,
}

/// How a scenario must end.
pub(super) struct End {
    /// What becomes of the deployment.
    pub(super) conclusion: &'static str,
    /// Which version serves.
    pub(super) serves: &'static str,
    /// Which containers are there.
    pub(super) containers: &'static str,
    /// Which versions users see meanwhile, in this order.
    pub(super) seen: &'static [&'static str],
}

impl Scenario {
    /// How long a standby is kept, in milliseconds.
    pub(super) fn grace(self) -> u32 {
        if self == Self::Retire { 0 } else { 600_000 }
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
        !matches!(self, Self::First | Self::Remove)
    }

    /// How long the slowest requests take, in milliseconds: longer than an
    /// engine is dead, if they go to what is stopped after that.
    pub(super) fn slowest(self) -> u64 {
        if matches!(self, Self::Retire | Self::Refuse) { 1_000 } else { 50 }
    }

    /// Whether the first build of the new version lasts.
    pub(super) fn hangs(self, point: &str) -> bool {
        self == Self::CancelBuilding || point.starts_with("log:")
    }

    /// What is asked for, with what is waited for in between. The engine dies
    /// in the course of the last request.
    pub(super) fn requests(self, scene: &Scene) -> Vec<String> {
        let deploy = |version| format!("deploy {}", scene.commit(version));
        let cancel = |version, when: &str| vec![deploy(version), format!("reach {when}"), "cancel".to_owned()];
        match self {
            Self::First => vec![deploy(Version::One)],
            Self::Replace | Self::Retire | Self::Refuse => vec![deploy(Version::Two)],
            Self::Build => vec![deploy(Version::Slow)],
            Self::ReplaceStandby => vec![deploy(Version::Three)],
            Self::Fail => vec![deploy(Version::Crashing)],
            Self::CancelBuilding => cancel(Version::Endless, "log:line 1"),
            Self::CancelProbing => cancel(Version::Sick, "step:probe"),
            Self::Supersede => {
                vec![deploy(Version::Sick), "reach step:probe".to_owned(), deploy(Version::Three)]
            }
            Self::RollBack => vec!["rollback".to_owned()],
            Self::Remove => vec!["remove".to_owned()],
            Self::Mend | Self::Collect => Vec::new(),
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

    /// Asks, so that the engine dies.
    pub(super) async fn ask(self, scene: &Scene, host: &mut Host, point: &str) {
        if self == Self::Refuse {
            host.ask("refuse").await;
        }
        let mut requests = self.requests(scene);
        let last = requests.pop().unwrap();
        for request in requests {
            host.ask(&request).await;
        }
        assert_eq!(host.ask(&format!("die {point}")).await, "mortal");
        host.tell(&last).await;
    }

    /// What is asked for again, because whoever asked was never told that the
    /// wish was written down, and it was not.
    pub(super) fn again(self, scene: &Scene, point: &str) -> Option<String> {
        let lost = matches!(point, "before:queued" | "before:cancel");
        self.requests(scene).pop().filter(|_| lost)
    }

    /// How it must end.
    pub(super) fn end(self) -> End {
        let (conclusion, serves, containers, seen): (_, _, _, &[_]) = match self {
            Self::First => ("succeeded", "1", "1", &[]),
            Self::Replace | Self::Build => ("succeeded", "2", "1, 2", &["1", "2"]),
            Self::ReplaceStandby => ("succeeded", "3", "2, 3", &["2", "3"]),
            Self::Retire => ("succeeded", "2", "2", &["1", "2"]),
            Self::Fail => ("failed", "1", "1", &["1"]),
            Self::Refuse => ("failed", "1", "1", &["1", "2", "1"]),
            Self::CancelBuilding | Self::CancelProbing => ("cancelled", "1", "1", &["1"]),
            Self::Supersede => ("succeeded", "3", "1, 3", &["1", "3"]),
            Self::RollBack => ("succeeded", "1", "1, 2", &["2", "1"]),
            Self::Remove => ("succeeded", "-", "-", &[]),
            Self::Mend => ("succeeded", "2", "1, 2", &["2", "1", "2"]),
            Self::Collect => ("succeeded", "1", "1", &["1"]),
        };
        End { conclusion, serves, containers, seen }
    }
}
