//! Requests that are open: streams, long downloads, waiting answers. Each is asked about again and again: may whoever
//! sent it still have it? Where not, it is ended, so that access that is taken away ends what is already on its way.
//! The gate itself is asked, so this holds on every replica and for every reason that the gate knows.

use crate::access::{Access, Gate, weigh};
use axum::{body::Body, response::Response};
use bascule_core::Problem;
use bytes::Bytes;
use http::{HeaderName, header, request::Parts};
use http_body::{Body as _, Frame, SizeHint};
use std::{
    collections::HashMap,
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// How often it is asked about what is open.
const ASK_EVERY: Duration = Duration::from_millis(300);
/// What is younger was let in a moment ago; most requests never grow older.
const YOUNG: Duration = Duration::from_millis(150);
/// An answer that is known to be this short, in bytes, is on its way at once.
const SHORT: u64 = 64 * 1024;
/// The headers by which people and programs are known.
const KNOWN_BY: [HeaderName; 3] = [
    header::AUTHORIZATION,
    header::COOKIE,
    HeaderName::from_static("private-token"),
];

/// All that is open.
#[derive(Default)]
pub(crate) struct Tethers {
    next: AtomicU64,
    open: Mutex<HashMap<u64, Arc<Held>>>,
    watched: OnceLock<()>,
}

/// What the gate is asked again.
pub(crate) struct Question {
    access: Access,
    parts: Parts,
    group: String,
    project: String,
}

/// An open request, as far as its end and its refusal need it.
pub(crate) struct Held {
    since: Instant,
    question: Question,
    end: CancellationToken,
    /// The rest of the answer. Dropped where access ends, also under a client that does not read: what makes it ends
    /// with it.
    body: Mutex<Option<Body>>,
}

/// One open request; no longer watched when dropped.
pub(crate) struct Tether {
    all: Arc<Tethers>,
    id: u64,
    held: Arc<Held>,
}

impl Held {
    /// Waits until access ends.
    pub(crate) async fn until_over(&self) {
        self.end.cancelled().await;
    }

    /// The request, for its refusal.
    pub(crate) fn asked(&self) -> &Parts {
        &self.question.parts
    }
}

impl Question {
    pub(crate) fn new(access: Access, from: &Parts, group: &str, project: &str) -> Self {
        let mut parts = bare();
        parts.method = from.method.clone();
        parts.uri = from.uri.clone();
        for name in KNOWN_BY {
            for value in from.headers.get_all(&name) {
                parts.headers.append(name.clone(), value.clone());
            }
        }
        Self {
            access,
            parts,
            group: group.to_owned(),
            project: project.to_owned(),
        }
    }

    /// The same for requests about which the gate has one answer.
    fn key(&self) -> Vec<u8> {
        let mut key = format!(
            "{:?} {}/{} {}\n",
            self.access,
            self.group,
            self.project,
            self.parts.uri.path().starts_with("/v2/")
        )
        .into_bytes();
        for (name, value) in &self.parts.headers {
            key.extend_from_slice(name.as_str().as_bytes());
            key.push(b'=');
            key.extend_from_slice(value.as_bytes());
            key.push(b'\n');
        }
        key
    }

    /// Why it may no longer be had, if so.
    async fn ask(&self, gate: &dyn Gate) -> Option<Problem> {
        match gate.caller(&self.parts).await {
            Ok(caller) => {
                weigh(gate, self.access, &caller, (&self.group, &self.project))
                    .await
                    .denied
            }
            Err(problem) => Some(problem),
        }
    }
}

fn bare() -> Parts {
    http::Request::new(()).into_parts().0
}

impl Tethers {
    /// Watches a request from now on.
    pub(crate) fn hold(self: &Arc<Self>, gate: &Arc<dyn Gate>, question: Question) -> Tether {
        self.watched
            .get_or_init(|| drop(tokio::spawn(watch(Arc::downgrade(self), gate.clone()))));
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let held = Arc::new(Held {
            since: Instant::now(),
            question,
            end: CancellationToken::new(),
            body: Mutex::new(None),
        });
        lock(&self.open).insert(id, held.clone());
        Tether {
            all: self.clone(),
            id,
            held,
        }
    }

    /// Asks once about all that has been open for a while; once for all that have the same answer.
    async fn ask(&self, gate: &dyn Gate) {
        let open: Vec<Arc<Held>> = lock(&self.open)
            .values()
            .filter(|held| held.since.elapsed() >= YOUNG)
            .cloned()
            .collect();
        let mut answers: HashMap<Vec<u8>, bool> = HashMap::new();
        for held in open {
            let key = held.question.key();
            let over = match answers.get(&key) {
                Some(over) => *over,
                None => {
                    let over = match held.question.ask(gate).await {
                        Some(problem) if problem.is_server_fault() => {
                            tracing::error!(%problem, "it is unknown whether an open request may go on");
                            false
                        }
                        answer => answer.is_some(),
                    };
                    answers.insert(key, over);
                    over
                }
            };
            if over {
                held.end.cancel();
                drop(lock(&held.body).take());
            }
        }
    }
}

/// Asks again and again until nobody serves requests any more.
async fn watch(all: Weak<Tethers>, gate: Arc<dyn Gate>) {
    loop {
        tokio::time::sleep(ASK_EVERY).await;
        let Some(all) = all.upgrade() else { return };
        all.ask(gate.as_ref()).await;
    }
}

impl Tether {
    /// What is held, to be waited for while the answer is made.
    pub(crate) fn held(&self) -> Arc<Held> {
        Arc::clone(&self.held)
    }

    /// Ties what the client still sends to the access: who trickles a command gets no more time by it.
    pub(crate) fn while_it_comes(&self, body: Body) -> Body {
        if body.is_end_stream() {
            return body;
        }
        Body::new(Coming {
            body,
            end: Box::pin(self.held.end.clone().cancelled_owned()),
        })
    }

    /// Ties an answer to the access.
    pub(crate) fn around(self, response: Response) -> Response {
        let size = response.body().size_hint();
        if size.exact().is_some_and(|bytes| bytes <= SHORT) {
            return response;
        }
        response.map(|body| {
            let end = Box::pin(self.held.end.clone().cancelled_owned());
            *lock(&self.held.body) = Some(body);
            Body::new(Tied {
                tether: self,
                end,
                size,
            })
        })
    }
}

impl Drop for Tether {
    fn drop(&mut self) {
        lock(&self.all.open).remove(&self.id);
    }
}

/// An answer's body that ends with the access. It breaks off with an error, so that no client takes it for whole.
struct Tied {
    tether: Tether,
    end: Pin<Box<WaitForCancellationFutureOwned>>,
    size: SizeHint,
}

impl http_body::Body for Tied {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let over = self.end.as_mut().poll(context).is_ready();
        let mut body = lock(&self.tether.held.body);
        match body.as_mut() {
            Some(body) if !over => Pin::new(body).poll_frame(context),
            _ => {
                drop(body.take());
                Poll::Ready(Some(Err(over_now())))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        lock(&self.tether.held.body)
            .as_ref()
            .is_some_and(http_body::Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        lock(&self.tether.held.body)
            .as_ref()
            .map_or_else(|| self.size, http_body::Body::size_hint)
    }
}

/// A request's body that ends with the access.
struct Coming {
    body: Body,
    end: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl http_body::Body for Coming {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.end.as_mut().poll(context).is_ready() {
            return Poll::Ready(Some(Err(over_now())));
        }
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn over_now() -> axum::Error {
    axum::Error::new(io::Error::new(
        io::ErrorKind::PermissionDenied,
        "the caller's access has ended",
    ))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::{
        Router,
        middleware::from_fn,
        routing::{get, post},
    };
    use bascule_core::{Actor, ActorKind, Caller, GroupScope, InstanceRole, ProjectScope};
    use http_body_util::BodyExt as _;
    use std::sync::atomic::AtomicBool;
    use tower::ServiceExt as _;

    /// Knows everyone until told otherwise.
    #[derive(Default)]
    struct Flag(AtomicBool);

    #[async_trait::async_trait]
    impl Gate for Flag {
        async fn caller(&self, _: &Parts) -> Result<Caller, Problem> {
            if self.0.load(Ordering::SeqCst) {
                return Err(Problem::unauthenticated());
            }
            Ok(Caller {
                actor: Actor::new(ActorKind::User, "1", "ann"),
                instance_role: InstanceRole::Member,
                ..Caller::anonymous()
            })
        }

        async fn group(&self, _: &Caller, _: &str) -> Result<Option<GroupScope>, Problem> {
            Ok(None)
        }

        async fn project(&self, _: &Caller, _: &str, _: &str) -> Result<Option<ProjectScope>, Problem> {
            Ok(None)
        }
    }

    /// Says when it is dropped.
    struct Source(Arc<AtomicBool>);

    impl Drop for Source {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    impl http_body::Body for Source {
        type Data = Bytes;
        type Error = io::Error;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
            Poll::Pending
        }
    }

    fn app(gate: Arc<Flag>, dropped: Arc<AtomicBool>) -> Router {
        let guard = from_fn(
            |params: axum::extract::RawPathParams,
             request: axum::extract::Request,
             next: axum::middleware::Next| {
                crate::access::enforce(Access::SignedIn, params, request, next)
            },
        );
        let stream = move || {
            let source = Source(dropped.clone());
            async { Body::new(source) }
        };
        let router = Router::new()
            .route("/short", get(|| async { "short" }))
            .route("/stream", get(stream))
            .route("/wait", get(std::future::pending::<String>))
            .route("/command", post(|body: String| async move { body }))
            .route("/slow", post(slow))
            .layer(guard);
        crate::finish(router, gate)
    }

    async fn slow() -> &'static str {
        tokio::time::sleep(ASK_EVERY * 3).await;
        "done"
    }

    async fn ask(app: &Router, path: &str) -> Response {
        let request = http::Request::get(path).body(Body::empty()).unwrap();
        app.clone().oneshot(request).await.unwrap()
    }

    #[tokio::test]
    async fn what_is_open_ends_within_a_second_of_the_access() {
        let (gate, dropped) = (Arc::new(Flag::default()), Arc::new(AtomicBool::new(false)));
        let app = app(gate.clone(), dropped.clone());
        let short = ask(&app, "/short").await.into_body().collect().await.unwrap();
        assert_eq!(short.to_bytes(), "short");
        let stream = ask(&app, "/stream").await.into_body();
        // Another, which nobody reads: what makes it ends all the same.
        let unread = ask(&app, "/stream").await;
        let waiting = tokio::spawn({
            let app = app.clone();
            async move { ask(&app, "/wait").await }
        });
        let reading = tokio::spawn(stream.collect());
        // They outlive several questions.
        tokio::time::sleep(ASK_EVERY * 2).await;
        assert!(!reading.is_finished() && !waiting.is_finished());
        gate.0.store(true, Ordering::SeqCst);
        let begun = Instant::now();
        assert!(
            reading.await.unwrap().is_err(),
            "it broke off, and is not taken for whole"
        );
        assert_eq!(waiting.await.unwrap().status(), 403);
        while !dropped.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
        drop(unread);
    }

    #[tokio::test]
    async fn a_command_that_has_come_is_finished_and_one_that_trickles_is_not() {
        let (gate, dropped) = (Arc::new(Flag::default()), Arc::new(AtomicBool::new(false)));
        let app = app(gate.clone(), dropped.clone());
        let send = |path: &'static str, body: Body| {
            let request = http::Request::post(path).body(body).unwrap();
            tokio::spawn(app.clone().oneshot(request))
        };
        let slow = send("/slow", Body::empty());
        let trickling = send("/command", Body::new(Source(dropped)));
        tokio::time::sleep(YOUNG).await;
        gate.0.store(true, Ordering::SeqCst);
        let refused = trickling.await.unwrap().unwrap();
        assert!(refused.status().is_client_error(), "{}", refused.status());
        assert_eq!(slow.await.unwrap().unwrap().status(), 200);
    }
}
