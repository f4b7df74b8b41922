//! `HostPolicy`: how much of its machine an engine lets apps have. Pure.

use std::time::Duration;

use crate::app::Resources;
use crate::backend::HostCapacity;
use crate::deployment::{Amount, Reservation, Room, Shortage};
use crate::{Error, ErrorKind, Result};

/// How much of the machine apps may have. It counts where the engine was given a
/// [`HostGauge`](crate::HostGauge), and of what that knows.
///
/// What is *reserved* is the sum of the limits ([`Resources`]) of all instances that
/// are there or about to be made: live ones, standbys, new ones. It is compared
/// in the transaction that writes a new instance down, so it is exact for any
/// number of engines on one store, and what does not fit is refused at once.
/// What is *measured* may pass: a deployment waits for that, and fails after
/// [`patience`](Self::patience).
///
/// | | reserved | measured before a build | measured before a container |
/// |---|---|---|---|
/// | memory | ≤ 14 of 16 GB | ≤ 14 of 16 GB | the same, with its limit added |
/// | CPU | ≤ 8 × what is there | load ≤ 80 % | |
/// | disk | | ≥ 10 % free | |
/// | processes | ≤ 80 % | ≤ 80 % | the same, with its limit added |
///
/// A warm rollback needs no room and is never refused. One that starts a
/// version anew needs room as a deployment does, but no load keeps it waiting:
/// people go back when the machine burns. What is live is mended whatever is left.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HostPolicy {
    /// The load at which nothing more is built, in thousandths of the CPUs: 10 to
    /// 100000. What this engine builds itself does not count: that is bounded by
    /// [`builds`](crate::EngineConfig::builds). 800 (80 %) by default.
    pub cpu_load_permille: u32,
    /// How much CPU time all limits together may come to, in thousandths of what
    /// there is: 10 to 1000000. A limit is what an app may use at its peak, and
    /// who wants more at one moment than there is gets less: so it may be more than
    /// there is. 8000 (eight times) by default.
    pub cpu_reserved_permille: u32,
    /// How much of the memory may be reserved, and used, in thousandths: 10 to
    /// 1000. 875 (14 of 16 GB) by default.
    pub memory_permille: u32,
    /// How much of the disk must be free before anything is fetched, built or
    /// pulled, in thousandths: 0 to 900. 100 (10 %) by default.
    pub disk_free_permille: u32,
    /// How many of the possible processes may be reserved, and there, in
    /// thousandths: 10 to 1000. 800 (80 %) by default.
    pub pids_permille: u32,
    /// How long a deployment waits for what is measured before it fails, up to
    /// 30 min; it holds no worker meanwhile. Counted anew when an engine starts. 2 min by default.
    pub patience: Duration,
}

impl Default for HostPolicy {
    fn default() -> Self {
        Self {
            cpu_load_permille: 800,
            cpu_reserved_permille: 8000,
            memory_permille: 875,
            disk_free_permille: 100,
            pids_permille: 800,
            patience: Duration::from_secs(120),
        }
    }
}

/// What room is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To fetch, build or pull.
    Build {
        /// Whether the load matters: not for a rollback, nor for what this
        /// engine's own builds come to.
        heeds_load: bool,
    },
    /// To run something that may use so much.
    Run(Reservation),
}

