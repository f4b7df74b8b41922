//! Places for what takes long. To fetch, to build and to pull share so many
//! places; the other workers are left for what is quick, so that a rollback never
//! waits for a build.
//!
//! Who finds no place is remembered here and asks again, the later the more come
//! before it. Nothing of it is stored: an engine that starts anew builds nothing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::clock::Timestamp;
use crate::deployment::{Deployment, DeploymentId};

/// After how long the first in line asks again; the second after twice that.
const AGAIN: Duration = Duration::from_secs(1);
/// After how long the last in a long line asks again.
const LATEST: Duration = Duration::from_secs(10);
/// Who is so late to ask again has ended or was taken elsewhere.
const GONE: Duration = Duration::from_secs(5);

/// The places of one engine.
#[derive(Debug)]
pub(super) struct Places {
    most: usize,
    line: Mutex<Line>,
    /// Wakes those who wait for a moment.
    freed: Notify,
}

#[derive(Debug, Default)]
struct Line {
    taken: usize,
    /// Who waits, the oldest wish first, and by when it asks again.
    waiting: BTreeMap<(Timestamp, DeploymentId), Duration>,
}

/// What became of a wish for a place.
#[derive(Debug)]
pub(super) enum Asked {
    Given(Place),
    /// There is none. So many come before it, and it should ask again then.
    Wait {
        ahead: usize,
        again: Duration,
        /// Whether it has asked for the first time.
        is_new: bool,
    },
}

impl Places {
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, line: Mutex::default(), freed: Notify::new() })
    }

    /// How many there are.
    pub(super) fn most(&self) -> usize {
        self.most
    }

    /// How many are taken.
    pub(super) fn taken(&self) -> usize {
        self.line().taken
    }

    /// A place, if one is left when all have got theirs who have waited longer.
    /// `now` is monotonic.
    pub(super) fn ask(self: &Arc<Self>, deployment: &Deployment, now: Duration) -> Asked {
        let own = (deployment.created_at, deployment.id);
        let mut line = self.line();
        line.waiting.retain(|_, again| now <= again.saturating_add(GONE));
        let ahead = line.waiting.range(..own).count();
        if line.taken + ahead < self.most {
            line.waiting.remove(&own);
            line.taken += 1;
            return Asked::Given(Place(Arc::clone(self)));
        }
        let turns = u32::try_from(ahead).unwrap_or(u32::MAX).saturating_add(1);
        let again = AGAIN.saturating_mul(turns).min(LATEST);
        let is_new = line.waiting.insert(own, now.saturating_add(again)).is_none();
        Asked::Wait { ahead, again, is_new }
    }

    /// How many come before a deployment that waits for a place here.
    pub(super) fn ahead_of(&self, id: DeploymentId) -> Option<usize> {
        self.line().waiting.keys().position(|(_, waiting)| *waiting == id)
    }

    /// Waits until a place is given back; none is missed that is given back later
    /// than this is called.
    pub(super) fn freed(&self) -> tokio::sync::futures::Notified<'_> {
        self.freed.notified()
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place. Dropped, it is free again.
#[derive(Debug)]
pub(super) struct Place(Arc<Places>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.line().taken -= 1;
        self.0.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::decide::tests::deployment;

    const START: Duration = Duration::from_secs(100);

    fn given(asked: Asked) -> Place {
        match asked {
            Asked::Given(place) => place,
            Asked::Wait { ahead, .. } => panic!("{ahead} come before it"),
        }
    }

    fn waits(asked: Asked) -> (usize, Duration, bool) {
        match asked {
            Asked::Given(_) => panic!("there is no place left"),
            Asked::Wait { ahead, again, is_new } => (ahead, again, is_new),
        }
    }

    #[test]
    fn places_are_given_in_the_order_of_the_wishes() {
        let places = Places::new(2);
        let [first, second, third, fourth] = [1, 2, 3, 4].map(deployment);
        let (one, _two) = (given(places.ask(&first, START)), given(places.ask(&second, START)));
        assert_eq!(waits(places.ask(&fourth, START)), (0, AGAIN, true));
        // An older wish comes first, though it came later.
        assert_eq!(waits(places.ask(&third, START)), (0, AGAIN, true));
        assert_eq!(waits(places.ask(&fourth, START)), (1, AGAIN * 2, false));
        assert_eq!((places.ahead_of(third.id), places.ahead_of(fourth.id)), (Some(0), Some(1)));
        drop(one);
        assert_eq!(waits(places.ask(&fourth, START)), (1, AGAIN * 2, false));
        let _three = given(places.ask(&third, START));
        assert_eq!(waits(places.ask(&fourth, START)), (0, AGAIN, false));
    }

    #[test]
    fn who_does_not_ask_again_blocks_nobody() {
        let places = Places::new(1);
        let [first, second, third] = [1, 2, 3].map(deployment);
        let one = given(places.ask(&first, START));
        waits(places.ask(&second, START));
        drop(one);
        waits(places.ask(&third, START));
        let later = START + AGAIN + GONE + Duration::from_millis(1);
        let _place = given(places.ask(&third, later));
        assert_eq!(places.ahead_of(second.id), None);
    }

    #[test]
    fn nobody_in_a_long_line_asks_too_often_or_too_seldom() {
        let places = Places::new(1);
        let _taken = given(places.ask(&deployment(0), START));
        let waits: Vec<Duration> = (1..40).map(|number| waits(places.ask(&deployment(number), START)).1).collect();
        assert!(waits.is_sorted());
        assert_eq!((waits.first(), waits.last()), (Some(&AGAIN), Some(&LATEST)));
    }
}
