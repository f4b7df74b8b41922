//! `Nginx`: the program, to test a configuration and to start.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use quark_core::backend::{Call, NoLog};
use quark_core::deployment::Fence;
use quark_core::process::{Finished, Program};
use quark_core::{Error, ErrorKind, Result};

use crate::error;
use crate::version::Version;

/// `nginx -t` takes 20 ms, a start that meets a taken address 2.5 s.
const PATIENCE: Duration = Duration::from_secs(20);
/// Where systems put it, besides `PATH`: `sbin` is often not in a user's.
const PLACES: [&str; 4] = ["/usr/sbin", "/usr/local/sbin", "/usr/local/nginx/sbin", "/usr/local/bin"];

/// What nginx says when it refuses a configuration, line by line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal(pub(crate) Vec<String>);

/// The nginx program.
#[derive(Clone, Debug)]
pub(crate) struct Nginx {
    binary: PathBuf,
    pub(crate) version: Version,
}

impl Nginx {
    /// Looks for the program and asks for its version.
    pub(crate) async fn find(wanted: Option<&Path>) -> Result<Self> {
        let binary = match wanted {
            Some(binary) => binary.to_owned(),
            None => look_for().ok_or_else(|| not_found("there is no `nginx` in `PATH` or in `/usr/sbin`"))?,
        };
        let printed = run(&Program::new(&binary).arg("-v")).await?;
        let version = Version::parse(&printed.stderr).or_else(|| Version::parse(&printed.stdout)).ok_or_else(|| {
            Error::new(ErrorKind::Unsupported, format!("`{}` does not say which nginx it is", binary.display()))
                .with_code("nginx_not_understood")
        })?;
        if version < Version::OLDEST {
            let message = format!("nginx {version} is too old");
            return Err(Error::new(ErrorKind::Unsupported, message)
                .with_code("nginx_too_old")
                .with_hint(format!("install nginx {} or later", Version::OLDEST)));
        }
        Ok(Self { binary, version })
    }

    /// Tests the configuration `nginx.conf` in a folder of its own.
    pub(crate) async fn test(&self, folder: &Path) -> Result<Result<(), Refusal>> {
        let program = Program::new(&self.binary)
            .args(["-t", "-q", "-p"])
            .arg(folder)
            .arg("-c")
            .arg(folder.join("nginx.conf"))
            .directory(folder);
        let program = if self.version.has_error_log_option() { program.args(["-e", "stderr"]) } else { program };
        let done = run(&program).await?;
        Ok(if done.succeeded() { Ok(()) } else { Err(Refusal::from_output(&done.stderr)) })
    }

    /// Starts it as a daemon that belongs to nobody: in a session of its own,
    /// so that no signal to this process or its terminal reaches it.
    pub(crate) async fn start(&self, home: &Path) -> Result<Result<(), Refusal>> {
        let mut command = tokio::process::Command::new(&self.binary);
        command.arg("-p").arg(home).arg("-c").arg(home.join("nginx.conf"));
        if self.version.has_error_log_option() {
            command.arg("-e").arg(home.join("error.log"));
        }
        // The working folder is how its processes are found again.
        command.current_dir(home).env_clear().process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        // nginx leaves this process by itself, after it has taken its
        // addresses; so the end of the program is the end of the start. It is
        // not run as `Program`, which ends what a program leaves behind.
        let child = command.spawn().map_err(|cause| match cause.kind() {
            std::io::ErrorKind::NotFound => not_found(&format!("there is no program `{}`", self.binary.display())),
            _ => error::file("executed", &self.binary, cause),
        })?;
        let ended = tokio::time::timeout(PATIENCE, child.wait_with_output()).await;
        let ended = ended.map_err(|_| Error::new(ErrorKind::Timeout, "nginx did not start in time"))?;
        let ended = ended.map_err(|cause| error::internal("nginx could not be waited for").with_source(cause))?;
        let printed = String::from_utf8_lossy(&ended.stderr);
        Ok(if ended.status.success() { Ok(()) } else { Err(Refusal::from_output(&printed)) })
    }
}

impl Refusal {
    /// The lines that say why; all lines if none is marked.
    pub(crate) fn from_output(printed: &str) -> Self {
        let marked: Vec<_> = printed.lines().filter(|line| line.contains("[emerg]")).map(without_prefix).collect();
        if marked.is_empty() {
            let lines: Vec<_> = printed.lines().map(without_prefix).collect();
            return Self(lines.into_iter().rev().take(5).rev().collect());
        }
        Self(marked)
    }

    /// What is refused, in one line for an error message.
    pub(crate) fn text(&self) -> String {
        if self.0.is_empty() { "it does not say why".to_owned() } else { self.0.join("; ") }
    }
}

/// From `2026/10/01 12:00:00 [emerg] 1#1: reason` or `nginx: [emerg] reason`
/// to `[emerg] reason`: a time and a process id help nobody who reads an error.
fn without_prefix(line: &str) -> String {
    let Some((_, rest)) = line.split_once("[emerg] ") else { return line.trim().to_owned() };
    let reason = match rest.split_once(": ") {
        Some((id, reason)) if id.bytes().all(|b| b.is_ascii_digit() || b == b'#') => reason,
        _ => rest,
    };
    format!("[emerg] {}", reason.trim())
}

/// Runs a program that ends soon, with `PATH` as only variable.
pub(crate) async fn run(program: &Program) -> Result<Finished> {
    let call = Call::new("nginx", Fence(0), PATIENCE);
    program
        .clone()
        .inherit(&["PATH"])
        .run(&call, &NoLog)
        .await
        .map_err(|cause| if cause.code() == "command_not_found" { not_found(cause.message()) } else { cause })
}

fn not_found(message: &str) -> Error {
    Error::new(ErrorKind::Unavailable, message)
        .with_code("nginx_not_found")
        .with_class(quark_core::ErrorClass::Permanent)
        .with_hint("install nginx, or give the path of its program with `NginxConfig::with_binary`")
}

fn look_for() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(PLACES.map(PathBuf::from));
    places.map(|place| place.join("nginx")).find(|binary| fs::metadata(binary).is_ok_and(|file| file.is_file()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_missing_nginx_has_a_code_of_its_own() {
        let error = Nginx::find(Some(Path::new("/no/such/nginx"))).await.unwrap_err();
        assert_eq!((error.kind(), error.code()), (ErrorKind::Unavailable, "nginx_not_found"));
        assert!(error.hint().is_some());
    }

    #[tokio::test]
    async fn another_program_is_not_nginx() {
        let error = Nginx::find(Some(Path::new("/bin/true"))).await.unwrap_err();
        assert_eq!(error.code(), "nginx_not_understood");
    }

    #[test]
    fn reasons_are_told_without_time_and_process() {
        let printed = "nginx: [emerg] unknown directive \"x\" in /a.conf:3\nnginx: configuration file failed\n";
        assert_eq!(Refusal::from_output(printed).text(), "[emerg] unknown directive \"x\" in /a.conf:3");
        let logged = "2026/10/01 12:00:00 [emerg] 12#12: bind() to 127.0.0.1:80 failed (98: Address already in use)";
        let text = Refusal::from_output(logged).text();
        assert_eq!(text, "[emerg] bind() to 127.0.0.1:80 failed (98: Address already in use)");
    }
}
