//! The process table: who runs, since when, and how to signal them.

use std::fs;
use std::path::Path;

use rustix::process::{Pid, Signal as SystemSignal, kill_process, kill_process_group};
use serde::{Deserialize, Serialize};

use crate::{Error, ErrorKind, Result};

/// A process by its id and its start time. The id is used again after the
/// process has ended; both together are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ProcessRef {
    /// The process id.
    pub pid: u32,
    /// When it started, in clock ticks since the machine did.
    pub started: u64,
    /// Its process group.
    pub group: u32,
}

/// What a process is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "it runs, it is a zombie, or it is gone")]
pub enum ProcessState {
    /// It exists and can do something.
    Alive,
    /// It has ended; its parent has not asked for the result yet.
    Zombie,
    /// It has ended, or the id belongs to somebody else by now.
    Gone,
}

/// What to tell a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Signal {
    /// End when you can.
    Terminate,
    /// Finish what you do, then end.
    Quit,
    /// Read your configuration again.
    Hangup,
    /// End now; the process is not asked.
    Kill,
}

impl Signal {
    fn system(self) -> SystemSignal {
        match self {
            Self::Terminate => SystemSignal::TERM,
            Self::Quit => SystemSignal::QUIT,
            Self::Hangup => SystemSignal::HUP,
            Self::Kill => SystemSignal::KILL,
        }
    }
}

impl ProcessRef {
    /// The process that has this id now.
    #[must_use]
    pub fn of_pid(pid: u32) -> Option<Self> {
        read_stat(pid).map(|stat| Self { pid, started: stat.started, group: stat.group })
    }

    /// What it is doing now.
    #[must_use]
    pub fn state(&self) -> ProcessState {
        match read_stat(self.pid) {
            Some(stat) if stat.started != self.started => ProcessState::Gone,
            Some(stat) if matches!(stat.state, 'Z' | 'X') => ProcessState::Zombie,
            Some(_) => ProcessState::Alive,
            None => ProcessState::Gone,
        }
    }

    /// Whether it can still do something.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.state() == ProcessState::Alive
    }

    /// Signals the process, if it is still the same. Whether it was.
    #[must_use]
    pub fn signal(&self, signal: Signal) -> bool {
        self.is_alive() && pid(self.pid).is_some_and(|pid| kill_process(pid, signal.system()).is_ok())
    }

    /// Signals the process group that it leads or led. A group id is not used
    /// again while a member of the group is left.
    pub fn signal_group(&self, signal: Signal) {
        // An empty group cannot be signalled, and need not be.
        if let Some(group) = pid(self.group) {
            let _ = kill_process_group(group, signal.system());
        }
    }
}

fn pid(raw: u32) -> Option<Pid> {
    i32::try_from(raw).ok().filter(|raw| *raw > 1).and_then(Pid::from_raw)
}

struct Stat {
    state: char,
    group: u32,
    started: u64,
}

/// Reads `/proc/<pid>/stat`; see proc_pid_stat(5). The name in parentheses may
/// hold anything, so fields are counted from the last `)`.
fn read_stat(pid: u32) -> Option<Stat> {
    let bytes = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let mut fields = text.get(text.rfind(')')? + 2..)?.split(' ');
    let state = fields.next()?.chars().next()?;
    let group = fields.nth(1)?.parse().ok()?;
    // State is field 3, the group 5 and the start time 22.
    let started = fields.nth(16)?.parse().ok()?;
    Some(Stat { state, group, started })
}

/// The processes of this user whose environment has `key=value`: how processes
/// of an engine that died are found again without a race, because the mark is
/// on them from their first instruction on.
///
/// # Errors
///
/// [`ErrorKind::Unsupported`] where there is no `/proc`.
pub fn find(key: &str, value: &str) -> Result<Vec<ProcessRef>> {
    if !Path::new("/proc/self/environ").exists() {
        return Err(Error::new(ErrorKind::Unsupported, "finding processes needs Linux with `/proc` mounted"));
    }
    let wanted = format!("{key}={value}");
    let entries = fs::read_dir("/proc")
        .map_err(|error| Error::new(ErrorKind::Unavailable, "`/proc` cannot be read").with_source(error))?;
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let marked = |pid: &u32| {
        // Processes of others, and those that end meanwhile, cannot be read.
        let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environ.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes())
    };
    Ok(pids.filter(marked).filter_map(ProcessRef::of_pid).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_alive_and_another_start_time_is_not_it() {
        let own = ProcessRef::of_pid(std::process::id()).unwrap();
        assert!(own.is_alive());
        let other = ProcessRef { started: own.started + 1, ..own };
        assert_eq!(other.state(), ProcessState::Gone);
        assert!(!other.signal(Signal::Kill), "a process is never signalled by its id alone");
    }
}
