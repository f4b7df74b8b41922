//! `Layout`: which file is where.

use std::path::PathBuf;

use quark_core::{AppName, Slot};

use crate::config::{Mode, NginxConfig, STATUS_SOCKET};

/// The places of all files.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub(crate) home: PathBuf,
    pub(crate) include_dir: PathBuf,
}

impl Layout {
    pub(crate) fn of(config: &NginxConfig) -> Self {
        let include_dir = match &config.mode {
            Mode::Own { .. } => config.home.join("conf.d"),
            Mode::Attached { include_dir, .. } => include_dir.clone(),
        };
        Self { home: config.home.clone(), include_dir }
    }

    pub(crate) fn main(&self) -> PathBuf {
        self.home.join("nginx.conf")
    }

    pub(crate) fn error_log(&self) -> PathBuf {
        self.home.join("error.log")
    }

    pub(crate) fn status_socket(&self) -> PathBuf {
        self.home.join(STATUS_SOCKET)
    }

    /// What is there once, whatever the apps. It sorts before the apps' files,
    /// and no app can have its name.
    pub(crate) fn base(&self) -> PathBuf {
        self.include_dir.join("00-quark.conf")
    }

    pub(crate) fn site(&self, app: &AppName) -> PathBuf {
        self.include_dir.join(format!("quark-{app}.conf"))
    }

    pub(crate) fn markers(&self) -> PathBuf {
        self.home.join("markers")
    }

    /// There while the green slot serves.
    pub(crate) fn green_marker(&self, app: &AppName) -> PathBuf {
        self.markers().join(format!("{app}.{}", Slot::Green))
    }

    /// There while the slot that does not serve stands in.
    pub(crate) fn backup_marker(&self, app: &AppName) -> PathBuf {
        self.markers().join(format!("{app}.backup"))
    }

    /// There while this hundredth of the requests goes to the slot that is not active.
    pub(crate) fn canary_marker(&self, app: &AppName, bucket: u8) -> PathBuf {
        self.markers().join(format!("{app}.canary.{bucket}"))
    }

    pub(crate) fn states(&self) -> PathBuf {
        self.home.join("state")
    }

    pub(crate) fn state(&self, app: &AppName) -> PathBuf {
        self.states().join(format!("{app}.json"))
    }

    pub(crate) fn locks(&self) -> PathBuf {
        self.home.join("locks")
    }

    /// Held while anything of an app is changed.
    pub(crate) fn app_lock(&self, app: &AppName) -> PathBuf {
        self.locks().join(format!("{app}.lock"))
    }

    /// Held while a host name is taken. No app is called so: names have no `.`.
    pub(crate) fn names_lock(&self) -> PathBuf {
        self.locks().join("all.names.lock")
    }

    /// Held while nginx's configuration is changed, up to its confirmation.
    pub(crate) fn tree_lock(&self) -> PathBuf {
        self.locks().join("all.tree.lock")
    }

    pub(crate) fn staging(&self) -> PathBuf {
        self.home.join("staging")
    }
}
