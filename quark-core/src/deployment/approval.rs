//! `Approval`: a question to people, and what they answered.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::app::{ApprovalPolicy, Artifact};
use crate::clock::Timestamp;

/// The question whether a version may serve users, and the answers to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    /// The image that is asked about: nothing else may be promoted by it.
    pub artifact: Artifact,
    /// Names this very question. An answer must repeat it: who has not seen the
    /// question cannot answer it.
    pub nonce: String,
    /// When it was asked.
    pub asked_at: Timestamp,
    /// What people answered, in this order; one answer each.
    #[serde(default)]
    pub answers: Vec<Answer>,
    /// When it was decided, by people or by time.
    #[serde(default)]
    pub decided_at: Option<Timestamp>,
    /// How often in a row the version was found unhealthy while it waited.
    #[serde(default)]
    pub unwell: u32,
}

/// What a person answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// Who.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// Whether they agree.
    pub approved: bool,
    /// What they said about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
}

/// What the answers come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "whoever reads it must handle each")]
pub enum ApprovalVerdict {
    /// Nothing yet; it may change by itself at this time.
    Open(Timestamp),
    /// It is decided.
    Settled(ApprovalOutcome),
}

/// How a question was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ApprovalOutcome {
    /// Enough have agreed, or it was approved by itself.
    Approved,
    /// Somebody does not agree.
    Rejected,
    /// Nobody has decided in time.
    Expired,
}

impl ApprovalOutcome {
    /// The name in APIs and stores.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Approved => "approved",
            Self::Rejected => "rejected",
            Self::Expired => "expired",
        }
    }
}

impl fmt::Display for ApprovalOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Approval {
    /// A question about this image.
    #[must_use]
    pub fn ask(artifact: Artifact, nonce: String, at: Timestamp) -> Self {
        Self { artifact, nonce, asked_at: at, answers: Vec::new(), decided_at: None, unwell: 0 }
    }

    /// How many more people must agree before it is approved.
    #[must_use]
    pub fn missing(&self, policy: &ApprovalPolicy, author: &str) -> u32 {
        policy.quorum.saturating_sub(self.agreed(policy, author))
    }

    fn agreed(&self, policy: &ApprovalPolicy, author: &str) -> u32 {
        let expires = self.asked_at.after(policy.expires);
        let counts =
            |answer: &&Answer| answer.approved && answer.at < expires && (policy.author_counts || answer.by != author);
        u32::try_from(self.answers.iter().filter(counts).count()).unwrap_or(u32::MAX)
    }

    /// What the answers come to at this time, for a deployment of `author`.
    /// What was decided in time stays decided.
    #[must_use]
    pub fn verdict(&self, policy: &ApprovalPolicy, author: &str, now: Timestamp) -> ApprovalVerdict {
        let expires = self.asked_at.after(policy.expires);
        let in_time = |answer: &&Answer| answer.at < expires;
        if self.answers.iter().filter(in_time).any(|answer| !answer.approved) {
            return ApprovalVerdict::Settled(ApprovalOutcome::Rejected);
        }
        let automatic = policy.auto_approve.map(|after| self.asked_at.after(after));
        let is_due = automatic.is_some_and(|at| at <= now);
        if self.missing(policy, author) == 0 || is_due {
            return ApprovalVerdict::Settled(ApprovalOutcome::Approved);
        }
        if expires <= now {
            return ApprovalVerdict::Settled(ApprovalOutcome::Expired);
        }
        ApprovalVerdict::Open(automatic.map_or(expires, |at| at.min(expires)))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const ASKED: Timestamp = Timestamp::from_micros(0);

    fn asked(answers: &[(&str, u64, bool)]) -> Approval {
        let artifact = Artifact { id: "sha256:1".to_owned(), label: "shop:1".to_owned() };
        let answers = answers.iter().map(|(by, seconds, approved)| Answer {
            by: (*by).to_owned(),
            at: at(*seconds),
            approved: *approved,
            comment: None,
        });
        Approval { answers: answers.collect(), ..Approval::ask(artifact, "n".to_owned(), ASKED) }
    }

    fn at(seconds: u64) -> Timestamp {
        ASKED.after(Duration::from_secs(seconds))
    }

    #[test]
    fn different_people_must_agree_and_the_author_is_none_of_them() {
        let policy = ApprovalPolicy::of(2).with_expiry(Duration::from_secs(100));
        let verdict = |answers| asked(answers).verdict(&policy, "ann", at(50));
        assert_eq!(verdict(&[]), ApprovalVerdict::Open(at(100)));
        assert_eq!(verdict(&[("bob", 1, true)]), ApprovalVerdict::Open(at(100)));
        assert_eq!(verdict(&[("bob", 1, true), ("ann", 2, true)]), ApprovalVerdict::Open(at(100)));
        assert_eq!(verdict(&[("bob", 1, true), ("cid", 2, true)]), ApprovalVerdict::Settled(ApprovalOutcome::Approved));
        assert_eq!(
            verdict(&[("bob", 1, true), ("cid", 2, true), ("ann", 3, false)]),
            ApprovalVerdict::Settled(ApprovalOutcome::Rejected)
        );
        let with_author = policy.clone().with_author();
        let both = asked(&[("bob", 1, true), ("ann", 2, true)]);
        assert_eq!(both.verdict(&with_author, "ann", at(50)), ApprovalVerdict::Settled(ApprovalOutcome::Approved));
    }

    #[test]
    fn time_decides_in_the_end() {
        let policy = ApprovalPolicy::of(1).with_expiry(Duration::from_secs(100));
        assert_eq!(asked(&[]).verdict(&policy, "ann", at(100)), ApprovalVerdict::Settled(ApprovalOutcome::Expired));
        assert_eq!(
            asked(&[("bob", 100, true)]).verdict(&policy, "ann", at(101)),
            ApprovalVerdict::Settled(ApprovalOutcome::Expired),
            "too late"
        );
        assert_eq!(
            asked(&[("bob", 99, true)]).verdict(&policy, "ann", at(1000)),
            ApprovalVerdict::Settled(ApprovalOutcome::Approved)
        );
        let automatic = policy.with_auto_approve(Duration::from_secs(60));
        assert_eq!(asked(&[]).verdict(&automatic, "ann", at(59)), ApprovalVerdict::Open(at(60)));
        assert_eq!(asked(&[]).verdict(&automatic, "ann", at(60)), ApprovalVerdict::Settled(ApprovalOutcome::Approved));
        assert_eq!(
            asked(&[("bob", 1, false)]).verdict(&automatic, "ann", at(60)),
            ApprovalVerdict::Settled(ApprovalOutcome::Rejected)
        );
    }
}
