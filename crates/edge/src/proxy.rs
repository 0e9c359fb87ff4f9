//! The way of one request: choose an instance, send, try once more where that is safe, pass the answer on.

use crate::{
    body::{AnswerBody, RequestBody},
    counts::Flight,
    headers, refuse,
    table::{Switch, Target},
    upstream::{self, Sent, Upstream},
};
use bascule_core::EnvironmentId;
use http::{
    HeaderValue, Request, Response, StatusCode,
    header::{CONNECTION, UPGRADE},
};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use std::{future::poll_fn, sync::Arc, task::Poll, time::Duration};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Which routes a listener serves.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Serves {
    /// One environment, on a port of its own.
    Environment(EnvironmentId),
    /// All, told apart by the `Host` header.
    Hosts,
}

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// To connect to an instance.
    pub(crate) connect: Duration,
    /// From the request to the response's head.
    pub(crate) head: Duration,
}

/// What all requests of one client connection share.
#[derive(Debug)]
pub(crate) struct Visit {
    pub(crate) switch: Arc<Switch>,
    pub(crate) serves: Serves,
    pub(crate) worker: usize,
    /// The client's address, as `X-Forwarded-For` carries it.
    pub(crate) client: HeaderValue,
    pub(crate) trusted: bool,
    pub(crate) patience: Patience,
    /// Where upgraded connections live on.
    pub(crate) tunnels: TaskTracker,
    /// Ends tunnels when the edge has waited long enough.
    pub(crate) cut: CancellationToken,
}

/// Tries that one request gets: the first, one on a fresh connection, one on another instance, one to spare
/// for a closed connection there too.
const TRIES: usize = 4;

/// Answers one request.
pub(crate) async fn handle(visit: &Visit, mut request: Request<Incoming>) -> Response<AnswerBody> {
    if let Some(fault) = headers::fault(&request) {
        return refuse::bad_request(fault);
    }
    let table = visit.switch.table();
    let target = match visit.serves {
        Serves::Environment(environment) => table.environment(environment),
        Serves::Hosts => {
            let host = request.uri().host().or_else(|| {
                request
                    .headers()
                    .get(http::header::HOST)
                    .and_then(|host| host.to_str().ok())
            });
            table.host(host.unwrap_or_default())
        }
    };
    let Some(target) = target.map(Arc::clone) else {
        return refuse::no_route();
    };
    // Not held while the request runs, so that an old table goes when it is replaced.
    drop(table);
    let Some(index) = target.schedule.next() else {
        return refuse::no_backend(&target.route);
    };
    let protocol = headers::upgrade(&request);
    let address = target
        .backends
        .get(index)
        .map_or("", |backend| backend.address.as_str());
    headers::outgoing(&mut request, &visit.client, address, visit.trusted);
    match protocol {
        Some(protocol) => Box::pin(tunnel(visit, &target, index, request, protocol)).await,
        None => forward(visit, &target, index, request).await,
    }
}

/// Sends a request to the instance whose turn it is, and where that fails before the instance can have acted
/// on it, once more.
async fn forward(
    visit: &Visit,
    target: &Target,
    first: usize,
    request: Request<Incoming>,
) -> Response<AnswerBody> {
    let repeatable = request.body().is_end_stream() && headers::repeatable(request.method());
    let mut request = request.map(|body| {
        if body.is_end_stream() {
            RequestBody::Empty
        } else {
            RequestBody::Streamed(body)
        }
    });
    let (mut index, mut fresh, mut moved) = (first, false, false);
    for _ in 0..TRIES {
        let Some(backend) = target.backends.get(index) else {
            break;
        };
        let mut flight = Flight::start(backend, visit.worker, target.slow_after);
        let pooled = if fresh {
            None
        } else {
            backend.pool.take(visit.worker, repeatable).await
        };
        let upstream = match pooled {
            Some(upstream) => Ok(upstream),
            None => Upstream::connect(backend, visit.patience.connect).await,
        };
        let upstream = match upstream {
            Ok(upstream) => upstream,
            Err(error) => {
                tracing::debug!(address = backend.address, %error, "cannot connect to an instance");
                flight.fail();
                drop(flight);
                match target.schedule.other_than(index).filter(|_| !moved) {
                    Some(other) => (index, fresh, moved) = (other, false, true),
                    None => return refuse::unreachable(&target.route),
                }
                continue;
            }
        };
        let pooled = upstream.pooled();
        let spare = repeatable.then(|| copy(&request));
        let sent = tokio::time::timeout(visit.patience.head, upstream.send(request)).await;
        let (again, error) = match sent {
            Ok(Sent::Answered(response, upstream)) => return answer(visit, response, upstream, flight).await,
            Ok(Sent::Unsent(whole)) => (Some(whole), None),
            Ok(Sent::Broken(error)) => (spare, Some(error)),
            Err(_) => {
                flight.fail();
                return refuse::timed_out(&target.route, visit.patience.head);
            }
        };
        if pooled && again.is_some() {
            // The instance closed an idle connection: no fault of its, and no request that it saw.
            flight.forget();
        } else {
            tracing::debug!(address = backend.address, ?error, "an instance broke off");
            flight.fail();
        }
        let Some(whole) = again else {
            return refuse::broken(&target.route);
        };
        request = whole;
        if !pooled || fresh {
            match target.schedule.other_than(index).filter(|_| !moved) {
                Some(other) => (index, moved) = (other, true),
                None => return refuse::broken(&target.route),
            }
        }
        fresh = true;
    }
    refuse::broken(&target.route)
}

