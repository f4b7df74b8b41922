//! `Program`: one run of a program to its end.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};

use super::table::{ProcessRef, Signal};
use crate::backend::{Call, LogSink};
use crate::deployment::{LogLine, LogStream};
use crate::{Error, ErrorKind, Result};

/// From the polite signal to the kill when a program is no longer wanted.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long output is read after the program has ended.
const LEFTOVERS: Duration = Duration::from_millis(500);
/// How much of each output stream is kept for the result.
const KEPT: usize = 16 * 1024;

/// A program to run, with its arguments and nothing else: the environment is
/// empty but for what is set here.
#[derive(Clone, Debug)]
pub struct Program {
    program: OsString,
    arguments: Vec<OsString>,
    // Values may be secrets; `Debug` of `Program` is derived, so they are kept
    // in a type that does not show them.
    env: Vec<(OsString, Hidden)>,
    directory: Option<PathBuf>,
}

#[derive(Clone)]
struct Hidden(OsString);

impl std::fmt::Debug for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// How a program ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// The exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// The end of what it wrote to standard output.
    pub stdout: String,
    /// The end of what it wrote to standard error.
    pub stderr: String,
}

impl Finished {
    /// Whether it ended with code 0.
    #[must_use]
    pub fn succeeded(&self) -> bool {
        self.code == Some(0)
    }
}

impl Program {
    /// A program by name or path.
    #[must_use]
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self { program: program.as_ref().to_owned(), arguments: Vec::new(), env: Vec::new(), directory: None }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.arguments.extend(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
        self
    }

