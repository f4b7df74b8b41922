//! What is written down about containers, and where.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use quark_core::app::{Argv, Artifact, EnvVars};
use quark_core::backend::container_runtime::label;
use quark_core::backend::{ContainerId, ContainerSpec, Labels};
use quark_core::process::ProcessRef;
use quark_core::{ContainerName, Endpoint, Error, ErrorKind, LogStream, Result};
use serde::{Deserialize, Serialize};

use crate::system::family::Family;
use crate::system::files::{failed, is_absent, read_json, remove_dir, remove_file, write_json};
use crate::system::mark::{self, Mark};

const RECORD: &str = "container.json";
const PROCESS: &str = "process.json";
const EXIT: &str = "exit.json";
/// How the names of folders begin that are being removed.
const REMOVED: &str = ".removed-";

/// What `container.json` says: all that a container is made from. The
/// container exists when this file does.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Record {
    /// The form of this file; 1.
    version: u32,
    /// Its name.
    pub(super) name: ContainerName,
    /// Its labels.
    pub(super) labels: Labels,
    /// The image.
    pub(super) artifact: Artifact,
    /// What to start, instead of what the image says.
    pub(super) command: Option<Argv>,
    /// Its variables. Secrets: the file can be read by its owner only.
    pub(super) env: EnvVars,
    /// Where the router reaches it, if it is an instance.
    #[serde(default)]
    pub(super) endpoint: Option<Endpoint>,
}

impl Record {
    const VERSION: u32 = 1;

    pub(super) fn of(spec: &ContainerSpec) -> Self {
        Self {
            version: Self::VERSION,
            name: spec.name.clone(),
            labels: spec.labels(),
            artifact: spec.artifact.clone(),
            command: spec.command.clone(),
            env: spec.env.clone(),
            endpoint: spec.endpoint().cloned(),
        }
    }

    /// Whether the container was made from this spec.
    pub(super) fn is_made_from(&self, spec: &ContainerSpec) -> bool {
        self.labels.get(label::SPEC) == Some(&spec.hash())
    }

    /// Whether it is a hook, which is started once.
    pub(super) fn is_hook(&self) -> bool {
        self.labels.contains_key(label::HOOK)
    }

    /// Whether the container carries all of these labels.
    pub(super) fn carries(&self, labels: &Labels) -> bool {
        labels.iter().all(|(name, value)| self.labels.get(name) == Some(value))
    }
}

/// What `process.json` says: the process of the last start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Started {
    /// Which process.
    pub(super) process: ProcessRef,
    /// During which run of the machine.
    pub(super) boot: String,
}

/// What `exit.json` says: how the process ended, by whoever was its parent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Exit {
    /// Which process; of another start it does not count.
    #[serde(flatten)]
    pub(super) of: Started,
    /// The exit code; 128 + signal for a signal.
    pub(super) code: Option<i32>,
}

/// All containers of an installation.
#[derive(Clone, Debug)]
pub(super) struct Containers {
    state_dir: PathBuf,
    folder: PathBuf,
}

impl Containers {
    pub(super) fn in_state(state_dir: &Path) -> Self {
        Self { state_dir: state_dir.to_owned(), folder: state_dir.join("containers") }
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Removes what engines have left that died while they removed something.
    pub(super) fn sweep(&self) -> Result<()> {
        let unreadable = |error| failed("read", &self.folder, error);
        for entry in fs::read_dir(&self.folder).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            if entry.file_name().to_string_lossy().starts_with(REMOVED) {
                remove_dir(&entry.path())?;
            }
        }
        Ok(())
    }

    /// The place of a container, whether it exists or not.
    pub(super) fn place(&self, name: &ContainerName) -> Place {
        Place {
            folder: self.folder.join(name.as_str()),
            mark: Mark::new(mark::CONTAINER, name.as_str(), &self.state_dir),
            name: name.clone(),
        }
    }

