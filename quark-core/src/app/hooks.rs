//! `Hooks`: programs of a version that run beside it at fixed points of a deployment.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Argv;
use crate::{Error, Result};

/// When a hook runs. The names are public API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum HookPoint {
    /// Once the image is there, before anything of the new version is created.
    PreDeploy,
    /// Once the new version is healthy and approved, before it serves.
    PrePromote,
    /// Once the new version serves.
    PostPromote,
    /// Once the version before was taken away at the end of its grace.
    PostRetire,
}

impl HookPoint {
    /// All of them, in the order of a deployment.
    pub const ALL: [Self; 4] = [Self::PreDeploy, Self::PrePromote, Self::PostPromote, Self::PostRetire];

    /// The name in APIs, labels and the variable `QUARK_HOOK`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PreDeploy => "pre_deploy",
            Self::PrePromote => "pre_promote",
            Self::PostPromote => "post_promote",
            Self::PostRetire => "post_retire",
        }
    }

    /// Whether the deployment stops if it fails. Those after the promotion are
    /// too late for that: users are served already.
    #[must_use]
    pub fn must_succeed(self) -> bool {
        matches!(self, Self::PreDeploy | Self::PrePromote)
    }
}

impl fmt::Display for HookPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A program that runs at one point of a deployment.
///
/// ```
/// use std::time::Duration;
/// use quark_core::app::{Argv, Hook};
/// let migrate = Hook::new(Argv::new(["./manage", "migrate"])?).with_timeout(Duration::from_secs(600));
/// # assert_eq!(migrate.command.program(), "./manage");
/// # Ok::<(), quark_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Hook {
    /// The program and its arguments; no shell looks at them.
    pub command: Argv,
    /// How long it may take, 1 s to 1 h; then it is stopped, and has failed. 5 min
    /// by default. Before the promotion it is a part of the hour that a deployment
    /// has in all.
    #[serde(rename = "timeout_ms", with = "crate::app::millis", default = "five_minutes")]
    pub timeout: Duration,
}

fn five_minutes() -> Duration {
    Duration::from_secs(300)
}

impl Hook {
    /// The longest time that a hook may take.
    pub(crate) const LONGEST: Duration = Duration::from_secs(3600);

    /// Runs this program, for 5 min at most.
    #[must_use]
    pub fn new(command: Argv) -> Self {
        Self { command, timeout: five_minutes() }
    }

    /// Sets how long it may take.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    fn check(&self, point: HookPoint) -> Result<()> {
        if self.timeout < Duration::from_secs(1) || self.timeout > Self::LONGEST {
            let text = "a hook may take 1 s to 1 h";
            return Err(Error::invalid("app.hooks", "invalid_duration", text)
                .with_field(format!("app.hooks.{point}.timeout_ms")));
        }
        Ok(())
    }
}

/// Programs of a version that run beside it at fixed points of its deployment.
///
/// Each runs in the image of the new version, never on the host: in a container
/// of its own, with the app's variables and resources and `QUARK_HOOK` set to
/// the point, without an address. What it prints goes to the log of the deployment.
///
/// | hook | when | if it fails |
/// |---|---|---|
/// | `pre_deploy` | the image is there, nothing of the version is created | the deployment fails; nothing has changed |
/// | `pre_promote` | the version is healthy and approved, and serves nobody | likewise |
/// | `post_promote` | the version serves | it serves on; [`explain`](crate::DeploymentEngine::explain) and the events say so |
/// | `post_retire` | the version before was taken away at the end of its grace | only the events say so |
///
/// Hooks run when a version is deployed, not for rollbacks or removals: those go back
/// to what was prepared before, and in a moment. `post_retire` is that of the version that
/// serves by then; it runs for a version whose time has come, not for one whose slot the
/// next deployment needs before that.
///
/// The version before serves while `pre_deploy` runs and stands by afterwards: a
/// migration of a database must leave it working. A hook runs at least once: one
/// whose end nobody has seen, because engine or machine died, may be run again, so
/// it must bear that. One that has failed is not tried again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Hooks {
    /// Before anything of the new version is created, such as a migration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pre_deploy: Option<Hook>,
    /// Before the new version serves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pre_promote: Option<Hook>,
    /// Once the new version serves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub post_promote: Option<Hook>,
    /// Once the version before was taken away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub post_retire: Option<Hook>,
}

impl Hooks {
    /// Sets the hook that runs at a point.
    #[must_use]
    pub fn with(mut self, point: HookPoint, hook: Hook) -> Self {
        *match point {
            HookPoint::PreDeploy => &mut self.pre_deploy,
            HookPoint::PrePromote => &mut self.pre_promote,
            HookPoint::PostPromote => &mut self.post_promote,
            HookPoint::PostRetire => &mut self.post_retire,
        } = Some(hook);
        self
    }

    /// The hook that runs at a point, if there is one.
    #[must_use]
    pub fn at(&self, point: HookPoint) -> Option<&Hook> {
        match point {
            HookPoint::PreDeploy => self.pre_deploy.as_ref(),
            HookPoint::PrePromote => self.pre_promote.as_ref(),
            HookPoint::PostPromote => self.post_promote.as_ref(),
            HookPoint::PostRetire => self.post_retire.as_ref(),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        HookPoint::ALL.into_iter().all(|point| self.at(point).is_none())
    }

    pub(super) fn check(&self) -> Result<()> {
        for point in HookPoint::ALL {
            if let Some(hook) = self.at(point) {
                hook.check(point)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hook() -> Hook {
        Hook::new(Argv::new(["./migrate"]).unwrap())
    }

    #[test]
    fn refuses_what_makes_no_sense() {
        for point in HookPoint::ALL {
            assert!(Hooks::default().with(point, hook()).check().is_ok());
            for timeout in [Duration::ZERO, Duration::from_secs(3601)] {
                let error = Hooks::default().with(point, hook().with_timeout(timeout)).check().unwrap_err();
                assert_eq!(error.field(), Some(format!("app.hooks.{point}.timeout_ms").as_str()));
            }
        }
    }

    #[test]
    fn is_written_as_people_would() {
        let text = r#"{"pre_deploy":{"command":["./migrate"]}}"#;
        let hooks: Hooks = serde_json::from_str(text).unwrap();
        assert_eq!(hooks, Hooks::default().with(HookPoint::PreDeploy, hook()));
        assert_eq!(serde_json::from_str::<Hooks>(&serde_json::to_string(&hooks).unwrap()).unwrap(), hooks);
        for wrong in [r#"{"predeploy":null}"#, r#"{"pre_deploy":{"command":"./migrate"}}"#] {
            assert!(serde_json::from_str::<Hooks>(wrong).is_err(), "{wrong}");
        }
    }
}
