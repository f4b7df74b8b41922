//! What becomes of containers: how they end, and who has their port.

use std::time::Duration;

use quark_core::backend::{ContainerId, ContainerSpec, ContainerState, Listening, LogSelection, StopOutcome};
use quark_core::{ContainerRuntime, DeploymentId, Endpoint, EnvKey, ErrorKind, LogStream, Resources, Secret, Slot};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use crate::world::{PATIENCE, World, call, refused};

#[tokio::test(flavor = "multi_thread")]
async fn the_exit_code_is_known() {
    World::run(async |world| {
        let spec = world.spec(&["--exit", "3"]).await;
        world.begin(&spec).await;
        assert_eq!(world.ended(&spec).await, ContainerState::Exited { code: Some(3), out_of_memory: false });
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_for_memory_is_told_from_other_kills() {
    World::run(async |world| {
        let mut spec = world.spec(&[]).await;
        spec.resources = Resources::new(1000, 24 << 20, 64).unwrap();
        world.serve(&spec).await;
        // Requests whose bodies never end are kept in memory.
        let mut clients = Vec::new();
        for _ in 0..4 {
            let mut client = TcpStream::connect(spec.endpoint().unwrap().as_str()).await.unwrap();
            client.write_all(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 16000000\r\n\r\n").await.unwrap();
            clients.push(tokio::spawn(async move {
                // The connection breaks when its server dies.
                let _ = client.write_all(&vec![b'x'; 15_000_000]).await;
                client
            }));
        }
        assert_eq!(world.ended(&spec).await, ContainerState::Exited { code: Some(137), out_of_memory: true });
        clients.iter().for_each(tokio::task::JoinHandle::abort);

        let spec = world.spec(&[]).await;
        let id = world.serve(&spec).await;
        world.docker.kill_container(&id.0, None).await.unwrap();
        assert_eq!(world.ended(&spec).await, ContainerState::Exited { code: Some(137), out_of_memory: false });
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_start_is_another_process() {
    World::run(async |world| {
        let spec = world.spec(&["--exit", "0"]).await;
        let id = world.create(&spec).await;
        assert_eq!(world.look(&spec).await.started_at, None);
        world.runtime.start(&call(), &id).await.unwrap();
        world.ended(&spec).await;
        let first = world.look(&spec).await.started_at.unwrap();
        world.runtime.start(&call(), &id).await.unwrap();
        world.ended(&spec).await;
        assert!(world.look(&spec).await.started_at.unwrap() > first);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_of_another_container_is_taken() {
    World::run(async |world| {
        let first = world.spec(&[]).await;
        world.serve(&first).await;
        let second = world.spec(&[]).await.at(first.endpoint().unwrap().clone());
        let id = world.create(&second).await;
        refused(world.runtime.start(&call(), &id).await, ErrorKind::ResourceExhausted, "port_taken");
        assert_eq!(world.look(&second).await.state, ContainerState::Created);
        // What failed to start can be removed, and is not counted as running.
        assert_eq!(world.runtime.stop(&call(), &id, Duration::ZERO).await.unwrap(), StopOutcome::AlreadyStopped);
        world.runtime.remove(&call(), &id, &second.labels()).await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ports_of_stopped_containers_are_not_given_away() {
    World::run(async |world| {
        let spec = world.spec(&[]).await;
        world.create(&spec).await;
        let mut seen = vec![];
        // All that can be had, until there are no more.
        loop {
            match world.runtime.allocate_endpoint(&world.app, Slot::Green, &seen).await {
                Ok(endpoint) => {
                    assert!(Some(&endpoint) != spec.endpoint() && !seen.contains(&endpoint), "{endpoint}");
                    seen.push(endpoint);
                }
                more => break refused(more, ErrorKind::ResourceExhausted, "no_free_port"),
            }
        }
        assert!(!seen.is_empty());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_listens_inside_is_seen() {
    World::run(async |world| {
        let nothing = |ports: &[u16]| Listening::Nothing { elsewhere: ports.to_vec() };
        let listening = async |spec: &ContainerSpec, id: &ContainerId| {
            world.runtime.listening(id, spec.endpoint().unwrap()).await.unwrap()
        };
        let spec = world.spec(&[]).await;
        let id = world.serve(&spec).await;
        assert_eq!(listening(&spec, &id).await, Listening::Ours);
        // Another endpoint is not the container's, whoever has it.
        let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = Endpoint::new(other.local_addr().unwrap().to_string());
        let seen = world.runtime.listening(&id, &endpoint).await.unwrap();
        assert!(matches!(seen, Listening::Foreign { .. }), "{seen:?}");
        world.runtime.stop(&call(), &id, PATIENCE).await.unwrap();
        assert_eq!(listening(&spec, &id).await, nothing(&[]));

        let spec = world.spec(&["--listen", "9090"]).await;
        let id = world.serve(&spec).await;
        assert_eq!(listening(&spec, &id).await, nothing(&[9090]));

        let mut spec = world.spec(&[]).await;
        spec.env.set(EnvKey::parse("HOST").unwrap(), Secret::new("127.0.0.1")).unwrap();
        let id = world.serve(&spec).await;
        assert_eq!(listening(&spec, &id).await, nothing(&[]), "what listens on loopback cannot be reached");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_streams_are_told_apart_and_have_times() {
    World::run(async |world| {
        let spec = world.spec(&["--print", "2", "--no-such-option"]).await;
        let id = world.begin(&spec).await;
        let output = world.output(&id, true).await;
        assert!(output.iter().all(|chunk| chunk.stream == LogStream::Stderr && chunk.at.is_some()), "{output:?}");
        assert!(output[0].text.starts_with("sample-app: `--no-such-option`"), "{output:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_cannot_be_started_or_read() {
    World::run(async |world| {
        let nobody = ContainerId("0".repeat(64));
        refused(world.runtime.start(&call(), &nobody).await, ErrorKind::NotFound, "container_not_found");
        let output = world.runtime.logs(&nobody, LogSelection::default()).await;
        refused(output.map(|_| ()), ErrorKind::NotFound, "container_not_found");
        let hostile = ContainerId("../images/x".to_owned());
        refused(world.runtime.start(&call(), &hostile).await, ErrorKind::InvalidInput, "invalid_container_id");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_gets_its_grace_time_and_not_more() {
    World::run(async |world| {
        let spec = world.spec(&["--ignore-term"]).await;
        let id = world.serve(&spec).await;
        let killed = world.runtime.stop(&call(), &id, Duration::from_millis(300)).await.unwrap();
        assert_eq!(killed, StopOutcome::Killed);
        assert_eq!(world.look(&spec).await.state, ContainerState::Exited { code: Some(137), out_of_memory: false });
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_of_strangers_are_not_listed() {
    World::run(async |world| {
        let spec = world.spec(&[]).await;
        world.create(&spec).await;
        let mut labels = spec.labels();
        labels.insert("quark.installation".to_owned(), DeploymentId::generate().to_string());
        assert_eq!(world.runtime.list(&labels).await.unwrap(), []);
        assert_eq!(world.runtime.list(&world.labels()).await.unwrap(), [world.look(&spec).await]);
    })
    .await;
}
