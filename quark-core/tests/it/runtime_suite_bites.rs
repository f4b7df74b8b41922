//! Each case of the container runtime suite finds the fault that it is there for.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use quark_core::backend::{
    Call, ContainerId, ContainerRuntime, ContainerSpec, ContainerState, CreatedContainer, Labels, Listening, LogChunk,
    LogSelection, ObservedContainer, RuntimeCapabilities, StopOutcome,
};
use quark_core::conformance::CaseResult;
use quark_core::conformance::container_runtime::{ProgramKind, RuntimeFixture, Taken, cases};
use quark_core::memory::MemoryRuntime;
use quark_core::{
    AppName, Argv, Artifact, ContainerName, Endpoint, EnvKey, EnvVars, Error, ErrorKind, Result, Secret, Slot,
    Timestamp,
};

use crate::memory_fixtures::MemoryRuntimeFixture;

/// What is wrong with a runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    HidesAdoption,
    CannotCreateTwice,
    ForgetsLabels,
    AdoptsAnything,
    TellsAnotherCodeForImages,
    AllocatesOneEndpoint,
    StartsAgain,
    HidesStartTimes,
    TellsAnotherCodeForEndpoints,
    TellsAnotherCodeForPrograms,
    ShowsMissingProgramsAsRunning,
    TakesItselfForAStranger,
    SeesWhatDoesNotListen,
    FindsByAPartOfTheName,
    ListsAnyLabel,
    ListsEverything,
    ListsTheRunningOnly,
    EndsWithTheObject,
    KeepsContainersToItself,
    ReturnsBeforeTheEnd,
    KeepsEndpoints,
    NeverKills,
    KillsAtOnce,
    FailsOnWhatIsGone,
    RemovesWithoutALook,
    RemovesWhatRuns,
    LosesALine,
    RepeatsALine,
    SwapsLines,
    ForgetsAtTheEnd,
    IgnoresTail,
    FollowsForEver,
    NeverFollows,
    LeaksItsEnvironment,
    SplitsVariables,
    DropsEmptyVariables,
    StartsHooksAgain,
    CannotMakeHooksAnew,
    HidesExitCodes,
    GivesHooksAPort,
    WantsEndpointsForHooks,
    LabelsHooksAsInstances,
    ForgetsTheHook,
}

#[allow(clippy::enum_glob_use, reason = "a table of names only")]
fn faults(case: &str) -> &'static [Fault] {
    use Fault::*;
    match case {
        "creating_twice_adopts" => &[HidesAdoption, CannotCreateTwice, ForgetsLabels],
        "a_name_belongs_to_one_spec" => &[AdoptsAnything],
        "an_unknown_image_is_not_found" => &[TellsAnotherCodeForImages],
        "allocated_endpoints_differ" => &[AllocatesOneEndpoint],
        "starting_twice_starts_once" => &[StartsAgain, HidesStartTimes],
        "a_taken_endpoint_is_told" => &[TellsAnotherCodeForEndpoints],
        "a_missing_program_is_told" => &[TellsAnotherCodeForPrograms, ShowsMissingProgramsAsRunning],
        "what_listens_is_ours" => &[TakesItselfForAStranger, SeesWhatDoesNotListen],
        "unknown_names_are_none" => &[FindsByAPartOfTheName],
        "list_yields_what_carries_all_labels" => &[ListsAnyLabel, ListsEverything, ListsTheRunningOnly],
        "containers_outlive_their_runtime" => &[EndsWithTheObject, KeepsContainersToItself],
        "stop_returns_when_the_process_has_exited" => &[ReturnsBeforeTheEnd, KeepsEndpoints],
        "stop_kills_what_ignores_the_signal" => &[NeverKills, KillsAtOnce],
        "ending_what_has_ended_succeeds" => &[FailsOnWhatIsGone],
        "remove_checks_the_labels" => &[RemovesWithoutALook],
        "running_containers_are_not_removed" => &[RemovesWhatRuns],
        "output_is_read_in_order" => &[LosesALine, RepeatsALine, SwapsLines, ForgetsAtTheEnd, IgnoresTail],
        "following_ends_with_the_container" => &[FollowsForEver, NeverFollows],
        "variables_arrive_as_given" => &[LeaksItsEnvironment, SplitsVariables, DropsEmptyVariables],
        "a_hook_runs_to_its_end_once" => &[StartsHooksAgain, CannotMakeHooksAnew],
        "a_hook_tells_how_it_ended" => &[HidesExitCodes],
        "a_hook_is_no_instance" => &[GivesHooksAPort, WantsEndpointsForHooks, LabelsHooksAsInstances, ForgetsTheHook],
        _ => &[],
    }
}

