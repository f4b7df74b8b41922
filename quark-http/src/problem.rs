//! Failures on the wire: `application/problem+json` (RFC 9457).

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use quark_core::{Error, ErrorKind};

use crate::dto::ProblemBody;

/// A failure that answers a request.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    error: Error,
}

impl Problem {
    /// A failure with a status that its kind does not imply.
    pub(crate) fn new(status: StatusCode, error: Error) -> Self {
        Self { status, error }
    }

    /// The request has no valid token.
    pub(crate) fn unauthorized(code: &'static str, message: &str) -> Self {
        let error = Error::new(ErrorKind::PermissionDenied, message)
            .with_code(code)
            .with_hint("send `Authorization: Bearer <token>`");
        Self::new(StatusCode::UNAUTHORIZED, error)
    }

    /// There is nothing at this path.
    pub(crate) fn no_such_path() -> Self {
        Error::new(ErrorKind::NotFound, "there is nothing at this path").with_code("no_such_path").into()
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let status = match error.kind() {
            ErrorKind::InvalidInput => StatusCode::UNPROCESSABLE_ENTITY,
            ErrorKind::NotFound => StatusCode::NOT_FOUND,
            ErrorKind::AlreadyExists | ErrorKind::Conflict | ErrorKind::Cancelled => StatusCode::CONFLICT,
            ErrorKind::PermissionDenied => StatusCode::FORBIDDEN,
            ErrorKind::Unsupported => StatusCode::NOT_IMPLEMENTED,
            ErrorKind::Unavailable | ErrorKind::ResourceExhausted => StatusCode::SERVICE_UNAVAILABLE,
            ErrorKind::Timeout => StatusCode::GATEWAY_TIMEOUT,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self { status, error }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Self { status, error } = self;
        if status.is_server_error() {
            tracing::warn!(status = status.as_u16(), report = error.report(), "a request failed");
        }
        let body = ProblemBody {
            title: status.canonical_reason().unwrap_or("Failure").to_owned(),
            status: status.as_u16(),
            // A fault of ours is for our log; a caller could do nothing with it.
            detail: if status == StatusCode::INTERNAL_SERVER_ERROR {
                "something went wrong inside; the server's log says more".to_owned()
            } else {
                error.to_string()
            },
            code: error.code().to_owned(),
            field: error.field().map(str::to_owned),
            hint: error.hint().map(str::to_owned),
        };
        let mut response = (status, Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(after) = error.retry_after() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(after.as_secs().max(1)));
        }
        response
    }
}
