//! The values of variables are in no log, at no level, and in no error.

use std::sync::Mutex;

use log::{LevelFilter, Log, Metadata, Record};
use quark_core::backend::ContainerSpec;
use quark_core::{ContainerRuntime, EnvKey, Secret, Slot};
use uuid::Uuid;

use crate::world::{World, call};

struct Everything(Mutex<String>);

impl Log for Everything {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let mut all = self.0.lock().unwrap();
        all.push_str(&format!("{} {}\n", record.target(), record.args()));
    }

    fn flush(&self) {}
}

static EVERYTHING: Everything = Everything(Mutex::new(String::new()));

#[tokio::test(flavor = "multi_thread")]
async fn the_values_of_variables_are_not_logged() {
    log::set_logger(&EVERYTHING).unwrap();
    log::set_max_level(LevelFilter::Trace);
    World::run(async |world| {
        let canary = Uuid::new_v4().simple().to_string();
        let mut spec = world.spec(&[]).await;
        spec.env.set(EnvKey::parse("TOKEN").unwrap(), Secret::new(canary.as_str())).unwrap();
        let id = world.serve(&spec).await;
        let mut errors = Vec::new();
        let endpoint = spec.endpoint().unwrap().clone();
        let other = ContainerSpec { command: None, ..spec.clone() };
        errors.push(world.runtime.create(&call(), &other).await.unwrap_err());
        errors.push(world.runtime.remove(&call(), &id, &spec.labels()).await.unwrap_err());
        let mut twin = world.spec(&[]).await;
        twin.env = spec.env.clone();
        let twin = twin.at(endpoint.clone());
        let twin = world.create(&twin).await;
        errors.push(world.runtime.start(&call(), &twin).await.unwrap_err());
        world.runtime.list(&world.labels()).await.unwrap();
        world.runtime.listening(&id, &endpoint).await.unwrap();
        world.runtime.allocate_endpoint(&world.app, Slot::Blue, &[]).await.unwrap();
        world.runtime.stop(&call(), &id, std::time::Duration::from_secs(10)).await.unwrap();
        world.runtime.remove(&call(), &id, &spec.labels()).await.unwrap();

        let all = EVERYTHING.0.lock().unwrap().clone();
        assert!(all.contains("bollard"), "the log is not being read");
        assert!(!all.contains(&canary), "{:?}", all.lines().find(|line| line.contains(&canary)));
        for error in errors {
            assert!(!format!("{error:?}{}", error.report()).contains(&canary), "{}", error.report());
        }
        assert!(!format!("{spec:?}{:?}", world.runtime).contains(&canary));
    })
    .await;
}
