//! Containers that nothing refers to, on the wire.

use quark_core::engine::{Garbage, Orphan};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Containers that carry our labels and that nothing refers to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GarbageView {
    /// The containers.
    pub orphans: Vec<OrphanView>,
    /// How many containers carry our labels in all.
    pub managed: usize,
    /// Whether there are so many orphans that none is removed until somebody says so.
    pub suspicious: bool,
}

/// A container that nothing refers to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OrphanView {
    /// Its name.
    pub name: String,
    /// The deployment that made it.
    pub deployment: String,
}

impl From<Garbage> for GarbageView {
    fn from(garbage: Garbage) -> Self {
        let suspicious = garbage.is_suspicious();
        let orphans = garbage.orphans.into_iter().map(Into::into).collect();
        Self { orphans, managed: garbage.managed, suspicious }
    }
}

impl From<Orphan> for OrphanView {
    fn from(orphan: Orphan) -> Self {
        Self { name: orphan.name.into(), deployment: orphan.deployment.to_string() }
    }
}
