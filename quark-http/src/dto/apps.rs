//! Apps on the wire.

use std::time::Duration;

use quark_core::deployment::{Occupant, SupersedePolicy};
use quark_core::{
    App, AppRecord, Argv, Domain, HealthCheck, HealthPath, RelativePath, Resources, Result, Source, Timing,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{ApprovalBody, BakeBody, CanaryBody, EnvironmentRefView, HooksBody, LivenessBody, VariablesBody};

/// What an app shall be. Everything but name and source has a default.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateApp {
    /// 1 to 40 of a-z, 0-9 and `-`, starting with a letter.
    #[schema(example = "shop")]
    pub name: String,
    /// What it is made from.
    pub source: SourceBody,
    /// The host names it answers to, besides `<name>.<base domain>`.
    #[serde(default)]
    pub domains: Vec<String>,
    /// The port it listens on inside its container; 8080 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The variables it gets. Values are never shown again.
    #[serde(default)]
    #[schema(value_type = std::collections::BTreeMap<String, String>)]
    pub env: VariablesBody,
    /// What it may use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourcesBody>,
    /// When it counts as healthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthBody>,
    /// What to start, word by word, instead of what the image or repository says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
    /// The Dockerfile in the repository; `Dockerfile` by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dockerfile: Option<String>,
    /// How long the parts of a replacement may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timing: Option<TimingBody>,
    /// What a newer deployment means for those before it; `coalesce` by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub supersede: Option<SupersedeBody>,
    /// Who must agree before a version serves users; nobody by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<ApprovalBody>,
    /// How long a version is watched after it was promoted, and rolled back by
    /// itself if it is not well; 60 s by default, and not at all if it lasts 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bake: Option<BakeBody>,
    /// How a version is asked for its health for as long as it serves, and what
    /// is done if it is not well; it is not asked by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub liveness: Option<LivenessBody>,
    /// Programs that run at fixed points of a deployment; none by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hooks: Option<HooksBody>,
    /// Which shares of the requests a version gets before it is promoted; all at
    /// once by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<CanaryBody>,
}

/// What a newer deployment means for those of the same app that have not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SupersedeBody {
    /// Only the newest counts: those that wait end, the one under way is
    /// cancelled unless it is being promoted already.
    Coalesce,
    /// Those that wait end; the one under way is finished first.
    QueuedOnly,
    /// Every one is deployed, in the order in which they were asked for.
    Serial,
    /// The newer one is refused.
    Reject,
}

impl From<SupersedeBody> for SupersedePolicy {
    fn from(body: SupersedeBody) -> Self {
        match body {
            SupersedeBody::Coalesce => Self::Coalesce,
            SupersedeBody::QueuedOnly => Self::QueuedOnly,
            SupersedeBody::Serial => Self::Serial,
            SupersedeBody::Reject => Self::Reject,
        }
    }
}

/// `None` for a policy of a later version of quark-core, which has no word here yet.
pub(super) fn supersede(policy: SupersedePolicy) -> Option<SupersedeBody> {
    match policy {
        SupersedePolicy::Coalesce => Some(SupersedeBody::Coalesce),
        SupersedePolicy::QueuedOnly => Some(SupersedeBody::QueuedOnly),
        SupersedePolicy::Serial => Some(SupersedeBody::Serial),
        SupersedePolicy::Reject => Some(SupersedeBody::Reject),
        _ => None,
    }
}

/// What an app is made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", tag = "type", deny_unknown_fields)]
pub enum SourceBody {
    /// A git repository.
    Git {
        /// `https://…` or `git@host:…`, without credentials.
        repository: String,
        /// The branch to deploy when nothing else is said.
        branch: String,
    },
    /// An image that exists already.
    Image {
        /// Its name.
        image: String,
    },
}

/// What an app may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResourcesBody {
    /// Thousandths of a processor.
    pub cpu_millis: u32,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Processes and threads.
    pub pids: u32,
}