impl HostPolicy {
    /// Whether each value is one that can be meant.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidConfig`] (`invalid_host_policy`) with the field.
    pub fn check(&self) -> Result<()> {
        let shares = [
            ("host.cpu_load_permille", self.cpu_load_permille, 10, 100_000),
            ("host.cpu_reserved_permille", self.cpu_reserved_permille, 10, 1_000_000),
            ("host.memory_permille", self.memory_permille, 10, 1000),
            ("host.disk_free_permille", self.disk_free_permille, 0, 900),
            ("host.pids_permille", self.pids_permille, 10, 1000),
        ];
        let refuse = |field: &'static str, range: String| {
            let error = Error::new(ErrorKind::InvalidConfig, format!("it must be {range}"));
            Err(error.with_field(field).with_code("invalid_host_policy"))
        };
        for (field, value, least, most) in shares {
            if !(least..=most).contains(&value) {
                return refuse(field, format!("{least} to {most} thousandths"));
            }
        }
        if self.patience > Duration::from_secs(30 * 60) {
            return refuse("host.patience", "30 min at most".to_owned());
        }
        Ok(())
    }

    /// How much all instances may use together.
    #[must_use]
    pub fn room(&self, capacity: &HostCapacity) -> Room {
        Room {
            cpu_millis: capacity.cpu_millis.map(|all| share(all, self.cpu_reserved_permille)),
            memory_bytes: capacity.memory_bytes.map(|all| share(all, self.memory_permille)),
            pids: capacity.pids.map(|all| share(all, self.pids_permille)),
        }
    }

    /// Whether the machine could ever run something that may use so much.
    pub(super) fn could_run(&self, capacity: &HostCapacity, wanted: Resources) -> Result<()> {
        self.room(capacity).check(Default::default(), wanted.into())?;
        // Part of a processor is one that can be used for part of the time.
        let processors = capacity.cpu_millis.map(|all| all.div_ceil(1000) * 1000);
        match processors.filter(|all| u64::from(wanted.cpu_millis()) > *all) {
            None => Ok(()),
            Some(all) => {
                let (wanted, all) = (Amount(Shortage::Cpu, wanted.cpu_millis().into()), Amount(Shortage::Cpu, all));
                Err(short(Shortage::Cpu, format!("it may use {wanted}, and the machine has {all:#}")))
            }
        }
    }

    /// Whether what is left of the machine is enough at this moment.
    pub(super) fn measure(&self, capacity: &HostCapacity, purpose: Purpose) -> Result<()> {
        let (memory, pids) = match purpose {
            Purpose::Build { .. } => (0, 0),
            Purpose::Run(wanted) => (wanted.memory_bytes, wanted.pids),
        };
        if let Purpose::Build { heeds_load } = purpose {
            self.measure_disk(capacity)?;
            if heeds_load {
                self.measure_load(capacity)?;
            }
        }
        let used =
            capacity.memory_bytes.zip(capacity.memory_available_bytes).map(|(all, left)| all.saturating_sub(left));
        Self::measure_use(Shortage::Memory, capacity.memory_bytes, used, self.memory_permille, memory)?;
        Self::measure_use(Shortage::Pids, capacity.pids, capacity.pids_used, self.pids_permille, pids)
    }

    fn measure_disk(&self, capacity: &HostCapacity) -> Result<()> {
        let Some((all, free)) = capacity.disk_bytes.zip(capacity.disk_free_bytes) else { return Ok(()) };
        let floor = share(all, self.disk_free_permille);
        if free >= floor {
            return Ok(());
        }
        let [free, all, floor] = [free, all, floor].map(|amount| Amount(Shortage::Disk, amount));
        Err(short(Shortage::Disk, format!("{free:#} of {all} are free, and {floor:#} must be"))
            .with_hint("remove what is not needed, such as old images"))
    }

    fn measure_load(&self, capacity: &HostCapacity) -> Result<()> {
        let Some((all, load)) = capacity.cpu_millis.zip(capacity.cpu_load_millis) else { return Ok(()) };
        let most = share(all, self.cpu_load_permille);
        if load <= most {
            return Ok(());
        }
        let [load, all, most] = [load, all, most].map(|amount| Amount(Shortage::Cpu, amount));
        let text = format!("programs wanted {load:#} of {all} over the last minute, and {most:#} may be in use");
        Err(short(Shortage::Cpu, text).with_hint("deploy again when the machine has less to do"))
    }

    fn measure_use(what: Shortage, all: Option<u64>, used: Option<u64>, permille: u32, needs: u64) -> Result<()> {
        let Some((all, used)) = all.zip(used) else { return Ok(()) };
        let most = share(all, permille);
        if used.saturating_add(needs) <= most {
            return Ok(());
        }
        let [used, most, wanted] = [used, most, needs].map(|amount| Amount(what, amount));
        let text = match needs {
            0 => format!("{used} are in use on the machine, and {most:#} may be"),
            _ => format!("it needs {wanted}, and {used:#} of the {most:#} that may be in use on the machine are"),
        };
        Err(short(what, text).with_hint("end what is not needed, or take a larger machine"))
    }
}

fn short(shortage: Shortage, text: String) -> Error {
    Error::new(ErrorKind::ResourceExhausted, text).with_code(shortage.code())
}

