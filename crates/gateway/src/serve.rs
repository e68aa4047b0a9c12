//! The loop that accepts connections, and its end.

use std::time::Duration;

use axum::Router;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use kernel::World;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// How long somebody who connected may say nothing at all. Browsers connect
/// ahead of need, so it is longer than the next.
const SILENCE: Duration = Duration::from_secs(30);
/// How long a connection may be kept between two requests, and how long the
/// head of one may take: hyper has one clock for both. Longer than our own
/// clients keep theirs (60 s), so that none sends into a closing door.
const HEAD: Duration = Duration::from_secs(75);

/// Answers HTTP/1.1 and HTTP/2 (with prior knowledge) with these routes until
/// `stop` is cancelled. Then no connection is accepted and no further request
/// on an old one; those under way may take until `drain` has passed.
pub async fn serve(listener: TcpListener, routes: Router, stop: CancellationToken, drain: Duration) {
    // A listener is a thing of the real world already.
    let world = World::real();
    let connections = GracefulShutdown::new();
    let http = protocols();
    while let Some(stream) = stop.run_until_cancelled(accept(&world, &listener)).await {
        let (http, routes, stop) = (http.clone(), routes.clone(), stop.clone());
        let (world_of_it, watcher) = (world.clone(), connections.watcher());
        drop(world.spawn(async move {
            let first_byte = world_of_it.timeout(SILENCE, stream.readable());
            if !matches!(stop.run_until_cancelled(first_byte).await, Some(Some(Ok(())))) {
                return; // said nothing, is gone, or we are closing
            }
            let connection = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes));
            if let Err(error) = watcher.watch(connection.into_owned()).await {
                tracing::debug!(error, "a connection broke");
            }
        }));
    }
    drop(listener);
    if world.timeout(drain, connections.shutdown()).await.is_none() {
        tracing::warn!("requests that were still under way when the time to drain was over were cut off");
    }
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

/// The next connection. One that fails while it is accepted is not our end:
/// out of file descriptors, others will close some.
async fn accept(world: &World, listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // An answer is written at once and whole: nothing to wait for (RFC 896).
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "a connection is gone already");
                }
                return stream;
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                world.sleep(Duration::from_millis(50)).await;
            }
        }
    }
}
