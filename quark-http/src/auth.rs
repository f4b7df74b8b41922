//! Who may ask: whoever has the token. It guards a whole router at once, so
//! that a route cannot forget it.

use axum::extract::{Request, State};
use axum::http::header;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::problem::Problem;
use crate::token::TokenHash;

/// Lets requests with the token through and no others.
pub(crate) async fn require_token(State(expected): State<TokenHash>, request: Request, next: Next) -> Response {
    // A token in a URL ends up in logs and histories.
    let in_query = request.uri().query().is_some_and(|query| query.split('&').any(|pair| pair.starts_with("token=")));
    if in_query {
        return Problem::unauthorized("token_in_query", "a token must not be part of the URL").into_response();
    }
    let header = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let Some(header) = header else {
        return Problem::unauthorized("token_missing", "this needs a token").into_response();
    };
    let token = header.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    if !token.is_some_and(|(_, token)| expected.matches(token.trim())) {
        return Problem::unauthorized("token_invalid", "the token is not valid").into_response();
    }
    next.run(request).await
}