/// The head of a request without a body, to send it again.
fn copy(request: &Request<RequestBody>) -> Request<RequestBody> {
    let mut copy = Request::new(RequestBody::Empty);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    copy
}

/// Passes an instance's answer on.
async fn answer(
    visit: &Visit,
    mut response: Response<Incoming>,
    upstream: Box<Upstream>,
    mut flight: Flight,
) -> Response<AnswerBody> {
    flight.head(response.status());
    headers::strip_hop_by_hop(response.headers_mut());
    let (head, body) = response.into_parts();
    let mut parts = Some((body, upstream, flight));
    let body = poll_fn(|context| {
        let body = parts
            .take()
            .map_or(AnswerBody::Whole(None), |(body, upstream, flight)| {
                AnswerBody::new(body, upstream, flight, visit.worker, context)
            });
        Poll::Ready(body)
    });
    Response::from_parts(head, body.await)
}

/// A request that asks to change the protocol (WebSocket): it gets a connection of its own, and if the
/// instance agrees, bytes flow both ways until one side ends.
async fn tunnel(
    visit: &Visit,
    target: &Target,
    index: usize,
    mut request: Request<Incoming>,
    protocol: HeaderValue,
) -> Response<AnswerBody> {
    let Some(backend) = target.backends.get(index) else {
        return refuse::no_backend(&target.route);
    };
    let mut flight = Flight::start(backend, visit.worker, target.slow_after);
    let client_side = hyper::upgrade::on(&mut request);
    request.headers_mut().insert(UPGRADE, protocol);
    request
        .headers_mut()
        .insert(CONNECTION, HeaderValue::from_static("upgrade"));
    let sent = async {
        let stream = upstream::dial(backend, visit.patience.connect).await.ok()?;
        let (mut send, connection) =
            hyper::client::conn::http1::handshake::<_, Incoming>(TokioIo::new(stream))
                .await
                .ok()?;
        visit.tunnels.spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "a connection to an instance ended");
            }
        });
        send.send_request(request).await.ok()
    };
    let Ok(sent) = tokio::time::timeout(visit.patience.head, sent).await else {
        flight.fail();
        return refuse::timed_out(&target.route, visit.patience.head);
    };
    let Some(mut response) = sent else {
        flight.fail();
        return refuse::unreachable(&target.route);
    };
    flight.head(response.status());
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        headers::strip_hop_by_hop(response.headers_mut());
        return response.map(|body| AnswerBody::detached(body, flight, visit.worker));
    }
    flight.count();
    let instance_side = hyper::upgrade::on(&mut response);
    let cut = visit.cut.clone();
    visit.tunnels.spawn(async move {
        let run = async {
            let (client, instance) =
                tokio::try_join!(client_side, instance_side).map_err(std::io::Error::other)?;
            let (mut client, mut instance) = (TokioIo::new(client), TokioIo::new(instance));
            tokio::io::copy_bidirectional(&mut client, &mut instance).await
        };
        tokio::select! {
            ended = run => tracing::trace!(?ended, "an upgraded connection ended"),
            () = cut.cancelled() => {}
        }
        drop(flight);
    });
    response.map(|_| AnswerBody::Whole(None))
}
