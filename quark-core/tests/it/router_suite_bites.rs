//! Each case of the router suite finds the fault that it is there for.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use quark_core::backend::{Call, Drained, EffectiveRoute, Route, Router};
use quark_core::conformance::CaseResult;
use quark_core::conformance::router::{RouterClient, RouterFixture, SlotServer, cases};
use quark_core::deployment::{Fence, Generation};
use quark_core::memory::MemoryRouter;
use quark_core::{AppName, Domain, Endpoint, Error, ErrorKind, Result, Share, Slot};
use tokio::sync::watch;

use crate::memory_fixtures::MemoryRouterFixture;

/// What is wrong with a router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    ServesOneNameOnly,
    MixesAppsUp,
    RefusesToApplyAgain,
    ForgetsBackupWhenAppliedAgain,
    AppliesLater,
    LeavesAGap,
    CutsIdleConnections,
    CutsRequestsInFlight,
    IgnoresFences,
    ForgetsFencesWithTheObject,
    CountsFencesOfAllApps,
    TakesBadRoutes,
    DropsTheRouteOnRefusal,
    HidesWhyItRefuses,
    StaysBroken,
    SharesNames,
    TellsAnotherCode,
    ObservesItsOwnMemory,
    ObservesNoBackup,
    InventsRoutes,
    HasNoBackup,
    UsesWhatIsNoBackup,
    TakesTheBackupAwayFirst,
    DrainsAtOnce,
    NeverDrains,
    CountsOneTooMany,
    KeepsServing,
    CannotRemoveTwice,
    ForgetsRemovalsOfNothing,
    ForgetsFencesWithTheRoute,
    TakesLateRemovals,
    IgnoresLateRemovals,
    IgnoresGenerations,
    LeadsAstray,
    GivesNoShare,
    SharesWithoutAWord,
    DoublesTheShare,
    KeepsTheShare,
    SharesConnections,
    SendsAllToTheShare,
    TakesSharesItCannotGive,
    DropsTheRouteWithAShare,
}

#[allow(clippy::enum_glob_use, reason = "a table of names only")]
fn faults(case: &str) -> &'static [Fault] {
    use Fault::*;
    match case {
        "requests_reach_the_active_slot" => &[ServesOneNameOnly, MixesAppsUp],
        "applying_twice_changes_nothing" => &[RefusesToApplyAgain, ForgetsBackupWhenAppliedAgain],
        "apply_returns_when_in_force" => &[AppliesLater],
        "switching_loses_no_request" => &[LeavesAGap, CutsIdleConnections, CutsRequestsInFlight],
        "an_old_fence_is_refused" => &[IgnoresFences, ForgetsFencesWithTheObject, CountsFencesOfAllApps],
        "a_refused_route_leaves_the_old_one" => &[TakesBadRoutes, DropsTheRouteOnRefusal, HidesWhyItRefuses],
        "a_refused_route_does_not_hinder_others" => &[StaysBroken],
        "a_name_of_another_app_is_refused" => &[SharesNames, TellsAnotherCode],
        "observe_tells_what_is_in_force" => &[ObservesItsOwnMemory, ObservesNoBackup, InventsRoutes],
        "backup_stands_in" => &[HasNoBackup, UsesWhatIsNoBackup],
        "switching_to_and_from_what_is_down_loses_no_request" => &[HasNoBackup, LeavesAGap, TakesTheBackupAwayFirst],
        "drained_waits_for_requests" => &[DrainsAtOnce, NeverDrains],
        "drained_times_out_with_the_number" => &[DrainsAtOnce, CountsOneTooMany],
        "removed_names_are_not_served" => &[KeepsServing, CannotRemoveTwice],
        "a_late_change_is_refused" => &[IgnoresGenerations, IgnoresFences],
        "a_removal_counts_as_seen" => {
            &[ForgetsRemovalsOfNothing, ForgetsFencesWithTheRoute, TakesLateRemovals, IgnoresLateRemovals]
        }
        "the_entrance_leads_to_the_active_slot" => &[LeadsAstray],
        "a_share_reaches_the_other_slot" => {
            &[GivesNoShare, SharesWithoutAWord, DoublesTheShare, KeepsTheShare, SharesConnections]
        }
        "changing_the_share_loses_no_request" => &[LeavesAGap, CutsIdleConnections, CutsRequestsInFlight, DrainsAtOnce],
        "a_share_that_is_down_costs_no_request" => &[SendsAllToTheShare],
        "a_late_share_is_refused" => &[IgnoresGenerations, KeepsTheShare],
        "a_share_that_cannot_be_given_is_refused" => &[TakesSharesItCannotGive, DropsTheRouteWithAShare],
        _ => &[],
    }
}

