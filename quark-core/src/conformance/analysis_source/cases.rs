//! What an analysis source promises.

use std::time::Duration;

use super::fixture::{AnalysisFixture, Place};
use crate::app::AppName;
use crate::backend::Traffic;
use crate::conformance::CaseResult;
use crate::conformance::outcome::{ensure, worked};
use crate::deployment::{Endpoint, Slot};

/// Longer than any case takes.
const ALL: Duration = Duration::from_secs(300);
/// How late a source may be.
const LATE: Duration = Duration::from_secs(1);
const MOMENT: Duration = Duration::ZERO;

async fn place(fixture: &dyn AnalysisFixture, app: &str, slot: Slot) -> CaseResult<Place> {
    fixture.place(&worked("naming an app", AppName::parse(app))?, slot).await
}

async fn traffic(fixture: &dyn AnalysisFixture, place: &Place, window: Duration) -> CaseResult<Traffic> {
    let asked = fixture.source().traffic(&place.app, place.slot, &place.endpoint, window).await;
    worked("asking for the traffic", asked)
}

/// What is told of a place once the source has had its time.
async fn told(fixture: &dyn AnalysisFixture, place: &Place) -> CaseResult<Traffic> {
    fixture.settle().await;
    traffic(fixture, place, ALL).await
}

/// A request is counted once, in the slot and at the endpoint that answered it, within a second of its answer.
pub async fn requests_are_counted_once(fixture: &dyn AnalysisFixture) -> CaseResult {
    let place = place(fixture, "shop", Slot::Blue).await?;
    for sent in 1..=3 {
        fixture.request(&place, Some(200), MOMENT).await?;
        let told = told(fixture, &place).await?;
        ensure!(told.requests == sent, "{sent} requests were answered, and {told:?} is told");
    }
    let (again, _) = (told(fixture, &place).await?, told(fixture, &place).await?);
    ensure!(again.requests == 3, "who asks again is told {again:?}");
    Ok(())
}

/// What was answered with 500 to 599, or not at all, failed; nothing else did. Of a client that goes away before it
/// is answered nothing need be counted, unless it has waited for [`PATIENCE`](crate::backend::analysis_source::PATIENCE).
pub async fn answers_from_500_on_and_none_at_all_are_failures(fixture: &dyn AnalysisFixture) -> CaseResult {
    let place = place(fixture, "shop", Slot::Green).await?;
    for status in [200, 204, 301, 404, 499] {
        fixture.request(&place, Some(status), MOMENT).await?;
    }
    let well = told(fixture, &place).await?;
    ensure!((well.requests, well.failed) == (5, 0), "none of 5 has failed, and {well:?} is told");
    for (status, failed) in [(Some(500), 1), (Some(503), 2), (Some(599), 3), (None, 4)] {
        fixture.request(&place, status, MOMENT).await?;
        let told = told(fixture, &place).await?;
        ensure!((told.requests, told.failed) == (5 + failed, failed), "{status:?} was the last answer of {told:?}");
    }
    Ok(())
}

/// Each app, slot and endpoint is counted for itself.
pub async fn each_place_is_counted_for_itself(fixture: &dyn AnalysisFixture) -> CaseResult {
    let places = [
        place(fixture, "shop", Slot::Blue).await?,
        place(fixture, "shop", Slot::Green).await?,
        place(fixture, "blog", Slot::Blue).await?,
    ];
    for (place, times) in places.iter().zip(1..) {
        for _ in 0..times {
            fixture.request(place, Some(200), MOMENT).await?;
        }
    }
    for (place, times) in places.iter().zip(1..) {
        let told = told(fixture, place).await?;
        ensure!(told.requests == times, "{times} requests went to {place:?}, and {told:?} is told");
    }
    Ok(())
}

/// Requests that ended longer ago than `window` are not counted; a source may be up to a second late with that.
pub async fn what_is_long_ago_is_not_counted(fixture: &dyn AnalysisFixture) -> CaseResult {
    let place = place(fixture, "shop", Slot::Blue).await?;
    fixture.request(&place, Some(500), MOMENT).await?;
    fixture.pass(LATE * 3).await;
    fixture.request(&place, Some(200), MOMENT).await?;
    fixture.pass(LATE).await;
    let recent = traffic(fixture, &place, LATE + LATE / 2).await?;
    ensure!((recent.requests, recent.failed) == (1, 0), "of the last moments {recent:?} is told");
    let all = traffic(fixture, &place, ALL).await?;
    ensure!((all.requests, all.failed) == (2, 1), "of all time {all:?} is told");
    Ok(())
}

/// `p95` is not below what 95 % of the answers took, for answers of up to 50 s, and rounded up by a third at most;
/// `None` if nothing was answered.
pub async fn most_answers_took_no_longer_than_is_told(fixture: &dyn AnalysisFixture) -> CaseResult {
    let place = place(fixture, "shop", Slot::Blue).await?;
    fixture.request(&place, None, MOMENT).await?;
    let unanswered = told(fixture, &place).await?;
    ensure!(unanswered.p95.is_none(), "nothing was answered, and {unanswered:?} is told");
    let slow = Duration::from_millis(300);
    for _ in 0..3 {
        fixture.request(&place, Some(200), slow).await?;
    }
    let told_slow = told(fixture, &place).await?;
    // What an answer really took is a little more than what it was to take.
    let fits = |p95: &Duration| (slow..slow * 3).contains(p95);
    ensure!(told_slow.p95.as_ref().is_some_and(fits), "all answers took {slow:?}, and {told_slow:?} is told");
    for _ in 0..97 {
        fixture.request(&place, Some(200), MOMENT).await?;
    }
    let told = told(fixture, &place).await?;
    ensure!(told.p95.is_some_and(|p95| p95 < slow), "3 of 100 answers were slow, and {told:?} is told");
    Ok(())
}

/// Of what nothing is known nothing is told: all numbers are 0.
pub async fn of_what_is_unknown_nothing_is_told(fixture: &dyn AnalysisFixture) -> CaseResult {
    let known = place(fixture, "shop", Slot::Blue).await?;
    let before = told(fixture, &known).await?;
    ensure!(before == Traffic::default(), "before any request {before:?} is told");
    fixture.request(&known, Some(200), MOMENT).await?;
    let elsewhere = Place { endpoint: Endpoint::new("127.0.0.1:1"), ..known.clone() };
    let other = Place { app: worked("naming an app", AppName::parse("nobody"))?, ..known };
    for unknown in [elsewhere, other] {
        let told = told(fixture, &unknown).await?;
        ensure!(told == Traffic::default(), "of {unknown:?} {told:?} is told");
    }
    Ok(())
}
