//! For authors of backends: the sample app and what a test may require.

mod clock;
pub mod http;
mod requirement;
pub mod sample_app;

pub use clock::ManualClock;
pub use requirement::requirement;
