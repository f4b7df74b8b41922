//! What the daemon says about a container, as far as it matters.
//!
//! Only these fields are read: a container's variables come with the same
//! answer and are not kept.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use quark_core::backend::container_runtime::label;
use quark_core::backend::{ContainerId, ContainerState, Labels, ObservedContainer};
use quark_core::{ContainerName, Timestamp};
use serde::Deserialize;

/// A container as the daemon describes it.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Container {
    pub(crate) id: String,
    name: String,
    state: State,
    config: Config,
    #[serde(default)]
    host_config: HostConfig,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct State {
    status: String,
    running: bool,
    pid: i64,
    exit_code: Option<i64>,
    #[serde(rename = "OOMKilled")]
    oom_killed: bool,
    started_at: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Config {
    labels: Option<Labels>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct HostConfig {
    port_bindings: Option<BTreeMap<String, Option<Vec<Binding>>>>,
    extra_hosts: Option<Vec<String>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Binding {
    host_ip: String,
    host_port: String,
}

/// A port of a container and the address of the machine that leads to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Published {
    pub(crate) inside: u16,
    pub(crate) outside: SocketAddr,
}

impl Container {
    pub(crate) fn is_running(&self) -> bool {
        self.state.running
    }

    /// Whether somebody is removing it at this moment.
    pub(crate) fn is_being_removed(&self) -> bool {
        self.state.status == "removing"
    }

    /// Whether it is a hook that was started and has ended: it is not started again.
    pub(crate) fn is_over(&self) -> bool {
        self.label(label::HOOK).is_some() && matches!(self.observed_state(), ContainerState::Exited { .. })
    }

    /// The id of its first process, as the daemon sees it, while it runs.
    pub(crate) fn pid(&self) -> Option<u32> {
        u32::try_from(self.state.pid).ok().filter(|pid| *pid > 0 && self.state.running)
    }

    pub(crate) fn exit_code(&self) -> Option<i32> {
        self.state.exit_code.and_then(|code| i32::try_from(code).ok())
    }

    pub(crate) fn labels(&self) -> Labels {
        self.config.labels.clone().unwrap_or_default()
    }

    pub(crate) fn label(&self, name: &str) -> Option<&str> {
        self.config.labels.as_ref()?.get(name).map(String::as_str)
    }

    /// Whether it has all these labels.
    pub(crate) fn has(&self, expected: &Labels) -> bool {
        expected.iter().all(|(name, value)| self.label(name) == Some(value))
    }

    /// Whether it was given this host name and address to look up.
    pub(crate) fn knows_host(&self, host: &str) -> bool {
        self.host_config.extra_hosts.iter().flatten().any(|known| known == host)
    }

    /// The TCP ports that were asked to be published, whether it runs or not.
    pub(crate) fn published(&self) -> Vec<Published> {
        let mut published = Vec::new();
        for (port, bindings) in self.host_config.port_bindings.iter().flatten() {
            let Some(inside) = port.strip_suffix("/tcp").and_then(|port| port.parse().ok()) else { continue };
            for binding in bindings.iter().flatten() {
                let ip = if binding.host_ip.is_empty() { "0.0.0.0" } else { binding.host_ip.as_str() };
                if let (Ok(ip), Ok(port)) = (ip.parse(), binding.host_port.parse()) {
                    published.push(Published { inside, outside: SocketAddr::new(ip, port) });
                }
            }
        }
        published
    }

    /// The container as the engine sees it; `None` if its name is not one of ours.
    pub(crate) fn observed(&self) -> Option<ObservedContainer> {
        Some(ObservedContainer {
            id: ContainerId(self.id.clone()),
            name: ContainerName::parse(self.name.trim_start_matches('/')).ok()?,
            state: self.observed_state(),
            // The daemon says the year 1 for a container that never ran.
            started_at: Timestamp::try_from(self.state.started_at.clone()).ok().filter(|at| at.as_micros() > 0),
            labels: self.labels(),
        })
    }

    fn observed_state(&self) -> ContainerState {
        if self.state.running {
            return ContainerState::Running;
        }
        if self.state.status == "created" {
            return ContainerState::Created;
        }
        let code = self.exit_code();
        // The flag is also set when only a child was killed and the program
        // itself ended well.
        ContainerState::Exited { code, out_of_memory: self.state.oom_killed && code != Some(0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(state: &str) -> Container {
        let text = format!(
            r#"{{"Id":"abc","Name":"/qk-shop-1-0","State":{state},
                "Config":{{"Labels":{{"a":"1"}},"Env":["TOKEN=hunter2"]}},
                "HostConfig":{{"PortBindings":{{"8080/tcp":[{{"HostIp":"127.0.0.1","HostPort":"31000"}}],"53/udp":null}}}}}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn states_are_told_apart() {
        let exited = |code, out_of_memory| ContainerState::Exited { code: Some(code), out_of_memory };
        for (state, expected) in [
            (r#"{"Status":"created","ExitCode":0,"StartedAt":"0001-01-01T00:00:00Z"}"#, ContainerState::Created),
            (r#"{"Status":"running","Running":true,"Pid":7}"#, ContainerState::Running),
            (r#"{"Status":"paused","Running":true,"Paused":true}"#, ContainerState::Running),
            (r#"{"Status":"exited","ExitCode":3}"#, exited(3, false)),
            (r#"{"Status":"exited","ExitCode":137,"OOMKilled":true}"#, exited(137, true)),
            (r#"{"Status":"exited","ExitCode":0,"OOMKilled":true}"#, exited(0, false)),
            (r#"{"Status":"dead","ExitCode":1}"#, exited(1, false)),
        ] {
            assert_eq!(container(state).observed().unwrap().state, expected, "{state}");
        }
    }

    #[test]
    fn a_container_that_never_ran_has_no_start() {
        let created = container(r#"{"Status":"created","StartedAt":"0001-01-01T00:00:00Z"}"#);
        assert_eq!(created.observed().unwrap().started_at, None);
        let running = container(r#"{"Running":true,"StartedAt":"2026-01-02T03:04:05.123456789Z"}"#);
        assert_eq!(running.observed().unwrap().started_at.unwrap().to_string(), "2026-01-02T03:04:05.123456Z");
    }

    #[test]
    fn published_ports_are_read_from_the_order() {
        let published = container("{}").published();
        assert_eq!(published, [Published { inside: 8080, outside: "127.0.0.1:31000".parse().unwrap() }]);
    }

    #[test]
    fn labels_must_all_be_there() {
        let container = container("{}");
        let labels = |name: &str, value: &str| Labels::from([(name.to_owned(), value.to_owned())]);
        assert!(container.has(&Labels::new()) && container.has(&labels("a", "1")));
        assert!(!container.has(&labels("a", "2")) && !container.has(&labels("b", "1")));
    }
}
