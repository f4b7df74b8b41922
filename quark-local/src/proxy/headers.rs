//! What a proxy takes out of messages and puts into them.

use std::net::IpAddr;

use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HOST, TE, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Version};

use super::answer::Refusal;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const CHUNKED: HeaderValue = HeaderValue::from_static("chunked");

/// Who is on the other end of a client's connection.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    address: HeaderValue,
    /// Whether it is a proxy whose word about the client is taken.
    trusted: bool,
}

impl Peer {
    pub(super) fn new(address: IpAddr, trusted: &[IpAddr]) -> Self {
        let address = address.to_canonical();
        let text = HeaderValue::try_from(address.to_string());
        // An address has no character that a field may not have.
        Self { address: text.unwrap_or(HeaderValue::from_static("unknown")), trusted: trusted.contains(&address) }
    }
}

/// What is to be known of a request before its hop-by-hop fields are gone.
#[derive(Debug, Default)]
pub(super) struct Intent {
    /// The protocols that the client wants to change to.
    pub(super) upgrade: Option<HeaderValue>,
    /// Whether the client takes fields after the body.
    trailers: bool,
    /// Whether the body has no length.
    chunked: bool,
}

impl Intent {
    /// Reads it, and refuses bodies whose end others might see elsewhere.
    pub(super) fn of(headers: &HeaderMap, version: Version) -> Result<Self, Refusal> {
        let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
        let chunked = match (codings.next(), codings.next()) {
            (None, _) => false,
            (Some(_), _) if version == Version::HTTP_10 || headers.contains_key(CONTENT_LENGTH) => {
                return Err(Refusal::Malformed("the length of the body is ambiguous"));
            }
            (Some(coding), None) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => true,
            // The hop's coding is undone here, so another one would be lost.
            (Some(_), _) => return Err(Refusal::Coding),
        };
        let upgrade = headers.get(UPGRADE).filter(|protocols| {
            version == Version::HTTP_11
                && has_token(headers, &CONNECTION, "upgrade")
                // HTTP/2 without TLS would hide all further requests from us.
                && !tokens(protocols).any(|protocol| protocol.eq_ignore_ascii_case("h2c"))
        });
        Ok(Self { upgrade: upgrade.cloned(), trailers: has_token(headers, &TE, "trailers"), chunked })
    }
}

/// Makes the fields of a client's request those of ours to a slot.
pub(super) fn prepare_request(headers: &mut HeaderMap, intent: &Intent, host: HeaderValue, peer: &Peer) {
    strip_hop_by_hop(headers);
    // The proxy itself asks the client for the body when the slot reads it.
    headers.remove(EXPECT);
    if intent.chunked {
        // Said explicitly, because it is not implied with every method.
        headers.remove(CONTENT_LENGTH);
        headers.insert(TRANSFER_ENCODING, CHUNKED);
    }
    match &intent.upgrade {
        Some(protocols) => {
            headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(UPGRADE, protocols.clone());
        }
        None if intent.trailers => {
            headers.insert(CONNECTION, HeaderValue::from_static("te"));
            headers.insert(TE, HeaderValue::from_static("trailers"));
        }
        None => {}
    }
    introduce(headers, &host, peer);
    headers.insert(HOST, host);
}

/// Says that the connection ends after this request, if it stays one of HTTP.
pub(super) fn announce_close(headers: &mut HeaderMap) {
    if !headers.contains_key(UPGRADE) {
        headers.append(CONNECTION, HeaderValue::from_static("close"));
    }
}

/// Makes the fields of a slot's answer those of ours to the client.
pub(super) fn prepare_response(headers: &mut HeaderMap) {
    if headers.contains_key(TRANSFER_ENCODING) {
        // Then it does not say how long the body is (RFC 9112 section 6.3).
        headers.remove(CONTENT_LENGTH);
    }
    strip_hop_by_hop(headers);
}

/// Makes the fields of an answer that changes the protocol ours.
pub(super) fn prepare_upgrade(headers: &mut HeaderMap) {
    let protocol = headers.get(UPGRADE).cloned();
    strip_hop_by_hop(headers);
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    if let Some(protocol) = protocol {
        headers.insert(UPGRADE, protocol);
    }
}

