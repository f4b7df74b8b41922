//! `ImageRef` and `Artifact`: what containers are made from.

use serde::{Deserialize, Serialize};

use super::checked::{checked_text, excerpt};
use crate::{Error, Result};

checked_text! {
    /// The name of an image: `[host[:port]/]path[:tag][@sha256:digest]`, as the
    /// reference grammar of the distribution project defines it.
    ImageRef, check
}

fn check(text: &str) -> Result<String> {
    if is_reference(text) {
        return Ok(text.to_owned());
    }
    Err(Error::invalid("app.source.image", "invalid_image", format!("`{}` is not an image name", excerpt(text)))
        .with_hint("use `[registry/]name[:tag]` in lower case, or `name@sha256:` and 64 digits"))
}

fn is_reference(text: &str) -> bool {
    if text.len() > 512 {
        return false;
    }
    let (name_and_tag, digest) = match text.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (text, None),
    };
    let digest_ok = digest.is_none_or(|digest| {
        digest
            .strip_prefix("sha256:")
            .is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)))
    });
    let last_slash = name_and_tag.rfind('/').map_or(0, |at| at + 1);
    let (name, tag) = match name_and_tag.get(last_slash..).and_then(|last| last.rfind(':')) {
        Some(at) => {
            let (name, tag) = name_and_tag.split_at(last_slash + at);
            (name, Some(tag.get(1..).unwrap_or_default()))
        }
        None => (name_and_tag, None),
    };
    let tag_ok = tag.is_none_or(|tag| {
        let mut bytes = tag.bytes();
        let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        tag.len() <= 128 && bytes.next().is_some_and(word) && bytes.all(|b| word(b) || b == b'.' || b == b'-')
    });
    let mut parts = name.split('/').peekable();
    let has_host =
        name.contains('/') && parts.peek().is_some_and(|first| first.contains(['.', ':']) || *first == "localhost");
    let host_ok = !has_host || parts.next().is_some_and(is_host);
    digest_ok && tag_ok && host_ok && parts.peek().is_some() && parts.all(is_path_part)
}

fn is_host(text: &str) -> bool {
    let (host, port) = text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
    let host_ok = !host.is_empty()
        && host.split('.').all(|label| {
            !label.is_empty()
                && !label.starts_with('-')
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        });
    host_ok && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
}

fn is_path_part(part: &str) -> bool {
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    part.bytes().next().is_some_and(word)
        && part.bytes().last().is_some_and(word)
        && part.bytes().all(|b| word(b) || matches!(b, b'.' | b'_' | b'-'))
        && !part.contains("..")
}

/// What a build or a pull yielded: a name that means the same bytes for ever.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Artifact {
    /// The runtime's own immutable name, such as an image id or a digest.
    pub id: String,
    /// What people call it, such as `quark/shop:3f2a…`.
    pub label: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_the_reference_grammar() {
        let digest = format!("busybox@sha256:{}", "a".repeat(64));
        for good in ["alpine", "alpine:3.20", "ghcr.io/acme/shop:v1", "localhost:5000/x", "a/b/c", &digest] {
            assert!(ImageRef::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "alpine; id", "-v /:/host alpine", "ALPINE", "a@sha256:zz", "a:", "a//b", "a:b c", "x/", ":t"] {
            assert_eq!(ImageRef::parse(bad).unwrap_err().code(), "invalid_image", "{bad:?}");
        }
    }
}
