//! What goes wrong only on the way.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    extract::Request,
    http::{HeaderMap, StatusCode},
    response::IntoResponse,
    routing::post,
};
use kernel::{Kind, World};
use rpc::Options;

use crate::shelf::{Shelf, ShelfClient, Wooden, at, serve, shelf_routes};

fn client(address: &str, limit: Duration) -> ShelfClient {
    at(&[address.to_owned()], Options { limit, ..Options::default() })
}

/// A port where nobody listens: it was free a moment ago.
async fn nobody() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

#[tokio::test]
async fn a_service_that_is_away_is_unavailable() {
    for addresses in [vec![nobody().await], vec![]] {
        let shelf = at(&addresses, Options::default());

        let error = shelf.left(()).await.unwrap_err();

        assert_eq!((error.kind, &*error.code), (Kind::Unavailable, "service_unreachable"));
        assert!(error.message.contains("shelf"), "{}", error.message);
    }
}

#[tokio::test]
async fn a_slow_answer_is_given_up_and_its_work_dropped() {
    let service = Wooden::new();
    let shelf = client(&serve(shelf_routes(service.clone())).await, Duration::from_millis(100));

    let error = shelf.wait(300).await.unwrap_err();

    assert_eq!((error.kind, &*error.code), (Kind::TimedOut, "deadline_exceeded"));
    World::real().sleep(Duration::from_millis(400)).await;
    assert_eq!(service.finished.load(Ordering::SeqCst), 0, "the work went on without anybody waiting");
}

#[tokio::test]
async fn the_server_abandons_and_refuses_by_the_header_alone() {
    let service = Wooden::new();
    let address = serve(shelf_routes(service.clone())).await;

    for (left, call, ask) in [("50", "wait", "400"), ("0", "wait", "1")] {
        let (status, body) = raw(&address, call, ask, left).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert!(body.contains("deadline_exceeded"), "{left}: {body}");
    }
    World::real().sleep(Duration::from_millis(500)).await;
    assert_eq!(service.finished.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn the_deadline_travels_and_only_shrinks() {
    let shelf = client(&serve(shelf_routes(Wooden::new())).await, Duration::from_secs(10));
    let world = World::real();

    let alone = shelf.left(()).await.unwrap().unwrap();
    let within = rpc::within(world.now() + Duration::from_secs(2), shelf.left(())).await.unwrap().unwrap();
    let over = rpc::within(world.now(), shelf.left(())).await.unwrap_err();

    assert!((8_000..=9_000).contains(&alone), "{alone}");
    assert!((1_000..=2_000).contains(&within), "{within}");
    assert_eq!(&*over.code, "deadline_exceeded");
}

#[tokio::test]
async fn an_answer_that_is_none_is_said_to_be_none() {
    let cases = [
        (StatusCode::OK, "[]", Kind::Internal, "answer_not_understood"),
        (StatusCode::OK, "<html>", Kind::Internal, "answer_not_understood"),
        (StatusCode::NOT_FOUND, "", Kind::Internal, "answer_not_understood"),
        (StatusCode::BAD_REQUEST, "{}", Kind::Internal, "answer_not_understood"),
        (StatusCode::BAD_GATEWAY, "<html>", Kind::Unavailable, "service_unreachable"),
        (StatusCode::SERVICE_UNAVAILABLE, "", Kind::Unavailable, "service_unreachable"),
    ];
    for (status, body, kind, code) in cases {
        let routes = Router::new().route("/rpc/shelf/left", post(async move || (status, body)));
        let shelf = client(&serve(routes).await, Duration::from_secs(10));

        let error = shelf.left(()).await.unwrap_err();

        assert_eq!((error.kind, &*error.code), (kind, code), "{status} {body}");
    }
}

#[tokio::test]
async fn an_ask_that_is_none_is_refused() {
    let address = serve(shelf_routes(Wooden::new())).await;

    let (status, body) = raw(&address, "wait", "\"soon\"", "1000").await;

    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(body.contains("unreadable_ask") && body.contains("invalid"), "{body}");
}

#[tokio::test]
async fn the_trace_goes_along() {
    let answer = async |headers: HeaderMap| {
        let trace = headers.get("traceparent").map(|trace| trace.to_str().unwrap());
        if trace == Some("00-1-2-01") { "5" } else { "null" }
    };
    let address = serve(Router::new().route("/rpc/shelf/left", post(answer))).await;
    let options = Options { traceparent: || Some("00-1-2-01".to_owned()), ..Options::default() };

    assert_eq!(at(&[address], options).left(()).await.unwrap(), Some(5));
}

#[tokio::test]
async fn a_connection_is_used_again() {
    let connections = Arc::new(AtomicU32::new(0));
    let seen = connections.clone();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let listener = axum::serve::ListenerExt::tap_io(listener, move |_| {
        seen.fetch_add(1, Ordering::SeqCst);
    });
    let routes = shelf_routes(Wooden::new());
    drop(World::real().spawn(async move { axum::serve(listener, routes).await.unwrap() }));
    let shelf = client(&address, Duration::from_secs(10));

    for _ in 0..20 {
        shelf.left(()).await.unwrap();
    }

    assert_eq!(connections.load(Ordering::SeqCst), 1);
}

/// A call made by hand: what the client never sends.
pub async fn raw(address: &str, call: &str, ask: &str, left: &str) -> (StatusCode, String) {
    use http_body_util::{BodyExt, Full};
    let http = hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new()).build_http();
    let request = Request::post(format!("{address}/rpc/shelf/{call}"))
        .header("carmel-deadline-ms", left)
        .body(Full::<axum::body::Bytes>::from(ask.to_owned()))
        .unwrap();
    let response = http.request(request).await.unwrap().into_response();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}
