//! Images by their names.

use bollard::query_parameters::TagImageOptionsBuilder;
use quark_core::{ContainerRuntime, ErrorKind, ImageRef};

use crate::world::{World, call};

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_is_there_is_not_pulled() {
    World::run(async |world| {
        let sample = world.sample().await;
        assert!(sample.id.starts_with("sha256:"));
        // Without a tag, `latest` is meant.
        let repository = format!("quark-test/{}", world.app);
        let options = TagImageOptionsBuilder::new().repo(&repository).tag("latest").build();
        world.docker.tag_image(&sample.id, Some(options)).await.unwrap();
        let found = world.runtime.ensure_image(&call(), &ImageRef::parse(&repository).unwrap()).await.unwrap();
        assert_eq!((found.id, found.label), (sample.id, repository.clone()));
        world
            .docker
            .remove_image(&repository, None::<bollard::query_parameters::RemoveImageOptions>, None)
            .await
            .unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_cannot_be_reached_is_unavailable() {
    World::run(async |world| {
        // Nothing listens on this port of the daemon's machine.
        let image = ImageRef::parse("127.0.0.1:1/quark/none:1").unwrap();
        let error = world.runtime.ensure_image(&call(), &image).await.unwrap_err();
        assert_eq!((error.kind(), error.code()), (ErrorKind::Unavailable, "registry_unavailable"));
        assert!(error.message().contains("connection refused"), "{error}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_that_is_not_wanted_any_more_ends() {
    World::run(async |world| {
        let cancelled = call();
        cancelled.cancel.cancel();
        let image = ImageRef::parse("127.0.0.1:1/quark/none:1").unwrap();
        let error = world.runtime.ensure_image(&cancelled, &image).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Cancelled);
    })
    .await;
}
