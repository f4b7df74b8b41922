//! Where the cases make their containers, and clear up behind them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;

use super::fixture::{ProgramKind, RuntimeFixture};
use crate::app::{AppName, EnvVars, HookPoint, Resources};
use crate::backend::container_runtime::label;
use crate::backend::{
    Call, ContainerId, ContainerRuntime, ContainerSpec, ContainerState, CreatedContainer, InstanceSpec, Labels,
    LogSelection, ObservedContainer, Purpose,
};
use crate::conformance::outcome::{PATIENCE, ensure, within, worked};
use crate::conformance::{CaseResult, outcome};
use crate::deployment::{ContainerName, DeploymentId, Endpoint, Fence, Slot};

/// Longer than a program takes that ends by itself.
pub(super) const GRACE: Duration = Duration::from_secs(20);

/// Where the cases make their containers.
pub(super) struct Bench<'a> {
    pub(super) fixture: &'a dyn RuntimeFixture,
    pub(super) runtime: Arc<dyn ContainerRuntime>,
    endpoints: Mutex<Vec<Endpoint>>,
}

/// A container that a case has made.
pub(super) struct Made {
    pub(super) spec: ContainerSpec,
    pub(super) id: ContainerId,
}

impl<'a> Bench<'a> {
    pub(super) fn new(fixture: &'a dyn RuntimeFixture) -> Self {
        Self { fixture, runtime: fixture.runtime(), endpoints: Mutex::default() }
    }

    async fn sweep(&self) -> CaseResult {
        let ours: Labels = [(label::INSTALLATION.to_owned(), self.fixture.installation())].into();
        for container in worked("list", within("list", self.runtime.list(&ours)).await?)? {
            worked("stop", within("stop", self.runtime.stop(&call(), &container.id, Duration::ZERO)).await?)?;
            worked("remove", within("remove", self.runtime.remove(&call(), &container.id, &ours)).await?)?;
        }
        Ok(())
    }

    /// A spec of a new deployment at an endpoint of its own.
    pub(super) async fn spec(&self, kind: ProgramKind) -> CaseResult<ContainerSpec> {
        let app = worked("making a name", AppName::parse("shop"))?;
        let endpoint = self.endpoint(&app, Slot::Blue).await?;
        let (artifact, command) = self.fixture.program(kind).await?;
        let deployment = DeploymentId::generate();
        Ok(ContainerSpec {
            name: ContainerName::of(&app, deployment, 0),
            installation: self.fixture.installation(),
            app,
            deployment,
            fence: Fence(1),
            artifact,
            command,
            env: EnvVars::new(),
            resources: Resources::default(),
            purpose: Purpose::Instance(InstanceSpec { replica: 0, slot: Slot::Blue, port: 8080, endpoint }),
        })
    }

    /// The endpoint of an instance.
    pub(super) fn endpoint_of(spec: &ContainerSpec) -> CaseResult<&Endpoint> {
        spec.endpoint().ok_or_else(|| "this case is about instances".to_owned())
    }

    /// A spec of a hook of a new deployment.
    pub(super) async fn hook(&self, kind: ProgramKind) -> CaseResult<ContainerSpec> {
        let app = worked("making a name", AppName::parse("shop"))?;
        let (artifact, command) = self.fixture.program(kind).await?;
        let deployment = DeploymentId::generate();
        Ok(ContainerSpec {
            name: ContainerName::of_hook(&app, deployment, HookPoint::PreDeploy),
            installation: self.fixture.installation(),
            app,
            deployment,
            fence: Fence(1),
            artifact,
            command,
            env: EnvVars::new(),
            resources: Resources::default(),
            purpose: Purpose::Hook(HookPoint::PreDeploy),
        })
    }

