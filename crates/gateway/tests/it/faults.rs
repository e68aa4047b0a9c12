//! Services that die, hang and break off.

use std::{sync::atomic::Ordering, time::Duration};

use axum::{Router, routing::any};
use gateway::Settings;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    browser::Answer,
    fleet::{self, Broken, Fault, Serving},
};

const KEYED: [(&str, &str); 1] = [("idempotency-key", "key-1")];

fn well() -> Router {
    Router::new().fallback(any(async |body: String| format!("got {body}")))
}

async fn in_front_of(addresses: &[String]) -> Serving {
    let settings = Settings { request_timeout: Duration::ZERO, ..Settings::default() };
    fleet::gateway_with(&[("orders", addresses)], &settings).await
}

fn problem(answer: &Answer) -> (u16, String) {
    (answer.status, answer.json()["code"].as_str().unwrap().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_dead_process_never_got_another_one_gets() {
    let orders = fleet::bare(well()).await;
    let gateway = in_front_of(&[fleet::nobody(), orders.url(), fleet::nobody()]).await;

    for _ in 0..12 {
        let answer = gateway.browser.send("POST", "/orders", &[], "a basket").await;

        assert_eq!((answer.status, answer.body.as_str()), (200, "got a basket"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_nowhere_is_unreachable_at_once() {
    let gateway = in_front_of(&[fleet::nobody(), fleet::nobody()]).await;
    let unknown = in_front_of(&[]).await;

    for gateway in [gateway, unknown] {
        let answer = gateway.browser.send("POST", "/orders", &[], "a basket").await;

        assert_eq!(problem(&answer), (503, "service_unreachable".into()));
        assert_ne!(answer.header("retry-after"), "");
        assert_eq!(answer.header("content-type"), "application/problem+json");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_says_nothing_is_given_up() {
    let orders = Broken::start(Fault::Silence).await;
    let gateway = in_front_of(&[orders.url()]).await;

    let answer = gateway.browser.get("/orders").await;

    assert_eq!(problem(&answer), (504, "deadline_exceeded".into()));
    assert_eq!(orders.asked(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_that_does_no_harm_is_asked_once_more() {
    let broken = Broken::start(Fault::Reset).await;
    let well = fleet::bare(well()).await;
    let gateway = in_front_of(&[broken.url(), well.url()]).await;
    let hopeless = in_front_of(&[broken.url()]).await;

    for (method, headers, body) in [("GET", &[][..], ""), ("POST", &KEYED[..], "a basket")] {
        for _ in 0..4 {
            let answer = gateway.browser.send(method, "/orders", headers, body).await;
            assert_eq!((answer.status, answer.body), (200, format!("got {body}")));
        }
    }
    let before = broken.asked();
    let answer = hopeless.browser.get("/orders").await;

    assert_eq!(problem(&answer), (502, "upstream_failed".into()));
    assert_eq!(broken.asked() - before, 2, "once more, and no more");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_have_been_done_is_not_asked_again() {
    let broken = Broken::start(Fault::Reset).await;
    let gateway = in_front_of(&[broken.url()]).await;

    let bare = gateway.browser.send("POST", "/orders", &[], "a basket").await;
    let large = gateway.browser.send("POST", "/orders", &KEYED, &"x".repeat(100_000)).await;

    assert_eq!(problem(&bare), (502, "upstream_failed".into()));
    assert_eq!(problem(&large), (502, "upstream_failed".into()));
    assert_eq!(broken.asked(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_breaks_off_breaks_off_for_the_client_too() {
    let orders = Broken::start(Fault::HalfAnAnswer).await;
    let gateway = in_front_of(&[orders.url()]).await;
    let mut socket = TcpStream::connect(gateway.browser.address).await.unwrap();
    let mut heard = String::new();

    socket.write_all(b"GET /orders HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    // To the end of the connection. It may end before anything is said, if both halves come at once.
    let _ = socket.read_to_string(&mut heard).await;

    let body = heard.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    assert!(heard.is_empty() || heard.contains("content-length: 100\r\n"), "{heard}");
    assert!(body.len() < 100, "half an answer must not look like a whole one: {body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_is_no_answer() {
    let orders = Broken::start(Fault::Nonsense).await;
    let gateway = in_front_of(&[orders.url()]).await;

    let answer = gateway.browser.send("POST", "/orders", &[], "").await;

    assert_eq!(problem(&answer), (502, "upstream_failed".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_was_closed_meanwhile_is_not_used() {
    let orders = fleet::bare(well()).await;
    let address = orders.browser.address;
    let gateway = in_front_of(&[orders.url()]).await;
    let before = gateway.browser.send("POST", "/orders", &[], "a basket").await;

    orders.stop.cancel();
    while TcpStream::connect(address).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let _next = fleet::bare_at(address, well()).await;
    let after = gateway.browser.send("POST", "/orders", &[], "another").await;

    assert_eq!((before.status, before.body.as_str()), (200, "got a basket"));
    assert_eq!((after.status, after.body.as_str()), (200, "got another"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_used_again() {
    let (orders, connections) = fleet::counting_connections().await;
    let gateway = in_front_of(&[orders]).await;

    for body in ["ok", "ok", "", "ok", "ok", ""] {
        assert_eq!(gateway.browser.get("/orders").await.body, body);
    }

    assert_eq!(connections.load(Ordering::SeqCst), 1);
}