/// When an app counts as healthy. What is left out keeps its default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HealthBody {
    /// Asked for by GET; 200 to 399 is well. Default `/`.
    pub path: Option<String>,
    /// Between two probes. Default 250.
    pub interval_ms: Option<u64>,
    /// For one probe. Default 2000.
    pub timeout_ms: Option<u64>,
    /// Good answers in a row. Default 2.
    pub successes: Option<u32>,
    /// From start to health. Default 120000.
    pub deadline_ms: Option<u64>,
}

/// How long the parts of a replacement may take. What is left out keeps its default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TimingBody {
    /// For the old version to finish its requests. Default 30000.
    pub drain_ms: Option<u64>,
    /// For which the old version is kept for an instant rollback. Default 600000.
    pub grace_ms: Option<u64>,
    /// From the stop signal to the kill. Default 10000.
    pub stop_ms: Option<u64>,
    /// For the build. Default 1200000.
    pub build_ms: Option<u64>,
}

impl CreateApp {
    /// The app that is meant.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](quark_core::ErrorKind::InvalidInput) with the field at fault.
    pub fn into_app(self) -> Result<App> {
        let mut app = App::new(&self.name, self.source.into_source()?)?;
        for domain in &self.domains {
            app = app.with_domain(Domain::parse(domain)?);
        }
        if let Some(port) = self.port {
            app.port = port;
        }
        app.env = self.env.into_vars()?;
        if let Some(resources) = self.resources {
            app.resources = Resources::new(resources.cpu_millis, resources.memory_bytes, resources.pids)?;
        }
        if let Some(health) = self.health {
            app.health = health.into_check()?;
        }
        app.command = self.command.map(Argv::new).transpose()?;
        if let Some(path) = self.dockerfile {
            app.dockerfile = RelativePath::parse(&path).map_err(|error| error.with_field("app.dockerfile"))?;
        }
        if let Some(timing) = self.timing {
            app.timing = timing.into_timing();
        }
        if let Some(policy) = self.supersede {
            app.supersede = policy.into();
        }
        app.approval = self.approval.map(Into::into);
        app.bake = self.bake.unwrap_or_default().into();
        app.liveness = self.liveness.map(Into::into);
        if let Some(hooks) = self.hooks {
            app.hooks = hooks.into_hooks()?;
        }
        app.canary = self.canary.map(Into::into);
        app.check()?;
        Ok(app)
    }
}

impl SourceBody {
    fn into_source(self) -> Result<Source> {
        match self {
            Self::Git { repository, branch } => Source::git(&repository, &branch),
            Self::Image { image } => Source::image(&image),
        }
    }
}

impl From<Source> for SourceBody {
    fn from(source: Source) -> Self {
        match source {
            Source::Git { repository, branch } => Self::Git { repository: repository.into(), branch: branch.into() },
            Source::Image { image } => Self::Image { image: image.into() },
            // A source of a later version of quark-core has no words here yet.
            other => Self::Image { image: format!("{other:?}") },
        }
    }
}

fn millis(value: Option<u64>, default: Duration) -> Duration {
    value.map_or(default, Duration::from_millis)
}

fn to_millis(duration: Duration) -> Option<u64> {
    u64::try_from(duration.as_millis()).ok()
}

impl HealthBody {
    pub(super) fn into_check(self) -> Result<HealthCheck> {
        let default = HealthCheck::default();
        Ok(HealthCheck {
            path: self.path.map_or(Ok(default.path), HealthPath::parse)?,
            interval: millis(self.interval_ms, default.interval),
            timeout: millis(self.timeout_ms, default.timeout),
            successes: self.successes.unwrap_or(default.successes),
            deadline: millis(self.deadline_ms, default.deadline),
        })
    }
}

impl TimingBody {
    pub(super) fn into_timing(self) -> Timing {
        let default = Timing::default();
        Timing {
            drain: millis(self.drain_ms, default.drain),
            grace: millis(self.grace_ms, default.grace),
            stop: millis(self.stop_ms, default.stop),
            build: millis(self.build_ms, default.build),
        }
    }
}

