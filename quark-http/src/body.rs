//! Bodies and path parts of requests, checked in one place.

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use quark_core::deployment::IdempotencyKey;
use quark_core::{AppName, DeploymentId, Error, ErrorKind, ProjectName};
use serde::de::DeserializeOwned;

use crate::problem::Problem;

/// A JSON body. Unknown and repeated fields are refused. An empty body means
/// the default where there is one.
pub(crate) struct JsonBody<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let is_json = request.headers().get(header::CONTENT_TYPE).is_some_and(|kind| {
            let kind = kind.to_str().unwrap_or_default();
            kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
        });
        let bytes = Bytes::from_request(request, state).await.map_err(|rejection| {
            let too_large = rejection.status() == StatusCode::PAYLOAD_TOO_LARGE;
            let code = if too_large { "body_too_large" } else { "body_unreadable" };
            Problem::new(
                rejection.status(),
                Error::new(ErrorKind::InvalidInput, "the body could not be read").with_code(code),
            )
        })?;
        if !is_json && !bytes.is_empty() {
            let error = Error::new(ErrorKind::InvalidInput, "the body must be JSON").with_code("not_json");
            let error = error.with_hint("send `Content-Type: application/json`");
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, error));
        }
        let text: &[u8] = if bytes.is_empty() { b"{}" } else { &bytes };
        serde_json::from_slice(text).map(Self).map_err(|error| {
            let message = without_values(&error.to_string());
            let code = if message.starts_with("unknown field") { "unknown_field" } else { "invalid_json" };
            Problem::new(StatusCode::BAD_REQUEST, Error::new(ErrorKind::InvalidInput, message).with_code(code))
        })
    }
}

/// What is wrong with a body, without the value that is: it may be a secret in
/// the wrong place.
fn without_values(message: &str) -> String {
    let names_a_value = ["invalid type: ", "invalid value: "].iter().any(|start| message.starts_with(start));
    let parts = message.find(['`', '"']).zip(message.rfind(", expected "));
    match parts {
        Some((value, expected)) if names_a_value && value < expected => {
            let (kind, rest) = (message.get(..value).unwrap_or_default(), message.get(expected..).unwrap_or_default());
            format!("{}{rest}", kind.trim_end())
        }
        _ => message.to_owned(),
    }
}

/// The key of a wish, from the header `Idempotency-Key`.
pub(crate) struct WishKey(Option<IdempotencyKey>);

impl WishKey {
    /// The one key of a request whose body may name one too.
    pub(crate) fn or(self, body: Option<IdempotencyKey>) -> Result<Option<IdempotencyKey>, Problem> {
        match (self.0, body) {
            (Some(header), Some(body)) if header != body => {
                Err(Error::invalid("key", "key_mismatch", "the header and the body name the wish differently")
                    .with_hint("send one of them")
                    .into())
            }
            (header, body) => Ok(header.or(body)),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for WishKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let mut values = parts.headers.get_all("idempotency-key").iter();
        let Some(value) = values.next() else { return Ok(Self(None)) };
        // What is no text, or is said twice, is no key: a check says so in the words of all others.
        let text = if values.next().is_some() { "" } else { value.to_str().unwrap_or_default() };
        let key = IdempotencyKey::parse(text).map_err(|error| error.with_field("idempotency-key"))?;
        Ok(Self(Some(key)))
    }
}

/// The app named in the path. What cannot be a name is not found.
pub(crate) struct AppPath(pub(crate) AppName);

impl<S: Send + Sync> FromRequestParts<S> for AppPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let not_found =
            || Problem::from(Error::new(ErrorKind::NotFound, "there is no such app").with_code("app_not_found"));
        let Path(name) = Path::<String>::from_request_parts(parts, state).await.map_err(|_| not_found())?;
        AppName::parse(name).map(Self).map_err(|_| not_found())
    }
}

/// The project named in the path. What cannot be a name is not found.
pub(crate) struct ProjectPath(pub(crate) ProjectName);

impl<S: Send + Sync> FromRequestParts<S> for ProjectPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let not_found = || {
            Problem::from(Error::new(ErrorKind::NotFound, "there is no such project").with_code("project_not_found"))
        };
        let Path(name) = Path::<String>::from_request_parts(parts, state).await.map_err(|_| not_found())?;
        ProjectName::parse(name).map(Self).map_err(|_| not_found())
    }
}

/// The deployment named in the path.
pub(crate) struct DeploymentPath(pub(crate) DeploymentId);

impl<S: Send + Sync> FromRequestParts<S> for DeploymentPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let not_found = || {
            Problem::from(
                Error::new(ErrorKind::NotFound, "there is no such deployment").with_code("deployment_not_found"),
            )
        };
        let Path(id) = Path::<String>::from_request_parts(parts, state).await.map_err(|_| not_found())?;
        id.parse().map(Self).map_err(|_| not_found())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_in_the_wrong_place_is_not_told() {
        let told = |text| {
            let error = serde_json::from_str::<crate::dto::CreateDeployment>(text).unwrap_err();
            without_values(&error.to_string())
        };
        let number = told(r#"{"env": {"PIN": 4711}}"#);
        assert_eq!(number, "invalid type: integer, expected a string at line 1 column 20");
        let text = told(r#"{"env": "TOKEN=hunter2, expected \"x"}"#);
        assert!(
            text.starts_with("invalid type: string, expected a map at line 1") && !text.contains("hunter2"),
            "{text}"
        );
        assert!(told(r#"{"enw": {}}"#).starts_with("unknown field `enw`"));
    }
}
