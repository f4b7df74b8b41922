//! The answers that the proxy gives itself.

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode};

use super::body::ResponseBody;

/// Why a request is not answered by an app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The request is not one that HTTP/1.1 allows.
    Malformed(&'static str),
    /// No app answers to this name.
    UnknownHost,
    /// `CONNECT` is for proxies that their users choose.
    Tunnel,
    /// The body is coded in a way that would be lost on the way.
    Coding,
    /// The app does not accept connections, or its answer is none.
    Unreachable,
    /// The app does not accept connections in time.
    TooSlow,
}

impl Refusal {
    fn status(self) -> StatusCode {
        match self {
            Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::UnknownHost => StatusCode::NOT_FOUND,
            Self::Tunnel => StatusCode::METHOD_NOT_ALLOWED,
            Self::Coding => StatusCode::NOT_IMPLEMENTED,
            Self::Unreachable => StatusCode::BAD_GATEWAY,
            Self::TooSlow => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    fn text(self) -> Bytes {
        match self {
            Self::Malformed(why) => Bytes::from(format!("bad request: {why}\n")),
            Self::UnknownHost => Bytes::from_static(b"no app answers to this host name\n"),
            Self::Tunnel => Bytes::from_static(b"this is not a forward proxy\n"),
            Self::Coding => Bytes::from_static(b"the only transfer coding that is understood is chunked\n"),
            Self::Unreachable => Bytes::from_static(b"the app cannot be reached at present\n"),
            Self::TooSlow => Bytes::from_static(b"the app does not accept connections in time\n"),
        }
    }

    pub(super) fn into_response(self) -> Response<ResponseBody> {
        let mut response = Response::new(ResponseBody::Text(Some(self.text())));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if self == Self::Tunnel {
            headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"));
        }
        response
    }
}
