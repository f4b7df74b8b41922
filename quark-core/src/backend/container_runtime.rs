//! `ContainerRuntime`: runs instances of an app.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::call::Call;
use crate::app::{AppName, Argv, Artifact, EnvVars, HookPoint, ImageRef, Resources};
use crate::clock::Timestamp;
use crate::deployment::{ContainerName, DeploymentId, Endpoint, Fence, LogStream, Slot};
use crate::{Error, ErrorKind, Result};

/// The names of the labels that mark what is ours. Public API.
pub mod label {
    /// Which store the container belongs to.
    pub const INSTALLATION: &str = "quark.installation";
    /// The app.
    pub const APP: &str = "quark.app";
    /// The deployment that made it.
    pub const DEPLOYMENT: &str = "quark.deployment";
    /// The number of the replica.
    pub const REPLICA: &str = "quark.replica";
    /// The slot it was made for.
    pub const SLOT: &str = "quark.slot";
    /// The hash of everything that the container was made from.
    pub const SPEC: &str = "quark.spec";
    /// The lease under which it was made.
    pub const FENCE: &str = "quark.fence";
    /// The hook that it runs, where it is no instance. Such a container has
    /// neither slot nor replica.
    pub const HOOK: &str = "quark.hook";
}

/// Labels by name.
pub type Labels = BTreeMap<String, String>;

/// Everything that a container is made from. There are no other options.
#[derive(Clone, Debug)]
pub struct ContainerSpec {
    /// Its name; also its idempotency key.
    pub name: ContainerName,
    /// Which store it belongs to.
    pub installation: String,
    /// The app.
    pub app: AppName,
    /// The deployment that makes it.
    pub deployment: DeploymentId,
    /// The lease under which it is made. For people who look at what is there;
    /// not a part of the hash, so that a later lease adopts the container.
    pub fence: Fence,
    /// The image.
    pub artifact: Artifact,
    /// What to start, instead of what the image says.
    pub command: Option<Argv>,
    /// Its variables.
    pub env: EnvVars,
    /// What it may use.
    pub resources: Resources,
    /// What it is there for.
    pub purpose: Purpose,
}

/// What a container is there for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "a runtime must know what to do with each")]
pub enum Purpose {
    /// It is an instance of the app: it listens, and users are sent to it.
    Instance(InstanceSpec),
    /// It does one thing and ends. It has no address and no port, nothing is sent
    /// to it, and it is started once.
    Hook(HookPoint),
}

/// What makes a container an instance of its app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceSpec {
    /// The number of the replica.
    pub replica: u16,
    /// The slot that it is made for.
    pub slot: Slot,
    /// The port it listens on inside, where there is an inside.
    pub port: u16,
    /// Where the router reaches it.
    pub endpoint: Endpoint,
}

impl ContainerSpec {
    /// The hash of all that matters, as hexadecimal text. Two specs with the
    /// same hash make the same container.
    #[must_use]
    pub fn hash(&self) -> String {
        #[derive(Serialize)]
        struct Hashed<'a>(
            &'a str,
            &'a Artifact,
            &'a Option<Argv>,
            &'a EnvVars,
            Option<u16>,
            Option<&'a Endpoint>,
            Resources,
        );
        let instance = self.instance();
        let hashed = Hashed(
            self.name.as_str(),
            &self.artifact,
            &self.command,
            &self.env,
            instance.map(|instance| instance.port),
            instance.map(|instance| &instance.endpoint),
            self.resources,
        );
        // Serialising plain structures to memory cannot fail; an empty text
        // would only make an adoption be refused.
        let text = serde_json::to_string(&hashed).unwrap_or_default();
        hex::encode(Sha256::digest(text.as_bytes()))
    }

    /// What makes it an instance, if it is one.
    #[must_use]
    pub fn instance(&self) -> Option<&InstanceSpec> {
        match &self.purpose {
            Purpose::Instance(instance) => Some(instance),
            Purpose::Hook(_) => None,
        }
    }

    /// Where the router reaches it, if it is an instance.
    #[must_use]
    pub fn endpoint(&self) -> Option<&Endpoint> {
        self.instance().map(|instance| &instance.endpoint)
    }

    /// Has it reached elsewhere, if it is an instance.
    #[must_use]
    pub fn at(mut self, endpoint: Endpoint) -> Self {
        if let Purpose::Instance(instance) = &mut self.purpose {
            instance.endpoint = endpoint;
        }
        self
    }

    /// The labels that the container gets.
    #[must_use]
    pub fn labels(&self) -> Labels {
        let common = [
            (label::INSTALLATION, self.installation.clone()),
            (label::APP, self.app.to_string()),
            (label::DEPLOYMENT, self.deployment.to_string()),
            (label::FENCE, self.fence.0.to_string()),
            (label::SPEC, self.hash()),
        ];
        let own = match &self.purpose {
            Purpose::Instance(instance) => {
                vec![(label::REPLICA, instance.replica.to_string()), (label::SLOT, instance.slot.to_string())]
            }
            Purpose::Hook(point) => vec![(label::HOOK, point.to_string())],
        };
        common.into_iter().chain(own).map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

/// The runtime's own name of a container.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ContainerId(pub String);

/// What [`ContainerRuntime::create`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreatedContainer {
    /// The container.
    pub id: ContainerId,
    /// Whether it was there already, made from the same spec.
    pub adopted: bool,
}

