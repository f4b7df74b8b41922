//! Sends an archive while it is being written, without keeping it anywhere.

use std::io::{self, Write};

use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// How much is sent at once.
const CHUNK: usize = 64 * 1024;
/// How many chunks may wait.
const WAITING: usize = 4;

/// Runs `write` on a thread of its own. The stream yields what it writes, and
/// the handle how it ended. Dropping the stream makes the next write fail.
pub(super) fn written_by(
    write: impl FnOnce(&mut ChunkWriter) -> io::Result<()> + Send + 'static,
) -> (impl Stream<Item = io::Result<Bytes>> + Send + 'static, JoinHandle<io::Result<()>>) {
    let (sender, mut receiver) = mpsc::channel(WAITING);
    let task = tokio::task::spawn_blocking(move || {
        let mut writer = ChunkWriter { sender, chunk: BytesMut::new() };
        let done = write(&mut writer).and_then(|()| writer.flush());
        if let Err(error) = &done {
            // A body that just ended here would look whole. Nobody may be left
            // to hear it.
            let _ = writer.sender.blocking_send(Err(io::Error::new(error.kind(), "the archive broke off")));
        }
        done
    });
    (futures_util::stream::poll_fn(move |context| receiver.poll_recv(context)), task)
}

/// Collects small writes.
pub(super) struct ChunkWriter {
    sender: mpsc::Sender<io::Result<Bytes>>,
    chunk: BytesMut,
}

impl Write for ChunkWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.chunk.extend_from_slice(bytes);
        if self.chunk.len() >= CHUNK {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.chunk.is_empty() {
            return Ok(());
        }
        let chunk = self.chunk.split().freeze();
        let sent = self.sender.blocking_send(Ok(chunk));
        sent.map_err(|_| io::Error::new(io::ErrorKind::BrokenPipe, "nobody reads the archive any more"))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{StreamExt, TryStreamExt};

    use super::*;

    #[tokio::test]
    async fn what_is_written_arrives_whole() {
        let expected: Vec<u8> = (0..1_000_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        let bytes = expected.clone();
        let (stream, task) = written_by(move |out| bytes.chunks(777).try_for_each(|part| out.write_all(part)));
        let arrived: Vec<Bytes> = stream.try_collect().await.unwrap();
        assert_eq!(arrived.concat(), expected);
        task.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn an_error_ends_the_stream_with_an_error() {
        let (stream, task) = written_by(|out| {
            out.write_all(b"part")?;
            Err(io::Error::other("broken"))
        });
        let items: Vec<_> = stream.collect().await;
        assert!(items.last().is_some_and(Result::is_err));
        assert!(task.await.unwrap().is_err());
    }

    #[tokio::test]
    async fn a_dropped_stream_ends_the_writer() {
        let (stream, task) = written_by(|out| {
            loop {
                out.write_all(&[0; CHUNK])?;
            }
        });
        drop(stream);
        assert_eq!(task.await.unwrap().unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