    /// An endpoint that was not given to this case before.
    pub(super) async fn endpoint(&self, app: &AppName, slot: Slot) -> CaseResult<Endpoint> {
        let taken = self.endpoints().clone();
        let allocated = self.runtime.allocate_endpoint(app, slot, &taken);
        let endpoint = worked("allocate_endpoint", within("allocate_endpoint", allocated).await?)?;
        ensure!(!taken.contains(&endpoint), "`{endpoint}` was allocated although it is taken");
        self.endpoints().push(endpoint.clone());
        Ok(endpoint)
    }

    fn endpoints(&self) -> std::sync::MutexGuard<'_, Vec<Endpoint>> {
        self.endpoints.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) async fn create(&self, spec: &ContainerSpec) -> CaseResult<CreatedContainer> {
        worked("create", within("create", self.runtime.create(&call(), spec)).await?)
    }

    pub(super) async fn start(&self, id: &ContainerId) -> CaseResult {
        worked("start", within("start", self.runtime.start(&call(), id)).await?)
    }

    /// Creates and starts a container.
    pub(super) async fn begin(&self, spec: ContainerSpec) -> CaseResult<Made> {
        let id = self.create(&spec).await?.id;
        self.start(&id).await?;
        Ok(Made { spec, id })
    }

    /// Creates and starts a container, and waits until it says that it listens.
    pub(super) async fn serve(&self, spec: ContainerSpec) -> CaseResult<Made> {
        let made = self.begin(spec).await?;
        self.listens(&made.id).await?;
        Ok(made)
    }

    async fn listens(&self, id: &ContainerId) -> CaseResult {
        let selection = LogSelection { tail: None, follow: true };
        let mut printed = worked("logs", within("logs", self.runtime.logs(id, selection)).await?)?;
        let mut seen = Vec::new();
        while let Some(chunk) = within("the line `listening on …`", printed.next()).await? {
            let text = worked("reading logs", chunk)?.text;
            if text.starts_with("listening on ") {
                return Ok(());
            }
            seen.push(text);
        }
        Err(format!("the program ended without listening; it printed {seen:?}"))
    }

    /// What is there by this spec's name.
    pub(super) async fn find(&self, spec: &ContainerSpec) -> CaseResult<Option<ObservedContainer>> {
        worked("inspect", within("inspect", self.runtime.inspect(&spec.name)).await?)
    }

    /// What is there by this spec's name, which must be there.
    pub(super) async fn look(&self, spec: &ContainerSpec) -> CaseResult<ObservedContainer> {
        self.find(spec).await?.ok_or_else(|| format!("inspect does not find `{}`", spec.name))
    }

    /// All that a program prints until it ends, or that it has printed.
    pub(super) async fn lines(&self, id: &ContainerId, selection: LogSelection) -> CaseResult<Vec<String>> {
        lines(&*self.runtime, id, selection).await
    }

    /// Waits until a program has ended by itself.
    pub(super) async fn exited(&self, spec: &ContainerSpec) -> CaseResult<ContainerState> {
        let ended = async {
            loop {
                let state = self.look(spec).await?.state;
                if matches!(state, ContainerState::Exited { .. }) {
                    return Ok(state);
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        within("the end of a program", ended).await?
    }
}

/// Runs a case and clears up behind it, also when it fails.
pub(super) async fn run(bench: &Bench<'_>, case: impl Future<Output = CaseResult> + Send) -> CaseResult {
    let found = case.await;
    let swept = bench.sweep().await;
    found.and(swept)
}

/// All that a program prints until it ends, or that it has printed.
pub(super) async fn lines(
    runtime: &dyn ContainerRuntime,
    id: &ContainerId,
    selection: LogSelection,
) -> CaseResult<Vec<String>> {
    let printed = worked("logs", within("logs", runtime.logs(id, selection)).await?)?;
    let chunks: Vec<_> = within("the end of the output", printed.collect()).await?;
    chunks.into_iter().map(|chunk| worked("reading logs", chunk).map(|chunk| chunk.text)).collect()
}

pub(super) fn call() -> Call {
    outcome::call(Fence(1), PATIENCE)
}
