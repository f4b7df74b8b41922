//! `Table`: all processes of the machine at one moment.

use std::collections::HashMap;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;

use quark_core::process::ProcessRef;
use quark_core::{Error, ErrorKind, Result, Timestamp};

use super::files::failed;

/// One process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    /// Which.
    pub(crate) process: ProcessRef,
    /// Whose child it is.
    pub(crate) parent: u32,
    /// Whether it has ended and only waits for its parent to notice.
    pub(crate) ended: bool,
    /// How it ended, as `wait` would say.
    status: i32,
}

impl Entry {
    /// The exit code of a process that has ended.
    pub(crate) fn code(&self) -> Option<i32> {
        exit_code(ExitStatus::from_raw(self.status))
    }

    /// Reads `/proc/<pid>/stat`; see proc_pid_stat(5). `None` if there is no
    /// such process.
    pub(crate) fn read(pid: u32) -> Option<Self> {
        let bytes = fs::read(format!("/proc/{pid}/stat")).ok()?;
        Self::parse(pid, &bytes)
    }

    fn parse(pid: u32, stat: &[u8]) -> Option<Self> {
        // The name in parentheses may hold anything, also a `)` and bytes that
        // are no text, so fields are counted from the last one: the state is
        // field 3, index 0 here.
        let end = stat.iter().rposition(|byte| *byte == b')')?;
        let text = std::str::from_utf8(stat.get(end + 1..)?).ok()?;
        let fields: Vec<&str> = text.split_ascii_whitespace().collect();
        let state = *fields.first()?;
        let threads: u64 = fields.get(17)?.parse().ok()?;
        // A main thread that has ended looks like a zombie while the other
        // threads go on and keep files and sockets open.
        let ended = matches!(state, "Z" | "X") && threads <= 1;
        let process = ProcessRef { pid, group: fields.get(2)?.parse().ok()?, started: fields.get(19)?.parse().ok()? };
        Some(Self {
            process,
            parent: fields.get(1)?.parse().ok()?,
            ended,
            status: fields.get(49).and_then(|field| field.parse().ok()).unwrap_or(0),
        })
    }
}

/// The code of a process that has ended; 128 + signal for a signal.
pub(crate) fn exit_code(status: ExitStatus) -> Option<i32> {
    status.code().or_else(|| status.signal().map(|signal| 128 + signal))
}

/// All processes of the machine at one moment.
#[derive(Debug)]
pub(crate) struct Table {
    entries: HashMap<u32, Entry>,
}

impl Table {
    /// Reads the table. Takes about 10 µs for each process of the machine.
    pub(crate) fn read() -> Result<Self> {
        let folder = fs::read_dir("/proc").map_err(|error| failed("read", Path::new("/proc"), error))?;
        let pids = folder.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        // A process that ends between the two looks is not there.
        Ok(Self { entries: pids.filter_map(|pid| Some((pid, Entry::read(pid)?))).collect() })
    }

    /// The process with this id.
    pub(crate) fn with_pid(&self, pid: u32) -> Option<&Entry> {
        self.entries.get(&pid)
    }

    /// This very process: its id alone could be another's by now.
    pub(crate) fn find(&self, process: &ProcessRef) -> Option<&Entry> {
        self.with_pid(process.pid).filter(|entry| entry.process.started == process.started)
    }

    /// All processes.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }
}

/// Names this run of the machine: process ids and start times begin anew with
/// each.
pub(crate) fn boot_id() -> Result<String> {
    let path = Path::new("/proc/sys/kernel/random/boot_id");
    let text = fs::read_to_string(path).map_err(|error| failed("read", path, error))?;
    Ok(text.trim().to_owned())
}

/// When a process was started.
///
/// It is computed from what the kernel keeps and not written down by whoever
/// started the process, so that all who look see the same value.
pub(crate) fn started_at(process: &ProcessRef) -> Result<Timestamp> {
    let path = Path::new("/proc/stat");
    let text = fs::read_to_string(path).map_err(|error| failed("read", path, error))?;
    let boot: Option<i64> = text.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok());
    let boot = boot.ok_or_else(|| Error::new(ErrorKind::Unsupported, "`/proc/stat` has no `btime`"))?;
    let tick = 1_000_000 / rustix::param::clock_ticks_per_second().max(1);
    let ticks = i64::try_from(process.started).unwrap_or(i64::MAX);
    let micros = ticks.saturating_mul(i64::try_from(tick).unwrap_or(i64::MAX));
    // Two processes started within one tick shall differ.
    let micros = micros.saturating_add(i64::from(process.pid) % i64::try_from(tick).unwrap_or(1).max(1));
    Ok(Timestamp::from_micros(boot.saturating_mul(1_000_000).saturating_add(micros)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat(name: &[u8], state: char, threads: u32) -> Vec<u8> {
        let mut line = [b"7 (", name, b") "].concat();
        let zeros = |count: usize| vec!["0"; count].join(" ");
        line.extend(format!("{state} 3 7 {} {threads} 0 99 {} 1792 0\n", zeros(14), zeros(29)).into_bytes());
        line
    }

    #[test]
    fn names_of_processes_cannot_mislead() {
        for name in [&b"server"[..], b"a) Z 1 1 1", b"\xff\xfe", b"x y\n"] {
            let entry = Entry::parse(7, &stat(name, 'S', 4)).unwrap();
            assert_eq!((entry.parent, entry.process.group, entry.process.started), (3, 7, 99));
            assert!(!entry.ended);
        }
    }

    #[test]
    fn a_zombie_has_ended_when_its_last_thread_has() {
        assert!(!Entry::parse(7, &stat(b"x", 'Z', 3)).unwrap().ended);
        let ended = Entry::parse(7, &stat(b"x", 'Z', 1)).unwrap();
        assert!(ended.ended);
        assert_eq!(ended.code(), Some(7));
    }

    #[test]
    fn this_process_was_started_before_now() {
        let own = Entry::read(std::process::id()).unwrap();
        assert!(Table::read().unwrap().find(&own.process).is_some());
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let ago = now.as_micros() as i64 - started_at(&own.process).unwrap().as_micros();
        assert!((-2_000_000..600_000_000).contains(&ago), "{ago}");
    }
}
