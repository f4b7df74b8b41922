//! What the operating system is asked for: processes, sockets, files.

pub(crate) mod command;
pub(crate) mod family;
pub(crate) mod files;
pub(crate) mod lock;
pub(crate) mod mark;
pub(crate) mod sockets;
pub(crate) mod table;

use quark_core::{Error, ErrorKind, Result};

/// Runs what may block on a thread where it may.
pub(crate) async fn blocking<T, F>(work: F) -> Result<T>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T> + Send + 'static,
{
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(Error::new(ErrorKind::Internal, "the work did not end").with_source(error)))
}

/// Refuses systems on which processes cannot be told apart.
pub(crate) fn require_proc() -> Result<()> {
    for file in ["/proc/self/stat", "/proc/self/environ", "/proc/net/tcp"] {
        if !std::path::Path::new(file).exists() {
            return Err(Error::new(ErrorKind::Unsupported, format!("running processes needs `{file}`"))
                .with_code("proc_missing")
                .with_hint("use Linux with `/proc` mounted, or another container runtime"));
        }
    }
    Ok(())
}
