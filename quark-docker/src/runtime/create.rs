//! `create`: the closed list of what a container can be made with.

use std::collections::BTreeMap;
use std::time::Duration;

use quark_core::backend::container_runtime::{image_not_found, label};
use quark_core::backend::{ContainerId, ContainerSpec, CreatedContainer, InstanceSpec, Labels};
use quark_core::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use crate::daemon::Daemon;
use crate::wire::{self, Answer};

/// How often a name that is about to become free is tried again.
const LOOK: Duration = Duration::from_millis(20);

/// Everything that is ever sent to make a container. There is no field for
/// privileges, capabilities, devices, folders or namespaces of the machine, so
/// that no caller can ask for them.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Order<'a> {
    image: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    entrypoint: Option<[&'a str; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cmd: Option<&'a [String]>,
    env: Vec<String>,
    labels: Labels,
    exposed_ports: BTreeMap<String, Empty>,
    host_config: HostConfig,
}

#[derive(Serialize)]
struct Empty {}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct HostConfig {
    memory: u64,
    memory_swap: u64,
    nano_cpus: u64,
    pids_limit: u32,
    cap_drop: [&'static str; 1],
    security_opt: [&'static str; 1],
    init: bool,
    network_mode: &'static str,
    port_bindings: BTreeMap<String, [PortBinding; 1]>,
    restart_policy: RestartPolicy,
    log_config: LogConfig,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct PortBinding {
    host_ip: String,
    host_port: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct RestartPolicy {
    name: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct LogConfig {
    r#type: &'static str,
    config: BTreeMap<&'static str, &'static str>,
}

impl<'a> Order<'a> {
    fn of(spec: &'a ContainerSpec, cpus: Option<u32>) -> Result<Self> {
        let published = spec.instance().map(published).transpose()?;
        let memory = spec.resources.memory_bytes();
        // The daemon refuses to limit to more than there is, where it would
        // have to say that this is no limit.
        let most = cpus.map_or(u64::MAX, |cpus| u64::from(cpus) * 1_000_000_000);
        Ok(Self {
            image: &spec.artifact.id,
            // Both, so that nothing of what the image says is left.
            entrypoint: spec.command.as_ref().map(|command| [command.program()]),
            cmd: spec.command.as_ref().map(|command| command.arguments()),
            env: variables(spec),
            labels: spec.labels(),
            exposed_ports: published.iter().map(|(port, _)| (port.clone(), Empty {})).collect(),
            host_config: HostConfig {
                memory,
                memory_swap: memory,
                nano_cpus: (u64::from(spec.resources.cpu_millis()) * 1_000_000).min(most),
                pids_limit: spec.resources.pids(),
                cap_drop: ["ALL"],
                security_opt: ["no-new-privileges"],
                init: true,
                network_mode: "bridge",
                port_bindings: published.into_iter().map(|(port, binding)| (port, [binding])).collect(),
                restart_policy: RestartPolicy { name: "no" },
                log_config: LogConfig {
                    r#type: "json-file",
                    config: BTreeMap::from([("max-size", "10m"), ("max-file", "3")]),
                },
            },
        })
    }
}

/// The port of an instance, and where it is published.
fn published(instance: &InstanceSpec) -> Result<(String, PortBinding)> {
    let outside = instance.endpoint.socket_addr()?;
    if !outside.ip().is_loopback() {
        let message = format!("`{}` is not on the loopback address", instance.endpoint);
        return Err(Error::invalid("container.endpoint", "invalid_endpoint", message)
            .with_hint("a published port is reachable from outside, past the router"));
    }
    let binding = PortBinding { host_ip: outside.ip().to_string(), host_port: outside.port().to_string() };
    Ok((format!("{}/tcp", instance.port), binding))
}

fn variables(spec: &ContainerSpec) -> Vec<String> {
    let port = spec.instance().map(|instance| format!("PORT={}", instance.port));
    let has_port = port.is_some();
    let given = spec.env.iter().filter(|(key, _)| !has_port || key.as_str() != "PORT");
    given.map(|(key, value)| format!("{key}={}", value.expose())).chain(port).collect()
}

pub(super) async fn create(daemon: &Daemon, spec: &ContainerSpec) -> Result<CreatedContainer> {
    let order = Order::of(spec, daemon.cpus())?;
    let path = format!("/containers/create?name={}", spec.name);
    loop {
        let answer = wire::post(daemon.socket(), &path, &order).await?;
        match answer.status {
            _ if answer.is_success() => return created(&answer),
            409 => {
                if let Some(adopted) = adopt(daemon, spec).await? {
                    return Ok(adopted);
                }
                // It was removed between the two requests, or is being removed:
                // the name is free, or will be in a moment.
                tokio::time::sleep(LOOK).await;
            }
            _ => return Err(refused(&answer, spec)),
        }
    }
}

fn created(answer: &Answer) -> Result<CreatedContainer> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Created {
        id: String,
    }
    let created: Created = answer.json()?;
    Ok(CreatedContainer { id: ContainerId(created.id), adopted: false })
}

/// Takes the container of that name for ours if it was made from the same spec.
async fn adopt(daemon: &Daemon, spec: &ContainerSpec) -> Result<Option<CreatedContainer>> {
    let Some(there) = daemon.container("runtime.create", spec.name.as_str()).await? else { return Ok(None) };
    if there.is_being_removed() {
        return Ok(None);
    }
    let labels = spec.labels();
    let same = |name: &str| there.label(name) == labels.get(name).map(String::as_str);
    if same(label::SPEC) && same(label::INSTALLATION) {
        return Ok(Some(CreatedContainer { id: ContainerId(there.id), adopted: true }));
    }
    Err(Error::new(ErrorKind::Conflict, format!("there is another container with the name `{}`", spec.name))
        .with_code("container_name_taken")
        .with_hint("look at it with `docker inspect`, and remove it if nobody needs it"))
}

fn refused(answer: &Answer, spec: &ContainerSpec) -> Error {
    let said = answer.said();
    if answer.status == 404 && said.contains("No such image") {
        return image_not_found(&spec.artifact.label);
    }
    if said.contains("No command specified") {
        let message = format!("the image `{}` does not say what to start", spec.artifact.label);
        return Error::new(ErrorKind::NotFound, message)
            .with_code("command_not_found")
            .with_hint("add `CMD` to the Dockerfile, or set the app's command");
    }
    answer.refusal()
}

#[cfg(test)]
mod tests {
    use quark_core::backend::{ContainerSpec, Purpose};
    use quark_core::deployment::Fence;
    use quark_core::{
        AppName, Argv, Artifact, ContainerName, DeploymentId, Endpoint, EnvKey, EnvVars, HookPoint, Resources, Secret,
        Slot,
    };
    use serde_json::{Value, json};

    use super::*;

    fn spec() -> ContainerSpec {
        let app = AppName::parse("shop").unwrap();
        let deployment = DeploymentId::generate();
        let mut env = EnvVars::new();
        env.set(EnvKey::parse("A").unwrap(), Secret::new("x\nB=1")).unwrap();
        env.set(EnvKey::parse("PORT").unwrap(), Secret::new("1")).unwrap();
        ContainerSpec {
            name: ContainerName::of(&app, deployment, 0),
            installation: "here".to_owned(),
            app,
            deployment,
            fence: Fence(1),
            artifact: Artifact { id: "sha256:00".to_owned(), label: "quark/shop:1".to_owned() },
            command: Some(Argv::new(["/app", "--serve"]).unwrap()),
            env,
            resources: Resources::new(1500, 64 << 20, 32).unwrap(),
            purpose: Purpose::Instance(InstanceSpec {
                replica: 0,
                slot: Slot::Blue,
                port: 8080,
                endpoint: Endpoint::new("127.0.0.1:31000"),
            }),
        }
    }

    fn order(spec: &ContainerSpec, cpus: Option<u32>) -> Value {
        serde_json::to_value(Order::of(spec, cpus).unwrap()).unwrap()
    }

    #[test]
    fn only_these_keys_are_ever_sent() {
        let order = order(&spec(), None);
        let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(&order), ["Cmd", "Entrypoint", "Env", "ExposedPorts", "HostConfig", "Image", "Labels"]);
        assert_eq!(
            order["HostConfig"],
            json!({
                "Memory": 67_108_864,
                "MemorySwap": 67_108_864,
                "NanoCpus": 1_500_000_000,
                "PidsLimit": 32,
                "CapDrop": ["ALL"],
                "SecurityOpt": ["no-new-privileges"],
                "Init": true,
                "NetworkMode": "bridge",
                "PortBindings": { "8080/tcp": [{ "HostIp": "127.0.0.1", "HostPort": "31000" }] },
                "RestartPolicy": { "Name": "no" },
                "LogConfig": { "Type": "json-file", "Config": { "max-size": "10m", "max-file": "3" } },
            })
        );
    }

    #[test]
    fn a_line_break_makes_no_second_variable_and_the_port_is_ours() {
        assert_eq!(order(&spec(), None)["Env"], json!(["A=x\nB=1", "PORT=8080"]));
    }

    #[test]
    fn a_hook_has_no_port() {
        let order = order(&ContainerSpec { purpose: Purpose::Hook(HookPoint::PreDeploy), ..spec() }, None);
        assert_eq!((&order["ExposedPorts"], &order["HostConfig"]["PortBindings"]), (&json!({}), &json!({})));
        assert_eq!(order["Env"], json!(["A=x\nB=1", "PORT=1"]));
        assert_eq!(order["HostConfig"]["RestartPolicy"], json!({ "Name": "no" }));
        assert_eq!(
            (&order["Labels"]["quark.hook"], &order["Labels"]["quark.slot"]),
            (&json!("pre_deploy"), &Value::Null)
        );
    }

    #[test]
    fn the_command_replaces_all_that_the_image_says() {
        let mut spec = spec();
        assert_eq!(order(&spec, None)["Entrypoint"], json!(["/app"]));
        assert_eq!(order(&spec, None)["Cmd"], json!(["--serve"]));
        spec.command = None;
        assert!(order(&spec, None).get("Entrypoint").is_none() && order(&spec, None).get("Cmd").is_none());
    }

    #[test]
    fn no_more_processors_are_asked_for_than_there_are() {
        assert_eq!(order(&spec(), Some(1))["HostConfig"]["NanoCpus"], json!(1_000_000_000));
        assert_eq!(order(&spec(), Some(8))["HostConfig"]["NanoCpus"], json!(1_500_000_000));
    }

    #[test]
    fn nothing_is_published_to_the_world() {
        for endpoint in ["0.0.0.0:31000", "10.0.0.1:31000", "[::]:31000", "shop:80"] {
            let spec = spec().at(Endpoint::new(endpoint));
            assert!(Order::of(&spec, None).is_err(), "{endpoint}");
        }
    }
}