/// Whether a container runs.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ContainerState {
    /// Made, not started.
    Created,
    /// Its process runs.
    Running,
    /// Its process has ended.
    Exited {
        /// The exit code, if it is known; 128 + signal for a signal.
        code: Option<i32>,
        /// Whether it was killed for its use of memory.
        out_of_memory: bool,
    },
}

/// What a runtime sees of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedContainer {
    /// The container.
    pub id: ContainerId,
    /// Its name.
    pub name: ContainerName,
    /// Whether it runs.
    pub state: ContainerState,
    /// When its process was last started. Another value means another process.
    pub started_at: Option<Timestamp>,
    /// Its labels.
    pub labels: Labels,
}

/// What was found to listen at a container's endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Listening {
    /// The container itself.
    Ours,
    /// Nothing yet; `elsewhere` are other ports that the container listens on.
    Nothing {
        /// Ports inside the container, for the message to people.
        elsewhere: Vec<u16>,
    },
    /// Something that is not the container.
    Foreign {
        /// What it is, as far as it could be found out.
        who: String,
    },
    /// The runtime cannot tell; the container's name for the port is trusted.
    Unknown,
}

/// How a container was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StopOutcome {
    /// It was not running, or not there.
    AlreadyStopped,
    /// It ended by itself after the signal.
    Exited,
    /// It had to be killed.
    Killed,
}

/// One piece of a container's output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogChunk {
    /// Which stream.
    pub stream: LogStream,
    /// When it was written, if the runtime knows.
    pub at: Option<Timestamp>,
    /// A whole line without its end, or a part of a very long one.
    pub text: String,
}

/// Which part of a container's output is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogSelection {
    /// Only that many lines from the end; all when `None`.
    pub tail: Option<usize>,
    /// Whether to wait for more when the end is reached.
    pub follow: bool,
}

/// What a runtime can do beyond the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuntimeCapabilities {
    /// What it is called in messages.
    pub name: &'static str,
    /// Whether [`Resources`] are enforced.
    pub enforces_limits: bool,
    /// Whether images can be pulled by name.
    pub pulls_images: bool,
}

