//! Starting: from a container to a process that is written down.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use quark_core::backend::container_runtime::{image_not_found, port_taken};
use quark_core::{Endpoint, Error, ErrorKind, LogStream, Result};
use tokio::process::{Child, Command};

use super::life::Life;
use super::reap::Reapers;
use super::record::{Place, Record, Started};
use crate::config::search_path;
use crate::image::Images;
use crate::system::blocking;
use crate::system::command::{BUSY_ATTEMPTS, BUSY_PAUSE, PORT, Unusable, is_busy, is_no_program, locate, shown};
use crate::system::files::failed;
use crate::system::lock::FolderLock;
use crate::system::sockets::{describe, listeners, reached_at, try_bind};
use crate::system::table::{Entry, Table, boot_id};

/// From the polite signal to the kill for what an earlier process has left.
const PATIENCE: Duration = Duration::from_secs(1);

/// Starts a container whose lock is held. Idempotent.
pub(super) async fn start(place: &Place, images: &Images, reapers: &Reapers, lock: FolderLock) -> Result<()> {
    let seen = {
        let place = place.clone();
        blocking(move || {
            let record = place.existing()?;
            let life = Life::of(&place, &Table::read()?)?;
            if let Life::Running(running) = &life
                && !running.recorded
            {
                place.write_started(&running.started)?;
            }
            let is_over = record.is_hook() && matches!(life, Life::Ended { .. });
            Ok((life, is_over))
        })
    }
    .await?;
    let (seen, is_over) = seen;
    if is_over || matches!(seen, Life::Running(_)) {
        return Ok(());
    }
    place.family(seen.process()).end(PATIENCE).await?;
    let (place, images, reapers) = (place.clone(), images.clone(), reapers.clone());
    // In one piece: once the process is there it is written down, even if
    // nobody waits for this any more.
    blocking(move || {
        let record = place.existing()?;
        record.endpoint.as_ref().map(check_free).transpose()?;
        let command = prepare(&place, &record, &images)?;
        place.forget_start()?;
        let (child, started) = spawn(command, &record)?;
        let written = place.write_started(&started);
        reapers.watch(&place, child, started);
        drop(lock);
        written
    })
    .await
}

/// Refuses an endpoint at which something listens.
fn check_free(endpoint: &Endpoint) -> Result<()> {
    let address = endpoint.socket_addr()?;
    match try_bind(address) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(port_taken(endpoint, &holder(address))),
        Err(error) => {
            let kind = match error.kind() {
                io::ErrorKind::PermissionDenied => ErrorKind::PermissionDenied,
                _ => ErrorKind::Unavailable,
            };
            Err(Error::new(kind, format!("nothing can listen at `{endpoint}`")).with_source(error))
        }
    }
}

/// Names who listens at an address, as far as it can be found out.
pub(super) fn holder(address: SocketAddr) -> String {
    let find = || -> Result<Option<String>> {
        let table = Table::read()?;
        Ok(reached_at(&listeners()?, address).first().map(|listener| describe(listener, &table)))
    };
    // Only for the message: that the port is taken is known anyhow.
    find().ok().flatten().unwrap_or_else(|| "something that does not listen yet".to_owned())
}

/// The variables that the runtime gives: the app's own come between them.
fn variables(place: &Place, record: &Record, address: Option<SocketAddr>) -> Vec<(OsString, OsString)> {
    let mut variables: Vec<(OsString, OsString)> = vec![("PATH".into(), search_path())];
    variables.extend(address.map(|address| ("HOST".into(), address.ip().to_string().into())));
    variables.extend(record.env.iter().map(|(key, value)| (key.as_str().into(), value.expose().into())));
    variables.extend(address.map(|address| ("PORT".into(), address.port().to_string().into())));
    variables.extend(place.mark().variables().map(|(key, value)| (key.into(), value.into())));
    variables
}

