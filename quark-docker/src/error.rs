//! What the daemon's refusals and the loss of its connection mean to QUARK.

use std::error::Error as StdError;
use std::io;
use std::path::Path;

use bollard::errors::Error as BollardError;
use quark_core::{Error, ErrorClass, ErrorKind};

/// The longest piece of the daemon's words that a message holds.
const LONGEST: usize = 600;

/// An answer that is no success.
pub(crate) fn refusal(status: u16, said: &str) -> Error {
    let said = one_line(said);
    if said.contains("no space left on device") {
        return no_space(&said);
    }
    let kind = match status {
        400 => ErrorKind::InvalidConfig,
        401 | 403 => ErrorKind::PermissionDenied,
        404 => ErrorKind::NotFound,
        409 => ErrorKind::Conflict,
        501 => ErrorKind::Unsupported,
        500.. => ErrorKind::Unavailable,
        _ => ErrorKind::Internal,
    };
    Error::new(kind, format!("the Docker daemon answered {status}: {said}"))
}

/// The disk of the daemon is full.
pub(crate) fn no_space(said: &str) -> Error {
    Error::new(ErrorKind::ResourceExhausted, format!("the Docker daemon has no disk space left: {}", one_line(said)))
        .with_code("no_space")
        .with_hint("remove unused images and containers, or give the daemon a larger disk")
}

/// There is no such container.
pub(crate) fn container_not_found(id: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("there is no container `{id}`")).with_code("container_not_found")
}

/// The daemon cannot be reached, or the connection to it broke.
///
/// A request that was sent may have been carried out: only a connection that
/// was never made is sure to have changed nothing.
pub(crate) fn lost(socket: &Path, error: impl Into<Box<dyn StdError + Send + Sync>>, sent: bool) -> Error {
    let error = error.into();
    let class = if sent { ErrorClass::Unknown } else { ErrorClass::Retryable };
    if !sent && io_kind(error.as_ref()) == Some(io::ErrorKind::PermissionDenied) {
        let message = format!("this user may not use the Docker daemon at `{}`", socket.display());
        return Error::new(ErrorKind::PermissionDenied, message)
            .with_hint("run as root or as a member of the group that owns the socket")
            .with_source(error);
    }
    let what = if sent { "broke the connection" } else { "cannot be reached" };
    Error::new(ErrorKind::Unavailable, format!("the Docker daemon at `{}` {what}", socket.display()))
        .with_class(class)
        .with_hint("is it running? the socket can be set with `DockerConfig::with_socket`")
        .with_source(error)
}

/// An answer that makes no sense.
pub(crate) fn nonsense(error: impl Into<Box<dyn StdError + Send + Sync>>) -> Error {
    Error::new(ErrorKind::Internal, "the Docker daemon gave an answer that cannot be understood")
        .with_class(ErrorClass::Unknown)
        .with_source(error)
}

/// What a failed request of the client library means.
pub(crate) fn of_request(socket: &Path, error: BollardError) -> Error {
    match error {
        BollardError::DockerResponseServerError { status_code, message } => refusal(status_code, &message),
        // What a stream says after it began well has no status.
        BollardError::DockerStreamError { error } => refusal(500, &error),
        BollardError::RequestTimeoutError => Error::new(ErrorKind::Timeout, "the Docker daemon did not answer in time"),
        BollardError::HyperLegacyError { err } => {
            let sent = !err.is_connect();
            lost(socket, err, sent)
        }
        BollardError::SocketNotFoundError(_) => {
            lost(socket, io::Error::new(io::ErrorKind::NotFound, "there is no such socket"), false)
        }
        error @ (BollardError::HyperResponseError { .. } | BollardError::IOError { .. }) => lost(socket, error, true),
        error => nonsense(error),
    }
}

fn io_kind(error: &(dyn StdError + 'static)) -> Option<io::ErrorKind> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return Some(error.kind());
        }
        cause = error.source();
    }
    None
}

/// The daemon's words as part of a sentence: one line, of bearable length.
pub(crate) fn one_line(said: &str) -> String {
    let words: String = said.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST).collect();
    let cut = if said.chars().nth(LONGEST).is_some() { "…" } else { "" };
    format!("{}{cut}", words.trim().trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_answer_has_its_kind_and_class() {
        for (status, said, kind, class) in [
            (400, "invalid memory limit", ErrorKind::InvalidConfig, ErrorClass::Permanent),
            (404, "No such container: x", ErrorKind::NotFound, ErrorClass::Permanent),
            (409, "name is in use", ErrorKind::Conflict, ErrorClass::Permanent),
            (500, "driver failed", ErrorKind::Unavailable, ErrorClass::Retryable),
            (503, "starting", ErrorKind::Unavailable, ErrorClass::Retryable),
            (500, "write /x: no space left on device", ErrorKind::ResourceExhausted, ErrorClass::Permanent),
        ] {
            let error = refusal(status, said);
            assert_eq!((error.kind(), error.class()), (kind, class), "{status} {said}");
        }
    }

    #[test]
    fn a_request_that_was_sent_may_have_been_done() {
        let socket = Path::new("/run/x.sock");
        let cut = lost(socket, io::Error::from(io::ErrorKind::ConnectionReset), true);
        assert_eq!((cut.kind(), cut.class()), (ErrorKind::Unavailable, ErrorClass::Unknown));
        let away = of_request(socket, BollardError::SocketNotFoundError(String::new()));
        assert_eq!((away.kind(), away.class()), (ErrorKind::Unavailable, ErrorClass::Retryable));
        let late = of_request(socket, BollardError::RequestTimeoutError);
        assert_eq!((late.kind(), late.class()), (ErrorKind::Timeout, ErrorClass::Unknown));
        let forbidden = lost(socket, io::Error::from(io::ErrorKind::PermissionDenied), false);
        assert_eq!(forbidden.kind(), ErrorKind::PermissionDenied);
    }

    #[test]
    fn words_of_the_daemon_fit_into_a_sentence() {
        assert_eq!(one_line("two\nlines.\n"), "two lines");
        assert!(one_line(&"x".repeat(5000)).chars().count() <= LONGEST + 1);
    }
}
