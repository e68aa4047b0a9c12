//! The body of a request on its way to a service, and whether it can be sent
//! a second time.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use axum::body::Body;
use bytes::Bytes;
use http::{header, request::Parts};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Frame, SizeHint};
use web::Failure;

/// Bodies up to this size are read before they are sent on, if they come with
/// a key that makes a second time harmless.
const SMALL_BYTES: u64 = 64 << 10;

/// The body of a request, and what is known of how far it got.
pub struct Ask {
    may_be_repeated: bool,
    body: Kept,
}

enum Kept {
    Whole(Bytes),
    Stream(Arc<Mutex<Stream>>),
}

struct Stream {
    body: Body,
    ended: bool,
    failure: Option<Failure>,
}

impl Ask {
    /// Keeps what is small and may be sent again; anything else will stream.
    pub async fn read(head: &Parts, body: Body) -> Result<Ask, Failure> {
        let keyed = head.headers.contains_key("idempotency-key");
        if body.is_end_stream() {
            let may_be_repeated = keyed || head.method.is_safe();
            return Ok(Ask { may_be_repeated, body: Kept::Whole(Bytes::new()) });
        }
        let length = head.headers.get(header::CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        if keyed && length.is_some_and(|length| length <= SMALL_BYTES) {
            let body = body.collect().await.map_err(|error| web::edge::failure_of_body(&error))?;
            return Ok(Ask { may_be_repeated: true, body: Kept::Whole(body.to_bytes()) });
        }
        let stream = Stream { body, ended: false, failure: None };
        Ok(Ask { may_be_repeated: false, body: Kept::Stream(Arc::new(Mutex::new(stream))) })
    }

    /// The body, to be sent. What streams can be lent again as long as nobody
    /// has read of it: a connection is made first.
    pub fn lend(&self) -> Body {
        match &self.body {
            Kept::Whole(bytes) => Body::from(bytes.clone()),
            Kept::Stream(stream) => Body::new(Lent(stream.clone())),
        }
    }

    /// Whether the whole request may be sent again although it may have arrived.
    pub fn may_be_repeated(&self) -> bool {
        self.may_be_repeated
    }

    /// Whether all of it was sent.
    pub fn is_sent(&self) -> bool {
        match &self.body {
            Kept::Whole(_) => true,
            Kept::Stream(stream) => lock(stream).ended,
        }
    }

    /// Why it could not be read from whoever sent it.
    pub fn failure(&self) -> Option<Failure> {
        match &self.body {
            Kept::Whole(_) => None,
            Kept::Stream(stream) => lock(stream).failure.clone(),
        }
    }
}

struct Lent(Arc<Mutex<Stream>>);

impl hyper::body::Body for Lent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let mut stream = lock(&self.0);
        let frame = ready!(Pin::new(&mut stream.body).poll_frame(context));
        stream.ended = frame.is_none() || stream.body.is_end_stream();
        if let Some(Err(error)) = &frame {
            stream.failure = Some(web::edge::failure_of_body(error));
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        lock(&self.0).body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        lock(&self.0).body.size_hint()
    }
}

/// Nobody panics while he holds it.
fn lock(stream: &Mutex<Stream>) -> MutexGuard<'_, Stream> {
    stream.lock().unwrap_or_else(PoisonError::into_inner)
}