#[tokio::test(start_paused = true)]
async fn each_case_finds_its_faults() {
    for case in cases() {
        let name = case.name();
        assert!(!faults(name).is_empty(), "no fault shows that `{name}` bites");
        assert_eq!(case.run(&MemoryRouterFixture::default()).await, Ok(()), "{name}");
        for fault in faults(name) {
            let found = case.run(&BrokenFixture::new(*fault)).await;
            assert!(found.is_err(), "`{name}` does not find {fault:?}");
        }
    }
}

struct BrokenFixture {
    sound: MemoryRouterFixture,
    world: Arc<World>,
    router: Arc<dyn Router>,
}

/// What the objects of a broken router share.
#[derive(Debug)]
struct World {
    fault: Fault,
    inner: MemoryRouter,
    broken: Mutex<bool>,
    switches: watch::Sender<u64>,
}

impl World {
    /// How often something was switched.
    fn switches(&self) -> u32 {
        u32::try_from(self.inner.switches().len()).unwrap()
    }

    /// Whether the route of an app was taken away.
    fn removed(&self, app: &AppName) -> bool {
        self.inner.switches().last().is_some_and(|switch| switch.app == *app && switch.active.is_none())
    }
}

impl BrokenFixture {
    fn new(fault: Fault) -> Self {
        let sound = MemoryRouterFixture::default();
        let inner = sound.router.clone();
        let world = Arc::new(World { fault, inner, broken: Mutex::default(), switches: watch::Sender::new(0) });
        let router = Arc::new(Broken::new(&world));
        Self { sound, world, router }
    }
}

#[async_trait]
impl RouterFixture for BrokenFixture {
    fn router(&self) -> Arc<dyn Router> {
        Arc::clone(&self.router)
    }

    async fn another(&self) -> Arc<dyn Router> {
        Arc::new(Broken::new(&self.world))
    }

    fn entry(&self) -> Option<SocketAddr> {
        None
    }

    fn refused_route(&self, base: Route) -> Option<Route> {
        self.sound.refused_route(base)
    }

    async fn slot(&self, identity: &str) -> CaseResult<Box<dyn SlotServer>> {
        self.sound.slot(identity).await
    }

    fn client(&self) -> Box<dyn RouterClient> {
        Box::new(BrokenClient { inner: self.sound.client(), world: Arc::clone(&self.world), seen: None, first: None })
    }
}

struct BrokenClient {
    inner: Box<dyn RouterClient>,
    world: Arc<World>,
    /// How many switches there had been at its last request.
    seen: Option<u64>,
    /// Who has answered its first request.
    first: Option<String>,
}

#[async_trait]
impl RouterClient for BrokenClient {
    async fn send(&mut self, host: &Domain, path: &str) -> CaseResult<String> {
        let mut switches = self.world.switches.subscribe();
        let now = *switches.borrow_and_update();
        let before = self.seen.replace(now).unwrap_or(now);
        match self.world.fault {
            Fault::CutsIdleConnections if now > before + 5 => {
                Err("the connection was cut while it was idle".to_owned())
            }
            Fault::CutsRequestsInFlight => tokio::select! {
                biased;
                answer = self.inner.send(host, path) => answer,
                _ = switches.changed() => Err("the connection was cut in the middle of a request".to_owned()),
            },
            Fault::SharesConnections => {
                // Whoever has answered first on a connection answers always.
                let answer = self.inner.send(host, path).await?;
                Ok(self.first.get_or_insert(answer).clone())
            }
            _ => self.inner.send(host, path).await,
        }
    }
}

/// A router with one fault.
#[derive(Debug)]
struct Broken {
    world: Arc<World>,
    known: Mutex<HashMap<AppName, Route>>,
    fences: Mutex<HashMap<AppName, Fence>>,
}

