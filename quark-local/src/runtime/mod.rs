//! `LocalRuntime`: processes of this machine as containers.

mod life;
mod listening;
mod logs;
mod ports;
mod reap;
mod record;
mod start;

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use quark_core::app::{Artifact, ImageRef};
use quark_core::backend::container_runtime::image_not_found;
use quark_core::backend::{
    Call, ContainerId, ContainerRuntime, ContainerSpec, CreatedContainer, Labels, Listening, LogChunk, LogSelection,
    ObservedContainer, RuntimeCapabilities, StopOutcome,
};
use quark_core::{AppName, ContainerName, Endpoint, Error, ErrorKind, Result, Slot};

use self::life::Life;
use self::reap::Reapers;
use self::record::{Containers, Place, Record, not_found};
use crate::config::LocalConfig;
use crate::image::Images;
use crate::system::family::Ended;
use crate::system::files::private_dir;
use crate::system::lock::{Absent, FolderLock};
use crate::system::table::Table;
use crate::system::{blocking, require_proc};

/// From the polite signal to the kill for what an ended process has left.
const PATIENCE: Duration = Duration::from_secs(1);

/// Runs instances as processes of this machine, as the user of the engine.
///
/// A container is a folder under `containers/` of the state folder and at most
/// one process with what it starts. The process runs in the tree of its image,
/// which all instances of the image share, in a process group of its own. Its
/// environment is `PATH`, `HOST`, the app's variables, `PORT`, and the marks
/// `QUARK_CONTAINER` and `QUARK_STATE` by which it is found again; a hook has
/// neither `HOST` nor `PORT`. It goes on
/// when the engine ends; the exit code of a process that outlived its engine
/// is not known.
///
/// When the process ends, what it has started is ended too. Of what it prints
/// the order within each stream is kept, across the two it is not known. The
/// files grow as long as the container exists; of each stream at most the last
/// 16 MiB are read.
///
/// Nothing is isolated or limited: instances can see and do what the engine's
/// user can. Run only what you trust.
#[derive(Clone, Debug)]
pub struct LocalRuntime {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: LocalConfig,
    containers: Containers,
    images: Images,
    reapers: Reapers,
}

impl LocalRuntime {
    /// Opens the containers of an installation, making the folders for them.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unsupported`] (`proc_missing`) without `/proc`, [`ErrorKind::InvalidConfig`],
    /// [`ErrorKind::PermissionDenied`] and [`ErrorKind::Unavailable`] if a folder cannot be made.
    pub fn open(config: LocalConfig) -> Result<Self> {
        require_proc()?;
        let config = config.prepared()?;
        let containers = Containers::in_state(config.state_dir());
        private_dir(containers.folder())?;
        containers.sweep()?;
        let images = Images::in_state(config.state_dir());
        Ok(Self { inner: Arc::new(Inner { config, containers, images, reapers: Reapers::default() }) })
    }

    fn place(&self, id: &ContainerId) -> Result<Place> {
        self.inner.containers.place_of(id).ok_or_else(|| not_found(&id.0))
    }

    /// Adds the exit code where this engine is just about to note it.
    async fn complete(&self, place: Place, (seen, life): Seen) -> Result<Option<ObservedContainer>> {
        if let Life::Ended { process: Some(process), code: None } = life
            && self.inner.reapers.noted(place.name(), &process).await
        {
            return Ok(look_again(place).await?.map(|(observed, _)| observed));
        }
        Ok(Some(seen))
    }
}

#[async_trait]
impl ContainerRuntime for LocalRuntime {
    fn capabilities(&self) -> RuntimeCapabilities {
        RuntimeCapabilities { name: "local", enforces_limits: false, pulls_images: false }
    }

    async fn allocate_endpoint(&self, app: &AppName, slot: Slot, taken: &[Endpoint]) -> Result<Endpoint> {
        let ports = self.inner.config.ports();
        // Begins anywhere, so that two engines, or two apps at one time,
        // seldom choose the same.
        let begin = RandomState::new().hash_one((app.as_str(), slot));
        let taken = taken.to_vec();
        blocking(move || ports::allocate(&ports, begin, &taken)).await
    }

    async fn ensure_image(&self, _: &Call, image: &ImageRef) -> Result<Artifact> {
        Err(Error::new(ErrorKind::Unsupported, format!("processes cannot be made from the image `{image}`"))
            .with_code("images_unsupported")
            .with_hint("deploy from a git repository, or use the Docker runtime for images"))
    }

    async fn create(&self, call: &Call, spec: &ContainerSpec) -> Result<CreatedContainer> {
        let place = self.inner.containers.place(&spec.name);
        // Where it cannot be started it is not made.
        spec.endpoint().map(Endpoint::socket_addr).transpose()?;
        let taking = FolderLock::take(place.folder().to_owned(), Absent::Make);
        let lock = call.bound("runtime.create", taking).await?;
        let (images, spec) = (self.inner.images.clone(), spec.clone());
        blocking(move || {
            let created = create(&place, &images, &spec);
            if created.is_err() && place.record()?.is_none() {
                place.remove()?;
            }
            drop(lock);
            created
        })
        .await
    }

