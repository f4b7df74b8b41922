//! For authors of backends: the sample app and what a test may require.

mod requirement;
pub mod sample_app;

pub use requirement::requirement;
