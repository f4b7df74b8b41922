//! Names of things that QUARK makes: deployments, containers, versions.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::app::{AppName, HookPoint, checked_text};
use crate::{Error, Result};

/// One attempt to change what runs. A UUID of version 7: it sorts by time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DeploymentId(Uuid);

impl DeploymentId {
    /// A new id, later than every id made before on this machine.
    #[must_use]
    pub fn generate() -> Self {
        Self(Uuid::now_v7())
    }

    /// The id as a UUID.
    #[must_use]
    pub fn as_uuid(self) -> Uuid {
        self.0
    }
}

impl From<Uuid> for DeploymentId {
    fn from(uuid: Uuid) -> Self {
        Self(uuid)
    }
}

impl fmt::Display for DeploymentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl fmt::Debug for DeploymentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeploymentId({})", self.0.hyphenated())
    }
}

impl FromStr for DeploymentId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        // Only the form that we print: one id has one spelling.
        match Uuid::parse_str(text) {
            Ok(uuid) if text.len() == 36 => Ok(Self(uuid)),
            _ => Err(Error::invalid("deployment", "invalid_id", "this is not a deployment id")
                .with_hint("an id has 36 characters, such as 0190f5a2-7c3e-7b1a-9d4e-2f6a8b0c1d2e")),
        }
    }
}

checked_text! {
    /// The name of a container: `qk-<app>-<deployment>-<replica>`, or with the
    /// name of a hook in the place of the replica. A name is
    /// used for one deployment only, so that a stale order can never hit a
    /// container of another one.
    ContainerName, check_container_name
}

impl ContainerName {
    /// The name of the container number `replica` of a deployment.
    #[must_use]
    pub fn of(app: &AppName, deployment: DeploymentId, replica: u16) -> Self {
        Self(format!("qk-{app}-{}-{replica}", deployment.0.simple()))
    }

    /// The name of the container of a hook that a deployment runs.
    #[must_use]
    pub fn of_hook(app: &AppName, deployment: DeploymentId, hook: HookPoint) -> Self {
        Self(format!("qk-{app}-{}-{}", deployment.0.simple(), hook.as_str().replace('_', "-")))
    }
}

fn check_container_name(text: &str) -> Result<String> {
    let ok = text.starts_with("qk-")
        && text.len() <= 128
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if ok {
        return Ok(text.to_owned());
    }
    Err(Error::invalid("container", "invalid_container_name", "this is not a container name of ours"))
}

checked_text! {
    /// Who holds leases and claims: one engine process. At most 128 characters
    /// of letters, digits and `-._`.
    OwnerId, check_owner
}

impl OwnerId {
    /// A name that no other engine has.
    #[must_use]
    pub fn unique() -> Self {
        Self(format!("engine-{}", Uuid::now_v7().simple()))
    }
}

fn check_owner(text: &str) -> Result<String> {
    let ok =
        !text.is_empty() && text.len() <= 128 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
    if ok {
        return Ok(text.to_owned());
    }
    Err(Error::invalid("owner", "invalid_owner", "an owner is 1 to 128 letters, digits, `-`, `.` and `_`"))
}

/// Counts the writes of a row; a write names the version that it read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Version(pub u64);

impl Version {
    /// The version after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// Grows with each lease of an app; the holder of the highest one may act.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fence(pub u64);

/// Grows with each intended change of an app's route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Generation(pub u64);

impl Generation {
    /// The generation after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// Where an instance can be reached by the router, such as `127.0.0.1:31000`.
/// Only the runtime that made it and the router know what it means.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Endpoint(String);

impl Endpoint {
    /// An endpoint by its text.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Where a program that listens at `address` is reached from its own machine:
    /// on loopback, if it listens everywhere.
    #[must_use]
    pub fn on_this_machine(mut address: std::net::SocketAddr) -> Self {
        match address.ip() {
            std::net::IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(std::net::Ipv4Addr::LOCALHOST.into()),
            std::net::IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(std::net::Ipv6Addr::LOCALHOST.into()),
            _ => {}
        }
        Self(address.to_string())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The endpoint as an address of IP and port, if it is one.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) if it is something else.
    pub fn socket_addr(&self) -> Result<std::net::SocketAddr> {
        self.0.parse().map_err(|_| {
            Error::new(crate::ErrorKind::Unsupported, format!("endpoint `{}` is not an address and port", self.0))
        })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_one_spelling() {
        let id = DeploymentId::generate();
        assert_eq!(id.to_string().parse::<DeploymentId>().ok(), Some(id));
        for bad in ["", "1 OR 1=1", "../1", "0190f5a27c3e7b1a9d4e2f6a8b0c1d2e"] {
            assert_eq!(bad.parse::<DeploymentId>().unwrap_err().code(), "invalid_id");
        }
    }

    #[test]
    fn container_names_are_checked() {
        let name = ContainerName::of(&AppName::parse("shop").unwrap(), DeploymentId::generate(), 0);
        assert_eq!(ContainerName::parse(name.as_str()).unwrap(), name);
        assert!(ContainerName::parse("qk-a;b").is_err());
        let hook =
            ContainerName::of_hook(&AppName::parse("shop").unwrap(), DeploymentId::generate(), HookPoint::PreDeploy);
        assert_eq!(ContainerName::parse(hook.as_str()).unwrap(), hook);
        assert!(hook.as_str().ends_with("-pre-deploy"));
    }
}