#[tokio::test(start_paused = true)]
async fn each_case_finds_its_faults() {
    for case in cases() {
        let name = case.name();
        assert!(!faults(name).is_empty(), "no fault shows that `{name}` bites");
        let sound = MemoryRuntimeFixture::default();
        assert_eq!(case.run(&sound).await, Ok(()), "{name}");
        assert_eq!(sound.runtime.containers(), [], "`{name}` leaves containers behind");
        for fault in faults(name) {
            let found = case.run(&BrokenFixture::new(*fault)).await;
            assert!(found.is_err(), "`{name}` does not find {fault:?}");
        }
    }
}

struct BrokenFixture {
    sound: MemoryRuntimeFixture,
    fault: Fault,
    runtime: Arc<dyn ContainerRuntime>,
}

impl BrokenFixture {
    fn new(fault: Fault) -> Self {
        let sound = MemoryRuntimeFixture::default();
        let runtime = Arc::new(Broken::new(&sound.runtime, fault));
        Self { sound, fault, runtime }
    }
}

#[async_trait]
impl RuntimeFixture for BrokenFixture {
    fn runtime(&self) -> Arc<dyn ContainerRuntime> {
        Arc::clone(&self.runtime)
    }

    async fn another(&self) -> Arc<dyn ContainerRuntime> {
        Arc::new(Broken::new(&self.sound.runtime, self.fault))
    }

    fn installation(&self) -> String {
        self.sound.installation()
    }

    async fn program(&self, kind: ProgramKind) -> CaseResult<(Artifact, Option<Argv>)> {
        self.sound.program(kind).await
    }

    async fn taken(&self, endpoint: &Endpoint) -> CaseResult<Option<Taken>> {
        self.sound.taken(endpoint).await
    }
}

/// A runtime with one fault.
#[derive(Debug)]
struct Broken {
    inner: MemoryRuntime,
    fault: Fault,
    created: Mutex<HashSet<ContainerName>>,
}

impl Broken {
    fn new(inner: &MemoryRuntime, fault: Fault) -> Self {
        Self { inner: inner.clone(), fault, created: Mutex::default() }
    }

    fn by_id(&self, id: &ContainerId) -> Option<ObservedContainer> {
        self.inner.containers().into_iter().find(|container| container.id == *id)
    }

    fn bend_env(&self, env: &EnvVars) -> EnvVars {
        let mut bent = EnvVars::new();
        let mut set = |key: &str, value: &str| {
            if let Ok(key) = EnvKey::parse(key) {
                bent.set(key, Secret::new(value)).unwrap();
            }
        };
        if self.fault == Fault::LeaksItsEnvironment {
            std::env::vars().for_each(|(key, value)| set(&key, &value));
        }
        for (key, value) in env.iter() {
            match self.fault {
                Fault::SplitsVariables => {
                    for line in format!("{key}={}", value.expose()).lines() {
                        let (key, value) = line.split_once('=').unwrap_or((line, ""));
                        set(key, value);
                    }
                }
                Fault::DropsEmptyVariables if value.expose().is_empty() => {}
                _ => set(key.as_str(), value.expose()),
            }
        }
        bent
    }

    fn bend(&self, mut container: ObservedContainer) -> ObservedContainer {
        match self.fault {
            Fault::ForgetsLabels => {
                container.labels.remove("quark.replica");
            }
            Fault::HidesStartTimes => container.started_at = None,
            Fault::HidesExitCodes => {
                if let ContainerState::Exited { code, .. } = &mut container.state {
                    *code = Some(0);
                }
            }
            Fault::LabelsHooksAsInstances => {
                container.labels.insert("quark.slot".to_owned(), "blue".to_owned());
            }
            Fault::ForgetsTheHook => {
                container.labels.remove("quark.hook");
            }
            Fault::ShowsMissingProgramsAsRunning if container.started_at.is_none() => {
                container.state = ContainerState::Running;
                container.started_at = Some(Timestamp::from_micros(1));
            }
            _ => {}
        }
        container
    }
}

