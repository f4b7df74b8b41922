//! Cases about events and logs.

use std::sync::Arc;

use super::fixture::StoreFixture;
use super::sample::{self, ALL, ODD_TEXT, moment};
use super::scene::{Scene, job, unchanged};
use crate::ErrorKind;
use crate::conformance::CaseResult;
use crate::conformance::crowd::{CROWD, at_once};
use crate::conformance::outcome::{ensure, refused, worked};
use crate::deployment::{
    Conclusion, DeploymentId, Event, EventKind, InstanceState, LogLine, LogStream, Slot, State, SupersedePolicy,
};

/// Events have growing sequence numbers and are read in their order, from any point, without gaps.
pub async fn events_are_read_in_order_without_gaps(fixture: &dyn StoreFixture) -> CaseResult {
    let scene = Scene::new(fixture);
    let (_, mut shop, shop_lease) = scene.active("shop").await?;
    let (_, mut blog, blog_lease) = scene.active("blog").await?;
    for _ in 0..4 {
        for (deployment, lease) in [(&mut shop, &shop_lease), (&mut blog, &blog_lease)] {
            let mut commit = unchanged(lease, deployment);
            commit.events = vec![
                EventKind::StateChanged { from: State::Queued, to: State::Stuck },
                EventKind::CancelRequested { by: ODD_TEXT.to_owned() },
                EventKind::StepFailed { step: crate::StepName::Build, attempt: 3, failure: sample::failure() },
            ];
            scene.commit(commit).await?;
            *deployment = scene.read(deployment.id).await?;
        }
    }
    for id in [None, Some(shop.id), Some(blog.id)] {
        let events = scene.events(id).await?;
        let expected = if id.is_some() { 13 } else { 26 };
        ensure!(events.len() == expected, "{} of {expected} events are read", events.len());
        let of_it = |event: &Event| id.is_none_or(|id| event.deployment == id);
        ensure!(events.iter().all(of_it), "the events of one deployment are {events:?}");
        can_be_read_from_any_point(&scene, id, &events).await?;
    }
    events_are_complete_while_they_are_written(&scene).await
}

async fn can_be_read_from_any_point(scene: &Scene<'_>, id: Option<DeploymentId>, all: &[Event]) -> CaseResult {
    let grow = all.iter().zip(all.iter().skip(1)).all(|(one, next)| one.sequence < next.sequence);
    ensure!(grow, "the events are read in the order {:?}", all.iter().map(|event| event.sequence).collect::<Vec<_>>());
    for (number, event) in (1..).zip(all) {
        for most in [0, 1, 2, ALL] {
            let page = worked("reading events", scene.store.events(id, event.sequence, most).await)?;
            let expected: Vec<_> = all.iter().skip(number).take(most).collect();
            ensure!(page.iter().eq(expected.iter().copied()), "at most {most} after {} are {page:?}", event.sequence);
        }
    }
    Ok(())
}

/// Somebody who reads on and on while others write must not miss an event that
/// got its number early and became visible late.
async fn events_are_complete_while_they_are_written(scene: &Scene<'_>) -> CaseResult {
    let mut apps = Vec::new();
    for number in 0..CROWD {
        apps.push(scene.app(&format!("crowd-{number}")).await?);
    }
    let writers = at_once(apps.into_iter().map(|app| {
        let store = Arc::clone(&scene.store);
        async move {
            for second in 0..5 {
                let draft = sample::deployment(&app.spec, moment(second))?;
                let job = job(&draft);
                store.create_deployment(draft, job, SupersedePolicy::Serial).await?;
            }
            crate::Result::Ok(())
        }
    }));
    let mut writers = std::pin::pin!(writers);
    let mut seen: Vec<Event> = Vec::new();
    let mut written = None;
    loop {
        let last = written.is_some();
        let after = seen.last().map_or(0, |event| event.sequence);
        let page = worked("reading events while they are written", scene.store.events(None, after, 7).await)?;
        let end = page.is_empty();
        seen.extend(page);
        if last && end {
            break;
        }
        if !last {
            tokio::select! {
                biased;
                done = &mut writers => written = Some(done?),
                () = tokio::task::yield_now() => {}
            }
        }
    }
    for done in written.into_iter().flatten() {
        worked("creating deployments at once", done)?;
    }
    let all = scene.events(None).await?;
    ensure!(seen == all, "who read on while others wrote saw {} of {} events", seen.len(), all.len());
    Ok(())
}