impl From<Resources> for ResourcesBody {
    fn from(resources: Resources) -> Self {
        Self { cpu_millis: resources.cpu_millis(), memory_bytes: resources.memory_bytes(), pids: resources.pids() }
    }
}

impl From<HealthCheck> for HealthBody {
    fn from(health: HealthCheck) -> Self {
        Self {
            path: Some(health.path.into()),
            interval_ms: to_millis(health.interval),
            timeout_ms: to_millis(health.timeout),
            successes: Some(health.successes),
            deadline_ms: to_millis(health.deadline),
        }
    }
}

impl From<Timing> for TimingBody {
    fn from(timing: Timing) -> Self {
        Self {
            drain_ms: to_millis(timing.drain),
            grace_ms: to_millis(timing.grace),
            stop_ms: to_millis(timing.stop),
            build_ms: to_millis(timing.build),
        }
    }
}

/// What is in a slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OccupantView {
    /// The deployment.
    pub deployment: String,
    /// `blue` or `green`.
    pub slot: String,
}

impl From<Occupant> for OccupantView {
    fn from(occupant: Occupant) -> Self {
        Self { deployment: occupant.deployment.to_string(), slot: occupant.slot.to_string() }
    }
}

/// An app, without the values of its variables.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AppView {
    /// Its name.
    pub name: String,
    /// What it is made from.
    pub source: SourceBody,
    /// The host names it asked for.
    pub domains: Vec<String>,
    /// The host names that reach it now.
    pub reachable_at: Vec<String>,
    /// The port inside its container.
    pub port: u16,
    /// The names of its variables.
    pub env_keys: Vec<String>,
    /// What it may use.
    pub resources: ResourcesBody,
    /// When it counts as healthy.
    pub health: HealthBody,
    /// How long the parts of a replacement may take.
    pub timing: TimingBody,
    /// What a newer deployment means for those before it.
    pub supersede: Option<SupersedeBody>,
    /// Who must agree before a version serves users.
    pub approval: Option<ApprovalBody>,
    /// How long a version is watched after it was promoted; not at all if 0.
    pub bake: BakeBody,
    /// How a version is asked for its health for as long as it serves.
    pub liveness: Option<LivenessBody>,
    /// Programs that run at fixed points of a deployment.
    pub hooks: HooksBody,
    /// Which shares of the requests a version gets before it is promoted.
    pub canary: Option<CanaryBody>,
    /// What serves.
    pub live: Option<OccupantView>,
    /// The version before, kept warm for an instant rollback.
    pub standby: Option<OccupantView>,
    /// Counts its changes; to be given back with the next one.
    pub version: u64,
    /// When it was made, in RFC 3339.
    pub created_at: String,
    /// Whether it is being removed.
    pub removing: bool,
    /// Which environment of which project it is, if a project made it.
    pub environment: Option<EnvironmentRefView>,
}

impl From<AppRecord> for AppView {
    fn from(record: AppRecord) -> Self {
        let App {
            name,
            source,
            domains,
            port,
            env,
            resources,
            health,
            timing,
            supersede: policy,
            approval,
            bake,
            liveness,
            hooks,
            environment,
            canary,
            ..
        } = record.spec;
        Self {
            name: name.into(),
            source: source.into(),
            domains: domains.into_iter().map(Into::into).collect(),
            reachable_at: record.serving.domains.into_iter().map(Into::into).collect(),
            port,
            env_keys: env.keys().map(ToString::to_string).collect(),
            resources: resources.into(),
            health: health.into(),
            timing: timing.into(),
            supersede: supersede(policy),
            approval: approval.map(Into::into),
            bake: bake.into(),
            liveness: liveness.map(Into::into),
            hooks: hooks.into(),
            canary: canary.map(Into::into),
            live: record.serving.live.map(Into::into),
            standby: record.serving.standby.map(|standby| standby.occupant.into()),
            version: record.version.0,
            created_at: record.created_at.to_string(),
            removing: record.removed_at.is_some(),
            environment: environment.map(Into::into),
        }
    }
}

/// All apps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AppList {
    /// By name.
    pub items: Vec<AppView>,
}
