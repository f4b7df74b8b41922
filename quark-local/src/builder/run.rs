//! `Build`: one build, from the checkout to the note that makes it an image.

use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use quark_core::app::{Argv, Artifact};
use quark_core::backend::{BuildRequest, Call, LogSink};
use quark_core::deployment::LogStream;
use quark_core::process::{Finished, Program};
use quark_core::{Error, ErrorClass, ErrorKind, Result};
use tokio::time::Instant;

use super::plan::Plan;
use super::{PATIENCE, tree};
use crate::config::{LocalConfig, search_path};
use crate::image::{Image, ImageFolder};
use crate::system::blocking;
use crate::system::command::{BUSY_ATTEMPTS, BUSY_PAUSE, Unusable, is_busy, is_no_program, locate, shown};
use crate::system::family::Family;

/// How many of the last lines of each stream an error shows, and how many
/// bytes of both. Each stream has its own share: the reason is often in the
/// few lines of one, and the other comes in between.
const SHOWN_LINES: usize = 12;
const SHOWN_BYTES: usize = 4 * 1024;

/// One build into an empty folder.
pub(super) struct Build<'a> {
    pub(super) config: &'a LocalConfig,
    pub(super) folder: &'a ImageFolder,
    pub(super) family: &'a Family,
    pub(super) call: &'a Call,
    pub(super) log: &'a dyn LogSink,
    pub(super) begun: Instant,
}

impl Build<'_> {
    pub(super) async fn run(&self, request: &BuildRequest<'_>) -> Result<Artifact> {
        let plan = self.copy(request).await?;
        for remark in &plan.remarks {
            self.log.write(LogStream::System, remark);
        }
        for command in &plan.build {
            self.command(command).await?;
        }
        self.finish(request, &plan).await
    }

    /// What is left of the time that the whole call may take.
    fn remaining(&self) -> Result<Duration> {
        let left = self.call.timeout.saturating_sub(self.begun.elapsed());
        if self.call.cancel.is_cancelled() {
            return Err(Error::new(ErrorKind::Cancelled, "no longer wanted").with_operation("builder.build"));
        }
        if left.is_zero() {
            return Err(Error::new(ErrorKind::Timeout, format!("not done within {:?}", self.call.timeout))
                .with_operation("builder.build")
                .with_class(ErrorClass::Permanent));
        }
        Ok(left)
    }

    async fn copy(&self, request: &BuildRequest<'_>) -> Result<Plan> {
        let deadline = Instant::now() + self.remaining()?;
        let cancel = self.call.cancel.clone();
        let (source, target) = (request.source.to_owned(), self.folder.tree());
        blocking(move || {
            let go_on = || match () {
                () if cancel.is_cancelled() => Err(Error::new(ErrorKind::Cancelled, "no longer wanted")),
                () if Instant::now() >= deadline => {
                    Err(Error::new(ErrorKind::Timeout, "the source could not be copied in time")
                        .with_class(ErrorClass::Permanent))
                }
                () => Ok(()),
            };
            tree::copy(&source, &target, &go_on)?;
            Plan::read(&target)
        })
        .await
    }

    async fn command(&self, command: &Argv) -> Result<()> {
        let timeout = self.remaining()?;
        let line = shown(command.words());
        self.log.write(LogStream::System, &format!("build: {line}"));
        let program = self.program(command)?;
        let tail = Tail { log: self.log, lines: Mutex::default() };
        let call = Call { timeout, ..self.call.clone() };
        let mut attempts = 1;
        let run = loop {
            let run = self.ended_with_all(&call, program.run(&call, &tail)).await;
            if attempts == BUSY_ATTEMPTS || !run.as_ref().is_err_and(|error| was_refused(error, is_busy)) {
                break run;
            }
            attempts += 1;
            tokio::time::sleep(BUSY_PAUSE).await;
        };
        let finished = run.map_err(|error| unstartable(&line, error))?;
        if finished.succeeded() {
            return Ok(());
        }
        // A cancelled build may have failed by that.
        self.remaining()?;
        let how =
            finished.code.map_or("was ended by a signal".to_owned(), |code| format!("ended with exit code {code}"));
        let output = tail.text();
        let output = if output.is_empty() { " without output".to_owned() } else { format!(":\n{output}") };
        Err(Error::new(ErrorKind::BuildFailed, format!("the build command `{line}` {how}{output}"))
            .with_code("build_failed")
            .with_hint("the whole output is in the deployment's log"))
    }

    fn program(&self, command: &Argv) -> Result<Program> {
        let tree = self.folder.tree();
        let file = locate(command.program(), &tree, &search_path())
            .map_err(|unusable| missing(ErrorKind::BuildFailed, command, "build", unusable))?;
        let inherited: Vec<&str> = self.config.inherited().iter().map(String::as_str).collect();
        let mut program = Program::new(file)
            .args(command.arguments())
            .env("PATH", search_path())
            .inherit(&inherited)
            .directory(&tree);
        for (key, value) in self.family.mark.variables() {
            program = program.env(key, value);
        }
        Ok(program)
    }

    /// Waits for a command and, when it is no longer wanted, ends all that the
    /// build has started: what has left the group of the command may hold the
    /// pipe that its output is read from, and would keep the wait from ending.
    async fn ended_with_all(&self, call: &Call, run: impl Future<Output = Result<Finished>>) -> Result<Finished> {
        tokio::pin!(run);
        tokio::select! {
            biased;
            done = &mut run => return done,
            () = call.cancel.cancelled() => {}
            () = tokio::time::sleep(call.timeout) => {}
        }
        let (ended, done) = tokio::join!(self.family.end(PATIENCE), run);
        ended.and(done)
    }

    async fn finish(&self, request: &BuildRequest<'_>, plan: &Plan) -> Result<Artifact> {
        self.remaining()?;
        let image = Image {
            version: Image::VERSION,
            key: request.key.as_str().to_owned(),
            label: format!("quark/{}:{}", request.app, request.commit.short()),
            commit: request.commit.to_string(),
            start: plan.start.words().to_vec(),
        };
        let folder = self.folder.clone();
        let start = plan.start.clone();
        blocking(move || {
            let tree = folder.tree();
            if escapes(start.program()) {
                let message = format!("the start command `{}` leads out of the source tree", start.program());
                return Err(Error::invalid("source", "path_escapes_context", message));
            }
            locate(start.program(), &tree, &search_path())
                .map_err(|unusable| missing(ErrorKind::InvalidInput, &start, "start", unusable))?;
            tree::flush(&tree)?;
            folder.write(&image)?;
            Ok(image.artifact())
        })
        .await
    }
}

