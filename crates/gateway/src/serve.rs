//! The loop that accepts connections, and its end.

use std::{convert::Infallible, pin::pin, time::Duration};

use axum::{Router, response::Response};
use futures::FutureExt;
use http::{HeaderValue, Request, StatusCode, Version, header};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use kernel::World;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::Service;
use web::edge::Peer;

/// How long somebody who connected may say nothing at all. Browsers connect
/// ahead of need, so it is longer than the next.
const SILENCE: Duration = Duration::from_secs(30);
/// How long a connection may be kept between two requests, and how long the
/// head of one may take: hyper has one clock for both. Longer than our own
/// clients keep theirs (60 s), so that none sends into a closing door.
const HEAD: Duration = Duration::from_secs(75);
/// How long, after the last connection was accepted, a request is still taken
/// on those that are open: it may have been on its way when the end began.
/// Between two requests of somebody who is busy there is less.
const LINGER: Duration = Duration::from_millis(500);

/// How serving ends.
#[derive(Clone, Copy, Debug)]
pub struct Drain {
    /// How long requests are still taken after the end was asked for:
    /// readiness has fallen already, and whoever balances load has the time to
    /// notice it.
    pub delay: Duration,
    /// How long, after that, those under way may take.
    pub limit: Duration,
}

/// Answers HTTP/1.1 and HTTP/2 (with prior knowledge) with these routes until
/// `stop` is cancelled and the delay has passed. Then no connection is accepted
/// and, a moment later, no further request on an old one; those under way may
/// take until the limit has passed.
///
/// From the stop on every answer of HTTP/1.1 says `Connection: close` (RFC 9112,
/// 9.6): whoever asks again does so elsewhere, and not into a closing door.
pub async fn serve(listener: TcpListener, routes: Router, stop: CancellationToken, drain: Drain) {
    // A listener is a thing of the real world already.
    let world = World::real();
    let door = Door {
        world: world.clone(),
        http: protocols(),
        routes,
        stop: stop.clone(),
        shut: CancellationToken::new(),
        connections: TaskTracker::new(),
    };
    let closing = async {
        stop.cancelled().await;
        world.sleep(drain.delay).await;
    };
    let accepting = async {
        loop {
            let (stream, peer) = accept(&world, &listener).await;
            door.open(stream, peer);
        }
    };
    tokio::select! {
        () = closing => {}
        () = accepting => {}
    }
    // Whoever waited to be accepted would be cut off.
    while let Some(Ok((stream, address))) = listener.accept().now_or_never() {
        door.open(stream, Peer::from(address));
    }
    drop(listener);
    door.close(drain.limit).await;
}

/// What is behind an address: connections, and what answers on them.
struct Door {
    world: World,
    http: auto::Builder<TokioExecutor>,
    routes: Router,
    /// The end is asked for: no connection is to be used again.
    stop: CancellationToken,
    /// No further request is taken.
    shut: CancellationToken,
    connections: TaskTracker,
}

impl Door {
    /// Answers on this connection, until one of both ends it.
    fn open(&self, stream: TcpStream, peer: Peer) {
        // An answer is written at once and whole: nothing to wait for (RFC 896).
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection is gone already");
        }
        let (http, routes, world) = (self.http.clone(), self.routes.clone(), self.world.clone());
        let (stop, shut) = (self.stop.clone(), self.shut.clone());
        drop(self.world.spawn(self.connections.track_future(async move {
            let first_byte = world.timeout(SILENCE, stream.readable());
            if !matches!(shut.run_until_cancelled(first_byte).await, Some(Some(Ok(())))) {
                return; // said nothing, is gone, or we are closing
            }
            let answer = service_fn(move |request| answer(routes.clone(), request, peer, stop.clone()));
            let mut connection = pin!(http.serve_connection_with_upgrades(TokioIo::new(stream), answer));
            let ended = match shut.run_until_cancelled(connection.as_mut()).await {
                Some(ended) => ended,
                None => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = ended {
                tracing::debug!(error, "a connection broke");
            }
        })));
    }

    /// Takes what is on its way on the connections there are, and then no more.
    async fn close(self, limit: Duration) {
        self.connections.close();
        let all_gone = || self.connections.wait();
        let until = self.world.steady() + limit;
        if self.world.timeout(LINGER.min(limit), all_gone()).await.is_some() {
            return;
        }
        self.shut.cancel();
        let left = until.since(self.world.steady());
        if self.world.timeout(left, all_gone()).await.is_none() {
            tracing::warn!("requests that were still under way when the time to drain was over were cut off");
        }
    }
}

async fn answer(
    mut routes: Router,
    mut request: Request<Incoming>,
    peer: Peer,
    stop: CancellationToken,
) -> Result<Response, Infallible> {
    let version = request.version();
    request.extensions_mut().insert(peer);
    let mut response = routes.call(request).await?;
    let is_kept = version < Version::HTTP_2 && response.status() != StatusCode::SWITCHING_PROTOCOLS;
    if is_kept && stop.is_cancelled() {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response)
}

fn protocols() -> auto::Builder<TokioExecutor> {
    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http1().timer(TokioTimer::new()).header_read_timeout(HEAD);
    http.http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(20))
        .max_concurrent_streams(256);
    http
}

/// The next connection, and who is at its other end. One that fails while it is accepted is not our end:
/// out of file descriptors, others will close some.
async fn accept(world: &World, listener: &TcpListener) -> (TcpStream, Peer) {
    loop {
        match listener.accept().await {
            Ok((stream, address)) => return (stream, Peer::from(address)),
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                world.sleep(Duration::from_millis(50)).await;
            }
        }
    }
}
