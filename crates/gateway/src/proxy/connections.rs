//! Connections to the processes of the services: kept, and used again, each
//! for one request after the other (HTTP/1.1).
//!
//! Whoever waits for an answer drives the connection himself: no other task has
//! to be woken to send or to read (decision 0013).

use std::{
    collections::HashMap,
    error::Error,
    pin::{Pin, pin},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

use axum::body::Body;
use bytes::Bytes;
use futures::future::poll_fn;
use http::{HeaderValue, Request, Response, header};
use hyper::{
    body::{Body as _, Frame, Incoming, SizeHint},
    client::conn::http1::{Builder, SendRequest},
};
use hyper_util::rt::TokioIo;
use kernel::{BoxFuture, Time, World};
use tokio::net::TcpStream;

/// How long a connection may take to be there.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long one is kept unused: shorter than a service keeps it (75 s), so that
/// we do not send into a closing door.
const KEPT: Duration = Duration::from_secs(60);

/// The connections. Cheap to clone.
#[derive(Clone)]
pub struct Connections(Arc<Inner>);

struct Inner {
    world: World,
    /// By address, the last used at the end.
    idle: Mutex<HashMap<Arc<str>, Vec<Idle>>>,
}

struct Idle {
    connection: Box<Connection>,
    since: Time,
}

/// One of them. What it has to do is done when it is driven.
struct Connection {
    address: Arc<str>,
    sender: SendRequest<Body>,
    work: Option<BoxFuture<'static, hyper::Result<()>>>,
}

/// Why there is no answer.
#[derive(Debug)]
pub struct NoAnswer {
    /// Whether the request may have arrived all the same.
    pub may_have_arrived: bool,
    /// What happened.
    pub cause: Box<dyn Error + Send + Sync>,
}

impl NoAnswer {
    fn not_arrived(cause: impl Into<Box<dyn Error + Send + Sync>>) -> NoAnswer {
        NoAnswer { may_have_arrived: false, cause: cause.into() }
    }
}

impl Connections {
    /// None yet; those that nobody uses any more are closed by a task of this world.
    pub fn new(world: &World) -> Connections {
        let inner = Arc::new(Inner { world: world.clone(), idle: Mutex::default() });
        close_unused(&inner);
        Connections(inner)
    }

    /// Sends a request, whose URI is its path, to an address
    /// (`http://10.0.0.7:3003`) and gives back the answer, whose body streams.
    pub async fn ask(&self, address: &str, mut request: Request<Body>) -> Result<Response<Answer>, NoAnswer> {
        if !request.headers().contains_key(header::HOST)
            && let Ok(host) = HeaderValue::from_str(authority(address))
        {
            request.headers_mut().insert(header::HOST, host);
        }
        loop {
            let kept = self.0.take(address);
            let is_new = kept.is_none();
            let mut connection = match kept {
                Some(kept) => kept,
                // Boxed, because it is large, and seldom.
                None => Box::pin(self.connect(address)).await?,
            };
            match connection.exchange(request).await {
                Ok(response) => {
                    return Ok(response.map(|body| Answer::new(body, connection, self.0.clone())));
                }
                Err((Some(unsent), _)) if !is_new => request = unsent,
                Err((unsent, error)) => {
                    return Err(NoAnswer { may_have_arrived: unsent.is_none(), cause: error.into() });
                }
            }
        }
    }

    async fn connect(&self, address: &str) -> Result<Box<Connection>, NoAnswer> {
        let connecting = self.0.world.timeout(PATIENCE, TcpStream::connect(authority(address)));
        let stream = connecting
            .await
            .ok_or_else(|| NoAnswer::not_arrived("no connection in time"))?
            .map_err(NoAnswer::not_arrived)?;
        stream.set_nodelay(true).map_err(NoAnswer::not_arrived)?;
        let handshake = Builder::new().handshake(TokioIo::new(stream)).await;
        let (sender, work) = handshake.map_err(NoAnswer::not_arrived)?;
        let work: BoxFuture<'static, _> = Box::pin(work.with_upgrades());
        Ok(Box::new(Connection { address: address.into(), sender, work: Some(work) }))
    }
}

/// `10.0.0.7:3003` of `http://10.0.0.7:3003`.
fn authority(address: &str) -> &str {
    address.strip_prefix("http://").unwrap_or(address).trim_end_matches('/')
}

/// Those that nobody asked for in a while, as long as there is anybody who might.
fn close_unused(inner: &Arc<Inner>) {
    let (world, inner) = (inner.world.clone(), Arc::downgrade(inner));
    drop(world.clone().spawn(async move {
        loop {
            world.sleep(KEPT / 2).await;
            let Some(inner) = inner.upgrade() else { return };
            let now = world.steady();
            inner.idle().retain(|_, kept| {
                kept.retain(|one| now.since(one.since) < KEPT);
                !kept.is_empty()
            });
        }
    }));
}

impl Inner {
    /// One that is not in use, the last used first: it is warm, and the others may rest.
    fn take(&self, address: &str) -> Option<Box<Connection>> {
        let now = self.world.steady();
        loop {
            let idle = self.idle().get_mut(address)?.pop()?;
            let mut connection = idle.connection;
            if now.since(idle.since) < KEPT && connection.is_ready() {
                return Some(connection);
            }
        }
    }

    fn give_back(&self, connection: Box<Connection>) {
        let idle = Idle { since: self.world.steady(), connection };
        let mut all = self.idle();
        match all.get_mut(&idle.connection.address) {
            Some(kept) => kept.push(idle),
            None => drop(all.insert(idle.connection.address.clone(), vec![idle])),
        }
    }

    fn idle(&self) -> MutexGuard<'_, HashMap<Arc<str>, Vec<Idle>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection {
    /// Does what can be done now. Ready when the connection is over.
    fn drive(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(work) = &mut self.work else { return Poll::Ready(()) };
        let Poll::Ready(ended) = work.as_mut().poll(context) else { return Poll::Pending };
        if let Err(error) = ended {
            // Whoever uses it learns of it; with nobody using it, it is no fault.
            tracing::debug!(%error, "a connection to a service broke");
        }
        self.work = None;
        Poll::Ready(())
    }

    /// Whether it can be used: it sees here, too, that the other side has closed it.
    fn is_ready(&mut self) -> bool {
        let over = self.drive(&mut Context::from_waker(Waker::noop())).is_ready();
        !over && self.sender.is_ready()
    }

    /// Sends a request and waits for the head of the answer. Gives it back when it was surely not sent.
    async fn exchange(
        &mut self,
        request: Request<Body>,
    ) -> Result<Response<Incoming>, (Option<Request<Body>>, hyper::Error)> {
        let mut answer = pin!(self.sender.try_send_request(request));
        let answered = poll_fn(|context| {
            // Nobody but the connection, which we drive ourselves, brings the answer: nothing wakes us for it.
            let mut unwoken = Context::from_waker(Waker::noop());
            match self.drive(context) {
                Poll::Pending => answer.as_mut().poll(&mut unwoken),
                Poll::Ready(()) => answer.as_mut().poll(context),
            }
        });
        answered.await.map_err(|mut error| (error.take_message(), error.into_error()))
    }
}

/// The body of an answer. Dropped when it was read to its end, it gives its
/// connection back; dropped before, the connection ends.
pub struct Answer {
    body: Incoming,
    was_read: bool,
    /// Nothing when the connection is over, or somebody else drives it.
    from: Option<(Box<Connection>, Arc<Inner>)>,
}

impl Answer {
    fn new(body: Incoming, connection: Box<Connection>, connections: Arc<Inner>) -> Answer {
        Answer { body, was_read: false, from: Some((connection, connections)) }
    }

    /// From here on the connection is driven by a task of its own until it is
    /// over, and carries no other request: what is still to be sent does not
    /// wait until somebody reads the answer, and a WebSocket is not read here.
    pub fn drive_apart(&mut self) {
        if let Some((connection, connections)) = self.from.take()
            && let Some(work) = connection.work
        {
            drop(connections.world.spawn(async move { drop(work.await) }));
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if let Some((connection, connections)) = self.from.take()
            && (self.was_read || self.body.is_end_stream())
        {
            connections.give_back(connection);
        }
    }
}

impl hyper::body::Body for Answer {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        let answer = &mut *self;
        let mut frame = Poll::Pending;
        if let Some((connection, _)) = &mut answer.from {
            // What is there already needs nobody to drive it.
            let mut unwoken = Context::from_waker(Waker::noop());
            frame = Pin::new(&mut answer.body).poll_frame(&mut unwoken);
            if frame.is_pending() && connection.drive(context).is_ready() {
                answer.from = None;
            }
        }
        if frame.is_pending() {
            frame = Pin::new(&mut answer.body).poll_frame(context);
        }
        // Where it ends is known beforehand only of a body with a length.
        answer.was_read |= matches!(frame, Poll::Ready(None));
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
