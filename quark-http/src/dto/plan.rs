//! What a wish would lead to, on the wire.

use quark_core::deployment::{Expectation, IdempotencyKey, Version};
use quark_core::engine::{Earlier, Obstacle, Plan, PlannedStep, PlannedWish, Wish};
use quark_core::{AppName, DeployRequest, Error, ErrorKind, Result, RollbackRequest};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{CreateDeployment, CreateRollback, FailureView};

/// What is wished; one of these.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum WishBody {
    /// That a version is brought into service.
    Deploy(CreateDeployment),
    /// That an earlier version is brought back.
    Rollback(CreateRollback),
    /// That the app is taken out of service.
    Remove {},
}

impl WishBody {
    /// The wish that is meant.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](quark_core::ErrorKind::InvalidInput) with the field at fault.
    pub fn into_wish(self) -> Result<Wish> {
        Ok(match self {
            Self::Deploy(body) => Wish::Deploy(body.into_request()?),
            Self::Rollback(body) => Wish::Rollback(body.into_request()?),
            Self::Remove {} => Wish::Remove { by: "api".to_owned() },
        })
    }
}

/// A plan to be done: what a plan says under `apply`, as it is.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ApplyPlan {
    /// What is wished.
    pub wish: WishBody,
    /// What must still be so.
    pub expects: ExpectationBody,
}

/// What a plan was made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExpectationBody {
    /// The version of what was said about the app.
    pub version: u64,
    /// The deployment that was live.
    pub live: Option<String>,
    /// The standby that it goes back to.
    #[serde(default)]
    pub standby: Option<String>,
}

impl ApplyPlan {
    /// The plan of `app` that is meant.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](quark_core::ErrorKind::InvalidInput) with the field at fault.
    pub fn into_plan(self, app: AppName) -> Result<PlannedWish> {
        let id = |id: Option<String>| id.map(|id| id.parse()).transpose();
        let ExpectationBody { version, live, standby } = self.expects;
        let expects = Expectation { version: Version(version), live: id(live)?, standby: id(standby)? };
        Ok(PlannedWish::new(app, self.wish.into_wish()?, expects))
    }
}

/// Everything that a wish would lead to.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct PlanView {
    /// The app.
    pub app: String,
    /// When the world was looked at.
    pub at: String,
    /// The same for people.
    pub text: String,
    /// Which code would serve: `commit 4f2a91c`, `image shop:1`.
    pub version: String,
    /// What is said about the app and is different from what serves.
    pub changes: Vec<String>,
    /// What becomes of deployments that have not ended.
    pub earlier: Vec<EarlierView>,
    /// What is done, in this order.
    pub steps: Vec<PlannedStepView>,
    /// What users notice of it: `none`, `nothing_serves`, `already_down`, `for_good`.
    pub downtime: String,
    /// Why it would fail, as far as that can be seen.
    pub fails: Vec<FailureView>,
    /// What would have to be over first.
    pub waits: Vec<String>,
    /// What to send to `plan/apply` to have it done.
    pub apply: ApplyPlan,
}

/// What becomes of a deployment that was asked for before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EarlierView {
    /// Which.
    pub deployment: String,
    /// Its number among the deployments of the app.
    pub sequence: u64,
    /// `ends`, `stops`, `comes_first` or `makes_way`.
    pub fate: String,
}

/// One thing that is done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PlannedStepView {
    /// The stable name of what it does.
    pub effect: String,
    /// What it does, in words.
    pub message: String,
    /// The step of the journal that does it.
    pub step: Option<String>,
    /// How long it may take at most, or takes if it is a time, in milliseconds.
    pub at_most_ms: Option<u64>,
    /// How long it took when what is live was deployed, in milliseconds.
    pub last_took_ms: Option<u64>,
}

impl From<Plan> for PlanView {
    fn from(plan: Plan) -> Self {
        let text = plan.to_string();
        let (mut fails, mut waits) = (Vec::new(), Vec::new());
        for obstacle in plan.obstacles {
            match obstacle {
                Obstacle::Fails { failure } => fails.push(failure.into()),
                other => waits.push(other.to_string()),
            }
        }
        Self {
            app: plan.app.to_string(),
            at: plan.at.to_string(),
            text,
            version: plan.version.to_string(),
            changes: plan.changes.iter().map(ToString::to_string).collect(),
            earlier: plan.earlier.into_iter().map(Into::into).collect(),
            steps: plan.steps.into_iter().map(Into::into).collect(),
            downtime: plan.downtime.code().to_owned(),
            fails,
            waits,
            apply: plan.wish.into(),
        }
    }
}

impl From<Earlier> for EarlierView {
    fn from(earlier: Earlier) -> Self {
        Self {
            deployment: earlier.deployment.to_string(),
            sequence: earlier.sequence,
            fate: earlier.fate.code().to_owned(),
        }
    }
}

impl From<PlannedStep> for PlannedStepView {
    fn from(step: PlannedStep) -> Self {
        let millis = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self {
            effect: step.effect.code().to_owned(),
            message: step.effect.to_string(),
            step: step.step.map(|step| step.to_string()),
            at_most_ms: step.at_most.map(millis),
            last_took_ms: step.last_took.map(millis),
        }
    }
}

impl WishBody {
    /// The wish of a plan. What a plan is made from is shown with it, and a value
    /// of a variable never is.
    ///
    /// # Errors
    ///
    /// [`Unsupported`](quark_core::ErrorKind::Unsupported) for a deployment with variables of its own;
    /// else as [`into_wish`](Self::into_wish).
    pub fn into_planned(self) -> Result<Wish> {
        match &self {
            Self::Deploy(body) if !body.env.is_empty() => {
                Err(Error::new(ErrorKind::Unsupported, "a deployment with variables of its own cannot be planned here")
                    .with_code("env_in_plan")
                    .with_field("deploy.env")
                    .with_hint("a plan is sent back as it was shown, and values are never shown: give them to the app"))
            }
            _ => self.into_wish(),
        }
    }
}

impl From<PlannedWish> for ApplyPlan {
    fn from(plan: PlannedWish) -> Self {
        let id = |id: Option<quark_core::DeploymentId>| id.map(|id| id.to_string());
        let Expectation { version, live, standby } = plan.expects;
        let wish = match plan.wish {
            Wish::Deploy(request) => WishBody::Deploy(request.into()),
            Wish::Rollback(request) => WishBody::Rollback(request.into()),
            // A later version of quark-core may have more; it cannot be planned here.
            _ => WishBody::Remove {},
        };
        Self { wish, expects: ExpectationBody { version: version.0, live: id(live), standby: id(standby) } }
    }
}

fn text(key: IdempotencyKey) -> String {
    key.as_str().to_owned()
}

impl From<DeployRequest> for CreateDeployment {
    fn from(request: DeployRequest) -> Self {
        Self {
            branch: request.branch.map(|branch| branch.to_string()),
            commit: request.commit.map(|commit| commit.to_string()),
            image: request.image.map(|image| image.to_string()),
            trigger: super::deployments::trigger(request.trigger),
            key: request.key.map(text),
            by: request.by,
            // None had its own: see `into_planned`.
            env: super::VariablesBody::default(),
        }
    }
}

impl From<RollbackRequest> for CreateRollback {
    fn from(request: RollbackRequest) -> Self {
        Self { to: request.to.map(|to| to.to_string()), key: request.key.map(text) }
    }
}
