//! `App`: everything that is said about an app before it runs.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    AppName, ApprovalPolicy, Argv, BakePolicy, CanaryPolicy, Domain, EnvKey, EnvVars, HealthCheck, Hooks,
    LivenessPolicy, RelativePath, Resources, Secret, Source,
};
use crate::deployment::SupersedePolicy;
use crate::project::EnvironmentRef;
use crate::{Error, Result};

/// What is deployed, and how it wants to be run.
///
/// ```
/// use quark_core::{App, Source};
/// let app = App::new("shop", Source::git("https://github.com/acme/shop", "main")?)?
///     .with_domain("shop.example.com".parse()?)
///     .with_port(8000);
/// assert_eq!(app.name.as_str(), "shop");
/// # Ok::<(), quark_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct App {
    /// What it is called.
    pub name: AppName,
    /// What it is made from.
    pub source: Source,
    /// The host names it answers to.
    #[serde(default)]
    pub domains: Vec<Domain>,
    /// The port it listens on inside its container. A runtime without
    /// containers passes the port to use in the variable `PORT` instead.
    #[serde(default = "default_port")]
    pub port: u16,
    /// The variables it gets.
    #[serde(default)]
    pub env: EnvVars,
    /// What it may use.
    #[serde(default)]
    pub resources: Resources,
    /// When it counts as healthy.
    #[serde(default)]
    pub health: HealthCheck,
    /// What to start, instead of what the image or the repository says.
    #[serde(default)]
    pub command: Option<Argv>,
    /// The Dockerfile, for runtimes that build from one.
    #[serde(default = "RelativePath::dockerfile")]
    pub dockerfile: RelativePath,
    /// Instances per deployment. This version runs exactly one.
    #[serde(default = "one")]
    pub replicas: u16,
    /// How long the parts of a replacement may take.
    #[serde(default)]
    pub timing: Timing,
    /// What a newer deployment means for those before it.
    #[serde(default)]
    pub supersede: SupersedePolicy,
    /// Who must agree before a version serves users; nobody if it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<ApprovalPolicy>,
    /// How long a version is watched after it was promoted, and rolled back by
    /// itself if it is not well; 60 s if it is not said.
    #[serde(default)]
    pub bake: BakePolicy,
    /// How a version is asked for its health for as long as it serves, and what
    /// is done if it is not well; it is not asked if it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub liveness: Option<LivenessPolicy>,
    /// Programs that run beside it at fixed points of a deployment.
    #[serde(default, skip_serializing_if = "Hooks::is_empty")]
    pub hooks: Hooks,
    /// Which environment of which project it is, if a project made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<EnvironmentRef>,
    /// The shares of the requests that a version gets before it is promoted, if
    /// the router can split them; all at once if it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<CanaryPolicy>,
}

/// How long the parts of a replacement may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Timing {
    /// How long the old version is given to finish its requests.
    #[serde(rename = "drain_ms", with = "crate::app::millis")]
    pub drain: Duration,
    /// How long the old version is kept running for an instant rollback.
    #[serde(rename = "grace_ms", with = "crate::app::millis")]
    pub grace: Duration,
    /// From the stop signal to the kill.
    #[serde(rename = "stop_ms", with = "crate::app::millis")]
    pub stop: Duration,
    /// How long fetching and building may take together.
    #[serde(rename = "build_ms", with = "crate::app::millis")]
    pub build: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            drain: Duration::from_secs(30),
            grace: Duration::from_secs(600),
            stop: Duration::from_secs(10),
            build: Duration::from_secs(20 * 60),
        }
    }
}

fn default_port() -> u16 {
    8080
}

fn one() -> u16 {
    1
}

impl App {
    /// An app with the defaults for all that is not said.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) if the name is not acceptable.
    pub fn new(name: &str, source: Source) -> Result<Self> {
        Ok(Self {
            name: AppName::parse(name)?,
            source,
            domains: Vec::new(),
            port: default_port(),
            env: EnvVars::new(),
            resources: Resources::default(),
            health: HealthCheck::default(),
            command: None,
            dockerfile: RelativePath::dockerfile(),
            replicas: one(),
            timing: Timing::default(),
            supersede: SupersedePolicy::default(),
            approval: None,
            bake: BakePolicy::default(),
            liveness: None,
            hooks: Hooks::default(),
            environment: None,
            canary: None,
        })
    }

    /// Adds a host name that the app answers to.
    #[must_use]
    pub fn with_domain(mut self, domain: Domain) -> Self {
        if !self.domains.contains(&domain) {
            self.domains.push(domain);
        }
        self
    }

    /// Sets the port that the app listens on inside its container.
    #[must_use]
    pub fn with_port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Sets when the app counts as healthy.
    #[must_use]
    pub fn with_health(mut self, health: HealthCheck) -> Self {
        self.health = health;
        self
    }

    /// Sets what the app may use.
    #[must_use]
    pub fn with_resources(mut self, resources: Resources) -> Self {
        self.resources = resources;
        self
    }

