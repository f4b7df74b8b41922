//! `NginxConfig`: which nginx, and how it is reached.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use quark_core::{Error, Result};

/// Where the status server listens when nginx is ours; see `status_address`.
pub(crate) const STATUS_SOCKET: &str = "status.sock";
/// `sun_path` of unix(7) has 108 bytes with the final zero.
const LONGEST_SOCKET_PATH: usize = 107;

/// Which nginx routes, where it listens and what it allows.
///
/// There are two ways: QUARK runs an nginx of [its own](Self::own), or it
/// [attaches](Self::attach) itself to one that is there already.
#[derive(Clone, Debug)]
pub struct NginxConfig {
    pub(crate) mode: Mode,
    pub(crate) home: PathBuf,
    pub(crate) listen: SocketAddr,
    pub(crate) status: Option<SocketAddr>,
    pub(crate) binary: Option<PathBuf>,
    pub(crate) catch_all: bool,
    pub(crate) max_body_bytes: u64,
    pub(crate) buffer_answers: bool,
    pub(crate) read_timeout: Duration,
    pub(crate) reload_timeout: Duration,
}

/// Whose nginx it is.
#[derive(Clone, Debug)]
pub(crate) enum Mode {
    Own { workers: Option<u16>, worker_user: Option<String>, shutdown: Duration },
    Attached { include_dir: PathBuf, reload: ReloadBy, error_log: Option<PathBuf> },
}

/// How an nginx that is not ours is told to read its configuration again.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReloadBy {
    /// By `SIGHUP` to the process whose id is in this file.
    PidFile(PathBuf),
    /// By a program with its arguments, such as `systemctl reload nginx`.
    Command(Vec<String>),
}

impl NginxConfig {
    /// An nginx that QUARK configures and starts itself, and that goes on
    /// serving when QUARK ends. Everything that belongs to it is in the folder
    /// `prefix`; users reach it at `listen`.
    ///
    /// As root, nginx's workers run as `www-data`, `nginx` or `nobody`,
    /// whichever exists, and must be let through to `prefix`.
    ///
    /// nginx writes its errors to `error.log` there, which grows until somebody
    /// moves it away and sends `SIGUSR1` to the process in `nginx.pid`.
    #[must_use]
    pub fn own(prefix: impl Into<PathBuf>, listen: SocketAddr) -> Self {
        Self::new(Mode::Own { workers: None, worker_user: None, shutdown: Duration::from_secs(600) }, prefix, listen)
    }

    /// An nginx that is there already and that reads all files `*.conf` of
    /// `include_dir` into its `http` block. QUARK keeps its own files in
    /// `home`, which nginx's workers must be let through to; it must be at the
    /// same place for nginx if that runs in a container.
    ///
    /// `status` is a free port of the loopback address, on which nginx tells
    /// QUARK what is in force. Users reach the apps at `listen`.
    #[must_use]
    pub fn attach(
        home: impl Into<PathBuf>,
        include_dir: impl Into<PathBuf>,
        listen: SocketAddr,
        status: SocketAddr,
        reload: ReloadBy,
    ) -> Self {
        let mode = Mode::Attached { include_dir: include_dir.into(), reload, error_log: None };
        Self { status: Some(status), ..Self::new(mode, home, listen) }
    }

    fn new(mode: Mode, home: impl Into<PathBuf>, listen: SocketAddr) -> Self {
        Self {
            mode,
            home: home.into(),
            listen,
            status: None,
            binary: None,
            catch_all: true,
            max_body_bytes: 100 * 1024 * 1024,
            buffer_answers: false,
            read_timeout: Duration::from_secs(60),
            reload_timeout: Duration::from_secs(10),
        }
    }

    /// Sets the nginx program; by default it is looked for in `PATH` and where
    /// systems put it.
    #[must_use]
    pub fn with_binary(self, binary: impl Into<PathBuf>) -> Self {
        Self { binary: Some(binary.into()), ..self }
    }

    /// Sets the number of nginx's workers; one for each processor by default.
    /// Only for an nginx of our own.
    #[must_use]
    pub fn with_workers(mut self, count: u16) -> Self {
        if let Mode::Own { workers, .. } = &mut self.mode {
            *workers = Some(count);
        }
        self
    }

    /// Sets the user that workers run as when QUARK runs as root. Only for an
    /// nginx of our own.
    #[must_use]
    pub fn with_worker_user(mut self, user: impl Into<String>) -> Self {
        if let Mode::Own { worker_user, .. } = &mut self.mode {
            *worker_user = Some(user.into());
        }
        self
    }

    /// Sets how long a request or a WebSocket may go on on an old worker after
    /// a reload before it is cut; 10 minutes by default. Only for an nginx of
    /// our own.
    #[must_use]
    pub fn with_worker_shutdown(mut self, longest: Duration) -> Self {
        if let Mode::Own { shutdown, .. } = &mut self.mode {
            *shutdown = longest;
        }
        self
    }

    /// Sets the file that an attached nginx writes its errors to: what it says
    /// there about a refused reload becomes part of the error.
    #[must_use]
    pub fn with_error_log(mut self, path: impl Into<PathBuf>) -> Self {
        if let Mode::Attached { error_log, .. } = &mut self.mode {
            *error_log = Some(path.into());
        }
        self
    }