impl Broken {
    fn new(world: &Arc<World>) -> Self {
        Self { world: Arc::clone(world), known: Mutex::default(), fences: Mutex::default() }
    }

    /// Changes the route as the fault wants it.
    fn bend(&self, route: &mut Route) {
        let again = self.world.inner.route(&route.app).is_some_and(|there| there == *route);
        match self.world.fault {
            Fault::ServesOneNameOnly => route.domains.truncate(1),
            Fault::MixesAppsUp => {
                // The switch of one app moves another one too.
                let name = if route.app.as_str() == "shop" { "blog" } else { "shop" };
                if let Some(other) = self.world.inner.route(&AppName::parse(name).unwrap()) {
                    let moved = Route { active: route.active, ..other };
                    let call = Call::new("broken", moved.fence, Duration::from_secs(1));
                    let inner = self.world.inner.clone();
                    futures_util::FutureExt::now_or_never(inner.apply(&call, &moved)).unwrap().unwrap();
                }
            }
            Fault::ForgetsBackupWhenAppliedAgain if again => route.backup = false,
            Fault::IgnoresGenerations => route.fence = Fence(1000 + u64::from(self.world.switches())),
            Fault::IgnoresFences | Fault::ForgetsFencesWithTheObject => route.fence = Fence(1000),
            Fault::ForgetsFencesWithTheRoute if self.world.removed(&route.app) => route.fence = Fence(1000),
            Fault::HasNoBackup => route.backup = false,
            Fault::UsesWhatIsNoBackup => route.backup = true,
            Fault::GivesNoShare | Fault::SharesWithoutAWord => route.canary = None,
            Fault::DoublesTheShare => {
                let double = |share: Share| Share::of_hundred((share.percent() * 2).min(99)).unwrap();
                route.canary = route.canary.map(double);
            }
            Fault::KeepsTheShare => {
                let before = self.world.inner.route(&route.app).and_then(|before| before.canary);
                route.canary = route.canary.or(before);
            }
            Fault::SendsAllToTheShare if route.canary.is_some() => {
                (route.active, route.canary) = (route.active.other(), None);
            }
            _ => {}
        }
    }

    /// Refuses what is acceptable, or accepts what is not.
    fn refuse(&self, route: &Route) -> Option<Result<()>> {
        let fault = self.world.fault;
        let again = self.world.inner.route(&route.app).is_some_and(|there| there == *route);
        let fenced = || Err(Error::new(ErrorKind::Fenced, "late"));
        let mut fences = self.fences.lock().unwrap();
        let highest = fences.values().max().copied().unwrap_or_default();
        let own = fences.entry(route.app.clone()).or_default();
        match fault {
            Fault::RefusesToApplyAgain if again => return Some(Err(Error::new(ErrorKind::Conflict, "it is there"))),
            Fault::ForgetsFencesWithTheObject if route.fence < *own => return Some(fenced()),
            Fault::CountsFencesOfAllApps if route.fence < highest => return Some(fenced()),
            Fault::TakesBadRoutes if route.domains.is_empty() => return Some(Ok(())),
            Fault::StaysBroken if *self.world.broken.lock().unwrap() => {
                return Some(Err(Error::new(ErrorKind::InvalidConfig, "a file is bad")));
            }
            _ => {}
        }
        *own = (*own).max(route.fence);
        None
    }
}

#[async_trait]
impl Router for Broken {
    fn entrance(&self) -> Option<Endpoint> {
        // Where nobody listens.
        (self.world.fault == Fault::LeadsAstray).then(|| Endpoint::new("127.0.0.1:1"))
    }
    fn splits(&self) -> bool {
        !matches!(self.world.fault, Fault::TakesSharesItCannotGive | Fault::DropsTheRouteWithAShare)
    }

