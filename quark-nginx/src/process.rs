//! nginx's processes, read from `/proc`.

use std::fs;
use std::path::Path;

use quark_core::process::ProcessRef;

/// What the master and its workers are called in the process table.
const MASTER: &str = "nginx: master process";
const WORKER: &str = "nginx: worker process";
const LEAVING: &str = "is shutting down";

/// The processes that were started in `home`: all of an nginx of our own,
/// including workers whose master was killed. nginx hands its working folder
/// on to its workers, and replaces its environment and arguments.
#[derive(Debug, Default)]
pub(crate) struct Processes {
    pub(crate) master: Option<ProcessRef>,
    pub(crate) workers: Vec<ProcessRef>,
}

impl Processes {
    pub(crate) fn started_in(home: &Path) -> Self {
        let is_there = |pid: &u32| fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|folder| folder == home);
        let (masters, workers): (Vec<_>, Vec<_>) =
            pids().filter(is_there).filter(|pid| is_nginx(*pid)).partition(|pid| title(*pid).starts_with(MASTER));
        // A worker is called like its master until it has given itself a name.
        let is_child = |pid: &u32| parent(*pid).is_some_and(|parent| masters.contains(&parent));
        let (young, masters): (Vec<_>, Vec<_>) = masters.iter().partition(|pid| is_child(pid));
        let workers = workers.into_iter().chain(young);
        Self { master: masters.into_iter().find_map(alive), workers: workers.filter_map(alive).collect() }
    }

    /// The master whose id is in a pid file, with its workers.
    pub(crate) fn of_pid_file(path: &Path) -> Self {
        let pid: Option<u32> = fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok());
        // The file of an nginx that was killed may name anybody by now.
        let master = pid.filter(|pid| title(*pid).starts_with(MASTER)).and_then(alive);
        let is_worker = |pid: &u32| master.is_some_and(|master| parent(*pid) == Some(master.pid)) && is_nginx(*pid);
        Self { master, workers: pids().filter(is_worker).filter_map(alive).collect() }
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &ProcessRef> {
        self.master.iter().chain(&self.workers)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all().next().is_none()
    }
}

/// Whether a worker may still accept connections. One that is just ending has
/// lost its title, and is alive for another moment.
pub(crate) fn accepts(worker: &ProcessRef) -> bool {
    let title = title(worker.pid);
    worker.is_alive() && names_nginx(&title) && !title.contains(LEAVING)
}

fn alive(pid: u32) -> Option<ProcessRef> {
    ProcessRef::of_pid(pid).filter(ProcessRef::is_alive)
}

/// Whether it is a master or a worker; caches have processes of other names.
fn is_nginx(pid: u32) -> bool {
    names_nginx(&title(pid))
}

fn names_nginx(title: &str) -> bool {
    title.starts_with(MASTER) || title.starts_with(WORKER)
}

fn pids() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The title that a process gives itself; empty for one that has ended.
fn title(pid: u32) -> String {
    let title = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&title).into_owned()
}

/// Field 4 of proc_pid_stat(5), counted from the end of the name.
fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.get(stat.rfind(')')? + 2..)?.split(' ').nth(1)?.parse().ok()
}