/// Log lines are numbered from 1 without gaps per deployment and read in order, from any point.
pub async fn log_lines_are_numbered_without_gaps(fixture: &dyn StoreFixture) -> CaseResult {
    let scene = Scene::new(fixture);
    let app = scene.app("shop").await?;
    let (one, other) = (scene.deploy(&app, moment(1)).await?.id, scene.deploy(&app, moment(2)).await?.id);
    let append = async |id, lines| worked("appending to a log", scene.store.append_log(id, lines).await);
    let read = async |id, after, most| worked("reading a log", scene.store.log(id, after, most).await);
    let line = |sequence, stream, text: &str| LogLine { sequence, at: moment(sequence), stream, text: text.to_owned() };
    let longest = "é".repeat(LogLine::LONGEST / 2);
    let expected = [
        line(1, LogStream::System, "fetching"),
        line(2, LogStream::Stdout, ODD_TEXT),
        line(3, LogStream::Stderr, ""),
        line(4, LogStream::Stdout, &longest),
        line(5, LogStream::Stdout, "  done\u{1b}[0m "),
    ];
    let input = |lines: &[LogLine]| lines.iter().map(|line| (line.at, line.stream, line.text.clone())).collect();
    let (first, rest) = expected.split_at(2);
    append(one, input(first)).await?;
    append(other, input(first)).await?;
    append(one, Vec::new()).await?;
    append(one, input(rest)).await?;
    for after in 0..=6 {
        for most in [0, 1, 2, ALL] {
            let page = read(one, after, most).await?;
            let expected = expected.iter().filter(|line| line.sequence > after).take(most);
            ensure!(page.iter().eq(expected), "at most {most} lines after {after} are {page:?}");
        }
    }
    let lines = read(other, 0, ALL).await?;
    ensure!(lines == first, "the log of another deployment is {lines:?}");

    let unknown = DeploymentId::generate();
    let appended = scene.store.append_log(unknown, input(first)).await;
    refused("appending to the log of an unknown deployment", appended, ErrorKind::NotFound, None)?;
    let lines = read(unknown, 0, ALL).await?;
    ensure!(lines.is_empty(), "the log of an unknown deployment is {lines:?}");
    appended_at_once(&scene, other, 2).await
}

/// Lines that are appended at once keep together and in their order.
async fn appended_at_once(scene: &Scene<'_>, id: DeploymentId, known: usize) -> CaseResult {
    const BATCH: usize = 3;
    let said = at_once((0..CROWD).map(|number| {
        let store = Arc::clone(&scene.store);
        let lines = (0..BATCH).map(|line| (moment(9), LogStream::Stdout, format!("{number}.{line}"))).collect();
        async move { store.append_log(id, lines).await }
    }));
    for appended in said.await? {
        worked("appending at once", appended)?;
    }
    let lines = worked("reading a log", scene.store.log(id, 0, ALL).await)?;
    let numbered = (1..).zip(&lines).all(|(number, line)| line.sequence == number);
    ensure!(numbered && lines.len() == known + CROWD * BATCH, "lines appended at once are {lines:?}");
    for batch in lines.get(known..).unwrap_or_default().chunks(BATCH) {
        let parts: Vec<_> = batch.iter().filter_map(|line| line.text.split_once('.')).collect();
        let ordered = parts.iter().zip(["0", "1", "2"]).all(|((_, part), expected)| *part == expected);
        let together = parts.iter().all(|(number, _)| parts.first().is_some_and(|(first, _)| first == number));
        ensure!(ordered && together, "lines that were appended together are {batch:?}");
    }
    Ok(())
}

/// `forget_logs` forgets the logs of deployments that ended before a time and have no instance, and no others.
pub async fn forget_logs_spares_what_is_newer_or_still_there(fixture: &dyn StoreFixture) -> CaseResult {
    let scene = Scene::new(fixture);
    let app = scene.app("shop").await?;
    let waits = scene.deploy(&app, moment(1)).await?.id;
    let (_, runs, _) = scene.active("blog").await?;
    let mut ended = Vec::new();
    for (name, at) in [("first", 1), ("second", 2), ("third", 3), ("fourth", 4)] {
        let (_, deployment, lease) = scene.active(name).await?;
        let mut last = unchanged(&lease, &deployment);
        last.deployment.state = State::Completed;
        last.deployment.conclusion = Some(Conclusion::Succeeded);
        last.deployment.finished_at = Some(moment(at));
        if name == "second" {
            // It is live, say.
            last.instances = vec![sample::instance(&deployment, Slot::Blue, InstanceState::Healthy)];
        }
        scene.commit(last).await?;
        ended.push(deployment.id);
    }
    let [first, second, third, fourth] = ended.as_slice() else { return Err("there are four".to_owned()) };
    let all = [waits, runs.id, *first, *second, *third, *fourth];
    for id in all {
        let lines = vec![(moment(1), LogStream::System, "fetching".to_owned()); 2];
        worked("appending to a log", scene.store.append_log(id, lines).await)?;
    }
    let left = async || {
        let mut left = Vec::new();
        for id in all {
            if !worked("reading a log", scene.store.log(id, 0, ALL).await)?.is_empty() {
                left.push(id);
            }
        }
        CaseResult::Ok(left)
    };
    let forget = async |before, most| worked("forgetting logs", scene.store.forget_logs(before, most).await);

    let gone = forget(moment(1), ALL).await?;
    ensure!((gone, left().await?.len()) == (0, 6), "{gone} logs of what had not ended by then were forgotten");
    let gone = forget(moment(4), 1).await?;
    let one_less = [waits, runs.id, *second, *third, *fourth];
    ensure!((gone, left().await?) == (1, one_less.to_vec()), "the first of two was to be forgotten; {gone} were");
    let gone = forget(moment(4), ALL).await?;
    let two_less = [waits, runs.id, *second, *fourth];
    ensure!((gone, left().await?) == (1, two_less.to_vec()), "the second of two was to be forgotten; {gone} were");
    let gone = forget(moment(4), ALL).await?;
    ensure!(gone == 0, "{gone} logs were forgotten a second time");

    let known = scene.read(*first).await?;
    ensure!(known.state == State::Completed, "a deployment whose log was forgotten is {known:?}");
    let line = vec![(moment(9), LogStream::System, "removed".to_owned())];
    worked("appending to a log that was forgotten", scene.store.append_log(*first, line).await)?;
    let lines = worked("reading a log", scene.store.log(*first, 0, ALL).await)?;
    ensure!(lines.len() == 1 && lines.iter().all(|line| line.sequence == 1), "a new log is {lines:?}");
    Ok(())
}
