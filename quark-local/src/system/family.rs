//! `Family`: the processes that belong to one container or build.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use quark_core::Result;
use quark_core::process::{ProcessRef, Signal};
use rustix::process::{Pid, Signal as SystemSignal, kill_process};
use tokio::time::Instant;

use super::blocking;
use super::mark::{Mark, Owner};
use super::table::{Entry, Table};

/// How often to look whether processes have ended: there is no event for
/// those that are not our children.
const PAUSE: Duration = Duration::from_millis(15);

/// How to know the processes that belong to one container or build: by their
/// mark, by the group of the first one, and by descent. A program that writes
/// its title over its environment loses its mark, one that makes a session of
/// its own leaves the group; hardly any does both and lets its parent end.
#[derive(Clone, Debug)]
pub(crate) struct Family {
    /// What its members carry.
    pub(crate) mark: Mark,
    /// The first process, if it is known.
    pub(crate) leader: Option<ProcessRef>,
    /// The files that members print to.
    pub(crate) output: Vec<PathBuf>,
}

impl Family {
    /// The members that have not ended.
    pub(crate) fn members(&self, table: &Table) -> Vec<Entry> {
        let mut members = self.group(table);
        let own = std::process::id();
        for entry in table.iter().filter(|entry| !entry.ended && entry.process.pid != own) {
            if !members.contains_key(&entry.process.pid) && self.owner(entry) == Owner::Us {
                members.insert(entry.process.pid, *entry);
            }
        }
        self.add_descendants(&mut members, table);
        members.into_values().collect()
    }

    /// The members that are found without looking into every process.
    pub(crate) fn close_members(&self, table: &Table) -> Vec<Entry> {
        let mut members = self.group(table);
        self.add_descendants(&mut members, table);
        members.into_values().collect()
    }

    fn group(&self, table: &Table) -> HashMap<u32, Entry> {
        let mut members = HashMap::new();
        let Some(leader) = &self.leader else { return members };
        let known = table.find(leader).is_some();
        if !known && table.with_pid(leader.pid).is_some() {
            // The id is another's by now, so all of the group has ended before.
            return members;
        }
        for entry in table.iter().filter(|entry| !entry.ended && entry.process.group == leader.group) {
            if known || self.owner(entry) == Owner::Us || self.prints_to_us(entry) {
                members.insert(entry.process.pid, *entry);
            }
        }
        members
    }

    fn add_descendants(&self, members: &mut HashMap<u32, Entry>, table: &Table) {
        let mut children: HashMap<u32, Vec<&Entry>> = HashMap::new();
        for entry in table.iter() {
            children.entry(entry.parent).or_default().push(entry);
        }
        let mut parents: Vec<u32> = members.keys().copied().collect();
        let mut seen: HashSet<u32> = parents.iter().copied().collect();
        while let Some(parent) = parents.pop() {
            for child in children.get(&parent).into_iter().flatten() {
                // What an engine that runs in a container started is its own.
                if seen.insert(child.process.pid) && self.owner(child) != Owner::Other {
                    parents.push(child.process.pid);
                    if !child.ended {
                        members.insert(child.process.pid, **child);
                    }
                }
            }
        }
    }

    fn owner(&self, entry: &Entry) -> Owner {
        // Processes of other users cannot be read, and are not ours.
        let environ = fs::read(format!("/proc/{}/environ", entry.process.pid)).unwrap_or_default();
        self.mark.owner(&environ)
    }

    fn prints_to_us(&self, entry: &Entry) -> bool {
        let target = |number| fs::read_link(format!("/proc/{}/fd/{number}", entry.process.pid)).ok();
        [1, 2].into_iter().filter_map(target).any(|target| self.output.contains(&target))
    }

