//! `LocalConfig`: where things are kept and what programs are given.

use std::ffi::OsString;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use quark_core::{Error, ErrorKind, Result};

use crate::system::files::{failed, private_dir};

/// Where programs are looked for when the engine itself has no `PATH`.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The settings that [`LocalRuntime`](crate::LocalRuntime) and
/// [`LocalBuilder`](crate::LocalBuilder) share: give both the same.
#[derive(Clone, Debug)]
pub struct LocalConfig {
    state_dir: PathBuf,
    ports: RangeInclusive<u16>,
    inherited: Vec<String>,
}

impl LocalConfig {
    /// Keeps everything under `state_dir`, which is made if it is not there.
    /// No other installation may use the same folder.
    #[must_use]
    pub fn new(state_dir: PathBuf) -> Self {
        let inherited = ["PATH", "HOME", "RUSTUP_HOME", "CARGO_HOME", "LANG"].map(str::to_owned).to_vec();
        Self { state_dir, ports: 30000..=39999, inherited }
    }

    /// The ports that instances get; 30000 to 39999 by default.
    #[must_use]
    pub fn with_ports(mut self, ports: RangeInclusive<u16>) -> Self {
        self.ports = ports;
        self
    }

    /// The names of the engine's own variables that *builds* get; `PATH`,
    /// `HOME`, `RUSTUP_HOME`, `CARGO_HOME` and `LANG` by default. `PATH` is
    /// given in any case, and is the only one that instances get.
    #[must_use]
    pub fn with_inherited(mut self, names: &[&str]) -> Self {
        self.inherited = names.iter().map(|name| (*name).to_owned()).collect();
        self
    }

    /// The folder under which everything is kept.
    #[must_use]
    pub fn state_dir(&self) -> &Path {
        &self.state_dir
    }

    /// The ports that instances get.
    #[must_use]
    pub fn ports(&self) -> RangeInclusive<u16> {
        self.ports.clone()
    }

    /// The names of the variables that builds get.
    #[must_use]
    pub fn inherited(&self) -> &[String] {
        &self.inherited
    }

    /// Checks the settings, makes the folder, and names it in its one true way.
    pub(crate) fn prepared(mut self) -> Result<Self> {
        self.check()?;
        if !self.state_dir.exists() {
            private_dir(&self.state_dir)?;
        }
        self.state_dir = self.state_dir.canonicalize().map_err(|error| failed("opened", &self.state_dir, error))?;
        Ok(self)
    }

    fn check(&self) -> Result<()> {
        if self.ports.is_empty() || *self.ports.start() == 0 {
            let range = format!("{} to {}", self.ports.start(), self.ports.end());
            return Err(Error::new(ErrorKind::InvalidConfig, format!("the ports {range} are not a range of ports"))
                .with_code("invalid_ports")
                .with_field("ports")
                .with_hint("give a range such as 30000..=39999"));
        }
        Ok(())
    }
}

/// The `PATH` that programs get and are looked for in.
pub(crate) fn search_path() -> OsString {
    std::env::var_os("PATH").filter(|path| !path.is_empty()).unwrap_or_else(|| DEFAULT_PATH.into())
}
