//! Which host a request is for.

use std::borrow::Cow;

use http::header::HOST;
use http::{HeaderValue, Request, Version};

use super::answer::Refusal;

/// The host that a request is for, as the client wrote it: name and maybe port.
///
/// RFC 9112 section 3.2: exactly one `Host` field, and the authority of the
/// target counts where it has one.
pub(super) fn authority<B>(request: &Request<B>) -> Result<HeaderValue, Refusal> {
    let mut fields = request.headers().get_all(HOST).iter();
    let (field, more) = (fields.next(), fields.next());
    if more.is_some() {
        return Err(Refusal::Malformed("there is more than one Host field"));
    }
    let Some(authority) = request.uri().authority() else {
        return field.cloned().ok_or(Refusal::Malformed("there is no Host field"));
    };
    if field.is_none() && request.version() != Version::HTTP_10 {
        return Err(Refusal::Malformed("there is no Host field"));
    }
    HeaderValue::try_from(authority.as_str()).map_err(|_| Refusal::Malformed("the target has no valid host"))
}

/// The name alone, in the form that routes have: without port and trailing
/// dot, in lower case. `None` if there is none or if it is none.
pub(super) fn name(authority: &HeaderValue) -> Option<Cow<'_, str>> {
    let text = authority.to_str().ok()?;
    let name = match text.rsplit_once(':') {
        // The colons of an address without a port, `[::1]`.
        Some(_) if text.ends_with(']') => text,
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        Some(_) => return None,
        None => text,
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    let is_literal = name.starts_with('[') && name.ends_with(']');
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=%".contains(&byte);
    if name.is_empty() || !name.bytes().all(|byte| fits(byte) || (is_literal && b"[:]".contains(&byte))) {
        return None;
    }
    Some(match name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        true => Cow::Owned(name.to_ascii_lowercase()),
        false => Cow::Borrowed(name),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_one_form() {
        for (given, name) in [
            ("shop.test", Some("shop.test")),
            ("Shop.TEST", Some("shop.test")),
            ("shop.test:80", Some("shop.test")),
            ("shop.test:", Some("shop.test")),
            ("shop.test.", Some("shop.test")),
            ("SHOP.test.:8080", Some("shop.test")),
            ("127.0.0.1:80", Some("127.0.0.1")),
            ("[::1]", Some("[::1]")),
            ("[::1]:8080", Some("[::1]")),
            ("a_b.test", Some("a_b.test")),
            ("", None),
            (".", None),
            (":80", None),
            ("shop.test:8x", None),
            ("shop.test:80:80", None),
            ("::1", None),
            ("user@shop.test", None),
            ("shop.test/path", None),
            ("shop.test#x", None),
            ("shop.test evil.test", None),
            ("shop.test?", None),
            ("shop\\.test", None),
        ] {
            let value = HeaderValue::from_static(given);
            assert_eq!(super::name(&value).as_deref(), name, "{given:?}");
        }
    }

    #[test]
    fn what_is_no_text_is_no_host() {
        assert_eq!(name(&HeaderValue::from_bytes(b"shop\xff.test").unwrap()), None);
    }
}
