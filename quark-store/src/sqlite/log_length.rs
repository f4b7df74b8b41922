//! How long the write-ahead log is: SQLite tells whoever has just committed.

use std::cell::Cell;

use rusqlite::Connection;
use rusqlite::hooks::Wal;

thread_local! {
    /// Pages in the log after the last commit of this thread. SQLite runs the
    /// hook inside of the commit, hence in its thread.
    static PAGES: Cell<u64> = const { Cell::new(0) };
}

/// Asks SQLite to tell. It no longer copies the log into the file by itself,
/// which would happen in the middle of some write.
pub(super) fn watch(connection: &Connection) {
    connection.wal_hook(Some(note));
}

fn note(_: &Wal, pages: i32) -> rusqlite::Result<()> {
    PAGES.set(u64::try_from(pages).unwrap_or(0));
    Ok(())
}

/// Runs `commit`, and says how many pages the log has now; `0` if it wrote nothing.
pub(super) fn after(commit: impl FnOnce() -> rusqlite::Result<()>) -> rusqlite::Result<u64> {
    PAGES.set(0);
    commit()?;
    Ok(PAGES.get())
}