    async fn apply(&self, call: &Call, route: &Route) -> Result<()> {
        if let Some(done) = self.refuse(route) {
            return done;
        }
        let (fault, inner) = (self.world.fault, &self.world.inner);
        if fault == Fault::DropsTheRouteWithAShare && route.canary.is_some() {
            inner.remove(call, &route.app).await?;
            return route.refuse_share();
        }
        let mut bent = route.clone();
        self.bend(&mut bent);
        let there = inner.route(&route.app);
        if fault == Fault::AppliesLater && there.is_some() {
            let (inner, call) = (inner.clone(), call.clone());
            tokio::spawn(async move { inner.apply(&call, &bent).await });
            return Ok(());
        }
        if let Some(there) = there {
            match fault {
                Fault::LeavesAGap => inner.remove(call, &route.app).await?,
                Fault::TakesTheBackupAwayFirst => inner.apply(call, &Route { backup: false, ..there }).await?,
                _ => {}
            }
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
        }
        self.world.switches.send_modify(|switches| *switches += 1);
        let done = inner.apply(call, &bent).await;
        match &done {
            Ok(()) => {
                self.known.lock().unwrap().insert(route.app.clone(), route.clone());
            }
            Err(error) if error.kind() == ErrorKind::InvalidConfig => {
                *self.world.broken.lock().unwrap() = true;
                if fault == Fault::DropsTheRouteOnRefusal {
                    inner.remove(call, &route.app).await?;
                }
                if fault == Fault::HidesWhyItRefuses {
                    return Err(Error::new(ErrorKind::Unavailable, "it did not work"));
                }
            }
            Err(error) if error.code() == "domain_taken" => match fault {
                Fault::SharesNames => return Ok(()),
                Fault::TellsAnotherCode => return Err(Error::new(ErrorKind::Conflict, "no")),
                _ => {}
            },
            Err(_) => {}
        }
        done
    }

    async fn observe(&self, app: &AppName) -> Result<Option<EffectiveRoute>> {
        let seen = self.world.inner.observe(app).await?;
        let own = self.known.lock().unwrap().get(app).cloned();
        Ok(match self.world.fault {
            // They take their word for the deed.
            Fault::SharesWithoutAWord | Fault::DoublesTheShare => {
                seen.map(|seen| EffectiveRoute { canary: own.and_then(|own| own.canary), ..seen })
            }
            Fault::ObservesItsOwnMemory => own.map(|route| EffectiveRoute {
                active: route.active,
                backup: route.backup,
                generation: route.generation,
                canary: route.canary,
            }),
            Fault::KeepsServing if *self.world.broken.lock().unwrap() => None,
            Fault::ObservesNoBackup => seen.map(|seen| EffectiveRoute { backup: false, ..seen }),
            Fault::InventsRoutes => {
                let invented =
                    EffectiveRoute { active: Slot::Blue, backup: false, generation: Generation(0), canary: None };
                Some(seen.unwrap_or(invented))
            }
            _ => seen,
        })
    }

    async fn drained(&self, app: &AppName, slot: Slot, endpoint: &Endpoint, longest: Duration) -> Result<Drained> {
        match self.world.fault {
            Fault::DrainsAtOnce => return Ok(Drained::Fully),
            Fault::NeverDrains => std::future::pending().await,
            _ => {}
        }
        let drained = self.world.inner.drained(app, slot, endpoint, longest).await?;
        Ok(match drained {
            Drained::TimedOut { open } if self.world.fault == Fault::CountsOneTooMany => {
                Drained::TimedOut { open: open + 1 }
            }
            drained => drained,
        })
    }

    async fn remove(&self, call: &Call, app: &AppName) -> Result<()> {
        match self.world.fault {
            Fault::KeepsServing => {
                *self.world.broken.lock().unwrap() = true;
                return Ok(());
            }
            Fault::CannotRemoveTwice if self.world.inner.route(app).is_none() => {
                return Err(Error::new(ErrorKind::NotFound, "there is no such route"));
            }
            Fault::ForgetsRemovalsOfNothing if self.world.inner.route(app).is_none() => return Ok(()),
            Fault::TakesLateRemovals => {
                let late = Call { fence: Fence(1000), ..call.clone() };
                return match self.world.inner.remove(call, app).await {
                    Err(error) if error.kind() == ErrorKind::Fenced => self.world.inner.remove(&late, app).await,
                    done => done,
                };
            }
            _ => {}
        }
        let done = self.world.inner.remove(call, app).await;
        match done {
            Err(error) if self.world.fault == Fault::IgnoresLateRemovals && error.kind() == ErrorKind::Fenced => Ok(()),
            done => done,
        }
    }
}