/// Whether the operating system has refused to start a program in such a way.
fn was_refused(error: &Error, how: fn(&io::Error) -> bool) -> bool {
    std::error::Error::source(error).and_then(|source| source.downcast_ref()).is_some_and(how)
}

/// The error for a build command that is there and yet could not be started.
fn unstartable(line: &str, error: Error) -> Error {
    let code = match error.kind() {
        // The file is there, so it is what the file names to be run by.
        ErrorKind::NotFound | ErrorKind::PermissionDenied => error.code().to_owned(),
        ErrorKind::Internal if was_refused(&error, is_no_program) => "command_not_executable".to_owned(),
        _ => return error,
    };
    Error::new(ErrorKind::BuildFailed, format!("the build command `{line}` could not be started"))
        .with_code(code)
        .with_hint("check the first line of the file, if it is a script")
        .with_source(error)
}

/// Whether a program is named by a relative path that climbs.
fn escapes(program: &str) -> bool {
    !program.starts_with('/') && program.split('/').any(|part| part == "..")
}

/// The error for a program of the source's commands that cannot be started.
fn missing(kind: ErrorKind, command: &Argv, which: &str, unusable: Unusable) -> Error {
    let program = shown(std::slice::from_ref(&command.program().to_owned()));
    let is_path = program.contains('/');
    let (code, what) = match unusable {
        Unusable::NotExecutable => ("command_not_executable", "is not an executable file".to_owned()),
        Unusable::Missing if !is_path => ("command_not_found", "is not in any folder of `PATH`".to_owned()),
        Unusable::Missing if which == "start" => ("command_not_found", "does not exist after the build".to_owned()),
        Unusable::Missing => ("command_not_found", "does not exist in the source".to_owned()),
    };
    let hint = if is_path {
        format!("check the path of the {which} command, and that the build makes this file and marks it executable")
    } else {
        format!("install `{program}` on this machine, or use a path such as `./{program}` for a file of the source")
    };
    Error::new(kind, format!("the {which} command `{program}` {what}"))
        .with_code(code)
        .with_field("source")
        .with_hint(hint)
}

/// Passes lines on and keeps the last ones for an error.
struct Tail<'a> {
    log: &'a dyn LogSink,
    lines: Mutex<Vec<(LogStream, String)>>,
}

impl LogSink for Tail<'_> {
    fn write(&self, stream: LogStream, text: &str) {
        self.log.write(stream, text);
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let of_stream = |line: &(LogStream, String)| line.0 == stream;
        if lines.iter().filter(|line| of_stream(line)).count() == SHOWN_LINES
            && let Some(oldest) = lines.iter().position(of_stream)
        {
            lines.remove(oldest);
        }
        lines.push((stream, text.to_owned()));
    }
}

impl Tail<'_> {
    fn text(&self) -> String {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let text = lines.iter().map(|(_, line)| line.as_str()).collect::<Vec<_>>().join("\n");
        let mut from = text.len().saturating_sub(SHOWN_BYTES);
        while !text.is_char_boundary(from) {
            from += 1;
        }
        text.get(from..).unwrap_or_default().to_owned()
    }
}
