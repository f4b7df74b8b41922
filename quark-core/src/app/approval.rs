//! `ApprovalPolicy`: who must agree before a version serves users.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Who must agree before a healthy version is promoted, and until when.
///
/// The version runs meanwhile, in the idle slot, and is probed; nobody is sent
/// there. Rollbacks need no approval: they are what one does when something is
/// wrong, and what they bring back was approved before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct ApprovalPolicy {
    /// How many different people must approve, 1 to 20; one who rejects ends it.
    pub quorum: u32,
    /// Whether whoever asked for the deployment counts, too. Not by default:
    /// separation of duties.
    pub author_counts: bool,
    /// How long the question stands, at most 30 days. The deployment is
    /// cancelled when nobody has answered by then. 24 hours by default.
    #[serde(rename = "expires_ms", with = "crate::app::millis")]
    pub expires: Duration,
    /// Approve by itself after this time, unless somebody rejects before, if
    /// that is wanted: the version has then been healthy for so long.
    #[serde(
        rename = "auto_approve_ms",
        with = "crate::app::millis::optional",
        skip_serializing_if = "Option::is_none"
    )]
    pub auto_approve: Option<Duration>,
}

impl Default for ApprovalPolicy {
    fn default() -> Self {
        Self { quorum: 1, author_counts: false, expires: Duration::from_secs(24 * 3600), auto_approve: None }
    }
}

impl ApprovalPolicy {
    /// The longest time that a question may stand.
    const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);

    /// So many people must approve; see the fields for the rest.
    #[must_use]
    pub fn of(quorum: u32) -> Self {
        Self { quorum, ..Self::default() }
    }

    /// Lets whoever asked for the deployment approve it.
    #[must_use]
    pub fn with_author(mut self) -> Self {
        self.author_counts = true;
        self
    }

    /// Sets how long the question stands.
    #[must_use]
    pub fn with_expiry(mut self, expires: Duration) -> Self {
        self.expires = expires;
        self
    }

    /// Approves by itself after this time.
    #[must_use]
    pub fn with_auto_approve(mut self, after: Duration) -> Self {
        self.auto_approve = Some(after);
        self
    }

    pub(super) fn check(&self) -> Result<()> {
        if !(1..=20).contains(&self.quorum) {
            return Err(Error::invalid(
                "app.approval.quorum",
                "invalid_quorum",
                "1 to 20 people can be asked to approve",
            ));
        }
        if self.expires.is_zero() || self.expires > Self::LONGEST {
            return Err(Error::invalid(
                "app.approval.expires_ms",
                "invalid_duration",
                "a question stands up to 30 days",
            ));
        }
        if self.auto_approve.is_some_and(|after| after > self.expires) {
            return Err(Error::invalid(
                "app.approval.auto_approve_ms",
                "invalid_duration",
                "the question expires before it is approved by itself",
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_nobody_could_meet() {
        assert!(ApprovalPolicy::of(2).check().is_ok());
        assert_eq!(ApprovalPolicy::of(0).check().unwrap_err().code(), "invalid_quorum");
        let never = ApprovalPolicy::default().with_expiry(Duration::ZERO);
        assert_eq!(never.check().unwrap_err().field(), Some("app.approval.expires_ms"));
        let late = ApprovalPolicy::default().with_auto_approve(Duration::from_secs(25 * 3600));
        assert_eq!(late.check().unwrap_err().field(), Some("app.approval.auto_approve_ms"));
    }

    #[test]
    fn is_written_as_people_would() {
        let text = r#"{"quorum":2,"auto_approve_ms":60000}"#;
        let policy: ApprovalPolicy = serde_json::from_str(text).unwrap();
        assert_eq!(policy, ApprovalPolicy::of(2).with_auto_approve(Duration::from_secs(60)));
        let again = serde_json::to_string(&policy).unwrap();
        assert_eq!(serde_json::from_str::<ApprovalPolicy>(&again).unwrap(), policy);
        assert!(serde_json::from_str::<ApprovalPolicy>(r#"{"quorom":2}"#).is_err());
    }
}
