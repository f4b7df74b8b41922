//! `logs`: what a container has printed.

use std::time::Duration;

use bollard::container::LogOutput;
use bollard::errors::Error as BollardError;
use bollard::query_parameters::LogsOptionsBuilder;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use quark_core::backend::{LogChunk, LogSelection};
use quark_core::{Error, ErrorClass, ErrorKind, LogStream, Result, Timestamp};

use crate::container::Container;
use crate::daemon::Daemon;
use crate::error;

const OPERATION: &str = "runtime.logs";

struct Reading {
    daemon: Daemon,
    id: String,
    output: BoxStream<'static, Result<LogOutput, BollardError>>,
    /// How long the next piece may take; for ever when it need not come.
    patience: Option<Duration>,
    ended: bool,
}

pub(super) async fn read(
    daemon: &Daemon,
    id: &str,
    selection: LogSelection,
) -> Result<BoxStream<'static, Result<LogChunk>>> {
    if daemon.container(OPERATION, id).await?.is_none() {
        return Err(error::container_not_found(id).with_operation(OPERATION));
    }
    let tail = selection.tail.map_or_else(|| "all".to_owned(), |lines| lines.to_string());
    let options = LogsOptionsBuilder::new()
        .stdout(true)
        .stderr(true)
        .timestamps(true)
        .follow(selection.follow)
        .tail(&tail)
        .build();
    let output = daemon.docker().logs(id, Some(options)).boxed();
    let patience = (!selection.follow).then(|| daemon.config().request_timeout());
    let reading = Reading { daemon: daemon.clone(), id: id.to_owned(), output, patience, ended: false };
    Ok(stream::unfold(reading, next).boxed())
}

async fn next(mut reading: Reading) -> Option<(Result<LogChunk>, Reading)> {
    if reading.ended {
        return None;
    }
    let piece = match reading.patience {
        Some(patience) => match tokio::time::timeout(patience, reading.output.next()).await {
            Ok(piece) => piece,
            Err(_) => Some(Err(BollardError::RequestTimeoutError)),
        },
        None => reading.output.next().await,
    };
    let item = match piece {
        Some(Ok(output)) => chunk(output),
        Some(Err(failed)) => Err(error::of_request(reading.daemon.socket(), failed)),
        None if reading.patience.is_none() => Err(broken_off(&reading.daemon, &reading.id).await?),
        None => return None,
    };
    reading.ended = item.is_err();
    Some((item.map_err(|error| error.with_operation(OPERATION)), reading))
}

/// A stream that is followed ends with its container. The daemon also ends it
/// when it stops itself, without a word: whoever follows must be told.
async fn broken_off(daemon: &Daemon, id: &str) -> Option<Error> {
    match daemon.container(OPERATION, id).await {
        Ok(container) if !container.as_ref().is_some_and(Container::is_running) => None,
        Ok(_) => Some(Error::new(ErrorKind::Unavailable, "the Docker daemon broke off the log of a running container")),
        Err(error) => Some(error),
    }
}

/// A piece is one line, or a part of one that is longer than the daemon's buffer.
fn chunk(output: LogOutput) -> Result<LogChunk> {
    let (stream, message) = match output {
        LogOutput::StdOut { message } => (LogStream::Stdout, message),
        LogOutput::StdErr { message } => (LogStream::Stderr, message),
        // Without a header it is no line of the container but what the daemon
        // says when it cannot read on.
        LogOutput::Console { message } | LogOutput::StdIn { message } => {
            let said = error::one_line(&String::from_utf8_lossy(&message));
            return Err(Error::new(ErrorKind::Unavailable, format!("the log could not be read to its end: {said}"))
                .with_class(ErrorClass::Retryable));
        }
    };
    let text = String::from_utf8_lossy(&message);
    let text = text.strip_suffix('\n').unwrap_or(&text);
    let stamped = text.split_once(' ').and_then(|(at, rest)| Some((Timestamp::try_from(at.to_owned()).ok()?, rest)));
    Ok(match stamped {
        Some((at, rest)) => LogChunk { stream, at: Some(at), text: rest.to_owned() },
        None => LogChunk { stream, at: None, text: text.to_owned() },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_taken_off_the_line() {
        let output = |text: &'static str| LogOutput::StdOut { message: text.as_bytes().into() };
        let line = chunk(output("2026-01-02T03:04:05.000001000Z hello  world\n")).unwrap();
        assert_eq!((line.text.as_str(), line.stream), ("hello  world", LogStream::Stdout));
        assert_eq!(line.at.unwrap().to_string(), "2026-01-02T03:04:05.000001Z");
        assert_eq!(chunk(output("2026-01-02T03:04:05.000000000Z \n")).unwrap().text, "");
        assert_eq!(chunk(output("no time")).unwrap().at, None);
    }
}
