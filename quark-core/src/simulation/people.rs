//! People who are asked whether a version may serve users.

use std::collections::BTreeSet;
use std::time::Duration;

use super::world::World;
use crate::engine::{ApprovalRequest, PendingApproval};

/// Who is asked, beside whoever wanted the version.
const PEOPLE: [&str; 3] = ["ann", "bob", "cid"];

/// The longest that somebody does not look.
const LOOK: Duration = Duration::from_secs(12);

/// What somebody does who is asked.
#[derive(Clone, Copy, Debug)]
enum Move {
    Approve,
    Reject,
    /// Agrees, twice at once.
    Twice,
    /// Agrees with what they wanted themselves.
    AsAuthor,
    /// Agrees with a question that was not asked.
    OtherNonce,
    /// Agrees with an image that is not asked about.
    OtherImage,
    /// Does not look any more.
    Forget,
}

/// Each move as often as it is named here.
const MOVES: [(Move, u64); 7] = [
    (Move::Approve, 60),
    (Move::Reject, 4),
    (Move::Twice, 8),
    (Move::AsAuthor, 8),
    (Move::OtherNonce, 5),
    (Move::OtherImage, 5),
    (Move::Forget, 10),
];

/// Answers what is asked, until the end of the run. What was forgotten expires;
/// in the end everybody agrees with everything, or many that wait would take hours.
pub(super) async fn answer(world: World) {
    let mut forgotten = BTreeSet::new();
    loop {
        let ends = world.with_ledger(|ledger| ledger.healed_at().is_some());
        let pause = world.with_chance(|chance| chance.up_to(if ends { LOOK / 4 } else { LOOK }));
        world.sleep(pause).await;
        let Ok(pending) = world.approvals().await else { continue };
        for question in pending {
            let nonce = &question.approval.nonce;
            if forgotten.contains(nonce) && !ends {
                continue;
            }
            let has_answered = |by: &&str| question.approval.answers.iter().any(|answer| answer.by == *by);
            let (drawn, by) = match PEOPLE.into_iter().find(|by| ends && !has_answered(by)) {
                Some(by) => (Move::Approve, by),
                None => world.with_chance(|chance| {
                    let drawn = chance.weighted(&MOVES).unwrap_or(Move::Approve);
                    (drawn, chance.pick(&PEOPLE).copied().unwrap_or("ann"))
                }),
            };
            if matches!(drawn, Move::Forget) {
                forgotten.insert(nonce.clone());
            } else {
                let asked = world.clone();
                world.spawn(async move { act(&asked, &question, drawn, by).await });
            }
        }
    }
}

async fn act(world: &World, question: &PendingApproval, drawn: Move, by: &str) {
    let author = &question.deployment.created_by;
    let yes = |by: &str| ApprovalRequest::approve(question, by);
    let request = match drawn {
        Move::Approve | Move::Twice | Move::Forget => yes(by),
        Move::Reject => ApprovalRequest::reject(question, by),
        Move::AsAuthor => yes(author),
        Move::OtherNonce => ApprovalRequest { nonce: "guessed".to_owned(), ..yes(by) },
        Move::OtherImage => ApprovalRequest { artifact: "sha256:other".to_owned(), ..yes(by) },
    };
    let id = question.deployment.id;
    if matches!(drawn, Move::Twice) {
        let (again, request) = (world.clone(), request.clone());
        world.spawn(async move {
            // Whichever comes second is refused.
            let _ = again.answer(id, request).await;
        });
    }
    let answer = world.answer(id, request).await;
    let code = answer.as_ref().err().map_or("ok", crate::Error::code);
    world.tell(format_args!("{drawn:?} of {by} for {}: {code}", world.label(id)));
    if answer.is_ok() && matches!(drawn, Move::OtherNonce | Move::OtherImage) {
        let how = format!("an answer to another question counts for {}", world.label(id));
        world.sim().violate("approved-first", how);
    }
}