impl Drop for Broken {
    fn drop(&mut self) {
        if self.fault == Fault::EndsWithTheObject {
            for name in self.created.lock().unwrap().iter() {
                self.inner.kill(name);
            }
        }
    }
}

#[async_trait]
impl ContainerRuntime for Broken {
    fn capabilities(&self) -> RuntimeCapabilities {
        self.inner.capabilities()
    }

    async fn allocate_endpoint(&self, app: &AppName, slot: Slot, taken: &[Endpoint]) -> Result<Endpoint> {
        if self.fault == Fault::AllocatesOneEndpoint {
            return Ok(Endpoint::new("memory:1"));
        }
        self.inner.allocate_endpoint(app, slot, taken).await
    }

    async fn ensure_image(&self, call: &Call, image: &quark_core::ImageRef) -> Result<Artifact> {
        self.inner.ensure_image(call, image).await
    }

    async fn create(&self, call: &Call, spec: &ContainerSpec) -> Result<CreatedContainer> {
        let mut spec = ContainerSpec { env: self.bend_env(&spec.env), ..spec.clone() };
        if self.fault == Fault::GivesHooksAPort && spec.instance().is_none() {
            spec.env.set(EnvKey::parse("PORT").unwrap(), Secret::new("8080")).unwrap();
        }
        if self.fault == Fault::CannotMakeHooksAnew
            && spec.instance().is_none()
            && self.created.lock().unwrap().contains(&spec.name)
            && self.inner.inspect(&spec.name).await?.is_none()
        {
            return Err(Error::new(ErrorKind::AlreadyExists, "it was there"));
        }
        self.created.lock().unwrap().insert(spec.name.clone());
        let there = self.inner.inspect(&spec.name).await?;
        match (self.fault, self.inner.create(call, &spec).await) {
            (Fault::CannotCreateTwice, Ok(created)) if created.adopted => {
                Err(Error::new(ErrorKind::AlreadyExists, "it is there"))
            }
            (Fault::HidesAdoption, Ok(created)) => Ok(CreatedContainer { adopted: false, ..created }),
            (Fault::AdoptsAnything, Err(error)) => match there {
                Some(there) => Ok(CreatedContainer { id: there.id, adopted: true }),
                None => Err(error),
            },
            (Fault::TellsAnotherCodeForImages, Err(_)) => Err(Error::new(ErrorKind::NotFound, "no such thing")),
            (_, done) => done,
        }
    }

    async fn start(&self, call: &Call, id: &ContainerId) -> Result<()> {
        if self.fault == Fault::StartsAgain {
            self.inner.stop(call, id, Duration::ZERO).await?;
        }
        let hook = self.by_id(id).filter(|container| container.labels.contains_key("quark.hook"));
        match (self.fault, hook) {
            (Fault::WantsEndpointsForHooks, Some(_)) => {
                return Err(Error::new(ErrorKind::ResourceExhausted, "it is in use").with_code("port_taken"));
            }
            (Fault::StartsHooksAgain, Some(ended)) if ended.state != ContainerState::Created => {
                let spec = self.inner.spec(&ended.name).unwrap();
                self.inner.remove(call, id, &Labels::new()).await?;
                let again = self.inner.create(call, &spec).await?;
                return self.inner.start(call, &again.id).await;
            }
            _ => {}
        }
        match (self.fault, self.inner.start(call, id).await) {
            (Fault::TellsAnotherCodeForEndpoints, Err(error)) if error.code() == "port_taken" => {
                Err(Error::new(ErrorKind::Internal, "it did not start"))
            }
            (Fault::TellsAnotherCodeForPrograms, Err(_)) => Err(Error::new(ErrorKind::Internal, "it did not start")),
            (Fault::ShowsMissingProgramsAsRunning, Err(_)) => Ok(()),
            (_, done) => done,
        }
    }

    async fn inspect(&self, name: &ContainerName) -> Result<Option<ObservedContainer>> {
        let found = match self.fault {
            Fault::FindsByAPartOfTheName => {
                let mut all = self.inner.containers().into_iter();
                all.find(|container| container.name.as_str().starts_with(name.as_str()))
            }
            Fault::KeepsContainersToItself if !self.created.lock().unwrap().contains(name) => None,
            _ => self.inner.inspect(name).await?,
        };
        Ok(found.map(|container| self.bend(container)))
    }

