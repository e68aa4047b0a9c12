//! The loop that accepts connections, and its end.

use std::{convert::Infallible, time::Duration};

use axum::{Router, response::Response};
use http::Request;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
};
use kernel::World;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tower::Service;
use web::edge::Peer;

/// How long somebody who connected may say nothing at all. Browsers connect
/// ahead of need, so it is longer than the next.
const SILENCE: Duration = Duration::from_secs(30);
/// How long a connection may be kept between two requests, and how long the
/// head of one may take: hyper has one clock for both. Longer than our own
/// clients keep theirs (60 s), so that none sends into a closing door.
const HEAD: Duration = Duration::from_secs(75);

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
/// and no further request on an old one; those under way may take until the
/// limit has passed.
pub async fn serve(listener: TcpListener, routes: Router, stop: CancellationToken, drain: Drain) {
    // A listener is a thing of the real world already.
    let world = World::real();
    let connections = GracefulShutdown::new();
    let http = protocols();
    let close = CancellationToken::new();
    drop(world.spawn(close_later(world.clone(), stop, drain.delay, close.clone())));
    while let Some((stream, peer)) = close.run_until_cancelled(accept(&world, &listener)).await {
        let (http, routes, close) = (http.clone(), routes.clone(), close.clone());
        let (world_of_it, watcher) = (world.clone(), connections.watcher());
        drop(world.spawn(async move {
            let first_byte = world_of_it.timeout(SILENCE, stream.readable());
            if !matches!(close.run_until_cancelled(first_byte).await, Some(Some(Ok(())))) {
                return; // said nothing, is gone, or we are closing
            }
            let answer = service_fn(move |request| answer(routes.clone(), request, peer));
            let connection = http.serve_connection_with_upgrades(TokioIo::new(stream), answer);
            if let Err(error) = watcher.watch(connection.into_owned()).await {
                tracing::debug!(error, "a connection broke");
            }
        }));
    }
    drop(listener);
    if world.timeout(drain.limit, connections.shutdown()).await.is_none() {
        tracing::warn!("requests that were still under way when the time to drain was over were cut off");
    }
}

async fn close_later(world: World, stop: CancellationToken, delay: Duration, close: CancellationToken) {
    stop.cancelled().await;
    world.sleep(delay).await;
    close.cancel();
}

async fn answer(
    mut routes: Router,
    mut request: Request<Incoming>,
    peer: Peer,
) -> Result<Response, Infallible> {
    request.extensions_mut().insert(peer);
    routes.call(request).await
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
            Ok((stream, address)) => {
                // An answer is written at once and whole: nothing to wait for (RFC 896).
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "a connection is gone already");
                }
                return (stream, Peer::from(address));
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                world.sleep(Duration::from_millis(50)).await;
            }
        }
    }
}
