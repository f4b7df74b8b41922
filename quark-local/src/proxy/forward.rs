//! One request from a client to a slot, and the answer back.

use std::sync::Arc;

use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;

use super::answer::Refusal;
use super::body::{Exchange, RequestBody, ResponseBody};
use super::edge::{Client, Edge};
use super::headers::{self, Intent};
use super::pool::{ConnectFailure, Pool};
use super::traffic::Unanswered;
use super::upstream::{InFlight, Upstream};
use super::{host, tunnel};

/// Answers a request: from its app, or with why not.
pub(super) async fn forward(edge: &Edge, from: &Arc<Client>, request: Request<Incoming>) -> Response<ResponseBody> {
    match attempt(edge, from, request).await {
        Ok(response) => response,
        Err(refusal) => refusal.into_response(),
    }
}

async fn attempt(
    edge: &Edge,
    from: &Arc<Client>,
    request: Request<Incoming>,
) -> Result<Response<ResponseBody>, Refusal> {
    if request.method() == Method::CONNECT {
        return Err(Refusal::Tunnel);
    }
    let authority = host::authority(&request)?;
    let name = host::name(&authority).ok_or(Refusal::Malformed("the Host field is not a host"))?;
    let intent = Intent::of(request.headers(), request.version())?;
    let in_flight = edge.table.choose(&name).ok_or(Refusal::UnknownHost)?;
    drop(name);

    let (mut head, body) = request.into_parts();
    headers::prepare_request(&mut head.headers, &intent, authority, &from.peer);
    let offered = intent.upgrade.zip(head.extensions.remove::<OnUpgrade>());
    let mut outgoing = Request::new(RequestBody::new(body, &in_flight));
    *outgoing.method_mut() = head.method;
    *outgoing.uri_mut() = origin_form(head.uri);
    *outgoing.headers_mut() = head.headers;

    let unanswered = Unanswered::new(in_flight.upstream());
    let (response, exchange) = match send(edge, in_flight, outgoing).await {
        Ok(answered) => answered,
        Err(refusal) => {
            unanswered.fail();
            return Err(refusal);
        }
    };
    unanswered.answered_by(exchange.in_flight.upstream(), response.status().as_u16());
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return upgrade(edge, from, offered, response, exchange.in_flight);
    }
    let (mut head, body) = response.into_parts();
    headers::prepare_response(&mut head.headers);
    let mut response = Response::new(ResponseBody::streamed(body, exchange));
    *response.status_mut() = head.status;
    *response.headers_mut() = head.headers;
    Ok(response)
}

/// The target as it is said to the server itself (RFC 9112 section 3.2.1).
fn origin_form(uri: Uri) -> Uri {
    if uri.authority().is_none() {
        return uri;
    }
    let path = uri.into_parts().path_and_query.unwrap_or_else(|| PathAndQuery::from_static("/"));
    Uri::from(path)
}

