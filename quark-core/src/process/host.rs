//! `LinuxHost`: what this machine has and how much of it is left, as its kernel
//! tells.

use std::fs;
use std::path::{Path, PathBuf};

use async_trait::async_trait;

use crate::backend::{HostCapacity, HostGauge};
use crate::{Error, ErrorKind, Result};

/// This machine, by `/proc`, `statvfs(2)` and, if it is asked to, the control
/// groups (version 2) of this very process.
///
/// | figure | where it is from |
/// |---|---|
/// | CPUs | `/proc/stat` |
/// | load | `/proc/loadavg`, the average over a minute: it counts who waits for a disk, too |
/// | memory | `/proc/meminfo`: `MemTotal`, `MemAvailable` |
/// | disk | `statvfs` of the folders that are named, what is free for this user |
/// | processes | `/proc/loadavg`, `kernel.threads-max`, `kernel.pid_max` |
///
/// ```no_run
/// use quark_core::process::LinuxHost;
/// // Containers are made by a daemon, and lie where that keeps them.
/// let host = LinuxHost::new().with_disk("/var/lib/docker");
/// // Processes are children of this one, and share its limits.
/// let host = LinuxHost::new().within_own_limits().with_disk("/srv/apps");
/// ```
#[derive(Clone, Debug, Default)]
pub struct LinuxHost {
    disks: Vec<PathBuf>,
    own_limits: bool,
}

impl LinuxHost {
    /// The whole machine, whatever limits this process has; nothing is known of a disk.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Looks at the disk of this folder as well.
    #[must_use]
    pub fn with_disk(mut self, folder: impl Into<PathBuf>) -> Self {
        self.disks.push(folder.into());
        self
    }

    /// Where this process may use less than the machine has, tells of what it may
    /// use: for instances that are its children. Of a limit of CPU time no load is told.
    #[must_use]
    pub fn within_own_limits(mut self) -> Self {
        self.own_limits = true;
        self
    }

    fn look(&self) -> Result<HostCapacity> {
        let mut capacity = machine(&read("/proc/stat")?, &read("/proc/loadavg")?, &read("/proc/meminfo")?);
        let most = ["/proc/sys/kernel/threads-max", "/proc/sys/kernel/pid_max"].map(|path| number(Path::new(path)));
        capacity.pids = most.into_iter().flatten().min();
        // Both move while they are read.
        capacity.pids_used = capacity.pids_used.zip(capacity.pids).map(|(used, most)| used.min(most));
        if self.own_limits {
            limit(&mut capacity, &own_groups());
        }
        let disks: Vec<(u64, u64)> = self.disks.iter().map(|folder| disk(folder)).collect::<Result<_>>()?;
        let share = |(total, free): &(u64, u64)| u128::from(*free) * 1_000_000 / u128::from(*total).max(1);
        if let Some((total, free)) = disks.into_iter().filter(|(total, _)| *total > 0).min_by_key(share) {
            (capacity.disk_bytes, capacity.disk_free_bytes) = (Some(total), Some(free.min(total)));
        }
        Ok(capacity)
    }
}

#[async_trait]
impl HostGauge for LinuxHost {
    async fn capacity(&self) -> Result<HostCapacity> {
        let host = self.clone();
        // A disk that hangs must not keep others waiting.
        let looked = tokio::task::spawn_blocking(move || host.look()).await;
        looked.map_err(|error| unseen("this machine").with_source(error))?
    }
}

fn unseen(what: &str) -> Error {
    Error::new(ErrorKind::Unavailable, format!("{what} cannot be looked at")).with_code("host_unseen")
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(path).map_err(|error| {
        unseen(&format!("`{path}`")).with_hint("this needs Linux with `/proc` mounted").with_source(error)
    })
}

/// A file that holds one number; `None` if it holds a word, such as `max`.
fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// What the kernel says of the whole machine; see proc(5).
fn machine(stat: &str, loadavg: &str, meminfo: &str) -> HostCapacity {
    let is_processor = |line: &&str| line.strip_prefix("cpu").is_some_and(|rest| rest.starts_with(char::is_numeric));
    let processors = u64::try_from(stat.lines().filter(is_processor).count()).ok().filter(|count| *count > 0);
    let mut words = loadavg.split_whitespace();
    let load = words.next().and_then(thousandths).filter(|_| processors.is_some());
    // The average over 5 and over 15 minutes come next, then `running/all`.
    let tasks = words.nth(2).and_then(|tasks| tasks.split_once('/')).and_then(|(_, all)| all.parse().ok());
    let kib = |name: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim_start_matches(':').trim().trim_end_matches(" kB").parse::<u64>().ok()?.checked_mul(1024)
    };
    let memory_bytes = kib("MemTotal").filter(|total| *total > 0);
    HostCapacity {
        cpu_millis: processors.map(|count| count * 1000),
        cpu_load_millis: load,
        memory_bytes,
        memory_available_bytes: memory_bytes.and_then(|total| Some(kib("MemAvailable")?.min(total))),
        pids_used: tasks,
        ..HostCapacity::default()
    }
}

/// A number with up to three places, such as `0.25`, in thousandths.
fn thousandths(text: &str) -> Option<u64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let part: String = part.chars().chain("000".chars()).take(3).collect();
    whole.parse::<u64>().ok()?.checked_mul(1000)?.checked_add(part.parse().ok()?)
}

