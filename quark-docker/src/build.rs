//! `DockerBuilder`: images from Dockerfiles, by the daemon's classic builder.

mod context;
mod failure;
mod ignore;
mod leftovers;
mod output;
mod pattern;
mod stream;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bollard::Docker;
use bollard::errors::Error as BollardError;
use bollard::models::BuildInfo;
use bollard::query_parameters::{BuildImageOptions, BuildImageOptionsBuilder, ListImagesOptionsBuilder};
use futures_util::StreamExt;
use quark_core::backend::container_runtime::label;
use quark_core::backend::{BuildKey, BuildRequest, Call, LogSink};
use quark_core::{Artifact, Error, ErrorClass, ErrorKind, ImageBuilder, Result};

use self::context::Context;
use self::leftovers::Until;
use self::output::Output;
use crate::DockerRuntime;
use crate::daemon::Daemon;
use crate::error;

/// The label that says which build made an image.
const BUILD: &str = "quark.build";

/// Builds images from Dockerfiles with the daemon's classic builder.
///
/// Images are tagged `quark/<app>:<commit>-<key>`, each with its first twelve
/// digits, and labelled `quark.app` and `quark.build`.
///
/// The steps of a build can look up one host name more than their Dockerfile
/// asks for, `<key>.quark-build.invalid`: it marks their containers, so that
/// those of a build that was interrupted are found.
#[derive(Clone, Debug)]
pub struct DockerBuilder {
    daemon: Daemon,
    /// Builds that were broken off and waited for to their end, until whoever
    /// broke them off discards them.
    ended: Arc<Mutex<HashSet<BuildKey>>>,
}

impl DockerBuilder {
    /// A builder that uses the daemon of `runtime`.
    #[must_use]
    pub fn new(runtime: &DockerRuntime) -> Self {
        Self { daemon: runtime.daemon().clone(), ended: Arc::default() }
    }

