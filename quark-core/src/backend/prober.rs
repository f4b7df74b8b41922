//! `Prober`: asks an instance whether it is well.

use std::fmt;

use async_trait::async_trait;

use crate::app::{Domain, HealthCheck};
use crate::deployment::Endpoint;

/// Whom to ask, and how.
#[derive(Clone, Debug)]
pub struct ProbeTarget<'a> {
    /// Where the instance listens, as the router will reach it.
    pub endpoint: &'a Endpoint,
    /// The host name to ask for, if the app has one.
    pub host: Option<&'a Domain>,
    /// What to ask and when the answer is late.
    pub check: &'a HealthCheck,
}

/// Why a probe was not answered well.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProbeFailure {
    /// Nothing accepted the connection.
    Refused,
    /// No whole answer came in time.
    TimedOut,
    /// The answer had this status.
    Status(u16),
    /// The answer was not HTTP.
    Protocol(String),
}

impl fmt::Display for ProbeFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => f.write_str("nothing accepts connections"),
            Self::TimedOut => f.write_str("no answer in time"),
            Self::Status(status) => write!(f, "it answers {status}"),
            Self::Protocol(why) => write!(f, "the answer is not HTTP: {why}"),
        }
    }
}

/// Asks an instance once whether it is well.
#[async_trait]
pub trait Prober: fmt::Debug + Send + Sync + 'static {
    /// Asks once. Returns within the check's timeout. Safe to drop.
    ///
    /// # Errors
    ///
    /// Why the instance is not well.
    async fn probe(&self, target: ProbeTarget<'_>) -> Result<(), ProbeFailure>;
}
