//! Finding programs, and the one placeholder in start commands.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Stands for the port in a stored start command.
pub(crate) const PORT: &str = "${PORT}";

/// How often to try to start a program that is busy, and how long to wait
/// before the next attempt.
pub(crate) const BUSY_ATTEMPTS: u32 = 50;
pub(crate) const BUSY_PAUSE: Duration = Duration::from_millis(10);

/// Whether a program cannot be started because somebody has it open for
/// writing. Any process that is forked while a file is copied has it open
/// too, until it runs its own program a moment later.
pub(crate) fn is_busy(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::ExecutableFileBusy
}

/// Whether a file is not a program of this machine, or a script that does not
/// say what runs it.
pub(crate) fn is_no_program(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::NOEXEC.raw_os_error())
}

/// Why a program cannot be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unusable {
    /// There is no such file.
    Missing,
    /// It is no file, or may not be executed.
    NotExecutable,
}

/// Where a program lies: a name with `/` belongs to `folder`, another one is
/// looked for in the folders of `path`.
pub(crate) fn locate(program: &str, folder: &Path, path: &OsStr) -> Result<PathBuf, Unusable> {
    if program.contains('/') {
        let file = folder.join(program);
        return check(&file).map(|()| file);
    }
    let mut reason = Unusable::Missing;
    // A relative folder in `PATH` would mean one that a user's tree brings.
    for place in std::env::split_paths(path).filter(|place| place.is_absolute()) {
        let file = place.join(program);
        match check(&file) {
            Ok(()) => return Ok(file),
            Err(Unusable::NotExecutable) => reason = Unusable::NotExecutable,
            Err(Unusable::Missing) => {}
        }
    }
    Err(reason)
}

fn check(file: &Path) -> Result<(), Unusable> {
    match fs::metadata(file) {
        Err(_) => Err(Unusable::Missing),
        Ok(found) if found.is_file() && found.permissions().mode() & 0o111 != 0 => Ok(()),
        Ok(_) => Err(Unusable::NotExecutable),
    }
}

/// A word of a start command with `$PORT` and `${PORT}` written as [`PORT`].
pub(crate) fn with_placeholder(word: &str) -> String {
    let mut result = String::new();
    let mut rest = word;
    while let Some((before, after)) = rest.split_once("$PORT") {
        result.push_str(before);
        let goes_on = after.starts_with(|next: char| next.is_ascii_alphanumeric() || next == '_');
        result.push_str(if goes_on { "$PORT" } else { PORT });
        rest = after;
    }
    result.push_str(rest);
    result
}

/// How a command is shown to people.
pub(crate) fn shown(words: &[String]) -> String {
    const SHOWN: usize = 200;
    let line = words.join(" ");
    let mut shown: String = line.chars().take(SHOWN).flat_map(char::escape_debug).collect();
    if line.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_where_they_belong() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("server"), "").unwrap();
        let path = OsStr::new("relative:/usr/bin:/bin");
        assert_eq!(locate("./server", folder.path(), path), Err(Unusable::NotExecutable));
        fs::set_permissions(folder.path().join("server"), fs::Permissions::from_mode(0o755)).unwrap();
        assert!(locate("./server", folder.path(), path).unwrap().starts_with(folder.path()));
        assert_eq!(locate("server", folder.path(), path), Err(Unusable::Missing));
        assert!(locate("sh", folder.path(), path).unwrap().is_absolute());
        assert_eq!(locate("./", folder.path(), path), Err(Unusable::NotExecutable));
    }

    #[test]
    fn the_port_is_a_whole_word_or_part_of_one() {
        assert_eq!(with_placeholder("$PORT"), "${PORT}");
        assert_eq!(with_placeholder("${PORT}"), "${PORT}");
        assert_eq!(with_placeholder("0.0.0.0:$PORT/x"), "0.0.0.0:${PORT}/x");
        assert_eq!(with_placeholder("$PORTS $PORT"), "$PORTS ${PORT}");
        assert_eq!(with_placeholder("$HOME"), "$HOME");
    }
}