/// Sends a request until it has reached a slot.
async fn send(
    edge: &Edge,
    mut in_flight: Arc<InFlight>,
    mut request: Request<RequestBody>,
) -> Result<(Response<Incoming>, Exchange), Refusal> {
    // A kept connection may be closed by the slot while the request is on its
    // way into it. Only what may be sent twice is sent there; the others get
    // one of their own, which the slot need not keep then.
    let reusable = is_repeatable(&request);
    if !reusable {
        headers::announce_close(request.headers_mut());
    }
    let mut may_reuse = reusable;
    let mut stood_in = false;
    loop {
        let upstream = in_flight.upstream();
        let kept = if may_reuse { upstream.pool.take() } else { None };
        let (mut sender, copy) = match kept {
            Some(sender) => (sender, Some(copy_of(&request))),
            None => match Pool::connect(upstream.address, edge.config.connect_timeout).await {
                Ok(sender) => (sender, None),
                Err(failure) => {
                    (in_flight, request) = stand_in(edge, in_flight, request, &mut stood_in, &failure)?;
                    continue;
                }
            },
        };
        let mut error = match sender.try_send_request(request).await {
            Ok(response) => return Ok((response, Exchange { sender, reusable, in_flight })),
            Err(error) => error,
        };
        request = match (error.take_message(), copy) {
            // A kept connection was closed: once more, on a new one.
            (Some(unsent), Some(_)) => {
                may_reuse = false;
                unsent
            }
            (None, Some(copy)) if !error.error().is_parse() => {
                may_reuse = false;
                copy
            }
            // A new one was closed before anything was sent: as good as none.
            (Some(unsent), None) => {
                let failure = ConnectFailure::Broken(error.into_error());
                let moved;
                (in_flight, moved) = stand_in(edge, in_flight, unsent, &mut stood_in, &failure)?;
                moved
            }
            (None, _) => {
                let Upstream { app, slot, endpoint, .. } = &**in_flight.upstream();
                let error = error.into_error();
                tracing::warn!(%app, %slot, %endpoint, %error, "a slot has not answered a request");
                return Err(Refusal::Unreachable);
            }
        };
    }
}

/// Moves a request that was not sent to where it may go instead, at most once.
fn stand_in(
    edge: &Edge,
    in_flight: Arc<InFlight>,
    request: Request<RequestBody>,
    stood_in: &mut bool,
    failure: &ConnectFailure,
) -> Result<(Arc<InFlight>, Request<RequestBody>), Refusal> {
    let other = if *stood_in { None } else { edge.table.stand_in(in_flight.upstream()) };
    *stood_in = true;
    let Upstream { app, slot, endpoint, .. } = &**in_flight.upstream();
    if let Some(other) = other {
        tracing::debug!(%app, %slot, %endpoint, %failure, "a slot does not accept connections; another one stands in");
        let request = request.map(|body| body.moved_to(&other));
        return Ok((other, request));
    }
    tracing::warn!(%app, %slot, %endpoint, %failure, "a slot does not accept connections");
    Err(match failure {
        ConnectFailure::TimedOut => Refusal::TooSlow,
        ConnectFailure::Refused(_) | ConnectFailure::Broken(_) => Refusal::Unreachable,
    })
}

/// Whether sending it twice cannot be noticed (RFC 9110 section 9.2.1).
fn is_repeatable(request: &Request<RequestBody>) -> bool {
    matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE)
        && matches!(request.body(), RequestBody::Empty)
}

/// Another request like this repeatable one.
fn copy_of(request: &Request<RequestBody>) -> Request<RequestBody> {
    let mut copy = Request::new(RequestBody::Empty);
    copy.method_mut().clone_from(request.method());
    copy.uri_mut().clone_from(request.uri());
    copy.headers_mut().clone_from(request.headers());
    copy
}

/// Passes the slot's agreement to another protocol on, and then all bytes.
fn upgrade(
    edge: &Edge,
    from: &Arc<Client>,
    offered: Option<(HeaderValue, OnUpgrade)>,
    mut response: Response<Incoming>,
    in_flight: Arc<InFlight>,
) -> Result<Response<ResponseBody>, Refusal> {
    let Some((_, client)) = offered.filter(|(protocols, _)| headers::is_offered(protocols, response.headers())) else {
        let Upstream { app, slot, endpoint, .. } = &**in_flight.upstream();
        tracing::warn!(%app, %slot, %endpoint, "a slot changes to a protocol that was not asked for");
        return Err(Refusal::Unreachable);
    };
    let slot = hyper::upgrade::on(&mut response);
    edge.tasks.spawn(tunnel::run(client, slot, in_flight, Arc::clone(from), edge.cut.child_token()));
    let (mut head, _) = response.into_parts();
    headers::prepare_upgrade(&mut head.headers);
    let mut response = Response::new(ResponseBody::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *response.headers_mut() = head.headers;
    Ok(response)
}
