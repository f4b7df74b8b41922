//! The bodies that pass through, and who notices when they have ended.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::pool::Sender;
use super::upstream::InFlight;

/// The body of a request on its way to a slot.
#[derive(Debug)]
pub(super) enum RequestBody {
    Empty,
    /// Counts as long as it is read: an answer may come before the end.
    Streamed {
        body: Incoming,
        _in_flight: Arc<InFlight>,
    },
}

impl RequestBody {
    pub(super) fn new(body: Incoming, in_flight: &Arc<InFlight>) -> Self {
        if body.is_end_stream() {
            return Self::Empty;
        }
        Self::Streamed { body, _in_flight: Arc::clone(in_flight) }
    }

    /// Counts at another slot, which it is sent to instead.
    pub(super) fn moved_to(self, in_flight: &Arc<InFlight>) -> Self {
        match self {
            Self::Empty => Self::Empty,
            Self::Streamed { body, .. } => Self::Streamed { body, _in_flight: Arc::clone(in_flight) },
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        match &mut *self {
            Self::Empty => Poll::Ready(None),
            Self::Streamed { body, .. } => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Streamed { body, .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Streamed { body, .. } => body.size_hint(),
        }
    }
}

/// The body of an answer on its way to a client.
#[derive(Debug)]
pub(super) enum ResponseBody {
    /// One of ours.
    Text(Option<Bytes>),
    /// From a slot.
    Streamed { body: Incoming, exchange: Option<Exchange> },
}

/// A request that counts, and its connection, until the answer has ended.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) sender: Sender,
    /// Whether the connection can take another request afterwards.
    pub(super) reusable: bool,
    pub(super) in_flight: Arc<InFlight>,
}

impl Exchange {
    /// The answer was read whole.
    fn complete(self) {
        if self.reusable {
            self.in_flight.upstream().pool.keep(self.sender);
        }
    }
}

impl ResponseBody {
    pub(super) fn empty() -> Self {
        Self::Text(None)
    }

    pub(super) fn streamed(body: Incoming, exchange: Exchange) -> Self {
        let mut streamed = Self::Streamed { body, exchange: Some(exchange) };
        streamed.settle(false);
        streamed
    }

    fn settle(&mut self, ended: bool) {
        if let Self::Streamed { body, exchange } = self
            && (ended || body.is_end_stream())
            && let Some(exchange) = exchange.take()
        {
            exchange.complete();
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let polled = match &mut *self {
            Self::Text(text) => return Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
            Self::Streamed { body, .. } => Pin::new(body).poll_frame(cx),
        };
        match &polled {
            // Who writes the answer need not ask again after the last byte or
            // after trailers, so these count as the end too.
            Poll::Ready(None) => self.settle(true),
            Poll::Ready(Some(Ok(frame))) => {
                let is_last = frame.is_trailers();
                self.settle(is_last);
            }
            // The connection is of no further use; the request ends when the
            // client's connection is cut, which this error brings about.
            Poll::Ready(Some(Err(_))) | Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Text(text) => text.is_none(),
            Self::Streamed { body, .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Text(text) => {
                let length = text.as_ref().map_or(0, Bytes::len);
                SizeHint::with_exact(u64::try_from(length).unwrap_or(u64::MAX))
            }
            Self::Streamed { body, .. } => body.size_hint(),
        }
    }
}
