//! Servers that are ill in different ways.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use axum::{Router, http::StatusCode};
use kernel::World;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::shelf::serve;

/// A port that is taken and where nobody listens: connections are refused
/// until [`Dead::rise`].
pub struct Dead(TcpSocket);

impl Dead {
    pub fn new() -> Dead {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        Dead(socket)
    }

    pub fn address(&self) -> String {
        format!("http://{}", self.0.local_addr().unwrap())
    }

    pub fn rise(self, routes: Router) {
        let listener = self.0.listen(64).unwrap();
        drop(World::real().spawn(async move { axum::serve(listener, routes).await.unwrap() }));
    }
}

/// Does this with each connection; answers where it listens.
pub async fn accept(with: impl Fn(TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let serve = async move {
        while let Ok((stream, _)) = listener.accept().await {
            with(stream);
        }
    };
    drop(World::real().spawn(serve));
    address
}

/// Accepts and says nothing, for as long as the test runs.
pub async fn silent() -> String {
    let streams = std::sync::Mutex::new(Vec::new());
    accept(move |stream| streams.lock().unwrap().push(stream)).await
}

/// Accepts and hangs up.
pub async fn rude() -> String {
    accept(|stream| stream.set_zero_linger().unwrap()).await
}

/// Answers each call with this status and body; counts them.
pub async fn always(status: StatusCode, body: &'static str) -> (String, Arc<AtomicU32>) {
    let count = Arc::new(AtomicU32::new(0));
    let seen = count.clone();
    let routes = Router::new().fallback(async move || {
        seen.fetch_add(1, Ordering::SeqCst);
        (status, body)
    });
    (serve(routes).await, count)
}

/// Waits until it is so, with a generous limit.
pub async fn until(so: impl Fn() -> bool) {
    in_the_end(async {
        while !so() {
            World::real().sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

/// The outcome of what must not take for ever, whatever its own clock says.
pub async fn in_the_end<T>(work: impl Future<Output = T>) -> T {
    World::real().timeout(Duration::from_secs(30), work).await.expect("it ended")
}
