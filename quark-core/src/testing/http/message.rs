//! Reading HTTP/1.1 messages (RFC 9112), as far as tests need it.

use std::io;

use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _};

/// Longer heads are refused.
const LONGEST_HEAD: usize = 64 * 1024;
/// Longer bodies are refused.
const LONGEST_BODY: usize = 64 * 1024 * 1024;

/// The first line and the fields of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) first: String,
    pub(super) fields: Vec<(String, String)>,
}

impl Head {
    /// The value of a field, by its name in lower case.
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Whether the connection ends after this message.
    pub(super) fn closes(&self) -> bool {
        self.field("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
            || self.first.starts_with("HTTP/1.0 ")
    }

    fn is_chunked(&self) -> bool {
        self.field("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked"))
    }
}

/// What ends a body that has neither a length nor chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unmeasured {
    /// There is none: requests.
    Empty,
    /// The end of the connection: answers.
    ToTheEnd,
}

/// Reads a head; `None` if the other side has ended the connection before it.
pub(super) async fn read_head(reader: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Option<Head>> {
    let first = read_line(reader).await?;
    let Some(first) = first.filter(|line| !line.is_empty()) else { return Ok(None) };
    let mut fields = Vec::new();
    let mut length = first.len();
    loop {
        let line = read_line(reader).await?.ok_or_else(|| cut("in the middle of a head"))?;
        if line.is_empty() {
            return Ok(Some(Head { first, fields }));
        }
        length += line.len();
        if length > LONGEST_HEAD {
            return Err(broken("the head is too long"));
        }
        let (name, value) = line.split_once(':').ok_or_else(|| broken("a field has no `:`"))?;
        fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
}

/// Reads the body that follows `head`.
pub(super) async fn read_body(
    reader: &mut (impl AsyncBufRead + Unpin),
    head: &Head,
    unmeasured: Unmeasured,
) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    if head.is_chunked() {
        loop {
            let size = read_line(reader).await?.ok_or_else(|| cut("in the middle of a body"))?;
            let digits = size.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(digits, 16).map_err(|_| broken("a chunk has no size"))?;
            read_exactly(reader, size, &mut body).await?;
            let end = read_line(reader).await?.ok_or_else(|| cut("in the middle of a body"))?;
            if !end.is_empty() {
                return Err(broken("a chunk is longer than it says"));
            }
            if size == 0 {
                return Ok(body);
            }
        }
    }
    match head.field("content-length") {
        Some(length) => {
            let length = length.parse().map_err(|_| broken("the length is no number"))?;
            read_exactly(reader, length, &mut body).await?;
        }
        None if unmeasured == Unmeasured::ToTheEnd => {
            reader.read_to_end(&mut body).await?;
        }
        None => {}
    }
    Ok(body)
}

async fn read_exactly(reader: &mut (impl AsyncBufRead + Unpin), length: usize, body: &mut Vec<u8>) -> io::Result<()> {
    if body.len().saturating_add(length) > LONGEST_BODY {
        return Err(broken("the body is too long"));
    }
    let wanted = u64::try_from(length).unwrap_or(u64::MAX);
    let read = reader.take(wanted).read_to_end(body).await?;
    if read < length {
        return Err(cut("in the middle of a body"));
    }
    Ok(())
}

/// A line without its end; `None` at the end of the connection.
async fn read_line(reader: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Option<String>> {
    let longest = u64::try_from(LONGEST_HEAD).unwrap_or(u64::MAX);
    let mut line = Vec::new();
    if reader.take(longest).read_until(b'\n', &mut line).await? == 0 {
        return Ok(None);
    }
    if line.pop() != Some(b'\n') {
        return Err(cut("in the middle of a line"));
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    String::from_utf8(line).map(Some).map_err(|_| broken("a line is not plain text"))
}

pub(super) fn cut(when: &str) -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, format!("the connection was cut {when}"))
}

pub(super) fn broken(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("this is not HTTP/1.1: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn body_of(message: &[u8]) -> io::Result<Vec<u8>> {
        let mut reader = message;
        let head = read_head(&mut reader).await?.ok_or_else(|| cut("before it began"))?;
        read_body(&mut reader, &head, Unmeasured::ToTheEnd).await
    }

    #[tokio::test]
    async fn all_kinds_of_bodies_are_read_whole() {
        for whole in [
            &b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabcde"[..],
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n3;x=y\r\ncde\r\n0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n\r\nabcde",
        ] {
            assert_eq!(body_of(whole).await.unwrap(), b"abcde");
        }
    }

    #[tokio::test]
    async fn what_is_cut_is_an_error() {
        for part in [
            &b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc"[..],
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Len",
            b"HTTP/1.1 200 OK\r\n",
            b"",
        ] {
            let error = body_of(part).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{part:?}");
        }
    }
}
