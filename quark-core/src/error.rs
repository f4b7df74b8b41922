//! The one error type of the traits and the engine.
//!
//! A caller branches on [`ErrorKind`]; the engine decides about retries by
//! [`ErrorClass`]; a person reads the message and the hint. A backend's own
//! error is kept as the source and never repeated in the message.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The result of everything that can fail in QUARK.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, as far as a caller can act on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// The thing that was named does not exist.
    NotFound,
    /// The thing that should be created exists already.
    AlreadyExists,
    /// The state of the thing forbids the request, or it changed meanwhile.
    Conflict,
    /// A value given by the caller is not acceptable; see [`Error::field`].
    InvalidInput,
    /// A backend refused a configuration that was made from acceptable values.
    InvalidConfig,
    /// The credentials do not allow the request.
    PermissionDenied,
    /// This backend, or this version of QUARK, cannot do it.
    Unsupported,
    /// A backend cannot be reached at present.
    Unavailable,
    /// The time allowed for the operation has passed.
    Timeout,
    /// Somebody asked for the operation to stop.
    Cancelled,
    /// The new version did not become healthy.
    Unhealthy,
    /// Fetching or building the source failed by its own fault.
    BuildFailed,
    /// Disk, ports, memory or another quota is used up.
    ResourceExhausted,
    /// Another engine took over; nothing may be touched any more.
    Fenced,
    /// A fault of QUARK or of a backend that no caller can mend.
    Internal,
}

impl ErrorKind {
    /// The name used in APIs, logs and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::AlreadyExists => "already_exists",
            Self::Conflict => "conflict",
            Self::InvalidInput => "invalid_input",
            Self::InvalidConfig => "invalid_config",
            Self::PermissionDenied => "permission_denied",
            Self::Unsupported => "unsupported",
            Self::Unavailable => "unavailable",
            Self::Timeout => "timeout",
            Self::Cancelled => "cancelled",
            Self::Unhealthy => "unhealthy",
            Self::BuildFailed => "build_failed",
            Self::ResourceExhausted => "resource_exhausted",
            Self::Fenced => "fenced",
            Self::Internal => "internal",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is known about the effect that failed, which decides about a retry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorClass {
    /// Surely not done, and worth another try.
    Retryable,
    /// It may have been done (a timeout, a cut connection): observe, then decide.
    Unknown,
    /// Trying again would fail in the same way.
    Permanent,
}

/// An error of a backend or of the engine.
///
/// `Display` prints this layer only; [`Error::report`] prints the whole chain.
pub struct Error {
    inner: Box<Inner>,
}

struct Inner {
    kind: ErrorKind,
    class: ErrorClass,
    code: Cow<'static, str>,
    operation: Option<Cow<'static, str>>,
    message: String,
    field: Option<Cow<'static, str>>,
    hint: Option<String>,
    retry_after: Option<Duration>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error of `kind` with a message for people: lower case, no final
    /// period, values in backticks, never a secret.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        let class = match kind {
            ErrorKind::Unavailable => ErrorClass::Retryable,
            ErrorKind::Timeout => ErrorClass::Unknown,
            _ => ErrorClass::Permanent,
        };
        Self {
            inner: Box::new(Inner {
                kind,
                class,
                code: Cow::Borrowed(kind.as_str()),
                operation: None,
                message: message.into(),
                field: None,
                hint: None,
                retry_after: None,
                source: None,
            }),
        }
    }

    /// A value that the caller gave and that is refused. `code` is a stable
    /// name such as `invalid_domain`, `field` a path such as `app.domains`.
    #[must_use]
    pub fn invalid(field: &'static str, code: &'static str, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidInput, message).with_field(field).with_code(code)
    }

    /// Sets the stable name of this very failure; the kind's name by default.
    #[must_use]
    pub fn with_code(mut self, code: impl Into<Cow<'static, str>>) -> Self {
        self.inner.code = code.into();
        self
    }

    /// Names the operation that failed, such as `router.apply`.
    #[must_use]
    pub fn with_operation(mut self, operation: impl Into<Cow<'static, str>>) -> Self {
        self.inner.operation = Some(operation.into());
        self
    }

    /// Names the input that is at fault.
    #[must_use]
    pub fn with_field(mut self, field: impl Into<Cow<'static, str>>) -> Self {
        self.inner.field = Some(field.into());
        self
    }

    /// Says what the reader can do about it.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.inner.hint = Some(hint.into());
        self
    }

    /// Overrides what is known about the effect.
    #[must_use]
    pub fn with_class(mut self, class: ErrorClass) -> Self {
        self.inner.class = class;
        self
    }

    /// Says when a retry makes sense.
    #[must_use]
    pub fn with_retry_after(mut self, after: Duration) -> Self {
        self.inner.retry_after = Some(after);
        self
    }

    /// Keeps the cause. Its text must hold no secret.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.inner.source = Some(source.into());
        self
    }

    /// What went wrong, as far as a caller can act on it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.inner.kind
    }

    /// What is known about the effect.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        self.inner.class
    }

    /// The stable name of this very failure.
    #[must_use]
    pub fn code(&self) -> &str {
        &self.inner.code
    }

    /// The message, without operation and hint.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.inner.message
    }

    /// The operation that failed, if it was named.
    #[must_use]
    pub fn operation(&self) -> Option<&str> {
        self.inner.operation.as_deref()
    }

    /// The input that is at fault, if it is one input.
    #[must_use]
    pub fn field(&self) -> Option<&str> {
        self.inner.field.as_deref()
    }

    /// What the reader can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        self.inner.hint.as_deref()
    }

    /// When a retry makes sense, if the backend said so.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.inner.retry_after
    }

    /// The whole chain on one line each, with the hint last.
    #[must_use]
    pub fn report(&self) -> String {
        let mut report = self.to_string();
        let mut source = self.source();
        while let Some(cause) = source {
            report.push_str("\n  caused by: ");
            report.push_str(&cause.to_string());
            source = cause.source();
        }
        if let Some(hint) = self.hint() {
            report.push_str("\n  hint: ");
            report.push_str(hint);
        }
        report
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(operation) = self.operation() {
            write!(f, "{operation}: ")?;
        }
        f.write_str(self.message())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &self.inner;
        f.debug_struct("Error")
            .field("kind", &inner.kind)
            .field("class", &inner.class)
            .field("code", &inner.code)
            .field("operation", &inner.operation)
            .field("message", &inner.message)
            .field("field", &inner.field)
            .field("hint", &inner.hint)
            .field("retry_after", &inner.retry_after)
            .field("source", &inner.source)
            .finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.inner.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_each_layer_once() {
        let cause = std::io::Error::other("connection reset");
        let error = Error::new(ErrorKind::Unavailable, "the daemon does not answer")
            .with_operation("runtime.create")
            .with_hint("is it running?")
            .with_source(cause);
        assert_eq!(error.to_string(), "runtime.create: the daemon does not answer");
        assert_eq!(error.report().matches("connection reset").count(), 1);
        assert!(error.report().ends_with("hint: is it running?"));
    }

    #[test]
    fn a_timeout_may_have_been_done() {
        assert_eq!(Error::new(ErrorKind::Timeout, "late").class(), ErrorClass::Unknown);
        assert_eq!(Error::new(ErrorKind::Unavailable, "away").class(), ErrorClass::Retryable);
    }
}