/// The size of the disk of a folder, and what is free of it for this user.
fn disk(folder: &Path) -> Result<(u64, u64)> {
    let told = rustix::fs::statvfs(folder)
        .map_err(|error| unseen(&format!("the disk of `{}`", folder.display())).with_source(error))?;
    Ok((told.f_blocks.saturating_mul(told.f_frsize), told.f_bavail.saturating_mul(told.f_frsize)))
}

/// What one control group may use, and uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Group {
    cpu_millis: Option<u64>,
    memory_bytes: Option<u64>,
    memory_used: Option<u64>,
    pids: Option<u64>,
    pids_used: Option<u64>,
}

/// The control groups that this process is in, from its own to the outermost
/// one that can be seen.
fn own_groups() -> Vec<Group> {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let Some(path) = groups.lines().find_map(|line| line.strip_prefix("0::")) else { return Vec::new() };
    let root = Path::new("/sys/fs/cgroup");
    let own = root.join(path.trim_start_matches('/'));
    own.ancestors().take_while(|folder| folder.starts_with(root)).map(group).collect()
}

fn group(folder: &Path) -> Group {
    let text = |name: &str| fs::read_to_string(folder.join(name)).ok();
    let count = |name: &str| number(&folder.join(name));
    // What was read from files is given back when it is asked for.
    let cached = text("memory.stat")
        .and_then(|stat| stat.lines().find_map(|line| line.strip_prefix("inactive_file "))?.trim().parse::<u64>().ok());
    Group {
        cpu_millis: text("cpu.max").as_deref().and_then(quota),
        memory_bytes: count("memory.max"),
        memory_used: count("memory.current").map(|used| used.saturating_sub(cached.unwrap_or(0))),
        pids: count("pids.max"),
        pids_used: count("pids.current"),
    }
}

/// `cpu.max`: the time that may be used in each period, such as `50000 100000`.
fn quota(text: &str) -> Option<u64> {
    let mut words = text.split_whitespace();
    let quota: u64 = words.next()?.parse().ok()?;
    let period: u64 = words.next()?.parse().ok()?;
    quota.checked_mul(1000)?.checked_div(period).filter(|millis| *millis > 0)
}

/// Tells of the tightest of these limits, where one is tighter than the machine.
fn limit(capacity: &mut HostCapacity, groups: &[Group]) {
    for group in groups {
        if let Some(most) = group.cpu_millis
            && capacity.cpu_millis.is_none_or(|known| most < known)
        {
            capacity.cpu_millis = Some(most);
            capacity.cpu_load_millis = None;
        }
        if let Some(most) = group.memory_bytes.filter(|most| *most > 0) {
            narrow(&mut capacity.memory_bytes, most);
            if let Some(used) = group.memory_used {
                narrow(&mut capacity.memory_available_bytes, most.saturating_sub(used));
            }
        }
        if let Some(most) = group.pids.filter(|most| *most > 0)
            && capacity.pids.is_none_or(|known| most < known)
        {
            capacity.pids = Some(most);
            capacity.pids_used = group.pids_used.map(|used| used.min(most));
        }
    }
    let total = capacity.memory_bytes;
    capacity.memory_available_bytes = capacity.memory_available_bytes.zip(total).map(|(free, total)| free.min(total));
}

fn narrow(known: &mut Option<u64>, most: u64) {
    *known = Some(known.map_or(most, |known| known.min(most)));
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "cpu  1 2 3\ncpu0 1 2 3\ncpu1 1 2 3\nintr 5\n";
    const MEMORY: &str = "MemTotal:       16384 kB\nMemFree:  1 kB\nMemAvailable:    8192 kB\n";

    #[test]
    fn the_kernel_is_understood() {
        let told = machine(STAT, "2.05 0.10 0.02 3/345 6789\n", MEMORY);
        assert_eq!((told.cpu_millis, told.cpu_load_millis), (Some(2000), Some(2050)));
        assert_eq!((told.memory_bytes, told.memory_available_bytes), (Some(16 << 20), Some(8 << 20)));
        assert_eq!(told.pids_used, Some(345));
    }

    #[test]
    fn what_is_not_understood_is_not_known() {
        assert_eq!(machine("", "nonsense", "MemTotal: many"), HostCapacity::default());
        assert_eq!((thousandths("0.2"), thousandths("3"), thousandths("x.1")), (Some(200), Some(3000), None));
        assert_eq!((quota("max 100000"), quota("150000 100000")), (None, Some(1500)));
    }

    #[test]
    fn the_tightest_limit_counts() {
        let mut told = HostCapacity { pids: Some(1000), ..machine(STAT, "2.00 0 0 3/345 1", MEMORY) };
        let inner = Group { memory_bytes: Some(4 << 20), memory_used: Some(1 << 20), ..Group::default() };
        let outer = Group {
            cpu_millis: Some(500),
            memory_bytes: Some(6 << 20),
            memory_used: Some(5 << 20),
            pids: Some(50),
            pids_used: Some(7),
        };
        limit(&mut told, &[inner, outer, Group::default()]);
        // 1 MiB is left of the outer group, which holds the inner one.
        assert_eq!((told.memory_bytes, told.memory_available_bytes), (Some(4 << 20), Some(1 << 20)));
        assert_eq!((told.cpu_millis, told.cpu_load_millis), (Some(500), None));
        assert_eq!((told.pids, told.pids_used), (Some(50), Some(7)));
    }
}
