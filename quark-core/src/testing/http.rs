//! A tiny HTTP/1.1 server and client, made to notice every lost request.
//!
//! Ordinary clients hide what a router must be tested for: they open another
//! connection and try again. These do not.

mod client;
mod message;
mod server;

pub use client::{Answer, TestClient, Upload};
pub use server::TestServer;
