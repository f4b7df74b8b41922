//! Resolve the commit and fetch the source, unless its image is there already.

use super::StepContext;
use crate::app::{CommitSha, Source};
use crate::backend::{BuildKey, Call, Snapshot};
use crate::deployment::{CancelRequest, Conclusion, Deployment, DeploymentKind, StepOutput, Trigger};
use crate::planted::planted;
use crate::{Error, ErrorClass, ErrorKind, Result};

pub(super) async fn run(context: &StepContext, snapshot: &Snapshot, call: &Call) -> Result<StepOutput> {
    let deployment = &snapshot.deployment;
    let Source::Git { repository, branch } = &deployment.release.source else {
        return Err(Error::new(ErrorKind::Internal, "there is no repository to fetch from"));
    };
    let shared = &context.shared;
    let source = shared.source()?;
    let commit = match &deployment.revision.commit {
        Some(commit) => {
            if deployment.trigger == Trigger::Push {
                let branch = deployment.revision.branch.as_ref().unwrap_or(branch);
                newest(context, snapshot, source.resolve(call, repository, branch).await, commit).await?
            } else {
                commit.clone()
            }
        }
        None => {
            let branch = deployment.revision.branch.as_ref().unwrap_or(branch);
            context.log.say(&format!("looking up branch {branch} of {repository}"));
            source.resolve(call, repository, branch).await?
        }
    };
    if deployment.trigger == Trigger::Push {
        refuse_if_rolled_back(context, snapshot, &commit).await?;
    }
    let key = BuildKey::of(&deployment.app, &commit, &deployment.release.dockerfile);
    if let Some(artifact) = shared.builder()?.find(&key).await? {
        context.log.say(&format!("commit {} has been built before as {}", commit.short(), artifact.label));
        return Ok(StepOutput {
            commit: Some(commit),
            artifact: Some(artifact),
            reused: true,
            ..StepOutput::default()
        });
    }
    context.log.say(&format!("fetching commit {}", commit.short()));
    let into = shared.checkout(deployment.id);
    source.fetch(call, repository, &commit, &into, context.log.as_ref()).await?;
    Ok(StepOutput { note: Some(format!("commit {}", commit.short())), commit: Some(commit), ..StepOutput::default() })
}

/// The commit to deploy for a push of `commit`. Pushes are told late, twice and
/// out of order: one that is not the head of its branch any more gives way to
/// a deployment of the head, so that an older commit never goes live after a
/// newer one. Where there is none, because it was not told yet or because this
/// one superseded it, this one deploys the head.
async fn newest(
    context: &StepContext,
    snapshot: &Snapshot,
    head: Result<CommitSha>,
    commit: &CommitSha,
) -> Result<CommitSha> {
    let head = match head {
        Ok(head) if head != *commit && !planted!(OlderCommitWins) => head,
        // The host is away for a moment: it is asked again.
        Err(error) if error.class() != ErrorClass::Permanent => return Err(error),
        // It is the head, or the branch is gone and there is none.
        _ => return Ok(commit.clone()),
    };
    let deployment = &snapshot.deployment;
    let store = &context.shared.store;
    let recent = store.deployments(&deployment.app, None, RECENT).await?;
    let of_head = |other: &&Deployment| other.id != deployment.id && other.revision.commit.as_ref() == Some(&head);
    let app = super::app(snapshot)?;
    let is_live = |other: &Deployment| app.serving.live.as_ref().is_some_and(|live| live.deployment == other.id);
    let goes_on = |other: &&Deployment| {
        other.cancel.is_none() && other.created_at >= app.created_at && (!other.state.is_terminal() || is_live(other))
    };
    if let Some(newer) = recent.iter().filter(of_head).find(goes_on) {
        context.log.say(&format!(
            "commit {} is older than {}, which is deployed already",
            commit.short(),
            head.short()
        ));
        let request = CancelRequest::superseded_by("engine", newer.id, context.shared.now());
        store.request_cancel(deployment.id, request).await?;
        context.shared.hurry(deployment.id);
        return Err(Error::new(ErrorKind::Cancelled, format!("deployment `{}` is of a newer commit", newer.id))
            .with_code("superseded"));
    }
    context.log.say(&format!("taking {}, which was pushed after {}", head.short(), commit.short()));
    Ok(head)
}

