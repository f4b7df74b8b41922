//! Bringing the sites of all apps up to date when a router is opened with
//! other settings than they were written with, or by another version of QUARK.

use std::path::PathBuf;

use quark_core::{AppName, Result};

use crate::files;
use crate::lock::FileLock;
use crate::shared::{Shared, blocking};
use crate::site::{self, Shape};
use crate::state::{AppState, Wanted};

/// What was written, to be put back if nginx refuses it.
#[derive(Debug, Default)]
pub(crate) struct Refreshed {
    /// The files that were changed, as they were.
    pub(crate) before: Vec<(PathBuf, Option<String>)>,
    /// Nobody else changes these apps until it is known whether nginx agrees.
    locks: Vec<FileLock>,
}

impl Refreshed {
    /// Writes a file unless it is like that already, and remembers what it was.
    pub(crate) fn write(&mut self, path: PathBuf, text: &str) -> Result<()> {
        let present = files::read(&path)?;
        if present.as_deref() != Some(text) {
            files::replace(&path, text)?;
            self.before.push((path, present));
        }
        Ok(())
    }

    /// Puts the files back.
    pub(crate) fn undo(self) -> Result<()> {
        self.before.into_iter().try_for_each(|(path, text)| match text {
            Some(text) => files::replace(&path, &text),
            None => files::remove(&path),
        })
    }
}

impl Shared {
    /// Renders the sites that are in force anew and writes those that differ.
    pub(crate) async fn refresh_sites(&self, mut refreshed: Refreshed) -> Result<Refreshed> {
        let (layout, settings) = (self.layout.clone(), self.settings.clone());
        blocking(move || {
            for name in files::list(&layout.states())? {
                let Some(Ok(app)) = name.strip_suffix(".json").map(AppName::parse) else { continue };
                // Whoever has the lock is about to write this site anyway.
                let Some(lock) = FileLock::try_take(&layout.app_lock(&app))? else { continue };
                let state = AppState::read(&layout, &app)?;
                let (Some(wanted), Some(text)) = (&state.wanted, files::read(&layout.site(&app))?) else { continue };
                // A change that a crash broke off is its engine's to decide.
                if site::shape(&text) != Some(&wanted.shape) {
                    continue;
                }
                let site = Shape::of(&wanted.route)?.site(&settings)?;
                if !site.is(&text) {
                    refreshed.write(layout.site(&app), &site.text(&wanted.route))?;
                    let wanted = Wanted { shape: site.shape, ..wanted.clone() };
                    let state = AppState { wanted: Some(wanted), ..state };
                    refreshed.write(layout.state(&app), &state.text()?)?;
                    refreshed.locks.push(lock);
                }
            }
            Ok(refreshed)
        })
        .await
    }
}
