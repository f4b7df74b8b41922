//! What an app is, what it should be, why it is not, and what comes next, on
//! the wire.

use quark_core::engine::{Explanation, Finding, Kept, Served, Work};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What an app is, what it should be, why it is not, and what comes next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ExplanationView {
    /// The app.
    pub app: String,
    /// When the world was looked at.
    pub at: String,
    /// The same for people.
    pub text: String,
    /// What serves users.
    pub live: Option<ServedView>,
    /// What could serve in an instant.
    pub standby: Option<StandbyView>,
    /// What has not ended: the one under way first, then those that wait.
    pub work: Vec<WorkView>,
    /// What is not as it should be, the gravest first.
    pub findings: Vec<FindingView>,
    /// What happens next, and what a person could do.
    pub next: Vec<NextView>,
}

/// A version in a slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ServedView {
    /// The deployment that brought it into service.
    pub deployment: String,
    /// Its number among the deployments of the app.
    pub sequence: u64,
    /// Which code: `commit 4f2a91c`, `image shop:1`.
    pub version: String,
    /// `blue` or `green`.
    pub slot: String,
    /// Since when it serves, or served.
    pub since: Option<String>,
}

/// A standby.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StandbyView {
    /// What.
    #[serde(flatten)]
    pub served: ServedView,
    /// When it is retired.
    pub until: String,
    /// Whether it runs; `null` if the runtime could not be asked.
    pub runs: Option<bool>,
}

/// A deployment that has not ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WorkView {
    /// Which.
    pub deployment: String,
    /// Its number among the deployments of the app.
    pub sequence: u64,
    /// Where it stands.
    pub status: String,
    /// The step that it has come to.
    pub step: Option<String>,
    /// When that step counts as failed.
    pub deadline: Option<String>,
}

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FindingView {
    /// Its stable name.
    pub code: String,
    /// What it is, in one sentence.
    pub message: String,
}

/// What happens next, or could.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NextView {
    /// Its stable name.
    pub code: String,
    /// What it is, in one sentence.
    pub message: String,
    /// Whether it happens by itself; a person has to do the others.
    pub automatic: bool,
    /// When, if that is known.
    pub at: Option<String>,
}

impl From<Explanation> for ExplanationView {
    fn from(explanation: Explanation) -> Self {
        let (at, text) = (explanation.at, explanation.to_string());
        let next = explanation.next.iter().map(|next| NextView {
            code: next.code().to_owned(),
            message: next.describe(at),
            automatic: next.is_automatic(),
            at: next.at().map(|at| at.to_string()),
        });
        Self {
            next: next.collect(),
            app: explanation.app.to_string(),
            at: at.to_string(),
            text,
            live: explanation.live.map(Into::into),
            standby: explanation.standby.map(Into::into),
            work: explanation.work.into_iter().map(Into::into).collect(),
            findings: explanation.findings.iter().map(Into::into).collect(),
        }
    }
}

impl From<Served> for ServedView {
    fn from(served: Served) -> Self {
        Self {
            deployment: served.deployment.to_string(),
            sequence: served.sequence,
            version: served.version.to_string(),
            slot: served.slot.to_string(),
            since: served.since.map(|since| since.to_string()),
        }
    }
}

impl From<Kept> for StandbyView {
    fn from(kept: Kept) -> Self {
        Self { served: kept.served.into(), until: kept.until.to_string(), runs: kept.runs }
    }
}

impl From<Work> for WorkView {
    fn from(work: Work) -> Self {
        Self {
            deployment: work.deployment.to_string(),
            sequence: work.sequence,
            status: work.state.to_string(),
            deadline: work.step.as_ref().map(|step| step.deadline.to_string()),
            step: work.step.map(|step| step.name.to_string()),
        }
    }
}

impl From<&Finding> for FindingView {
    fn from(finding: &Finding) -> Self {
        Self { code: finding.code().to_owned(), message: finding.to_string() }
    }
}
