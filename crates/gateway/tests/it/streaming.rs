//! Bodies that take their time: each part arrives when it is sent.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::Request,
    http::header,
    response::IntoResponse,
    routing::{any, get},
};
use bytes::Bytes;
use futures::{StreamExt, stream};
use gateway::Settings;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc,
};
use tokio_util::sync::CancellationToken;

use crate::fleet::{self, Serving};

/// Sends back what it gets, as it gets it.
fn echo() -> Router {
    let answer = async |request: Request| Body::new(request.into_body());
    Router::new().route("/orders", any(answer))
}

async fn behind_a_gateway(routes: Router, settings: &Settings) -> (Serving, Serving) {
    let orders = fleet::bare(routes).await;
    let gateway = fleet::gateway_with(&[("orders", &[orders.url()])], settings).await;
    (orders, gateway)
}

#[tokio::test(flavor = "multi_thread")]
async fn both_bodies_stream() {
    let (_orders, gateway) = behind_a_gateway(echo(), &Settings::default()).await;
    let (say, said) = mpsc::channel::<Bytes>(1);
    let words = stream::unfold(said, async |mut said| Some((said.recv().await?, said)));
    let body = StreamBody::new(words.map(|word| Ok::<_, std::io::Error>(Frame::data(word))));
    let request = http::Request::post("/orders").header("host", "localhost").body(body).unwrap();

    say.send(Bytes::from("one ")).await.unwrap();
    let mut answer = gateway.browser.stream(request).await;
    let first = answer.body_mut().frame().await.unwrap().unwrap().into_data().unwrap();
    say.send(Bytes::from("two")).await.unwrap();
    drop(say);
    let rest = answer.into_body().collect().await.unwrap().to_bytes();

    assert_eq!((&first[..], &rest[..]), (&b"one "[..], &b"two"[..]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_big_upload_streams_through() {
    let count = async |request: Request| {
        let mut bytes = 0;
        let mut body = request.into_body();
        while let Some(frame) = body.frame().await {
            bytes += frame.unwrap().data_ref().map_or(0, Bytes::len);
        }
        bytes.to_string()
    };
    let settings = Settings { body_limit_bytes: 1 << 30, ..Settings::default() };
    let (_orders, gateway) = behind_a_gateway(Router::new().route("/orders", any(count)), &settings).await;
    let chunk = Bytes::from(vec![7; 1 << 16]);
    let chunks = stream::iter((0..1024).map(move |_| Ok::<_, std::io::Error>(Frame::data(chunk.clone()))));
    let request = http::Request::post("/orders").header("host", "localhost");

    let answer = gateway.browser.stream(request.body(StreamBody::new(chunks)).unwrap()).await;

    assert_eq!(answer.status(), 200);
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "67108864");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_does_not_wait_until_its_answer_is_read() {
    let chunk = Bytes::from(vec![7; 1 << 16]);
    let endless = move || {
        let chunk = chunk.clone();
        Body::from_stream(stream::repeat_with(move || Ok::<_, std::io::Error>(chunk.clone())))
    };

    upload_behind_its_answer(endless).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_does_not_end_with_its_answer() {
    upload_behind_its_answer(Body::empty).await;
}

/// Sends more than any buffer takes behind an answer that has begun, and reads nothing of that.
async fn upload_behind_its_answer(answer: impl Fn() -> Body + Clone + Send + Sync + 'static) {
    const BYTES: usize = 32 << 20;
    let arrived = CancellationToken::new();
    let whole = arrived.clone();
    let answer_at_once = async move |request: Request| {
        tokio::spawn(async move {
            // Up to the last byte, not to the end behind it: hyper's server (1.12) takes a connection that
            // is closed there, after its answer, for a body that broke off.
            let (mut body, mut left) = (request.into_body(), BYTES);
            while left > 0 {
                left -= body.frame().await.unwrap().unwrap().data_ref().map_or(0, Bytes::len);
            }
            whole.cancel();
        });
        answer()
    };
    let settings = Settings { body_limit_bytes: 1 << 30, ..Settings::default() };
    let (_orders, gateway) =
        behind_a_gateway(Router::new().route("/orders", any(answer_at_once)), &settings).await;
    let mut socket = TcpStream::connect(gateway.browser.address).await.unwrap();

    let head = format!("POST /orders HTTP/1.1\r\nHost: localhost\r\nContent-Length: {BYTES}\r\n\r\n");
    socket.write_all(head.as_bytes()).await.unwrap();
    let answered = fleet::read_head(&mut socket).await;
    let sent = async {
        socket.write_all(&vec![7; BYTES]).await.unwrap();
        arrived.cancelled().await;
    };
    let sent = tokio::time::timeout(Duration::from_secs(30), sent).await;

    assert!(answered.starts_with("HTTP/1.1 200"), "{answered}");
    assert!(sent.is_ok(), "the upload waits for a reader of its answer");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_without_a_length_ends_where_it_becomes_too_large() {
    let settings = Settings { body_limit_bytes: 1000, ..Settings::default() };
    let read = Router::new().route("/orders", any(async |body: String| body));
    let (_orders, gateway) = behind_a_gateway(read, &settings).await;
    let chunks =
        stream::iter((0..11).map(|_| Ok::<_, std::io::Error>(Frame::data(Bytes::from(vec![7; 100])))));
    let request = http::Request::post("/orders").header("host", "localhost");

    let answer = gateway.browser.stream(request.body(StreamBody::new(chunks)).unwrap()).await;

    assert_eq!(answer.status(), 413);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_arrive_one_by_one_for_as_long_as_it_takes() {
    let next = Arc::new(tokio::sync::Notify::new());
    let told = next.clone();
    let events = async move || {
        let events = stream::unfold(0, move |count| {
            let told = told.clone();
            async move {
                told.notified().await;
                Some((Ok::<_, std::io::Error>(format!("data: {count}\n\n")), count + 1))
            }
        });
        ([(header::CONTENT_TYPE, "text/event-stream")], Body::from_stream(events)).into_response()
    };
    let settings = Settings { request_timeout: Duration::ZERO, ..Settings::default() };
    let (_orders, gateway) = behind_a_gateway(Router::new().route("/orders", get(events)), &settings).await;
    let request = http::Request::get("/orders").header("host", "localhost").header("accept-encoding", "gzip");

    let mut answer = gateway.browser.stream(request.body(String::new()).unwrap()).await;
    let mut heard = Vec::new();
    for _ in 0..3 {
        next.notify_one();
        heard.push(answer.body_mut().frame().await.unwrap().unwrap().into_data().unwrap());
        // Past the time that an answer has to begin in, which is all that is limited.
        tokio::time::sleep(Duration::from_millis(600)).await;
    }

    assert_eq!(answer.headers().get("content-encoding"), None);
    assert_eq!(heard, ["data: 0\n\n", "data: 1\n\n", "data: 2\n\n"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_slows_the_service_down() {
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = sent.clone();
    let endless = async move || {
        let chunk = Bytes::from(vec![7; 1 << 16]);
        Body::from_stream(stream::repeat_with(move || {
            counted.fetch_add(chunk.len(), Ordering::Relaxed);
            Ok::<_, std::io::Error>(chunk.clone())
        }))
    };
    let (_orders, gateway) =
        behind_a_gateway(Router::new().route("/orders", get(endless)), &Settings::default()).await;
    let request = http::Request::get("/orders").header("host", "localhost");

    let mut answer = gateway.browser.stream(request.body(String::new()).unwrap()).await;
    answer.body_mut().frame().await.unwrap().unwrap();
    // What fits into the buffers of four sockets is sent; then it stands still.
    let mut before = 0;
    while before != sent.load(Ordering::Relaxed) {
        before = sent.load(Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(300)).await;
    }

    assert!(before < 64 << 20, "{before} bytes were taken for a reader who took few");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_passes() {
    let closed = CancellationToken::new();
    let end = closed.clone();
    let shout = async move |mut request: Request| {
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let mut socket = hyper_util::rt::TokioIo::new(upgrade.await.unwrap());
            let mut word = [0; 4];
            while socket.read_exact(&mut word).await.is_ok() {
                socket.write_all(&word.to_ascii_uppercase()).await.unwrap();
            }
            end.cancel();
        });
        let accept = request.headers()["sec-websocket-key"].to_str().unwrap().to_owned();
        let headers = [
            ("connection", "upgrade".into()),
            ("upgrade", "websocket".into()),
            ("sec-websocket-accept", accept),
        ];
        (axum::http::StatusCode::SWITCHING_PROTOCOLS, headers)
    };
    let (_orders, gateway) =
        behind_a_gateway(Router::new().route("/orders/live", get(shout)), &Settings::default()).await;
    let mut socket = TcpStream::connect(gateway.browser.address).await.unwrap();

    let ask = "GET /orders/live HTTP/1.1\r\nHost: localhost\r\nConnection: keep-alive, Upgrade\r\n\
               Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: abc\r\n\r\n";
    socket.write_all(ask.as_bytes()).await.unwrap();
    let head = fleet::read_head(&mut socket).await;
    let mut heard = [0; 4];
    for word in [b"ping", b"pong"] {
        socket.write_all(word).await.unwrap();
        socket.read_exact(&mut heard).await.unwrap();
        assert_eq!(heard, word.to_ascii_uppercase()[..]);
    }
    drop(socket);

    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    assert!(head.contains("upgrade: websocket") && head.contains("sec-websocket-accept: abc"), "{head}");
    closed.cancelled().await; // the service sees that the client is gone
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_waits_for_a_100_is_told_to_go_on() {
    let (_orders, gateway) = behind_a_gateway(echo(), &Settings::default()).await;
    let nobody = fleet::gateway(&[("orders", &[fleet::nobody()])]).await;
    let ask = "POST /orders HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 6\r\n\r\n";

    let mut socket = TcpStream::connect(gateway.browser.address).await.unwrap();
    socket.write_all(ask.as_bytes()).await.unwrap();
    let go_on = fleet::read_head(&mut socket).await;
    socket.write_all(b"basket").await.unwrap();
    let answer = fleet::read_head(&mut socket).await;
    let mut refused = TcpStream::connect(nobody.browser.address).await.unwrap();
    refused.write_all(ask.as_bytes()).await.unwrap();
    let refusal = fleet::read_head(&mut refused).await;

    assert_eq!(go_on, "HTTP/1.1 100 Continue\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(refusal.starts_with("HTTP/1.1 503"), "nobody is there to take the body: {refusal}");
}
