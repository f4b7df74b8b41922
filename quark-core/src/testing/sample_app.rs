//! A small web application to deploy, compiled on demand.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

/// The program: one file, no dependencies. The constants `VERSION` and
/// `HEALTHY` stand on lines of their own near the top, so that a new version
/// is made by replacing a line.
pub const SOURCE: &str = include_str!("sample_app/main.rs");

/// Compiles [`SOURCE`] with `rustc` and returns the executable's path. It is
/// compiled once for all test runs, also when several ask at the same time.
/// On Linux with glibc it is static, so that it runs in an empty image.
///
/// Blocks for the seconds that the compiler takes.
///
/// # Errors
///
/// If there is no `rustc`, if it fails (its words are in the error), or if the
/// folder cannot be written.
pub fn build() -> io::Result<PathBuf> {
    let compiler = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let about = output(Command::new(&compiler).arg("-vV"))?;
    let mut arguments = vec!["--edition=2024", "-O", "-Cstrip=symbols"];
    let host = about.lines().find_map(|line| line.strip_prefix("host: ")).unwrap_or_default();
    if host.ends_with("-linux-gnu") {
        arguments.push("-Ctarget-feature=+crt-static");
    }

    let mut hash = Sha256::new();
    for part in [&about, &arguments.join(" "), SOURCE] {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    let mut key = hex::encode(hash.finalize());
    key.truncate(16);
    let folder = cache()?.join(key);
    fs::create_dir_all(&folder)?;
    let program = folder.join("sample-app");

    // Who comes second waits here and then finds the work done.
    let lock = File::create(folder.join("lock"))?;
    lock.lock()?;
    if !program.exists() {
        let source = folder.join("main.rs");
        fs::write(&source, SOURCE)?;
        let unfinished = folder.join("unfinished");
        output(Command::new(&compiler).args(&arguments).arg("-o").arg(&unfinished).arg(&source))?;
        fs::rename(&unfinished, &program)?;
    }
    Ok(program)
}

/// Cargo's target folder if the caller runs from it, else a folder under the
/// temporary one that nobody else can write to.
fn cache() -> io::Result<PathBuf> {
    const NAME: &str = "quark-sample-app";
    let executable = std::env::current_exe()?;
    if let Some(target) = executable.ancestors().skip(1).find(|folder| folder.join("CACHEDIR.TAG").is_file()) {
        return Ok(target.join(NAME));
    }
    let user = owner(Path::new("/proc/self"))?;
    let folder = std::env::temp_dir().join(format!("{NAME}-{user}"));
    match DirBuilder::new().mode(0o700).create(&folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    if fs::symlink_metadata(&folder)?.is_dir() && owner(&folder)? == user {
        Ok(folder)
    } else {
        Err(io::Error::new(io::ErrorKind::PermissionDenied, format!("`{}` belongs to another user", folder.display())))
    }
}

fn owner(path: &Path) -> io::Result<u32> {
    fs::metadata(path).map(|metadata| metadata.uid())
}

fn output(command: &mut Command) -> io::Result<String> {
    let done = command.output().map_err(|error| {
        let program = command.get_program().to_string_lossy();
        io::Error::new(error.kind(), format!("`{program}` could not be started: {error}"))
    })?;
    if done.status.success() {
        return Ok(String::from_utf8_lossy(&done.stdout).into_owned());
    }
    Err(io::Error::other(format!("the sample app does not compile: {}", String::from_utf8_lossy(&done.stderr).trim())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_passes_its_own_tests() {
        let program = build().unwrap();
        let tests = program.with_file_name(format!("tests-{}", std::process::id()));
        let compiler = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let source = program.with_file_name("main.rs");
        output(Command::new(compiler).args(["--edition=2024", "--test", "-Dwarnings", "-o"]).arg(&tests).arg(source))
            .unwrap();
        let said = output(&mut Command::new(&tests)).unwrap();
        fs::remove_file(tests).unwrap();
        assert!(said.contains("test result: ok. 8 passed"), "{said}");
    }

    #[test]
    fn many_at_once_get_the_same_program() {
        let paths: Vec<_> = std::thread::scope(|scope| {
            let builds: Vec<_> = (0..4).map(|_| scope.spawn(build)).collect();
            builds.into_iter().map(|build| build.join().unwrap().unwrap()).collect()
        });
        assert!(paths.iter().all(|path| *path == paths[0]));
        let said = output(Command::new(&paths[0]).args(["--print", "2", "--print-env"]).env_clear().env("A", "x\ny"));
        assert_eq!(said.unwrap(), "line 1\nline 2\nA=x\\ny\n");
    }

    #[test]
    fn a_version_is_made_by_replacing_a_line() {
        for line in ["const VERSION: &str = \"1\";", "const HEALTHY: bool = true;", "const SICK_AFTER: u64 = 0;"] {
            assert_eq!(SOURCE.lines().filter(|known| *known == line).count(), 1, "{line}");
        }
    }
}
