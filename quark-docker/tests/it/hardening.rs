//! What a container may do is as little as was said.

use std::collections::BTreeMap;

use bollard::models::RestartPolicyNameEnum;
use quark_core::backend::ContainerSpec;
use quark_core::{Argv, Resources};

use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn the_process_has_no_capability_and_cannot_gain_one() {
    World::run(async |world| {
        let spec = world.spec(&["--status"]).await;
        let lines = world.printed(&spec).await;
        let status: BTreeMap<&str, &str> =
            lines.iter().filter_map(|line| line.split_once(':')).map(|(key, value)| (key, value.trim())).collect();
        for (key, value) in [
            ("CapEff", "0000000000000000"),
            ("CapPrm", "0000000000000000"),
            ("CapBnd", "0000000000000000"),
            ("CapAmb", "0000000000000000"),
            ("NoNewPrivs", "1"),
            ("Seccomp", "2"),
        ] {
            assert_eq!(status.get(key), Some(&value), "{key}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_daemon_confirms_what_was_ordered() {
    World::run(async |world| {
        let mut spec = world.spec(&[]).await;
        spec.resources = Resources::new(500, 48 << 20, 40).unwrap();
        let id = world.begin(&spec).await;
        let container = world.docker.inspect_container(&id.0, None).await.unwrap();
        let host = container.host_config.unwrap();
        assert_eq!(host.memory, Some(48 << 20));
        assert_eq!(host.memory_swap, Some(48 << 20));
        assert_eq!(host.nano_cpus, Some(500_000_000));
        assert_eq!(host.pids_limit, Some(40));
        assert_eq!(host.cap_drop, Some(vec!["ALL".to_owned()]));
        assert_eq!(host.cap_add.unwrap_or_default(), Vec::<String>::new());
        assert_eq!(host.security_opt, Some(vec!["no-new-privileges".to_owned()]));
        assert_eq!(host.privileged, Some(false));
        assert_eq!(host.init, Some(true));
        assert_eq!(host.binds.unwrap_or_default(), Vec::<String>::new());
        assert_eq!(host.mounts.unwrap_or_default(), Vec::new());
        assert_eq!(host.devices.unwrap_or_default(), Vec::new());
        assert_eq!(host.network_mode.as_deref(), Some("bridge"));
        assert!(host.pid_mode.unwrap_or_default().is_empty() && host.userns_mode.unwrap_or_default().is_empty());
        assert_eq!(host.restart_policy.unwrap().name, Some(RestartPolicyNameEnum::NO));
        let log = host.log_config.unwrap();
        let rotation = [("max-file", "3"), ("max-size", "10m")].map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!((log.typ.as_deref(), log.config), (Some("json-file"), Some(rotation.into())));
        let bindings = host.port_bindings.unwrap();
        let binding = bindings["8080/tcp"].as_ref().unwrap();
        assert_eq!(bindings.len(), 1);
        let outside = format!("{}:{}", binding[0].host_ip.as_ref().unwrap(), binding[0].host_port.as_ref().unwrap());
        assert_eq!((binding.len(), outside.as_str()), (1, spec.endpoint().unwrap().as_str()));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_processors_than_there_are_is_no_error() {
    World::run(async |world| {
        let mut spec = world.spec(&["--exit", "0"]).await;
        spec.resources = Resources::new(256_000, 32 << 20, 40).unwrap();
        world.begin(&spec).await;
        world.ended(&spec).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn arguments_are_never_read_by_a_shell() {
    World::run(async |world| {
        let spec = world.spec(&[]).await;
        let hostile = ["/sample-app", "--print", "1; id", "$(id)", "`id`", "--privileged"];
        let spec = ContainerSpec { command: Some(Argv::new(hostile).unwrap()), ..spec };
        let id = world.create(&spec).await;
        let container = world.docker.inspect_container(&id.0, None).await.unwrap();
        let words: Vec<String> = container.path.into_iter().chain(container.args.unwrap()).collect();
        assert_eq!(words, hostile);
    })
    .await;
}
