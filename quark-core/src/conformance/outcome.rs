//! What cases say, and what they share.

use std::fmt::Debug;
use std::time::Duration;

use crate::backend::Call;
use crate::deployment::{DeploymentId, Fence};
use crate::{Error, ErrorKind, Result};

/// What a case found: nothing wrong, or what the backend did instead of what
/// its contract says.
pub type CaseResult<T = ()> = std::result::Result<T, String>;

/// Fails a case with a message unless a condition holds.
macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err(format!($($message)+));
        }
    };
}

pub(crate) use ensure;

/// Makes one test of each case. The fixture is a future that yields an `Option`.
#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_tests {
    ($suite:ident, $fixture:expr, [$($case:ident),+ $(,)?]) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                if let Some(fixture) = $fixture.await {
                    let found = $crate::conformance::$suite::$case(&fixture).await;
                    assert!(found.is_ok(), "{}", found.err().unwrap_or_default());
                }
            }
        )+
    };
}

/// Longer than anything that works takes, on a machine that is busy.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// A call with a key of its own: a backend may end what another call with the
/// same key has left running, and suites run side by side.
pub(super) fn call(fence: Fence, timeout: Duration) -> Call {
    Call::new(format!("conformance:{}", DeploymentId::generate()), fence, timeout)
}

/// Waits for what must happen soon.
pub(super) async fn within<T>(what: &str, work: impl Future<Output = T>) -> CaseResult<T> {
    let done = tokio::time::timeout(PATIENCE, work).await;
    done.map_err(|_| format!("{what}: not within {} s", PATIENCE.as_secs()))
}

/// What a call has yielded that must succeed.
pub(super) fn worked<T>(what: &str, result: Result<T>) -> CaseResult<T> {
    result.map_err(|error| format!("{what} failed: {}", error.report()))
}

/// Checks that a call was refused with this kind, and with this code if one is given.
pub(super) fn refused<T: Debug>(
    what: &str,
    result: Result<T>,
    kind: ErrorKind,
    code: Option<&str>,
) -> CaseResult<Error> {
    match result {
        Ok(done) => Err(format!("{what} succeeded with {done:?} and should be `{kind}`")),
        Err(error) if error.kind() != kind => {
            Err(format!("{what} failed with `{}` and should be `{kind}`: {}", error.kind(), error.report()))
        }
        Err(error) => match code {
            Some(code) if error.code() != code => {
                Err(format!("{what} failed with the code `{}` and should be `{code}`", error.code()))
            }
            _ => Ok(error),
        },
    }
}
