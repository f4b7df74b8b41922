//! For authors of backends: the sample app and what a test may require.

mod clock;
pub mod http;
mod requirement;
pub mod sample_app;
mod tokio_clock;

pub use clock::ManualClock;
pub use requirement::requirement;
pub use tokio_clock::TokioClock;
