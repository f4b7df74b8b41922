//! A work folder without a disk.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;

use super::gate::Gate;
use super::op::Op;
use crate::Result;
use crate::deployment::DeploymentId;
use crate::simulation::executor::{lock, yield_now};
use crate::workspace::Workspace;

/// A work folder without a disk. Clones are the same folder.
#[derive(Clone, Debug, Default)]
pub(crate) struct SimWorkspace {
    disk: Arc<Mutex<Disk>>,
}

#[derive(Debug, Default)]
struct Disk {
    checkouts: BTreeSet<PathBuf>,
    positions: BTreeMap<String, u64>,
    /// The highest position that was ever noted.
    highest: u64,
}

impl SimWorkspace {
    /// A checkout was made.
    pub(crate) fn check_out(&self, folder: &Path) {
        lock(&self.disk).checkouts.insert(folder.to_owned());
    }

    /// The highest position of a store that was ever noted.
    pub(crate) fn highest(&self) -> u64 {
        lock(&self.disk).highest
    }

    /// The deployments that have a checkout.
    pub(crate) fn left(&self) -> Vec<DeploymentId> {
        lock(&self.disk).checkouts.iter().filter_map(|folder| id_of(folder)).collect()
    }
}

fn folder(installation: &str, id: DeploymentId) -> PathBuf {
    Path::new("/sim").join(installation).join(id.to_string())
}

fn id_of(folder: &Path) -> Option<DeploymentId> {
    folder.file_name()?.to_str()?.parse().ok()
}

/// A work folder whose disk fails now and then.
#[derive(Debug)]
pub(crate) struct FaultyWorkspace {
    pub(crate) gate: Gate,
    pub(crate) inner: SimWorkspace,
}

impl FaultyWorkspace {
    async fn try_to(&self, op: Op) -> Result<()> {
        let verdict = self.gate.begin(op);
        yield_now().await;
        match verdict.fault {
            None => Ok(()),
            Some(fault) => Err(self.gate.failure(op, fault, verdict)),
        }
    }
}

#[async_trait]
impl Workspace for FaultyWorkspace {
    async fn prepare(&self, _: &str) -> Result<()> {
        self.try_to(Op::WorkspacePrepare).await
    }

    fn checkout(&self, installation: &str, id: DeploymentId) -> PathBuf {
        folder(installation, id)
    }

    async fn has_checkout(&self, installation: &str, id: DeploymentId) -> bool {
        yield_now().await;
        lock(&self.inner.disk).checkouts.contains(&folder(installation, id))
    }

    async fn discard_checkout(&self, installation: &str, id: DeploymentId) -> Result<()> {
        self.try_to(Op::WorkspaceDiscard).await?;
        lock(&self.inner.disk).checkouts.remove(&folder(installation, id));
        Ok(())
    }

    async fn checkouts(&self, _: &str) -> Result<Vec<DeploymentId>> {
        self.try_to(Op::WorkspaceCheckouts).await?;
        Ok(self.inner.left())
    }

    async fn note_position(&self, installation: &str, position: u64) -> Result<()> {
        self.try_to(Op::WorkspaceNote).await?;
        let mut disk = lock(&self.inner.disk);
        disk.highest = disk.highest.max(position);
        let noted = disk.positions.entry(installation.to_owned()).or_default();
        *noted = position.max(*noted);
        Ok(())
    }

    async fn noted_position(&self, installation: &str) -> Result<Option<u64>> {
        self.try_to(Op::WorkspaceNoted).await?;
        Ok(lock(&self.inner.disk).positions.get(installation).copied())
    }
}
