//! Each case of the suite of gauges finds the fault that it is there for; the
//! machine in memory and this very one pass them all.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use quark_core::backend::{HostCapacity, HostGauge};
use quark_core::conformance::CaseResult;
use quark_core::conformance::host_gauge::{HostFixture, cases};
use quark_core::memory::MemoryHost;
use quark_core::{Error, ErrorKind, Result};

mod memory {
    quark_core::host_gauge_conformance!(async { super::Fixture::with(super::Fault::Nothing) });
}

/// What is wrong with a gauge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Nothing,
    TellsMoreThanAll,
    TellsPartsAlone,
    TellsLoadAlone,
    KnowsNothing,
    TakesUnknownForNone,
    ShrinksWithUse,
    AnswersOnce,
}

fn faults(case: &str) -> &'static [Fault] {
    match case {
        "a_part_comes_with_its_whole_and_is_not_more" => {
            &[Fault::TellsMoreThanAll, Fault::TellsPartsAlone, Fault::TellsLoadAlone]
        }
        "a_whole_that_is_told_is_not_nothing" => &[Fault::KnowsNothing, Fault::TakesUnknownForNone],
        "the_whole_stays_as_it_is" => &[Fault::ShrinksWithUse],
        "each_answer_is_as_of_now" => &[Fault::AnswersOnce],
        _ => &[],
    }
}

#[tokio::test]
async fn each_case_finds_its_faults() {
    for case in cases() {
        let name = case.name();
        assert!(!faults(name).is_empty(), "no fault shows that `{name}` bites");
        assert_eq!(case.run(&Fixture::with(Fault::Nothing)).await, Ok(()), "{name}");
        for fault in faults(name) {
            let found = case.run(&Fixture::with(*fault)).await;
            assert!(found.is_err(), "`{name}` does not find {fault:?}");
        }
    }
}

/// A machine in memory that is told of with one fault or none.
#[derive(Debug)]
struct Faulty {
    fault: Fault,
    inner: MemoryHost,
    first: Mutex<Option<HostCapacity>>,
}

struct Fixture(Arc<Faulty>);

impl Fixture {
    fn with(fault: Fault) -> Self {
        let inner = MemoryHost::new(HostCapacity {
            cpu_millis: Some(2000),
            cpu_load_millis: Some(2500),
            memory_bytes: Some(1 << 30),
            memory_available_bytes: Some(1 << 29),
            disk_bytes: Some(1 << 40),
            disk_free_bytes: Some(1 << 39),
            pids: Some(10_000),
            pids_used: Some(100),
        });
        Self(Arc::new(Faulty { fault, inner, first: Mutex::default() }))
    }
}

#[async_trait]
impl HostFixture for Fixture {
    fn gauge(&self) -> Arc<dyn HostGauge> {
        Arc::clone(&self.0) as Arc<dyn HostGauge>
    }

    async fn occupy(&self, processes: u64) -> CaseResult {
        self.0.inner.change(|host| host.pids_used = host.pids_used.map(|used| used + processes));
        Ok(())
    }
}

#[async_trait]
impl HostGauge for Faulty {
    async fn capacity(&self) -> Result<HostCapacity> {
        let mut told = self.inner.capacity().await?;
        match self.fault {
            Fault::Nothing => {}
            Fault::TellsMoreThanAll => told.disk_free_bytes = Some(1 << 41),
            Fault::TellsPartsAlone => told.memory_bytes = None,
            Fault::TellsLoadAlone => told.cpu_millis = None,
            Fault::KnowsNothing => told = HostCapacity::default(),
            Fault::TakesUnknownForNone => (told.disk_bytes, told.disk_free_bytes) = (Some(0), Some(0)),
            Fault::ShrinksWithUse => told.pids = told.pids.zip(told.pids_used).map(|(all, used)| all - used),
            Fault::AnswersOnce => told = *self.first.lock().unwrap().get_or_insert(told),
        }
        Ok(told)
    }
}

#[cfg(all(feature = "process", target_os = "linux"))]
mod linux {
    use std::process::{Child, Command, Stdio};

    use quark_core::process::LinuxHost;

    use super::*;

    /// This machine, and what the fixture has running on it.
    struct This {
        gauge: Arc<LinuxHost>,
        children: Mutex<Vec<Child>>,
    }

    impl This {
        fn new(gauge: LinuxHost) -> Self {
            Self { gauge: Arc::new(gauge.with_disk("/").with_disk(std::env::temp_dir())), children: Mutex::default() }
        }
    }

    #[async_trait]
    impl HostFixture for This {
        fn gauge(&self) -> Arc<dyn HostGauge> {
            Arc::clone(&self.gauge) as Arc<dyn HostGauge>
        }

        async fn occupy(&self, processes: u64) -> CaseResult {
            for _ in 0..processes {
                // Waits for a word that never comes.
                let child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn();
                self.children.lock().unwrap().push(child.map_err(|error| error.to_string())?);
            }
            Ok(())
        }
    }

    impl Drop for This {
        fn drop(&mut self) {
            for child in self.children.get_mut().unwrap() {
                let _ = child.kill();
                let _ = child.wait();
            }
        }
    }

    mod machine {
        use super::*;

        quark_core::host_gauge_conformance!(async { This::new(LinuxHost::new()) });
    }

    mod own_limits {
        use super::*;

        quark_core::host_gauge_conformance!(async { This::new(LinuxHost::new().within_own_limits()) });
    }

    #[tokio::test]
    async fn a_folder_that_is_not_there_is_said_by_its_name() {
        let error: Error = LinuxHost::new().with_disk("/not/there").capacity().await.unwrap_err();
        assert_eq!((error.kind(), error.code()), (ErrorKind::Unavailable, "host_unseen"));
        assert!(error.message().contains("/not/there"), "{error}");
    }

    #[tokio::test]
    async fn this_machine_is_known() {
        let told = LinuxHost::new().with_disk("/").capacity().await.unwrap();
        let all = [told.cpu_millis, told.cpu_load_millis, told.memory_bytes, told.memory_available_bytes];
        assert!(all.iter().all(Option::is_some), "{told:?}");
        let rest = [told.disk_bytes, told.disk_free_bytes, told.pids, told.pids_used];
        assert!(rest.iter().all(Option::is_some), "{told:?}");
    }
}