/// Runs instances of an app.
///
/// # Contract
///
/// - `create` twice with one spec yields the same container, the second time `adopted`.
/// - `create` with a name that is taken by another spec is a `Conflict`.
/// - `create` of an image that is not there is `NotFound` with code `image_not_found`.
/// - `start` of a running container succeeds and does not start it again.
/// - `start` when the endpoint is taken by something else is `ResourceExhausted` with code `port_taken`.
/// - `start` of a program that does not exist is an error with code `command_not_found`,
///   or the container is seen `Exited` at once.
/// - `inspect` of an unknown name is `None`.
/// - `list` yields exactly the containers that carry all the labels asked for.
/// - `stop` returns when the process has exited: its endpoint can be used again at once.
/// - `stop` kills what ignores the signal, after the grace time.
/// - `stop` and `remove` of what is stopped or gone succeed.
/// - `remove` of a container whose labels differ from those expected is a `Conflict` and removes nothing.
/// - What a container prints can be read by `logs`, each line once and in order, also after it has exited.
/// - A container outlives the runtime object that started it, and another object finds it.
/// - Variables arrive as given, also with line breaks, and nothing of the engine's own environment does.
/// - A hook runs to its end and is not started again: neither by the runtime, nor by a `start` that comes
///   late or twice, which succeeds. Its exit code can be seen.
/// - A hook listens nowhere: it is started though the endpoints of its app are taken, and `PORT` is not set.
#[async_trait]
pub trait ContainerRuntime: std::fmt::Debug + Send + Sync + 'static {
    /// What this runtime can do beyond the contract.
    fn capabilities(&self) -> RuntimeCapabilities;

    /// Chooses an address at which the instances in `slot` of `app` will be
    /// reached for as long as the app exists: one that nothing listens on now
    /// and that is not in `taken`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::ResourceExhausted`] (`no_free_port`) if there is none.
    async fn allocate_endpoint(&self, app: &AppName, slot: Slot, taken: &[Endpoint]) -> Result<Endpoint>;

    /// Makes an image available under a name that never changes its meaning,
    /// pulling it if needed. Idempotent. Safe to drop.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] (`image_not_found`), [`ErrorKind::Unsupported`]
    /// if the runtime has no images, [`ErrorKind::Unavailable`], [`ErrorKind::Timeout`].
    async fn ensure_image(&self, call: &Call, image: &ImageRef) -> Result<Artifact>;

    /// Makes a container and does not start it. Idempotent by the spec's name.
    ///
    /// # Errors
    ///
    /// As the contract says; [`ErrorKind::Unavailable`], [`ErrorKind::Timeout`].
    async fn create(&self, call: &Call, spec: &ContainerSpec) -> Result<CreatedContainer>;

    /// Starts a container. Idempotent.
    ///
    /// # Errors
    ///
    /// As the contract says; [`ErrorKind::NotFound`] if there is no such container.
    async fn start(&self, call: &Call, id: &ContainerId) -> Result<()>;

    /// Looks at a container. Safe to drop.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`], [`ErrorKind::Timeout`].
    async fn inspect(&self, name: &ContainerName) -> Result<Option<ObservedContainer>>;

    /// Looks at what listens at the endpoint of a container. Safe to drop.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`], [`ErrorKind::Timeout`].
    async fn listening(&self, id: &ContainerId, endpoint: &Endpoint) -> Result<Listening>;

    /// Looks at all containers with these labels. Safe to drop.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`], [`ErrorKind::Timeout`].
    async fn list(&self, labels: &Labels) -> Result<Vec<ObservedContainer>>;

    /// Asks a container to end, kills it after `grace`, and waits until its
    /// processes are gone. Idempotent. Dropping it may leave the container running.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`], [`ErrorKind::Timeout`].
    async fn stop(&self, call: &Call, id: &ContainerId, grace: Duration) -> Result<StopOutcome>;

    /// Removes a stopped container that has these labels. Idempotent.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Conflict`] if its labels differ or it still runs.
    async fn remove(&self, call: &Call, id: &ContainerId, expected: &Labels) -> Result<()>;

    /// Reads what a container has printed. Dropping the stream ends the reading.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] if there is no such container.
    async fn logs(&self, id: &ContainerId, selection: LogSelection) -> Result<BoxStream<'static, Result<LogChunk>>>;
}

/// The error for an image that is not there.
#[must_use]
pub fn image_not_found(image: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("image `{image}` does not exist here"))
        .with_code("image_not_found")
        .with_hint("check the name and tag, and that this machine may pull it")
}

/// The error for an endpoint that something else holds.
#[must_use]
pub fn port_taken(endpoint: &Endpoint, who: &str) -> Error {
    Error::new(ErrorKind::ResourceExhausted, format!("`{endpoint}` is in use by {who}"))
        .with_code("port_taken")
        .with_hint("deploy again: another port is chosen; what uses this one may stay")
}
