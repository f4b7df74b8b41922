//! Writing so that a crash leaves the old file or the new one, never a half.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use quark_core::Result;

use crate::error;

/// Marks files that are being written. They start with a dot too, which no
/// glob of nginx matches.
const UNFINISHED: &str = ".tmp";

/// Replaces `path` by `text` in one step that survives a power cut.
pub(crate) fn replace(path: &Path, text: &str) -> Result<()> {
    let aside = aside(path);
    let write = || {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o644).open(&aside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&aside, path)?;
        sync_parent(path)
    };
    write().map_err(|cause| error::file("written", path, cause))
}

/// Replaces `path` by `text` in one step that survives the end of this process
/// at once, and a power cut when it has been [synced](sync).
pub(crate) fn put(path: &Path, text: &str) -> Result<()> {
    let aside = aside(path);
    let write = || {
        fs::write(&aside, text)?;
        fs::rename(&aside, path)
    };
    write().map_err(|cause| error::file("written", path, cause))
}

/// Makes a change of a file or a folder survive a power cut.
pub(crate) fn sync(path: &Path) -> Result<()> {
    let sync = || File::open(path)?.sync_all();
    sync().map_err(|cause| error::file("synced", path, cause))
}

/// Makes an empty file. There may be one already.
pub(crate) fn touch(path: &Path) -> Result<()> {
    let made = OpenOptions::new().write(true).create(true).truncate(false).mode(0o644).open(path);
    made.map(drop).map_err(|cause| error::file("made", path, cause))
}

/// Removes a file. There may be none.
pub(crate) fn unlink(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => Err(error::file("removed", path, cause)),
        _ => Ok(()),
    }
}

/// Removes a file in a way that survives a power cut. There may be none.
pub(crate) fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Ok(()) => sync_parent(path).map_err(|cause| error::file("removed", path, cause)),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(cause) => Err(error::file("removed", path, cause)),
    }
}

/// The text of a file, if there is one.
pub(crate) fn read(path: &Path) -> Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(error::file("read", path, cause)),
    }
}

/// Makes a folder, and those above it, with these permissions. One that is
/// there already gets them too if it is ours to change.
pub(crate) fn folder(path: &Path, mode: u32) -> Result<()> {
    let make = || {
        fs::DirBuilder::new().recursive(true).mode(mode).create(path)?;
        let present = fs::metadata(path)?.permissions().mode() & 0o7777;
        if present != mode {
            fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
        }
        Ok(())
    };
    make().map_err(|cause| error::file("made", path, cause))
}

/// The names in a folder; none if there is no folder.
pub(crate) fn list(folder: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(cause) => return Err(error::file("read", folder, cause)),
    };
    Ok(entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect())
}

/// Where the text that will replace `path` is written.
pub(crate) fn aside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}{UNFINISHED}"))
}

/// The file that `name` was to become, if it is an unfinished one.
pub(crate) fn finished_name(name: &str) -> Option<&str> {
    name.strip_prefix('.')?.strip_suffix(UNFINISHED)
}

fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.conf");
        assert_eq!(read(&path).unwrap(), None);
        replace(&path, "one").unwrap();
        fs::write(aside(&path), "half of tw").unwrap();
        assert_eq!(read(&path).unwrap().as_deref(), Some("one"));
        replace(&path, "two").unwrap();
        assert_eq!(read(&path).unwrap().as_deref(), Some("two"));
        assert_eq!(list(folder.path()).unwrap(), ["a.conf"]);
        remove(&path).unwrap();
        remove(&path).unwrap();
        put(&path, "three").unwrap();
        assert_eq!(read(&path).unwrap().as_deref(), Some("three"));
        sync(&path).unwrap();
        unlink(&path).unwrap();
        unlink(&path).unwrap();
        assert_eq!(read(&path).unwrap(), None);
    }

    #[test]
    fn unfinished_files_are_known_by_name() {
        assert_eq!(aside(Path::new("/x/a.json")), Path::new("/x/.a.json.tmp"));
        assert_eq!(finished_name(".a.json.tmp"), Some("a.json"));
        assert_eq!(finished_name("a.json"), None);
    }

    #[test]
    fn an_error_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let error = replace(&folder.path().join("no/such/a.conf"), "x").unwrap_err();
        assert!(error.message().contains("no/such/a.conf"), "{error}");
    }
}