/// Refuses what people have gone back from: that it was pushed, which may be
/// told again or late, does not say that they want it again. Other settings, a
/// newer commit or a person's word do.
async fn refuse_if_rolled_back(context: &StepContext, snapshot: &Snapshot, commit: &CommitSha) -> Result<()> {
    let deployment = &snapshot.deployment;
    let mut history = History { own: deployment, commit, after: None, is_wanted: false };
    let mut before = None;
    let found = loop {
        // A push that is refused is a deployment, too: the rollback may be many of them ago.
        let page = context.shared.store.deployments(&deployment.app, before, RECENT).await?;
        let is_last = page.len() < RECENT;
        before = page.last().map(|last| last.sequence);
        if let Some(found) = page.into_iter().find_map(|other| history.back_to(other)) {
            break found;
        }
        if is_last || before.is_some_and(|before| before + OLDEST < deployment.sequence) {
            break Found::Nothing;
        }
    };
    let Found::GoneBackBy(who) = found else { return Ok(()) };
    if planted!(RolledBackAgain) {
        return Ok(());
    }
    let text = format!("{who} has gone back from commit {}, and a push does not bring it again", commit.short());
    Err(Error::new(ErrorKind::Conflict, text)
        .with_code("rolled_back")
        .with_class(ErrorClass::Permanent)
        .with_hint("push a commit that is better, change the app, or deploy this very commit by hand"))
}

/// What an app's history says of a version: a commit with the settings of `own`.
struct History<'a> {
    own: &'a Deployment,
    commit: &'a CommitSha,
    /// The oldest that served, of what was looked at, and whether a person has
    /// wanted the version since then.
    after: Option<(Deployment, bool)>,
    /// Whether a person has wanted the version, among what was looked at.
    is_wanted: bool,
}

enum Found {
    Nothing,
    /// A person, or the engine, has gone back from it, and nobody has wanted it since.
    GoneBackBy(String),
}

impl History<'_> {
    /// What follows from the next older deployment, if that decides. What
    /// serves, serves in the order of the numbers.
    fn back_to(&mut self, other: Deployment) -> Option<Found> {
        let is_same = other.release == self.own.release;
        let is_of_commit = other.revision.commit.as_ref() == Some(self.commit);
        match other.conclusion {
            // What was before is of another app of that name.
            Some(Conclusion::Succeeded) if other.kind == DeploymentKind::Remove => Some(Found::Nothing),
            Some(Conclusion::Succeeded) if is_same && is_of_commit => Some(match self.after.take() {
                Some((after, false)) if matches!(after.kind, DeploymentKind::Rollback { .. }) => {
                    Found::GoneBackBy(format!("`{}`", after.created_by))
                }
                _ => Found::Nothing,
            }),
            Some(Conclusion::RolledBack) if is_same && is_of_commit => {
                Some(if self.is_wanted { Found::Nothing } else { Found::GoneBackBy("the engine".to_owned()) })
            }
            Some(Conclusion::Succeeded) => {
                self.after = Some((other, self.is_wanted));
                None
            }
            // A person has wanted it since, by its name or as the head of its
            // branch, and gave way to a newer wish, such as this one.
            Some(Conclusion::Superseded)
                if other.trigger != Trigger::Push
                    && other.kind == DeploymentKind::Deploy
                    && is_same
                    && (is_of_commit || other.revision.commit.is_none()) =>
            {
                self.is_wanted = true;
                None
            }
            _ => None,
        }
    }
}

/// How far back a rollback is looked for: so many deployments of the app ago.
const OLDEST: u64 = 1000;

/// How many deployments are looked at for a newer commit, and read at once.
const RECENT: usize = 50;