/// Whether the protocol that a slot chose is one that the client offered.
pub(super) fn is_offered(offered: &HeaderValue, headers: &HeaderMap) -> bool {
    let Some(chosen) = headers.get(UPGRADE) else { return false };
    tokens(chosen).all(|chosen| tokens(offered).any(|offer| offer.eq_ignore_ascii_case(chosen)))
}

/// Removes what is meant for the next hop only (RFC 9110 section 7.6.1).
fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let is_usual =
        |token: &&str| ["keep-alive", "close", "upgrade", "te"].iter().any(|usual| token.eq_ignore_ascii_case(usual));
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(tokens)
        .filter(|token| !is_usual(token))
        .filter_map(|token| HeaderName::from_bytes(token.as_bytes()).ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in [CONNECTION, KEEP_ALIVE, PROXY_CONNECTION, TE, TRANSFER_ENCODING, UPGRADE] {
        headers.remove(name);
    }
}

/// Says who the client is. What it says about itself is not believed.
fn introduce(headers: &mut HeaderMap, host: &HeaderValue, peer: &Peer) {
    if peer.trusted {
        let chain =
            headers.get_all(FORWARDED_FOR).iter().map(HeaderValue::as_bytes).collect::<Vec<_>>().join(&b", "[..]);
        if chain.is_empty() {
            headers.insert(FORWARDED_FOR, peer.address.clone());
        } else if let Ok(chain) = HeaderValue::from_bytes(&[&chain[..], b", ", peer.address.as_bytes()].concat()) {
            headers.insert(FORWARDED_FOR, chain);
        }
        headers.entry(REAL_IP).or_insert_with(|| peer.address.clone());
        headers.entry(FORWARDED_PROTO).or_insert(HeaderValue::from_static("http"));
        headers.entry(FORWARDED_HOST).or_insert_with(|| host.clone());
        return;
    }
    let claims: Vec<HeaderName> = headers.keys().filter(|name| is_claim(name.as_str())).cloned().collect();
    for name in claims {
        headers.remove(name);
    }
    headers.insert(FORWARDED_FOR, peer.address.clone());
    headers.insert(REAL_IP, peer.address.clone());
    headers.insert(FORWARDED_PROTO, HeaderValue::from_static("http"));
    headers.insert(FORWARDED_HOST, host.clone());
}

/// Whether a field tells an app who the client is, or (`Proxy`) where its own
/// requests shall go. CGI and WSGI do not tell `_` from `-`, so we do not either.
fn is_claim(name: &str) -> bool {
    let begins = |known: &str| {
        name.len() >= known.len() && name.bytes().zip(known.bytes()).all(|(a, b)| a == b || (a == b'_' && b == b'-'))
    };
    let is = |known: &str| name.len() == known.len() && begins(known);
    begins("x-forwarded-") || is("x-real-ip") || is("forwarded") || is("proxy")
}

fn has_token(headers: &HeaderMap, name: &HeaderName, wanted: &str) -> bool {
    headers.get_all(name).iter().flat_map(tokens).any(|token| token.eq_ignore_ascii_case(wanted))
}