    /// Sets a variable.
    #[must_use]
    pub fn env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((key.as_ref().to_owned(), Hidden(value.as_ref().to_owned())));
        self
    }

    /// Passes variables of this process on, where they are set.
    #[must_use]
    pub fn inherit(mut self, keys: &[&str]) -> Self {
        for key in keys {
            if let Some(value) = std::env::var_os(key) {
                self.env.push((OsString::from(key), Hidden(value)));
            }
        }
        self
    }

    /// Sets the folder to run in.
    #[must_use]
    pub fn directory(mut self, directory: &Path) -> Self {
        self.directory = Some(directory.to_owned());
        self
    }

    /// Runs it to its end, passing each line of output on as it comes.
    ///
    /// When `call` is cancelled or its time is up, the whole process group gets
    /// `SIGTERM` and 2 s later `SIGKILL`; processes that the program left
    /// behind in its group are killed too. Must not be dropped: a dropped run
    /// kills the program but not what the program has started.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] (`command_not_found`) if there is no such
    /// program, [`ErrorKind::PermissionDenied`] if it cannot be executed,
    /// [`ErrorKind::Cancelled`], [`ErrorKind::Timeout`]. A program that ends
    /// with another code than 0 is not an error here.
    pub async fn run(&self, call: &Call, log: &dyn LogSink) -> Result<Finished> {
        let mut child = self.spawn()?;
        let group = child.id().and_then(ProcessRef::of_pid);
        let stdout = child.stdout.take();
        let stderr = child.stderr.take();
        let finished = async {
            let (mut out, mut err) = (String::new(), String::new());
            let status = {
                let reading = async {
                    tokio::join!(
                        read_lines(stdout, LogStream::Stdout, log, &mut out),
                        read_lines(stderr, LogStream::Stderr, log, &mut err),
                    )
                };
                tokio::pin!(reading);
                let mut read = false;
                let status = loop {
                    tokio::select! {
                        status = child.wait() => break status,
                        _ = &mut reading, if !read => read = true,
                    }
                };
                if let Some(group) = &group {
                    group.signal_group(Signal::Kill);
                }
                if !read {
                    // What left the group may hold the pipes for ever; what the
                    // program itself wrote is there by now.
                    let _ = tokio::time::timeout(LEFTOVERS, &mut reading).await;
                }
                status
            };
            let status = status.map_err(|error| {
                Error::new(ErrorKind::Internal, "the program could not be waited for").with_source(error)
            })?;
            Ok(Finished { code: status.code(), stdout: out, stderr: err })
        };
        tokio::pin!(finished);
        let cause = tokio::select! {
            biased;
            done = &mut finished => return done,
            () = call.cancel.cancelled() => Error::new(ErrorKind::Cancelled, "no longer wanted"),
            () = tokio::time::sleep(call.timeout) => {
                Error::new(ErrorKind::Timeout, format!("`{}` did not end within {:?}", self.name(), call.timeout))
                    .with_class(crate::ErrorClass::Permanent)
            }
        };
        if let Some(group) = &group {
            group.signal_group(Signal::Terminate);
            if tokio::time::timeout(PATIENCE, &mut finished).await.is_err() {
                group.signal_group(Signal::Kill);
                finished.await?;
            }
        } else {
            finished.await?;
        }
        Err(cause)
    }

    fn name(&self) -> std::borrow::Cow<'_, str> {
        self.program.to_string_lossy()
    }

    fn spawn(&self) -> Result<Child> {
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .env_clear()
            .envs(self.env.iter().map(|(key, value)| (key, &value.0)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        command.spawn().map_err(|error| spawn_error(&self.name(), error))
    }
}

/// What it means that a program could not be started.
#[must_use]
pub(crate) fn spawn_error(program: &str, error: std::io::Error) -> Error {
    match error.kind() {
        std::io::ErrorKind::NotFound => Error::new(ErrorKind::NotFound, format!("there is no program `{program}`"))
            .with_code("command_not_found")
            .with_hint("check its name and that it is installed or was built"),
        std::io::ErrorKind::PermissionDenied => {
            Error::new(ErrorKind::PermissionDenied, format!("`{program}` may not be executed"))
                .with_code("command_not_executable")
        }
        _ => Error::new(ErrorKind::Internal, format!("`{program}` could not be started")),
    }
    .with_source(error)
}

async fn read_lines(pipe: Option<impl AsyncRead + Unpin>, stream: LogStream, log: &dyn LogSink, kept: &mut String) {
    let Some(pipe) = pipe else { return };
    let mut reader = BufReader::new(pipe);
    let mut line = Vec::new();
    loop {
        let (used, ended) = match reader.fill_buf().await {
            // A pipe that breaks has ended.
            Ok([]) | Err(_) => break,
            Ok(bytes) => {
                let room = LogLine::LONGEST - line.len();
                let window = bytes.get(..room.min(bytes.len())).unwrap_or(bytes);
                match window.iter().position(|byte| *byte == b'\n') {
                    Some(end) => {
                        line.extend_from_slice(window.get(..end).unwrap_or_default());
                        (end + 1, true)
                    }
                    None => {
                        line.extend_from_slice(window);
                        (window.len(), line.len() >= LogLine::LONGEST)
                    }
                }
            }
        };
        reader.consume(used);
        if ended {
            emit(&mut line, stream, log, kept);
        }
    }
    if !line.is_empty() {
        emit(&mut line, stream, log, kept);
    }
}

fn emit(line: &mut Vec<u8>, stream: LogStream, log: &dyn LogSink, kept: &mut String) {
    let text = String::from_utf8_lossy(line);
    let text = text.strip_suffix('\r').unwrap_or(&text);
    log.write(stream, text);
    kept.push_str(text);
    kept.push('\n');
    if kept.len() > 2 * KEPT {
        let mut from = kept.len() - KEPT;
        while !kept.is_char_boundary(from) {
            from += 1;
        }
        kept.drain(..from);
    }
    line.clear();
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::backend::NoLog;
    use crate::deployment::Fence;

    struct Lines(Mutex<Vec<String>>);

    impl LogSink for Lines {
        fn write(&self, _: LogStream, text: &str) {
            self.0.lock().unwrap().push(text.to_owned());
        }
    }

    fn call(timeout: Duration) -> Call {
        Call::new("test", Fence(1), timeout)
    }

    fn script(text: &str) -> Program {
        // A test may use a shell as the program under test; the library never does.
        Program::new("/bin/sh").arg("-c").arg(text).env("PATH", "/usr/bin:/bin")
    }

    #[tokio::test]
    async fn passes_lines_on_and_reports_the_code() {
        let lines = Lines(Mutex::default());
        let done =
            script("echo one; echo two >&2; printf three; exit 7").run(&call(Duration::from_secs(10)), &lines).await;
        let done = done.unwrap();
        assert_eq!(done.code, Some(7));
        assert_eq!((done.stdout.as_str(), done.stderr.as_str()), ("one\nthree\n", "two\n"));
        assert_eq!(lines.0.lock().unwrap().len(), 3);
    }

    #[tokio::test]
    async fn the_environment_is_what_was_set() {
        let done = Program::new("/usr/bin/env").env("ONLY", "x\ny").run(&call(Duration::from_secs(10)), &NoLog).await;
        assert_eq!(done.unwrap().stdout, "ONLY=x\ny\n");
    }

    #[tokio::test]
    async fn a_cancel_ends_the_whole_group() {
        let call = call(Duration::from_secs(60));
        let marker = format!("quark-test-{}", std::process::id());
        let run = script("trap '' TERM; sleep 300 & sleep 300").env("QUARK_TEST", &marker);
        call.cancel.cancel();
        let error = run.run(&call, &NoLog).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Cancelled);
        assert!(super::super::find("QUARK_TEST", &marker).unwrap().iter().all(|process| !process.is_alive()));
    }

    #[tokio::test]
    async fn what_is_left_behind_does_not_hold_the_run() {
        let done = script("sleep 300 & echo done").run(&call(Duration::from_secs(10)), &NoLog).await.unwrap();
        assert_eq!(done.stdout, "done\n");
    }

    #[tokio::test]
    async fn what_leaves_the_group_does_not_hold_the_run_either() {
        let folder = tempfile::tempdir().unwrap();
        // Ends only when the other one is in a session of its own.
        let run = script("setsid sh -c 'touch out; exec sleep 30' & until [ -e out ]; do :; done; echo done");
        let run = run.directory(folder.path());
        let done = run.run(&call(Duration::from_secs(20)), &NoLog).await.unwrap();
        assert_eq!(done.stdout, "done\n");
    }

    #[tokio::test]
    async fn endless_lines_are_split() {
        let lines = Lines(Mutex::default());
        let run = script("head -c 20000 /dev/zero | tr '\\0' x");
        run.run(&call(Duration::from_secs(10)), &lines).await.unwrap();
        assert!(lines.0.lock().unwrap().iter().all(|line| line.len() <= LogLine::LONGEST));
    }

    #[tokio::test]
    async fn an_unknown_program_has_a_code_of_its_own() {
        let error = Program::new("/no/such/program").run(&call(Duration::from_secs(1)), &NoLog).await.unwrap_err();
        assert_eq!(error.code(), "command_not_found");
    }
}
