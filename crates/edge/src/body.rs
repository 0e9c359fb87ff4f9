//! The two bodies that pass through: the client's on its way to an instance, the instance's on its way back.

use crate::{counts::Flight, upstream::Upstream};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use std::{
    pin::Pin,
    task::{Context, Poll},
};

/// A request's body.
#[derive(Debug)]
pub(crate) enum RequestBody {
    /// None, so that the request can be sent again.
    Empty,
    /// What the client sends, as it comes.
    Streamed(Incoming),
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Streamed(body) => Pin::new(body).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Streamed(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Streamed(body) => body.size_hint(),
        }
    }
}

/// A response's body.
#[derive(Debug)]
pub(crate) enum AnswerBody {
    /// The edge's own words, or none.
    Whole(Option<Bytes>),
    /// What an instance sends, as it comes.
    Streamed(Box<Streamed>),
}

/// A body that drives the connection it comes from.
#[derive(Debug)]
pub(crate) struct Streamed {
    body: Incoming,
    upstream: Option<Box<Upstream>>,
    flight: Option<Flight>,
    worker: usize,
}

impl AnswerBody {
    /// The body of an answer that came over `upstream`. An empty one gives the connection back at once.
    pub(crate) fn new(
        body: Incoming,
        upstream: Box<Upstream>,
        flight: Flight,
        worker: usize,
        context: &mut Context<'_>,
    ) -> Self {
        let ended = body.is_end_stream();
        let mut streamed = Streamed {
            body,
            upstream: Some(upstream),
            flight: Some(flight),
            worker,
        };
        if ended {
            streamed.end(context);
            return Self::Whole(None);
        }
        Self::Streamed(Box::new(streamed))
    }

    /// The body of an answer whose connection is driven elsewhere.
    pub(crate) fn detached(body: Incoming, flight: Flight, worker: usize) -> Self {
        Self::Streamed(Box::new(Streamed {
            body,
            upstream: None,
            flight: Some(flight),
            worker,
        }))
    }
}

impl Streamed {
    /// The last byte came: counts the request and keeps the connection.
    fn end(&mut self, context: &mut Context<'_>) {
        let Some(flight) = self.flight.take() else { return };
        if let Some(upstream) = self.upstream.take() {
            flight.backend().pool.put(self.worker, upstream, context);
        }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let mut next = Pin::new(&mut self.body).poll_frame(context);
        if next.is_pending()
            && let Some(upstream) = &mut self.upstream
        {
            // Asked first and driven then: the connection reads only what was asked for.
            upstream.drive(context);
            next = Pin::new(&mut self.body).poll_frame(context);
        }
        match &next {
            Poll::Ready(None) => self.end(context),
            Poll::Ready(Some(Ok(_))) if self.body.is_end_stream() => self.end(context),
            Poll::Ready(Some(Err(_))) => {
                if let Some(flight) = &mut self.flight {
                    flight.fail();
                }
                self.flight = None;
                self.upstream = None;
            }
            _ => {}
        }
        next
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Streamed(streamed) => streamed.poll(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_none(),
            Self::Streamed(streamed) => streamed.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Self::Streamed(streamed) => streamed.body.size_hint(),
        }
    }
}