    /// Sends the tree and follows the build to its end. Safe to drop: the
    /// daemon ends a build that nobody waits for.
    async fn run(&self, call: &Call, request: BuildRequest<'_>, output: &mut Output<'_>) -> Result<Artifact> {
        let context = self.context(request).await?;
        for path in context.skipped() {
            output.say(&format!("`{}` is left out: it is neither file, folder nor link", path.display()));
        }
        let tag = tag(request);
        let (body, packing) = stream::written_by(move |out| context.pack(out));
        let docker = self.client(call);
        let body = Some(bollard::body_try_stream(body));
        let mut messages = docker.build_image(options(request, &tag), None, body);
        let mut image = None;
        let mut failed = None;
        while let Some(message) = messages.next().await {
            match message {
                Ok(message) => take(message, output, &mut image),
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        drop(messages);
        output.finish();
        if let Some(failed) = failed {
            // A tree that could not be read is the cause, the daemon's error
            // only what followed from it. If the daemon refused before all was
            // sent, the pipe is broken, which says nothing.
            return match packing.await {
                Ok(Err(error)) if error.kind() != std::io::ErrorKind::BrokenPipe => {
                    Err(Error::new(ErrorKind::Internal, "the source tree could not be sent").with_source(error))
                }
                _ => Err(self.explain(failed, output)),
            };
        }
        let Some(id) = image else {
            // The stream ends without a word when the daemon is stopped.
            return Err(Error::new(ErrorKind::Unavailable, "the Docker daemon broke off the build")
                .with_class(ErrorClass::Retryable));
        };
        Ok(Artifact { id, label: tag })
    }

    fn ended(&self) -> MutexGuard<'_, HashSet<BuildKey>> {
        // Whoever panicked has left a whole set.
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn context(&self, request: BuildRequest<'_>) -> Result<Context> {
        let (source, dockerfile) = (request.source.to_owned(), request.dockerfile.clone());
        let limit = self.daemon.config().context_limit();
        let abandoned = Arc::new(AtomicBool::new(false));
        let _abandon = AbandonOnDrop(Arc::clone(&abandoned));
        let search = move || Context::find(&source, &dockerfile, limit, &abandoned);
        let found = tokio::task::spawn_blocking(search).await;
        found
            .map_err(|error| Error::new(ErrorKind::Internal, "looking at the source tree failed").with_source(error))?
    }

    /// A client that waits as long as the call may take, and limits memory:
    /// the option of the client library is too small for more than 2 GiB.
    fn client(&self, call: &Call) -> Docker {
        let docker = self.daemon.patient(call.timeout);
        let Some(memory) = self.daemon.config().build_memory() else { return docker };
        docker.with_request_modifier(move |mut request| {
            if let Ok(uri) = format!("{}&memory={memory}&memswap={memory}", request.uri()).parse() {
                *request.uri_mut() = uri;
            }
            request
        })
    }

    fn explain(&self, failed: BollardError, output: &Output<'_>) -> Error {
        match failed {
            BollardError::DockerStreamError { error } => failure::explain(&error, output),
            BollardError::DockerResponseServerError { status_code: 400, message } => failure::invalid(&message),
            // Some versions refuse a Dockerfile with this status.
            BollardError::DockerResponseServerError { status_code: 500, message }
                if message.to_ascii_lowercase().contains("dockerfile") =>
            {
                failure::invalid(&message)
            }
            failed => error::of_request(self.daemon.socket(), failed),
        }
    }
}

#[async_trait]
impl ImageBuilder for DockerBuilder {
    async fn find(&self, key: &BuildKey) -> Result<Option<Artifact>> {
        let label = format!("{BUILD}={}", key.as_str());
        let options = ListImagesOptionsBuilder::new().filters(&HashMap::from([("label", vec![label])])).build();
        let images = self.daemon.ask("builder.find", self.daemon.docker().list_images(Some(options))).await?;
        // An image that somebody made from one of ours has its labels, but not its tag.
        let end = format!("-{}", short(key.as_str()));
        let ours = |tag: &String| tag.starts_with("quark/") && tag.ends_with(&end);
        let mut found = images.into_iter().filter_map(|image| {
            let label = image.repo_tags.into_iter().find(ours)?;
            Some(Artifact { id: image.id, label })
        });
        Ok(found.next())
    }

    async fn build(&self, call: &Call, request: BuildRequest<'_>, log: &dyn LogSink) -> Result<Artifact> {
        leftovers::clear(&self.daemon, "builder.build", request.key, Until::Gone).await?;
        self.ended().remove(request.key);
        let mut output = Output::new(log);
        let built = call.bound("builder.build", self.run(call, request, &mut output)).await;
        let built = built.map_err(|error| error.with_operation("builder.build"));
        if matches!(&built, Err(error) if matches!(error.kind(), ErrorKind::Cancelled | ErrorKind::Timeout)) {
            output.finish();
            leftovers::clear(&self.daemon, "builder.build", request.key, Until::Quiet).await?;
            self.ended().insert(request.key.clone());
        }
        built
    }

    async fn discard(&self, key: &BuildKey) -> Result<()> {
        // The image comes last: where it is, no build was interrupted.
        let has_ended = self.ended().remove(key) || self.find(key).await?.is_some();
        let until = if has_ended { Until::Gone } else { Until::Quiet };
        leftovers::clear(&self.daemon, "builder.discard", key, until).await
    }
}

/// Tells a thread that its result is not wanted any more.
struct AbandonOnDrop(Arc<AtomicBool>);

impl Drop for AbandonOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn options(request: BuildRequest<'_>, tag: &str) -> BuildImageOptions {
    let labels = HashMap::from([(BUILD, request.key.as_str()), (label::APP, request.app.as_str())]);
    BuildImageOptionsBuilder::new()
        .dockerfile(request.dockerfile.as_str())
        .t(tag)
        .labels(&labels)
        .extrahosts(&leftovers::mark(request.key))
        .rm(true)
        .forcerm(true)
        .build()
}

fn tag(request: BuildRequest<'_>) -> String {
    format!("quark/{}:{}-{}", request.app, request.commit.short(), short(request.key.as_str()))
}

fn short(key: &str) -> &str {
    key.get(..12).unwrap_or(key)
}

/// Takes one message of the daemon about a build.
fn take(message: BuildInfo, output: &mut Output<'_>, image: &mut Option<String>) {
    if let Some(text) = message.stream {
        output.push(&text);
    }
    // Every stage says its image; the last one is the result.
    if let Some(id) = message.aux.and_then(|aux| aux.id) {
        *image = Some(id);
    }
    // The progress of a download would be a line for every percent.
    if let Some(status) = message.status.filter(|_| message.progress_detail.is_none_or(|at| at.total.is_none())) {
        match message.id {
            Some(id) => output.push(&format!("{id}: {status}\n")),
            None => output.push(&format!("{status}\n")),
        }
    }
}
