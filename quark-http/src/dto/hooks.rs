//! Programs that run beside a deployment, on the wire.

use std::time::Duration;

use quark_core::{Argv, Hook, HookPoint, Hooks, Result};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Programs that run at fixed points of a deployment, each in a container of its
/// own made from the image of the new version. None by default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HooksBody {
    /// Before anything of the new version is created, such as a migration; the
    /// deployment fails if it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pre_deploy: Option<HookBody>,
    /// Once the new version is healthy and approved, before it serves; the
    /// deployment fails if it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pre_promote: Option<HookBody>,
    /// Once the new version serves, which it goes on with whatever becomes of this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub post_promote: Option<HookBody>,
    /// Once the version before was taken away at the end of its grace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub post_retire: Option<HookBody>,
}

/// A program that runs at one point of a deployment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HookBody {
    /// The program and its arguments, word by word; no shell looks at them.
    pub command: Vec<String>,
    /// How long it may take, 1000 to 3600000. Default 300000, five minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
}

impl HooksBody {
    /// The hooks that are meant.
    pub(super) fn into_hooks(self) -> Result<Hooks> {
        let mut hooks = Hooks::default();
        for (point, body) in [
            (HookPoint::PreDeploy, self.pre_deploy),
            (HookPoint::PrePromote, self.pre_promote),
            (HookPoint::PostPromote, self.post_promote),
            (HookPoint::PostRetire, self.post_retire),
        ] {
            if let Some(body) = body {
                hooks = hooks.with(point, body.into_hook(point)?);
            }
        }
        Ok(hooks)
    }
}

impl HookBody {
    fn into_hook(self, point: HookPoint) -> Result<Hook> {
        let field = format!("app.hooks.{point}.command");
        let hook = Hook::new(Argv::new(self.command).map_err(|error| error.with_field(field))?);
        Ok(match self.timeout_ms {
            Some(millis) => hook.with_timeout(Duration::from_millis(millis)),
            None => hook,
        })
    }
}

impl From<Hook> for HookBody {
    fn from(hook: Hook) -> Self {
        Self { command: hook.command.into(), timeout_ms: u64::try_from(hook.timeout.as_millis()).ok() }
    }
}

impl From<Hooks> for HooksBody {
    fn from(hooks: Hooks) -> Self {
        Self {
            pre_deploy: hooks.pre_deploy.map(Into::into),
            pre_promote: hooks.pre_promote.map(Into::into),
            post_promote: hooks.post_promote.map(Into::into),
            post_retire: hooks.post_retire.map(Into::into),
        }
    }
}