    /// Leaves names that no app has to another server of an attached nginx.
    /// Without this, QUARK adds a server that answers 404 to them, because
    /// nginx would answer with some app otherwise.
    #[must_use]
    pub fn without_catch_all(self) -> Self {
        Self { catch_all: false, ..self }
    }

    /// Sets the longest body of a request in bytes; 100 MiB by default.
    #[must_use]
    pub fn with_max_body(self, bytes: u64) -> Self {
        Self { max_body_bytes: bytes, ..self }
    }

    /// Lets nginx take answers from apps as fast as they come and keep them
    /// until clients have taken them. An app is done earlier with a slow client
    /// then; but an answer that comes in parts, such as server-sent events, is
    /// held back unless the app says `X-Accel-Buffering: no`.
    #[must_use]
    pub fn with_buffered_answers(self) -> Self {
        Self { buffer_answers: true, ..self }
    }

    /// Sets how long an app may be silent in the middle of an answer or a
    /// WebSocket before the request fails; 60 s by default.
    #[must_use]
    pub fn with_read_timeout(self, longest: Duration) -> Self {
        Self { read_timeout: longest, ..self }
    }

    /// Sets how long a reload may take before it counts as refused; 10 s by
    /// default. nginx itself tries for 2.5 s to get an address that is taken.
    #[must_use]
    pub fn with_reload_timeout(self, longest: Duration) -> Self {
        Self { reload_timeout: longest, ..self }
    }

    /// Refuses what could not be written into a configuration file, and what
    /// nginx would not understand.
    pub(crate) fn check(&self) -> Result<()> {
        check_path("nginx.home", &self.home)?;
        if let Mode::Attached { include_dir, .. } = &self.mode {
            check_path("nginx.include_dir", include_dir)?;
        }
        if let Mode::Own { worker_user: Some(user), .. } = &self.mode
            && !is_user_name(user)
        {
            return Err(Error::invalid("nginx.worker_user", "invalid_user", "this is not the name of a user"));
        }
        if let Mode::Attached { reload: ReloadBy::Command(argv), .. } = &self.mode
            && argv.is_empty()
        {
            return Err(Error::invalid("nginx.reload", "invalid_command", "the reload command is empty"));
        }
        match self.status {
            Some(status) if !status.ip().is_loopback() => {
                return Err(Error::invalid(
                    "nginx.status",
                    "invalid_address",
                    format!("`{status}` is not on loopback"),
                )
                .with_hint("the status server is for QUARK alone; give an address such as `127.0.0.1:8079`"));
            }
            Some(status) if status.port() == 0 => {
                return Err(Error::invalid("nginx.status", "invalid_address", "the status server needs a port"));
            }
            None if self.home.join(STATUS_SOCKET).as_os_str().len() > LONGEST_SOCKET_PATH => {
                return Err(Error::invalid("nginx.home", "path_too_long", "the path is too long for a unix socket")
                    .with_hint("choose a folder with a path of at most 90 characters"));
            }
            _ => {}
        }
        if self.listen.port() == 0 {
            return Err(Error::invalid("nginx.listen", "invalid_address", "nginx needs a port to listen on"));
        }
        Ok(())
    }

    /// The status server's address as nginx writes it.
    pub(crate) fn status_address(&self) -> String {
        match self.status {
            Some(status) => status.to_string(),
            None => format!("unix:{}", self.home.join(STATUS_SOCKET).display()),
        }
    }
}

impl Default for ReloadBy {
    fn default() -> Self {
        Self::PidFile(PathBuf::from("/run/nginx.pid"))
    }
}

fn is_user_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b)) && !text.starts_with('-')
}

/// Paths become part of configuration files, where many characters have a
/// meaning; those that need no quoting are enough.
fn check_path(field: &'static str, path: &Path) -> Result<()> {
    let plain = |c: char| c.is_alphanumeric() || "/._-+@=,~".contains(c);
    let ok = path.is_absolute() && path.to_str().is_some_and(|text| text.chars().all(plain));
    if ok {
        return Ok(());
    }
    Err(Error::invalid(field, "invalid_path", format!("`{}` cannot be used", path.display()))
        .with_hint("give an absolute path of letters, digits and `/._-+@=,~`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(prefix: &str) -> Result<()> {
        NginxConfig::own(prefix, ([127, 0, 0, 1], 80).into()).check()
    }

    #[test]
    fn paths_cannot_break_out_of_a_configuration() {
        for bad in ["relative", "/a b", "/a;b", "/a{", "/a\nb", "/a\"", "/$home", "/a#b", "/a*", "/a\\b"] {
            assert_eq!(own(bad).unwrap_err().code(), "invalid_path", "{bad:?}");
        }
        assert!(own("/var/lib/quark_1/nginx-2").is_ok());
        assert_eq!(own(&format!("/{}", "a".repeat(100))).unwrap_err().code(), "path_too_long");
    }

    #[test]
    fn the_status_server_is_not_for_the_world() {
        let listen = SocketAddr::from(([0, 0, 0, 0], 80));
        let attach =
            |status| NginxConfig::attach("/q", "/etc/nginx/conf.d", listen, status, ReloadBy::default()).check();
        assert_eq!(attach(([10, 0, 0, 1], 8079).into()).unwrap_err().field(), Some("nginx.status"));
        assert!(attach(([127, 0, 0, 1], 8079).into()).is_ok());
        let user = NginxConfig::own("/q", listen).with_worker_user("a;b").check();
        assert_eq!(user.unwrap_err().code(), "invalid_user");
    }
}
