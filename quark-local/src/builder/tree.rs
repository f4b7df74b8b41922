//! Copying a source tree without reading anything outside of it.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};

use quark_core::{Error, Result};

use crate::system::files::failed;

/// Copies all of `source` but `.git` to `target`, which must not exist. Asks
/// `go_on` before each file.
pub(crate) fn copy(source: &Path, target: &Path, go_on: &dyn Fn() -> Result<()>) -> Result<()> {
    // Folders still to be copied, by their path inside the tree.
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        let from = source.join(&folder);
        let to = target.join(&folder);
        DirBuilder::new().mode(0o755).create(&to).map_err(|error| failed("made", &to, error))?;
        let entries = fs::read_dir(&from).map_err(|error| failed("read", &from, error))?;
        for entry in entries {
            go_on()?;
            let entry = entry.map_err(|error| failed("read", &from, error))?;
            // Git allows no file of that name; what has it is git's own.
            if entry.file_name() == ".git" {
                continue;
            }
            let inside = folder.join(entry.file_name());
            let kind = entry.file_type().map_err(|error| failed("read", &entry.path(), error))?;
            if kind.is_dir() {
                folders.push(inside);
            } else if kind.is_symlink() {
                copy_link(&inside, &entry.path(), &target.join(&inside))?;
            } else if kind.is_file() {
                copy_file(&entry.path(), &target.join(&inside))?;
            } else {
                return Err(Error::invalid(
                    "source",
                    "unsupported_file",
                    format!("`{}` is neither a file, a folder nor a symbolic link", inside.display()),
                ));
            }
        }
    }
    Ok(())
}

fn copy_file(from: &Path, to: &Path) -> Result<()> {
    let copy = || -> io::Result<()> {
        // Whatever takes the place of the file meanwhile is not followed.
        let nofollow = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
        let mut reader = OpenOptions::new().read(true).custom_flags(nofollow).open(from)?;
        let mode = reader.metadata()?.permissions().mode() & 0o777;
        let mut writer = OpenOptions::new().write(true).create_new(true).mode(mode | 0o600).open(to)?;
        io::copy(&mut reader, &mut writer)?;
        // What the process masks out of new files was meant to be there.
        writer.set_permissions(fs::Permissions::from_mode(mode | 0o600))
    };
    copy().map_err(|error| failed("copied", from, error))
}

fn copy_link(inside: &Path, from: &Path, to: &Path) -> Result<()> {
    let points_to = fs::read_link(from).map_err(|error| failed("read", from, error))?;
    let depth = inside.components().count().saturating_sub(1);
    if !stays_inside(&points_to, depth) {
        let message = format!("the symbolic link `{}` may lead out of the source tree", inside.display());
        return Err(Error::invalid("source", "path_escapes_context", message)
            .with_hint("use a relative link that has `..` at its beginning only"));
    }
    symlink(&points_to, to).map_err(|error| failed("made", to, error))
}

/// Whether a link in a folder `depth` below the root stays inside.
///
/// Upwards it may go only at its beginning, where the folders are known to be
/// real: behind the name of another link, `..` leads to wherever that one
/// points. Downwards are files, folders and links that were checked alike.
fn stays_inside(points_to: &Path, depth: usize) -> bool {
    let mut up = 0;
    let mut down = false;
    for part in points_to.components() {
        match part {
            Component::ParentDir if !down => up += 1,
            Component::Normal(name) if name != ".git" => down = true,
            Component::CurDir => {}
            _ => return false,
        }
    }
    up <= depth
}

/// Writes everything under `path` to the disk, with one call instead of one
/// per file.
pub(crate) fn flush(path: &Path) -> Result<()> {
    let flush = || -> io::Result<()> { Ok(rustix::fs::syncfs(File::open(path)?)?) };
    flush().map_err(|error| failed("written to the disk", path, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_stay_inside() {
        for (link, depth, inside) in [
            ("file", 0, true),
            ("./a/b", 0, true),
            ("../file", 1, true),
            ("../..", 2, true),
            ("..", 0, false),
            ("../../file", 1, false),
            ("a/../b", 5, false),
            ("/etc/passwd", 9, false),
            ("/", 9, false),
            (".git/config", 0, false),
        ] {
            assert_eq!(stays_inside(Path::new(link), depth), inside, "{link} at {depth}");
        }
    }
}
