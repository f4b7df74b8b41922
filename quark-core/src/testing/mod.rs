//! For authors of backends: the sample app and what a test may require.

pub mod http;
mod requirement;
pub mod sample_app;

pub use requirement::requirement;