fn tokens(value: &HeaderValue) -> impl Iterator<Item = &str> {
    value.to_str().unwrap_or_default().split(',').map(str::trim).filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    fn map(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        headers
    }

    fn prepared(pairs: &[(&'static str, &'static str)], trusted: &[IpAddr]) -> HeaderMap {
        let mut headers = map(pairs);
        let intent = Intent::of(&headers, Version::HTTP_11).unwrap();
        let peer = Peer::new("::ffff:203.0.113.9".parse().unwrap(), trusted);
        prepare_request(&mut headers, &intent, HeaderValue::from_static("a.test:80"), &peer);
        headers
    }

    const INTRODUCED: [(&str, &str); 5] = [
        ("host", "a.test:80"),
        ("x-forwarded-for", "203.0.113.9"),
        ("x-forwarded-host", "a.test:80"),
        ("x-forwarded-proto", "http"),
        ("x-real-ip", "203.0.113.9"),
    ];

    #[test]
    fn claims_of_clients_are_replaced() {
        let claims = [
            ("host", "a.test:80"),
            ("x-forwarded-for", "10.0.0.1"),
            ("x-forwarded-for", "10.0.0.2"),
            ("x_forwarded_for", "10.0.0.3"),
            ("x-forwarded_proto", "https"),
            ("x-forwarded-port", "443"),
            ("x-real-ip", "10.0.0.4"),
            ("forwarded", "for=10.0.0.5"),
            ("proxy", "http://evil.test"),
        ];
        assert_eq!(prepared(&claims, &[]), fields(&INTRODUCED));
    }

    #[test]
    fn the_word_of_a_trusted_proxy_is_taken() {
        let said = [
            ("host", "a.test:80"),
            ("x-forwarded-for", "198.51.100.7"),
            ("x-forwarded-for", "192.0.2.1"),
            ("x-forwarded-proto", "https"),
        ];
        let headers = prepared(&said, &["203.0.113.9".parse().unwrap()]);
        let mut expected = fields(&INTRODUCED);
        expected.insert(FORWARDED_FOR, HeaderValue::from_static("198.51.100.7, 192.0.2.1, 203.0.113.9"));
        expected.insert(FORWARDED_PROTO, HeaderValue::from_static("https"));
        assert_eq!(headers, expected);
    }

    #[test]
    fn fields_for_one_hop_stay_on_it() {
        let request = [
            ("connection", "keep-alive, X-One-Hop"),
            ("connection", "x-two,bad name"),
            ("x-one-hop", "1"),
            ("x-two", "2"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("te", "gzip"),
            ("upgrade", "websocket"),
            ("expect", "100-continue"),
        ];
        assert_eq!(prepared(&request, &[]), fields(&INTRODUCED));
        let mut answer =
            map(&[("connection", "close, x-one"), ("x-one", "1"), ("x-end", "2"), ("content-length", "5")]);
        prepare_response(&mut answer);
        assert_eq!(answer, fields(&[("x-end", "2"), ("content-length", "5")]));
        answer.insert(TRANSFER_ENCODING, CHUNKED);
        prepare_response(&mut answer);
        assert_eq!(answer, fields(&[("x-end", "2")]));
    }

    #[test]
    fn what_the_client_wants_of_the_hop_is_asked_of_the_next_one() {
        let asks = |pairs: &[(&'static str, &'static str)]| {
            let headers = prepared(pairs, &[]);
            let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).map(str::to_owned);
            (text(CONNECTION), text(UPGRADE), text(TE), text(TRANSFER_ENCODING))
        };
        let some = |text: &str| Some(text.to_owned());
        let websocket = [("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")];
        assert_eq!(asks(&websocket), (some("upgrade"), some("websocket"), None, None));
        assert_eq!(asks(&[("upgrade", "websocket")]), (None, None, None, None));
        assert_eq!(asks(&[("connection", "upgrade"), ("upgrade", "websocket, h2c")]), (None, None, None, None));
        assert_eq!(asks(&[("te", "trailers, gzip")]), (some("te"), None, some("trailers"), None));
        assert_eq!(asks(&[("transfer-encoding", "Chunked")]), (None, None, None, some("chunked")));
    }

    #[test]
    fn a_body_whose_end_is_ambiguous_is_refused() {
        let refused = |pairs: &[(&'static str, &'static str)], version| Intent::of(&map(pairs), version).unwrap_err();
        let chunked = ("transfer-encoding", "chunked");
        let ambiguous = Refusal::Malformed("the length of the body is ambiguous");
        assert_eq!(refused(&[chunked, ("content-length", "3")], Version::HTTP_11), ambiguous);
        assert_eq!(refused(&[chunked], Version::HTTP_10), ambiguous);
        for codings in
            [&[("transfer-encoding", "gzip, chunked")][..], &[chunked, chunked], &[("transfer-encoding", "x")]]
        {
            assert_eq!(refused(codings, Version::HTTP_11), Refusal::Coding);
        }
    }

    #[test]
    fn a_slot_may_only_choose_what_was_offered() {
        let offered = HeaderValue::from_static("websocket, other");
        for (chosen, ok) in [("WebSocket", true), ("other", true), ("h2c", false)] {
            assert_eq!(is_offered(&offered, &map(&[("upgrade", chosen)])), ok, "{chosen}");
        }
        assert!(!is_offered(&offered, &HeaderMap::new()));
    }
}