fn prepare(place: &Place, record: &Record, images: &Images) -> Result<Command> {
    let gone = || image_not_found(&record.artifact.label);
    let folder = images.of_artifact(&record.artifact).ok_or_else(gone)?;
    let image = folder.read()?.ok_or_else(gone)?;
    let address = record.endpoint.as_ref().map(Endpoint::socket_addr).transpose()?;
    let words: Vec<String> = match (&record.command, address) {
        (Some(command), _) => command.words().to_vec(),
        (None, Some(address)) => {
            image.start.iter().map(|word| word.replace(PORT, &address.port().to_string())).collect()
        }
        (None, None) => image.start.clone(),
    };
    let Some((program, arguments)) = words.split_first() else {
        return Err(Error::new(ErrorKind::Internal, "the image does not say what to start"));
    };
    let variables = variables(place, record, address);
    let path = variables.iter().rev().find(|(key, _)| key == "PATH").map(|(_, path)| path.clone()).unwrap_or_default();
    let file = locate(program, &folder.tree(), &path).map_err(|unusable| match unusable {
        Unusable::Missing => not_found(program),
        Unusable::NotExecutable => not_executable(program),
    })?;
    let mut command = std::process::Command::new(file);
    command
        .arg0(program)
        .args(arguments)
        .env_clear()
        .envs(variables)
        .current_dir(folder.tree())
        .stdin(Stdio::null())
        .stdout(append_to(place.output(LogStream::Stdout))?)
        .stderr(append_to(place.output(LogStream::Stderr))?)
        .process_group(0);
    Ok(command.into())
}

/// Opens a file for the output of a process. Not a pipe: the process goes on
/// when the engine does not.
fn append_to(path: PathBuf) -> Result<File> {
    let opened = OpenOptions::new().append(true).create(true).mode(0o600).open(&path);
    opened.map_err(|error| failed("opened", &path, error))
}

fn spawn(mut command: Command, record: &Record) -> Result<(Child, Started)> {
    let boot = boot_id()?;
    let program = command.as_std().get_program().to_string_lossy().into_owned();
    let mut attempts = 1;
    let child = loop {
        match command.spawn() {
            Err(error) if is_busy(&error) && attempts < BUSY_ATTEMPTS => {
                attempts += 1;
                std::thread::sleep(BUSY_PAUSE);
            }
            spawned => break spawned.map_err(|error| spawn_error(&program, &record.name, error))?,
        }
    };
    // As long as it is not waited for, the process has an entry.
    let entry = child.id().and_then(Entry::read);
    let entry = entry.ok_or_else(|| {
        Error::new(ErrorKind::Internal, format!("the process of container `{}` is not in `/proc`", record.name))
    })?;
    Ok((child, Started { process: entry.process, boot }))
}

fn not_found(program: &str) -> Error {
    let shown = shown(&[program.to_owned()]);
    Error::new(ErrorKind::NotFound, format!("there is no program `{shown}`"))
        .with_code("command_not_found")
        .with_hint("check its name and that it is installed or was built")
}

fn not_executable(program: &str) -> Error {
    let shown = shown(&[program.to_owned()]);
    Error::new(ErrorKind::PermissionDenied, format!("`{shown}` may not be executed"))
        .with_code("command_not_executable")
        .with_hint("mark the file as executable")
}

fn spawn_error(program: &str, name: &impl std::fmt::Display, error: io::Error) -> Error {
    match error.kind() {
        // The file was there: it is what its first line names.
        io::ErrorKind::NotFound => not_found(program).with_hint("check the first line of the file, if it is a script"),
        io::ErrorKind::PermissionDenied => not_executable(program),
        _ if is_no_program(&error) => {
            not_executable(program).with_hint("if it is a script, its first line must say what runs it")
        }
        io::ErrorKind::ArgumentListTooLong => {
            Error::invalid("app.env", "env_too_large", "the variables and arguments are too long for this machine")
        }
        io::ErrorKind::WouldBlock | io::ErrorKind::OutOfMemory => {
            Error::new(ErrorKind::ResourceExhausted, "the machine has no room for another process")
                .with_code("no_room_for_process")
        }
        _ => Error::new(ErrorKind::Unavailable, format!("the process of container `{name}` could not be started")),
    }
    .with_source(error)
}