    async fn start(&self, call: &Call, id: &ContainerId) -> Result<()> {
        let place = self.place(id)?;
        let taking = FolderLock::take(place.folder().to_owned(), Absent::Leave);
        let lock = call.bound("runtime.start", taking).await?.ok_or_else(|| not_found(&id.0))?;
        call.bound("runtime.start", start::start(&place, &self.inner.images, &self.inner.reapers, lock)).await
    }

    async fn inspect(&self, name: &ContainerName) -> Result<Option<ObservedContainer>> {
        let place = self.inner.containers.place(name);
        match look_again(place.clone()).await? {
            Some(seen) => self.complete(place, seen).await,
            None => Ok(None),
        }
    }

    async fn listening(&self, id: &ContainerId, endpoint: &Endpoint) -> Result<Listening> {
        let (place, endpoint) = (self.place(id)?, endpoint.clone());
        blocking(move || listening::listening(&place, &endpoint)).await
    }

    async fn list(&self, labels: &Labels) -> Result<Vec<ObservedContainer>> {
        let (containers, labels) = (self.inner.containers.clone(), labels.clone());
        let seen = blocking(move || {
            let mut seen = Vec::new();
            let table = Table::read()?;
            for place in containers.places()? {
                if let Some(record) = place.record()?.filter(|record| record.carries(&labels)) {
                    seen.push((place.clone(), look(&place, record, &table)?));
                }
            }
            Ok(seen)
        })
        .await?;
        let mut observed = Vec::new();
        for (place, seen) in seen {
            // One that was removed meanwhile is not there any more.
            observed.extend(self.complete(place, seen).await?);
        }
        Ok(observed)
    }

    async fn stop(&self, call: &Call, id: &ContainerId, grace: Duration) -> Result<StopOutcome> {
        let Some(place) = self.inner.containers.place_of(id) else { return Ok(StopOutcome::AlreadyStopped) };
        call.bound("runtime.stop", async {
            let lock = FolderLock::take(place.folder().to_owned(), Absent::Leave).await?;
            if lock.is_none() {
                return Ok(StopOutcome::AlreadyStopped);
            }
            let life = {
                let place = place.clone();
                blocking(move || Life::of(&place, &Table::read()?)).await?
            };
            let ended = place.family(life.process()).end(grace).await?;
            Ok(match (life, ended) {
                (Life::Running(_), Ended::Killed) => StopOutcome::Killed,
                (Life::Running(_), _) => StopOutcome::Exited,
                // Only what it had left behind was ended.
                _ => StopOutcome::AlreadyStopped,
            })
        })
        .await
    }

    async fn remove(&self, call: &Call, id: &ContainerId, expected: &Labels) -> Result<()> {
        let Some(place) = self.inner.containers.place_of(id) else { return Ok(()) };
        call.bound("runtime.remove", async {
            let Some(lock) = FolderLock::take(place.folder().to_owned(), Absent::Leave).await? else {
                return Ok(());
            };
            let life = {
                let (place, expected) = (place.clone(), expected.clone());
                blocking(move || may_remove(&place, &expected)).await?
            };
            place.family(life.process()).end(PATIENCE).await?;
            blocking(move || {
                place.remove()?;
                drop(lock);
                Ok(())
            })
            .await
        })
        .await
    }

    async fn logs(&self, id: &ContainerId, selection: LogSelection) -> Result<BoxStream<'static, Result<LogChunk>>> {
        let place = self.place(id)?;
        let existing = place.clone();
        blocking(move || existing.existing().map(drop)).await?;
        Ok(logs::stream(place, selection))
    }
}

/// What a look at a container has shown.
type Seen = (ObservedContainer, Life);

fn look(place: &Place, record: Record, table: &Table) -> Result<Seen> {
    let life = Life::of(place, table)?;
    Ok((life.observed(place, record)?, life))
}

async fn look_again(place: Place) -> Result<Option<Seen>> {
    blocking(move || match place.record()? {
        Some(record) => look(&place, record, &Table::read()?).map(Some),
        None => Ok(None),
    })
    .await
}

/// Makes a container in a folder whose lock is held.
fn create(place: &Place, images: &Images, spec: &ContainerSpec) -> Result<CreatedContainer> {
    if let Some(record) = place.record()? {
        if record.is_made_from(spec) {
            return Ok(CreatedContainer { id: place.id(), adopted: true });
        }
        let message = format!("container `{}` exists and was made from something else", spec.name);
        return Err(Error::new(ErrorKind::Conflict, message).with_code("container_differs"));
    }
    let image = images.of_artifact(&spec.artifact).map(|folder| folder.read()).transpose()?.flatten();
    if image.is_none() {
        return Err(image_not_found(&spec.artifact.label));
    }
    place.write_record(&Record::of(spec))?;
    Ok(CreatedContainer { id: place.id(), adopted: false })
}

/// Refuses to remove what is another's or runs.
fn may_remove(place: &Place, expected: &Labels) -> Result<Life> {
    let life = Life::of(place, &Table::read()?)?;
    // A folder without a record is what an interrupted creation has left.
    if place.record()?.is_some_and(|record| !record.carries(expected)) {
        let message = format!("container `{}` does not carry the labels that were expected", place.name());
        return Err(Error::new(ErrorKind::Conflict, message).with_code("labels_differ"));
    }
    if matches!(life, Life::Running(_)) {
        let message = format!("container `{}` is still running", place.name());
        return Err(Error::new(ErrorKind::Conflict, message).with_code("container_running").with_hint("stop it first"));
    }
    Ok(life)
}
