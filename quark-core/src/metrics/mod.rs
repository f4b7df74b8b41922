//! Numbers about the engine, for those who collect them.

mod prometheus;

pub use prometheus::PrometheusMetrics;