    async fn listening(&self, id: &ContainerId, endpoint: &Endpoint) -> Result<Listening> {
        match (self.fault, self.inner.listening(id, endpoint).await?) {
            (Fault::TakesItselfForAStranger, Listening::Ours) => Ok(Listening::Foreign { who: "a proxy".to_owned() }),
            (Fault::SeesWhatDoesNotListen, Listening::Nothing { .. }) => Ok(Listening::Ours),
            (_, seen) => Ok(seen),
        }
    }

    async fn list(&self, labels: &Labels) -> Result<Vec<ObservedContainer>> {
        let all = self.inner.containers().into_iter();
        Ok(match self.fault {
            Fault::ListsEverything => all.collect(),
            Fault::ListsAnyLabel => {
                let any =
                    |it: &ObservedContainer| labels.iter().any(|(name, value)| it.labels.get(name) == Some(value));
                all.filter(any).collect()
            }
            Fault::ListsTheRunningOnly => all.filter(|container| container.state == ContainerState::Running).collect(),
            _ => self.inner.list(labels).await?,
        })
    }

    async fn stop(&self, call: &Call, id: &ContainerId, grace: Duration) -> Result<StopOutcome> {
        let there = self.by_id(id);
        let running = there.as_ref().is_some_and(|container| container.state == ContainerState::Running);
        match self.fault {
            Fault::ReturnsBeforeTheEnd if running => {
                let (inner, call, id) = (self.inner.clone(), call.clone(), id.clone());
                tokio::spawn(async move { inner.stop(&call, &id, grace).await });
                return Ok(StopOutcome::Exited);
            }
            Fault::KeepsEndpoints => {
                if let Some(spec) = there.and_then(|container| self.inner.spec(&container.name)) {
                    std::mem::forget(self.inner.occupy(spec.endpoint().unwrap()));
                }
            }
            Fault::NeverKills if running => {
                tokio::time::sleep(grace).await;
                return Ok(StopOutcome::Killed);
            }
            Fault::KillsAtOnce => return self.inner.stop(call, id, Duration::ZERO).await,
            Fault::FailsOnWhatIsGone if there.is_none() => {
                return Err(Error::new(ErrorKind::NotFound, "there is no such container"));
            }
            _ => {}
        }
        self.inner.stop(call, id, grace).await
    }

    async fn remove(&self, call: &Call, id: &ContainerId, expected: &Labels) -> Result<()> {
        match self.fault {
            Fault::RemovesWithoutALook => return self.inner.remove(call, id, &Labels::new()).await,
            Fault::RemovesWhatRuns => {
                self.inner.stop(call, id, Duration::ZERO).await?;
            }
            Fault::FailsOnWhatIsGone if self.by_id(id).is_none() => {
                return Err(Error::new(ErrorKind::NotFound, "there is no such container"));
            }
            _ => {}
        }
        self.inner.remove(call, id, expected).await
    }

    async fn logs(&self, id: &ContainerId, selection: LogSelection) -> Result<BoxStream<'static, Result<LogChunk>>> {
        let selection = match self.fault {
            Fault::IgnoresTail => LogSelection { tail: None, ..selection },
            Fault::NeverFollows => LogSelection { follow: false, ..selection },
            _ => selection,
        };
        let printed = self.inner.logs(id, selection).await?;
        let is = |chunk: &Result<LogChunk>, text: &str| chunk.as_ref().is_ok_and(|chunk| chunk.text == text);
        Ok(match self.fault {
            Fault::LosesALine => printed.filter(move |chunk| std::future::ready(!is(chunk, "line 100"))).boxed(),
            Fault::RepeatsALine => {
                let twice = move |chunk: Result<LogChunk>| {
                    let again = is(&chunk, "line 100").then(|| Ok(chunk.as_ref().unwrap().clone()));
                    stream::iter([Some(chunk), again].into_iter().flatten())
                };
                printed.flat_map(twice).boxed()
            }
            Fault::SwapsLines => {
                let mut chunks: Vec<_> = printed.collect().await;
                if chunks.len() > 100 {
                    chunks.swap(50, 51);
                }
                stream::iter(chunks).boxed()
            }
            Fault::ForgetsAtTheEnd if !selection.follow => stream::empty().boxed(),
            Fault::FollowsForEver if selection.follow => printed.chain(stream::pending()).boxed(),
            _ => printed,
        })
    }
}
