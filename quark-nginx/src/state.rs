//! `AppState`: what is remembered of an app beside what nginx reads.

use quark_core::backend::{LastChange, Route};
use quark_core::deployment::Generation;
use quark_core::{AppName, Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use crate::files;
use crate::layout::Layout;

/// The wanted route, written down before anything is done about it.
///
/// It outlives the route: an engine that was cut off must not bring a removed
/// route back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AppState {
    /// The last change that was seen. What was ordered before it is refused.
    pub(crate) last: LastChange,
    /// What is wanted; `None` for an app that was removed or refused.
    pub(crate) wanted: Option<Wanted>,
    /// The generation that was in force before: what is told as long as
    /// `wanted` is not in force.
    pub(crate) before: Generation,
}

/// A route that is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Wanted {
    pub(crate) route: Route,
    /// The name of the site file's content.
    pub(crate) shape: String,
}

impl AppState {
    pub(crate) fn read(layout: &Layout, app: &AppName) -> Result<Self> {
        let path = layout.state(app);
        let text = files::read(&path)?.unwrap_or_default();
        // A power cut between `put` and `sync` may leave an empty file, or one
        // of zeros. No engine that could be fenced off has survived it.
        if text.bytes().all(|byte| byte == 0) {
            return Ok(Self::default());
        }
        serde_json::from_str(&text).map_err(|cause| {
            // It is replaced in one step, so it was changed by somebody else.
            Error::new(ErrorKind::Internal, format!("`{}` cannot be understood", path.display()))
                .with_code("broken_state")
                .with_hint("remove the file while no engine runs; the route is applied anew then")
                .with_source(cause)
        })
    }

    pub(crate) fn write(&self, layout: &Layout, app: &AppName) -> Result<()> {
        files::replace(&layout.state(app), &self.text()?)
    }

    /// Writes it down so that it survives this process; `sync` does the rest.
    pub(crate) fn put(&self, layout: &Layout, app: &AppName) -> Result<()> {
        files::put(&layout.state(app), &self.text()?)
    }

    /// Makes what was put survive a power cut.
    pub(crate) fn sync(layout: &Layout, app: &AppName) -> Result<()> {
        let path = layout.state(app);
        if path.exists() {
            files::sync(&path)?;
        }
        files::sync(&layout.states())
    }

    pub(crate) fn text(&self) -> Result<String> {
        serde_json::to_string_pretty(self).map_err(|cause| {
            Error::new(ErrorKind::Internal, "the state of a route could not be written down").with_source(cause)
        })
    }

    /// The name of `wanted` that another app has already, with that app.
    pub(crate) fn taken_name(layout: &Layout, wanted: &Route) -> Result<Option<(String, AppName)>> {
        for name in files::list(&layout.states())? {
            let Some(Ok(other)) = name.strip_suffix(".json").map(AppName::parse) else { continue };
            if other == wanted.app {
                continue;
            }
            let Some(has) = Self::read(layout, &other)?.wanted else { continue };
            if let Some(name) = has.route.domains.iter().find(|name| wanted.domains.contains(name)) {
                return Ok(Some((name.to_string(), other)));
            }
        }
        Ok(None)
    }
}
