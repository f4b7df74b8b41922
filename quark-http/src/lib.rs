//! QUARK's HTTP API: an [`axum::Router`] to mount into a program or to serve,
//! and the wire types that it speaks.
//!
//! ```no_run
//! # async fn example(engine: quark_core::DeploymentEngine) -> Result<(), Box<dyn std::error::Error>> {
//! use quark_http::{ApiConfig, ApiToken};
//!
//! let token = ApiToken::generate();
//! println!("the API's token, shown once: {}", token.expose());
//! let api = quark_http::api(engine, ApiConfig::new(token.hash()));
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:8181").await?;
//! axum::serve(listener, api).await?;
//! # Ok(())
//! # }
//! ```
//!
//! Everything below `/api` and `/metrics` needs `Authorization: Bearer <token>`;
//! `/health/live`, `/health/ready` and the OpenAPI document do not. Failures are
//! `application/problem+json` (RFC 9457) with a stable `code`.

pub mod dto;

#[cfg(feature = "server")]
mod auth;
#[cfg(feature = "server")]
mod body;
#[cfg(feature = "server")]
mod problem;
#[cfg(feature = "server")]
mod routes;
#[cfg(feature = "server")]
mod stream;
mod token;

#[cfg(feature = "server")]
pub use routes::{ApiConfig, api, openapi};
pub use token::{ApiToken, TokenHash};