    /// Signals members that were just seen alive.
    fn signal(&self, members: &[Entry], table: &Table, signal: Signal) {
        let own_group = table.with_pid(std::process::id()).map(|entry| entry.process.group);
        let mut groups = HashSet::new();
        for member in members {
            let group = member.process.group;
            let led_by_us = members.iter().any(|leader| leader.process.pid == group)
                || self.leader.is_some_and(|leader| leader.group == group);
            if led_by_us && Some(group) != own_group {
                // All at once: members that fork right now are not missed.
                if groups.insert(group) {
                    member.process.signal_group(signal);
                }
            } else {
                signal_one(member, signal);
            }
        }
        // A child that was just forked may leave its group between the look
        // and the signal; the table says where it was.
        for member in members.iter().filter(|member| groups.contains(&member.process.group)) {
            if Entry::read(member.process.pid).is_some_and(|now| now.process.group != member.process.group) {
                signal_one(member, signal);
            }
        }
    }

    async fn look(&self, signal: Option<Signal>) -> Result<bool> {
        let family = self.clone();
        blocking(move || {
            let table = Table::read()?;
            let members = family.members(&table);
            if let Some(signal) = signal {
                family.signal(&members, &table, signal);
            }
            Ok(!members.is_empty())
        })
        .await
    }

    /// Asks all members to end, kills them after `grace`, and returns when
    /// none is left; whether any had to be killed. Safe to drop.
    pub(crate) async fn end(&self, grace: Duration) -> Result<Ended> {
        if !self.look(Some(Signal::Terminate)).await? {
            return Ok(Ended::NothingToEnd);
        }
        let deadline = Instant::now() + grace;
        let mut killed = false;
        let mut calm = 0;
        // A process that starts another one and ends between two looks into
        // the table can hide it from one of them, so it takes two to be sure.
        while calm < 2 {
            killed = killed || Instant::now() >= deadline;
            let alive = self.look(killed.then_some(Signal::Kill)).await?;
            calm = if alive { 0 } else { calm + 1 };
            if alive {
                let pause = if killed { PAUSE } else { PAUSE.min(deadline - Instant::now()) };
                tokio::time::sleep(pause).await;
            }
        }
        Ok(if killed { Ended::Killed } else { Ended::ByItself })
    }
}

/// How the processes of a family came to their end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// There was none.
    NothingToEnd,
    /// All ended after they were asked to.
    ByItself,
    /// Some were killed.
    Killed,
}

fn signal_one(member: &Entry, signal: Signal) {
    // Looked at again right before: the id could be another's by now.
    let same = Entry::read(member.process.pid).is_some_and(|now| now.process.started == member.process.started);
    let pid = i32::try_from(member.process.pid).ok().and_then(Pid::from_raw);
    if let (true, Some(pid)) = (same, pid) {
        let signal = if signal == Signal::Kill { SystemSignal::KILL } else { SystemSignal::TERM };
        // It may have ended meanwhile; the next look into the table tells.
        let _ = kill_process(pid, signal);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::{CommandExt, ExitStatusExt};
    use std::path::Path;
    use std::process::{Child, Command};

    use super::*;
    use crate::system::mark::CONTAINER;

    fn sleeper() -> (Child, Entry) {
        let child = Command::new("sleep").arg("300").env_clear().process_group(0).spawn().unwrap();
        let entry = Entry::read(child.id()).unwrap();
        (child, entry)
    }

    fn signal_that_ended(mut child: Child) -> Option<i32> {
        child.wait().unwrap().signal()
    }

    #[test]
    fn who_has_just_left_the_group_is_signalled_too() {
        let ((first, leader), (second, mut left)) = (sleeper(), sleeper());
        // As the table saw it before it made a group of its own.
        left.process.group = leader.process.group;
        let mark = Mark::new(CONTAINER, "qk-a", Path::new("/one"));
        let family = Family { mark, leader: Some(leader.process), output: Vec::new() };
        family.signal(&[leader, left], &Table::read().unwrap(), Signal::Terminate);
        assert_eq!((signal_that_ended(first), signal_that_ended(second)), (Some(15), Some(15)));
    }

    #[test]
    fn another_process_with_the_same_id_is_not_signalled() {
        let (mut child, entry) = sleeper();
        let mut other = entry;
        other.process.started -= 1;
        signal_one(&other, Signal::Kill);
        signal_one(&entry, Signal::Terminate);
        assert_eq!(child.wait().unwrap().signal(), Some(15));
    }
}
