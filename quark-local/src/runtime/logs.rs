//! Reading what a container has printed.

use std::collections::VecDeque;
use std::io::SeekFrom;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::{BoxStream, try_unfold};
use quark_core::backend::{LogChunk, LogSelection};
use quark_core::deployment::LogLine;
use quark_core::{LogStream, Result};
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};

use super::life::Life;
use super::record::Place;
use crate::system::blocking;
use crate::system::files::{failed, is_absent};
use crate::system::table::Table;

/// How much of the end of each stream is read, in bytes.
const MOST: u64 = 16 * 1024 * 1024;
/// How much is read at once, in bytes.
const BLOCK: usize = 64 * 1024;
/// How often to look for more: the writer is another program's file.
const PAUSE: Duration = Duration::from_millis(100);

/// The output of a container that exists.
pub(super) fn stream(place: Place, selection: LogSelection) -> BoxStream<'static, Result<LogChunk>> {
    let reading = Reading {
        files: [LogStream::Stdout, LogStream::Stderr].map(|stream| LogFile::new(place.output(stream), stream)),
        ready: VecDeque::new(),
        tail: selection.tail,
        follow: selection.follow,
        ended: false,
        place,
    };
    try_unfold(reading, |mut reading| async move { Ok(reading.next().await?.map(|chunk| (chunk, reading))) }).boxed()
}

struct Reading {
    place: Place,
    files: [LogFile; 2],
    ready: VecDeque<LogChunk>,
    tail: Option<usize>,
    follow: bool,
    ended: bool,
}

impl Reading {
    async fn next(&mut self) -> Result<Option<LogChunk>> {
        if let Some(tail) = self.tail.take() {
            self.read_tail(tail).await?;
        }
        loop {
            if let Some(chunk) = self.ready.pop_front() {
                return Ok(Some(chunk));
            }
            if self.ended {
                return Ok(None);
            }
            if self.read_blocks().await? {
                continue;
            }
            // The files are read once more after the end was seen: what was
            // printed before it is then in them.
            let last = !self.follow || self.has_ended().await?;
            if self.read_blocks().await? {
                continue;
            }
            if last {
                self.ended = true;
                self.ready.extend(self.files.iter_mut().filter_map(LogFile::rest));
            } else {
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    /// Reads the next block of each file. Whether any had one.
    async fn read_blocks(&mut self) -> Result<bool> {
        let mut any = false;
        for file in &mut self.files {
            any |= file.read(&mut self.ready).await?;
        }
        Ok(any)
    }

    /// Reads both files to their end and keeps the last lines. Which of two
    /// lines in two files came first is not known, so each gets half of the
    /// lines, and what the other leaves.
    async fn read_tail(&mut self, most: usize) -> Result<()> {
        let mut kept = [VecDeque::new(), VecDeque::new()];
        for (file, kept) in self.files.iter_mut().zip(&mut kept) {
            while file.read(kept).await? {
                kept.drain(..kept.len().saturating_sub(most));
            }
            if !self.follow {
                kept.extend(file.rest());
            }
        }
        let [out, err] = kept;
        let from_out = out.len().min((most / 2).max(most.saturating_sub(err.len())));
        let from_err = err.len().min(most - from_out);
        self.ready.extend(out.into_iter().rev().take(from_out).rev());
        self.ready.extend(err.into_iter().rev().take(from_err).rev());
        Ok(())
    }

    async fn has_ended(&self) -> Result<bool> {
        let place = self.place.clone();
        blocking(move || {
            let gone = place.record()?.is_none();
            Ok(gone || matches!(Life::of(&place, &Table::read()?)?, Life::Ended { .. }))
        })
        .await
    }
}

/// One stream of a container's output.
struct LogFile {
    path: PathBuf,
    stream: LogStream,
    file: Option<File>,
    /// The beginning of a line whose end is not there yet.
    line: Vec<u8>,
    /// Whether the beginning was left out and the first line is cut.
    cut: bool,
}

impl LogFile {
    fn new(path: PathBuf, stream: LogStream) -> Self {
        Self { path, stream, file: None, line: Vec::new(), cut: false }
    }

    /// Reads a block and appends its lines. Whether there was one.
    async fn read(&mut self, lines: &mut VecDeque<LogChunk>) -> Result<bool> {
        let mut block = vec![0; BLOCK];
        let length = match self.open(lines).await? {
            Some(file) => {
                let read = file.read(&mut block).await;
                read.map_err(|error| failed("read", &self.path, error))?
            }
            None => 0,
        };
        for byte in block.iter().take(length) {
            if *byte == b'\n' {
                lines.extend(self.take_line());
            } else {
                if self.line.len() >= LogLine::LONGEST {
                    lines.extend(self.take_part());
                }
                self.line.push(*byte);
            }
        }
        Ok(length > 0)
    }

    async fn open(&mut self, lines: &mut VecDeque<LogChunk>) -> Result<Option<&mut File>> {
        if self.file.is_none() {
            let mut file = match File::open(&self.path).await {
                Ok(file) => file,
                // It is made by the first start.
                Err(error) if is_absent(&error) => return Ok(None),
                Err(error) => return Err(failed("opened", &self.path, error)),
            };
            let unreadable = |error| failed("read", &self.path, error);
            let length = file.metadata().await.map_err(unreadable)?.len();
            if let Some(skipped @ 1..) = length.checked_sub(MOST) {
                // From the byte before, to see whether a line begins there.
                file.seek(SeekFrom::Start(skipped - 1)).await.map_err(unreadable)?;
                self.cut = true;
                let text = format!("the first {skipped} bytes of {} are left out", self.stream.as_str());
                lines.push_back(LogChunk { stream: LogStream::System, at: None, text });
            }
            self.file = Some(file);
        }
        Ok(self.file.as_mut())
    }

    fn take_line(&mut self) -> Option<LogChunk> {
        let line = std::mem::take(&mut self.line);
        if std::mem::take(&mut self.cut) {
            return None;
        }
        let text = String::from_utf8_lossy(&line);
        let text = text.strip_suffix('\r').unwrap_or(&text).to_owned();
        Some(LogChunk { stream: self.stream, at: None, text })
    }

    /// The beginning of a line that is too long, not cut within a character.
    fn take_part(&mut self) -> Option<LogChunk> {
        let whole = match std::str::from_utf8(&self.line) {
            Err(error) if error.error_len().is_none() => error.valid_up_to().max(1),
            _ => self.line.len(),
        };
        let rest = self.line.split_off(whole);
        let part = self.take_line();
        self.line = rest;
        part
    }

    /// What was printed after the last line end.
    fn rest(&mut self) -> Option<LogChunk> {
        if self.line.is_empty() { None } else { self.take_line() }
    }
}