    /// Sets what to start.
    #[must_use]
    pub fn with_command(mut self, command: Argv) -> Self {
        self.command = Some(command);
        self
    }

    /// Sets how long the parts of a replacement may take.
    #[must_use]
    pub fn with_timing(mut self, timing: Timing) -> Self {
        self.timing = timing;
        self
    }

    /// Sets what a newer deployment means for those before it.
    #[must_use]
    pub fn with_supersede(mut self, policy: SupersedePolicy) -> Self {
        self.supersede = policy;
        self
    }

    /// Sets who must agree before a version serves users.
    #[must_use]
    pub fn with_approval(mut self, policy: ApprovalPolicy) -> Self {
        self.approval = Some(policy);
        self
    }

    /// Sets how long a version is watched after it was promoted.
    #[must_use]
    pub fn with_bake(mut self, policy: BakePolicy) -> Self {
        self.bake = policy;
        self
    }

    /// Watches no version after it was promoted: its deployment has succeeded as
    /// soon as it serves, and nothing is rolled back by itself.
    #[must_use]
    pub fn without_bake(self) -> Self {
        self.with_bake(BakePolicy::off())
    }

    /// Sets how a version is asked for its health for as long as it serves.
    #[must_use]
    pub fn with_liveness(mut self, policy: LivenessPolicy) -> Self {
        self.liveness = Some(policy);
        self
    }

    /// Sets the programs that run at fixed points of a deployment.
    ///
    /// ```
    /// use quark_core::app::{App, Argv, Hook, HookPoint, Hooks, Source};
    /// let migrate = Hook::new(Argv::new(["./manage", "migrate"])?);
    /// let app = App::new("shop", Source::git("https://github.com/acme/shop", "main")?)?
    ///     .with_hooks(Hooks::default().with(HookPoint::PreDeploy, migrate));
    /// app.check()?;
    /// # Ok::<(), quark_core::Error>(())
    /// ```
    #[must_use]
    pub fn with_hooks(mut self, hooks: Hooks) -> Self {
        self.hooks = hooks;
        self
    }

    /// Sets which shares of the requests a version gets before it is promoted.
    #[must_use]
    pub fn with_canary(mut self, policy: CanaryPolicy) -> Self {
        self.canary = Some(policy);
        self
    }

    /// Adds a variable.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) if name or value are not acceptable.
    pub fn with_env(mut self, key: &str, value: impl Into<String>) -> Result<Self> {
        self.env.set(EnvKey::parse(key)?, Secret::new(value))?;
        Ok(self)
    }

    /// Checks what no single field can check. Every door of QUARK calls it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) naming the field;
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) for more than one replica.
    pub fn check(&self) -> Result<()> {
        if self.port == 0 {
            return Err(Error::invalid("app.port", "invalid_port", "the port must be 1 to 65535"));
        }
        if self.domains.len() > 100 {
            return Err(Error::invalid("app.domains", "too_many_domains", "an app may have 100 host names"));
        }
        if self.replicas == 0 {
            return Err(Error::invalid("app.replicas", "invalid_replicas", "at least one instance is needed"));
        }
        if self.replicas > 1 {
            return Err(Error::new(crate::ErrorKind::Unsupported, "more than one replica is not supported yet")
                .with_field("app.replicas"));
        }
        for (field, duration, most) in [
            ("app.timing.drain_ms", self.timing.drain, 3600),
            ("app.timing.grace_ms", self.timing.grace, 7 * 24 * 3600),
            ("app.timing.stop_ms", self.timing.stop, 3600),
            ("app.timing.build_ms", self.timing.build, 24 * 3600),
        ] {
            if duration > Duration::from_secs(most) {
                return Err(Error::invalid(field, "invalid_duration", format!("at most {most} s are allowed")));
            }
        }
        if let Some(policy) = &self.approval {
            policy.check()?;
        }
        self.bake.check()?;
        if let Some(policy) = &self.liveness {
            policy.check()?;
        }
        self.hooks.check()?;
        if let Some(policy) = &self.canary {
            policy.check()?;
        }
        self.health.check()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn survives_a_round_trip_through_json() {
        let app = App::new("shop", Source::git("https://h.test/a/b", "main").unwrap())
            .unwrap()
            .with_domain("a.test".parse().unwrap())
            .with_env("KEY", "value")
            .unwrap();
        let text = serde_json::to_string(&app).unwrap();
        assert_eq!(serde_json::from_str::<App>(&text).unwrap(), app);
    }

    #[test]
    fn refuses_unknown_fields_and_odd_numbers() {
        let text = r#"{"name":"a","source":{"type":"image","image":"x"},"privileged":true}"#;
        assert!(serde_json::from_str::<App>(text).is_err());
        let app = App::new("a", Source::image("x").unwrap()).unwrap();
        assert_eq!(app.clone().with_port(0).check().unwrap_err().code(), "invalid_port");
        let app = App { replicas: 2, ..app };
        assert_eq!(app.check().unwrap_err().kind(), crate::ErrorKind::Unsupported);
    }
}
