//! What is refused before anything is written down.

use quark_core::{App, DeployRequest, ErrorKind, ImageRef, Source};

use super::world::{World, app, name};

#[tokio::test]
async fn local_repositories_need_permission() {
    let world = World::new();
    let engine = world.engine().await;
    let spec = App { source: Source::git("file:///srv/repository", "main").unwrap(), ..app() };
    let error = engine.create_app(spec).await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::InvalidInput, "repo_scheme_not_allowed"));
    assert_eq!(error.field(), Some("app.source.repository"));
    engine.shutdown().await;
}

#[tokio::test]
async fn names_below_the_base_domain_are_reserved() {
    let world = World::new();
    let engine = world.engine().await;
    for taken in ["other.localhost", "localhost", "a.b.localhost"] {
        let error = engine.create_app(app().with_domain(taken.parse().unwrap())).await.unwrap_err();
        assert_eq!((error.code(), error.field()), ("domain_reserved", Some("app.domains")), "{taken}");
    }
    engine.create_app(app().with_domain("shop.localhost".parse().unwrap())).await.unwrap();
    engine.shutdown().await;
}

#[tokio::test]
async fn a_request_must_fit_the_source() {
    let world = World::new();
    let engine = world.engine().await;
    engine.create_app(app()).await.unwrap();
    let request = DeployRequest { image: Some(ImageRef::parse("x").unwrap()), ..DeployRequest::default() };
    let error = engine.deploy(&name(), request).await.unwrap_err();
    assert_eq!(error.code(), "source_mismatch");
    assert!(engine.deployments(&name(), None, 10).await.unwrap().is_empty());
    engine.shutdown().await;
}
