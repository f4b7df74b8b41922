//! `LogSink`: takes lines of text about a deployment.

use crate::deployment::LogStream;

/// Takes lines of text about a deployment. Never blocks: a sink that cannot
/// keep up drops lines and says how many.
pub trait LogSink: Send + Sync {
    /// Takes one line without its line end. It may come from a user's program
    /// and hold anything.
    fn write(&self, stream: LogStream, text: &str);
}

/// A sink that forgets everything.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoLog;

impl LogSink for NoLog {
    fn write(&self, _: LogStream, _: &str) {}
}
