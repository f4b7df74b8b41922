//! Server-sent events: what happens, as it happens.

use std::convert::Infallible;
use std::time::Duration;

use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, KeepAliveStream, Sse};
use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt};
use quark_core::{Error, ErrorKind, Result};
use serde::Serialize;

use crate::problem::Problem;

/// How often a comment keeps the connection open.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// A stream of events to a browser or `curl`.
pub(crate) type Events = Sse<KeepAliveStream<BoxStream<'static, std::result::Result<Event, Infallible>>>>;

/// Sends items as they come. Each has an id (0 for none), so that a client that
/// comes back with `Last-Event-ID` misses nothing and gets nothing twice. The
/// end of the stream is an event of its own: a client that does not see it was cut off.
pub(crate) fn events<T, V>(
    items: impl Stream<Item = Result<T>> + Send + 'static,
    name: &'static str,
    mut view: impl FnMut(T) -> (u64, V) + Send + 'static,
) -> Events
where
    T: Send + 'static,
    V: Serialize + 'static,
{
    let items = items.map(move |item| {
        let event = item.and_then(|item| {
            let (id, body) = view(item);
            let event = Event::default()
                .event(name)
                .json_data(body)
                .map_err(|error| Error::new(ErrorKind::Internal, "an event could not be written").with_source(error))?;
            Ok(if id == 0 { event } else { event.id(id.to_string()) })
        });
        Ok(event
            .unwrap_or_else(|error| Event::default().event("error").data(error.message().replace(['\r', '\n'], " "))))
    });
    let end = futures_util::stream::iter([Ok(Event::default().event("end").data("{}"))]);
    let all: BoxStream<'static, _> = items.chain(end).boxed();
    Sse::new(all).keep_alive(KeepAlive::new().interval(HEARTBEAT))
}

/// Where a client left off.
///
/// # Errors
///
/// 400 `invalid_cursor` if the header is not a number that we gave.
pub(crate) fn last_event_id(headers: &HeaderMap) -> std::result::Result<u64, Problem> {
    let Some(value) = headers.get("last-event-id") else { return Ok(0) };
    let cursor = value.to_str().ok().and_then(|text| text.parse::<u64>().ok());
    // Stores count in signed numbers.
    cursor.filter(|cursor| i64::try_from(*cursor).is_ok()).ok_or_else(|| {
        let error = Error::new(ErrorKind::InvalidInput, "`Last-Event-ID` is not one of ours")
            .with_code("invalid_cursor")
            .with_field("last-event-id");
        Problem::new(axum::http::StatusCode::BAD_REQUEST, error)
    })
}
