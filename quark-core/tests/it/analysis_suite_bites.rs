//! Each case of the analysis suite finds the fault that it is there for, and the
//! source in memory passes them all.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use quark_core::backend::{AnalysisSource, Traffic};
use quark_core::conformance::CaseResult;
use quark_core::conformance::analysis_source::{AnalysisFixture, Place, cases};
use quark_core::memory::MemoryAnalysis;
use quark_core::testing::ManualClock;
use quark_core::{AppName, Endpoint, Result, Slot};

mod memory {
    quark_core::analysis_source_conformance!(async { super::Fixture::with(super::Fault::Nothing) });
}

/// What is wrong with a source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Fault {
    #[default]
    Nothing,
    CountsTwice,
    CountsOnlyOnce,
    CountsUntilAsked,
    ForgetsUnanswered,
    ClientsFail,
    OnlyTheFirstFails,
    MixesSlots,
    MixesApps,
    NeverForgets,
    ForgetsAtOnce,
    TellsTheSlowest,
    TellsTheMedian,
    TellsZero,
    MixesEndpoints,
}

#[allow(clippy::enum_glob_use, reason = "a table of names only")]
fn faults(case: &str) -> &'static [Fault] {
    use Fault::*;
    match case {
        "requests_are_counted_once" => &[CountsTwice, CountsOnlyOnce, CountsUntilAsked],
        "answers_from_500_on_and_none_at_all_are_failures" => &[ForgetsUnanswered, ClientsFail, OnlyTheFirstFails],
        "each_place_is_counted_for_itself" => &[MixesSlots, MixesApps],
        "what_is_long_ago_is_not_counted" => &[NeverForgets, ForgetsAtOnce],
        "most_answers_took_no_longer_than_is_told" => &[TellsTheSlowest, TellsTheMedian, TellsZero],
        "of_what_is_unknown_nothing_is_told" => &[MixesEndpoints, MixesApps],
        _ => &[],
    }
}

#[tokio::test]
async fn each_case_finds_its_faults() {
    for case in cases() {
        let name = case.name();
        assert!(!faults(name).is_empty(), "no fault shows that `{name}` bites");
        assert_eq!(case.run(&Fixture::with(Fault::Nothing)).await, Ok(()), "{name}");
        for fault in faults(name) {
            let found = case.run(&Fixture::with(*fault)).await;
            assert!(found.is_err(), "`{name}` does not find {fault:?}");
        }
    }
}

/// A source in memory with one fault or none.
#[derive(Debug)]
struct Faulty {
    fault: Fault,
    inner: MemoryAnalysis,
    asked: Mutex<bool>,
    slowest: Mutex<Duration>,
}

struct Fixture {
    clock: ManualClock,
    source: Arc<Faulty>,
}

impl Fixture {
    fn with(fault: Fault) -> Self {
        let clock = ManualClock::new();
        let inner = MemoryAnalysis::new(Arc::new(clock.clone()));
        Self { clock, source: Arc::new(Faulty { fault, inner, asked: Mutex::default(), slowest: Mutex::default() }) }
    }
}

#[async_trait]
impl AnalysisFixture for Fixture {
    fn source(&self) -> Arc<dyn AnalysisSource> {
        Arc::clone(&self.source) as Arc<dyn AnalysisSource>
    }

    async fn place(&self, app: &AppName, slot: Slot) -> CaseResult<Place> {
        Ok(Place { app: app.clone(), slot, endpoint: Endpoint::new(format!("{app}.{slot}:80")) })
    }

    async fn request(&self, place: &Place, status: Option<u16>, took: Duration) -> CaseResult {
        self.source.end(place, status, took);
        Ok(())
    }

    async fn pass(&self, time: Duration) {
        self.clock.advance(time);
    }
}

impl Faulty {
    fn end(&self, place: &Place, status: Option<u16>, took: Duration) {
        let Place { app, slot, endpoint } = place;
        let mut slowest = self.slowest.lock().unwrap();
        *slowest = took.max(*slowest);
        let mut answer = status.map(|status| (status, took));
        match (self.fault, status) {
            (Fault::CountsTwice, _) => self.inner.end(app, *slot, endpoint, answer),
            (Fault::ForgetsUnanswered, None) => return,
            (Fault::ClientsFail, Some(400..)) => answer = Some((500, took)),
            (Fault::OnlyTheFirstFails, Some(501..)) => answer = Some((200, took)),
            (Fault::MixesSlots, _) => {
                return self.inner.end(app, Slot::Blue, &Endpoint::new(format!("{app}.blue:80")), answer);
            }
            _ => {}
        }
        self.inner.end(app, *slot, endpoint, answer);
    }
}

#[async_trait]
impl AnalysisSource for Faulty {
    async fn traffic(&self, app: &AppName, slot: Slot, endpoint: &Endpoint, window: Duration) -> Result<Traffic> {
        let again = std::mem::replace(&mut *self.asked.lock().unwrap(), true);
        let (app, endpoint, window) = match self.fault {
            Fault::MixesApps => (&AppName::parse("shop").unwrap(), &Endpoint::new(format!("shop.{slot}:80")), window),
            Fault::MixesEndpoints => (app, &Endpoint::new(format!("{app}.{slot}:80")), window),
            Fault::NeverForgets => (app, endpoint, Duration::MAX),
            Fault::ForgetsAtOnce => (app, endpoint, window.min(Duration::from_millis(1500))),
            _ => (app, endpoint, window),
        };
        let mut traffic = self.inner.traffic(app, slot, endpoint, window).await?;
        match self.fault {
            Fault::CountsOnlyOnce => traffic.requests = traffic.requests.min(1),
            Fault::CountsUntilAsked if again => traffic.requests = 0,
            Fault::TellsTheSlowest if traffic.p95.is_some() => traffic.p95 = Some(*self.slowest.lock().unwrap()),
            Fault::TellsTheMedian => traffic.p95 = traffic.p95.map(|p95| p95 / 2),
            Fault::TellsZero => traffic.p95 = Some(traffic.p95.unwrap_or_default()),
            _ => {}
        }
        Ok(traffic)
    }
}
