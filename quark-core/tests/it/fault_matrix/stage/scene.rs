//! How most tests begin: an app serves, and an engine is about to replace it.

use quark_core::{App, CommitSha, Deployment, DeploymentEngine};

use super::{Fate, Stage, app, succeed, want};

/// An app that serves its first version, and an engine with a fate.
pub(crate) struct Scene {
    pub(crate) stage: Stage,
    /// What is live.
    pub(crate) first: Deployment,
    pub(crate) fate: Fate,
    pub(crate) engine: DeploymentEngine,
}

impl Scene {
    pub(crate) async fn new() -> Self {
        Self::of(Stage::new(), app()).await
    }

    pub(crate) async fn of(stage: Stage, app: App) -> Self {
        let engine = stage.next().await;
        engine.create_app(app).await.unwrap();
        let commit = stage.good();
        let first = succeed(&engine, want(&engine, &commit).await.id).await;
        engine.shutdown().await;
        let fate = Fate::default();
        let engine = stage.engine(&fate).await;
        Self { stage, first, fate, engine }
    }

    /// Asks for a second version that is well.
    pub(crate) async fn second(&self) -> Deployment {
        self.deploy(&self.stage.good()).await
    }

    pub(crate) async fn deploy(&self, commit: &CommitSha) -> Deployment {
        want(&self.engine, commit).await
    }

    /// Brings a second version into service; the first stands by.
    pub(crate) async fn with_standby(&self) -> Deployment {
        succeed(&self.engine, self.second().await.id).await
    }

    /// Kills the engine and starts another one in its place.
    pub(crate) async fn restart(&self) -> DeploymentEngine {
        self.fate.kill();
        self.stage.next().await
    }
}