fn share(all: u64, permille: u32) -> u64 {
    u64::try_from(u128::from(all) * u128::from(permille) / 1000).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    /// 4 CPUs, 16 GiB, 100 GiB of disk, 10,000 processes; half of each is in use.
    fn machine() -> HostCapacity {
        HostCapacity {
            cpu_millis: Some(4000),
            cpu_load_millis: Some(2000),
            memory_bytes: Some(16 * GIB),
            memory_available_bytes: Some(8 * GIB),
            disk_bytes: Some(100 * GIB),
            disk_free_bytes: Some(50 * GIB),
            pids: Some(10_000),
            pids_used: Some(5000),
        }
    }

    fn run(memory: u64) -> Purpose {
        Purpose::Run(Resources::new(1000, memory, 100).unwrap().into())
    }

    const BUILD: Purpose = Purpose::Build { heeds_load: true };

    #[test]
    fn fourteen_of_sixteen_gigabytes_may_be_reserved() {
        let room = HostPolicy::default().room(&machine());
        assert_eq!(room, Room { cpu_millis: Some(32_000), memory_bytes: Some(14 * GIB), pids: Some(8000) });
        assert_eq!(HostPolicy::default().room(&HostCapacity::default()), Room::default());
    }

    #[test]
    fn what_is_short_is_said_with_the_figures() {
        let policy = HostPolicy::default();
        let code =
            |machine: &HostCapacity, purpose| policy.measure(machine, purpose).err().map(|e| e.code().to_owned());
        assert_eq!(code(&machine(), BUILD), None);
        assert_eq!(code(&machine(), run(6 * GIB)), None);
        assert_eq!(code(&machine(), run(6 * GIB + 1)).as_deref(), Some("no_room_for_memory"));
        let busy = HostCapacity { cpu_load_millis: Some(3201), ..machine() };
        let full = HostCapacity { disk_free_bytes: Some(9 * GIB), ..machine() };
        let crowded = HostCapacity { pids_used: Some(7901), ..machine() };
        assert_eq!(code(&busy, BUILD).as_deref(), Some("no_room_for_cpu"));
        assert_eq!(code(&busy, Purpose::Build { heeds_load: false }), None);
        assert_eq!(code(&full, BUILD).as_deref(), Some("disk_floor"));
        assert_eq!((code(&full, run(GIB)), code(&busy, run(GIB))), (None, None));
        assert_eq!((code(&crowded, BUILD), code(&crowded, run(GIB)).as_deref()), (None, Some("no_room_for_pids")));
        let error = policy.measure(&full, BUILD).unwrap_err();
        assert_eq!(error.message(), "9.0 GiB of 100.0 GiB of disk are free, and 10.0 GiB must be");
    }

    #[test]
    fn what_nobody_knows_refuses_nothing() {
        let nothing = HostCapacity::default();
        assert!(HostPolicy::default().measure(&nothing, BUILD).is_ok());
        assert!(HostPolicy::default().measure(&nothing, run(4000 * GIB)).is_ok());
        let half = HostCapacity { memory_available_bytes: None, ..machine() };
        assert!(HostPolicy::default().measure(&half, run(40 * GIB)).is_ok());
        assert!(HostPolicy::default().could_run(&half, Resources::new(1000, 40 * GIB, 100).unwrap()).is_err());
    }

    #[test]
    fn one_processor_is_enough_for_two_versions_of_an_app_with_defaults() {
        let small = HostCapacity { cpu_millis: Some(1000), ..machine() };
        let (policy, one) = (HostPolicy::default(), crate::deployment::Reservation::from(Resources::default()));
        assert!(policy.could_run(&small, Resources::default()).is_ok());
        assert!(policy.room(&small).check(one, one + one).is_ok());
        let two = Resources::new(2000, GIB, 100).unwrap();
        assert_eq!(policy.could_run(&small, two).unwrap_err().code(), "no_room_for_cpu");
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        assert!(HostPolicy::default().check().is_ok());
        let error = HostPolicy { memory_permille: 1001, ..HostPolicy::default() }.check().unwrap_err();
        assert_eq!((error.code(), error.field()), ("invalid_host_policy", Some("host.memory_permille")));
        let error = HostPolicy { patience: Duration::from_secs(3600), ..HostPolicy::default() }.check().unwrap_err();
        assert_eq!(error.field(), Some("host.patience"));
    }
}