    /// The place of a container by its id; `None` if no container of ours can
    /// have this id.
    pub(super) fn place_of(&self, id: &ContainerId) -> Option<Place> {
        ContainerName::parse(&id.0).ok().map(|name| self.place(&name))
    }

    /// The places of all containers, in the order of their names.
    pub(super) fn places(&self) -> Result<Vec<Place>> {
        let unreadable = |error| failed("read", &self.folder, error);
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            // What has another name was not put there by us.
            names.extend(entry.file_name().to_str().and_then(|name| ContainerName::parse(name).ok()));
        }
        names.sort();
        Ok(names.iter().map(|name| self.place(name)).collect())
    }
}

/// The place of one container.
#[derive(Clone, Debug)]
pub(super) struct Place {
    folder: PathBuf,
    mark: Mark,
    name: ContainerName,
}

impl Place {
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn name(&self) -> &ContainerName {
        &self.name
    }

    pub(super) fn id(&self) -> ContainerId {
        ContainerId(self.name.to_string())
    }

    pub(super) fn mark(&self) -> &Mark {
        &self.mark
    }

    /// The file that a stream goes to.
    pub(super) fn output(&self, stream: LogStream) -> PathBuf {
        self.folder.join(if stream == LogStream::Stderr { "stderr.log" } else { "stdout.log" })
    }

    /// How to know the container's processes.
    pub(super) fn family(&self, leader: Option<ProcessRef>) -> Family {
        let output = [LogStream::Stdout, LogStream::Stderr].map(|stream| self.output(stream)).to_vec();
        Family { mark: self.mark.clone(), leader, output }
    }

    /// The container, if it exists.
    pub(super) fn record(&self) -> Result<Option<Record>> {
        let record: Option<Record> = read_json(&self.folder.join(RECORD))?;
        match record {
            Some(record) if record.version != Record::VERSION => {
                let message = format!("container `{}` was made by another version of QUARK", self.name);
                Err(Error::new(ErrorKind::Unsupported, message).with_code("state_version"))
            }
            record => Ok(record),
        }
    }

    /// The container.
    pub(super) fn existing(&self) -> Result<Record> {
        self.record()?.ok_or_else(|| not_found(self.name.as_str()))
    }

    pub(super) fn write_record(&self, record: &Record) -> Result<()> {
        write_json(&self.folder, RECORD, record)
    }

    pub(super) fn started(&self) -> Result<Option<Started>> {
        read_json(&self.folder.join(PROCESS))
    }

    pub(super) fn write_started(&self, started: &Started) -> Result<()> {
        write_json(&self.folder, PROCESS, started)
    }

    pub(super) fn exit(&self) -> Result<Option<Exit>> {
        read_json(&self.folder.join(EXIT))
    }

    pub(super) fn write_exit(&self, exit: &Exit) -> Result<()> {
        write_json(&self.folder, EXIT, exit)
    }

    /// Forgets the last start: from here on a process that carries the mark is
    /// that of the next one.
    pub(super) fn forget_start(&self) -> Result<()> {
        remove_file(&self.folder.join(EXIT))?;
        remove_file(&self.folder.join(PROCESS))
    }

    /// Makes the container not exist, then removes what is left of it.
    pub(super) fn remove(&self) -> Result<()> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let aside = format!("{REMOVED}{}-{}-{number}", self.name, std::process::id());
        let aside = self.folder.with_file_name(aside);
        // At once, so that nobody finds a part of it or writes into it.
        match fs::rename(&self.folder, &aside) {
            Err(error) if is_absent(&error) => Ok(()),
            Err(error) => Err(failed("removed", &self.folder, error)),
            Ok(()) => remove_dir(&aside),
        }
    }
}

/// The error for a container that is not there.
pub(super) fn not_found(id: &str) -> Error {
    let shown: String = id.chars().take(128).flat_map(char::escape_debug).collect();
    Error::new(ErrorKind::NotFound, format!("there is no container `{shown}`")).with_code("container_not_found")
}
