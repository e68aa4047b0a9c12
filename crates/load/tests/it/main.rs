//! A load on a server that is as slow as it is told.
#![allow(clippy::unwrap_used)]

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{Router, http::StatusCode, routing::get};
use load::{Ask, Connection, Load, ask_all};
use tokio::net::TcpListener;

async fn serve(routes: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
    address
}

fn load(address: SocketAddr, per_second: Option<f64>) -> Load {
    Load { address, connections: 4, span: Duration::from_millis(500), per_second }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_loop_asks_as_often_as_it_is_answered() {
    let slow = || async { tokio::time::sleep(Duration::from_millis(20)).await };
    let address = serve(Router::new().route("/", get(slow))).await;

    let outcome = load(address, None).repeat(&[Ask::get("/")]).await;

    assert!(outcome.failures.is_empty(), "{:?}", outcome.failures);
    assert!((4..=100).contains(&outcome.answers), "{} of 100 at most", outcome.answers);
    assert!(outcome.within(0.5) >= Duration::from_millis(19));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_loop_asks_at_its_rate_and_counts_the_wait_for_a_free_connection() {
    // One after the other, 20 ms each: fifty a second, and two hundred are asked for.
    let turn = Arc::new(tokio::sync::Mutex::new(()));
    let slow = move || async move {
        let _turn = turn.lock().await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let address = serve(Router::new().route("/", get(slow))).await;

    let outcome = load(address, Some(200.0)).repeat(&[Ask::get("/")]).await;

    assert_eq!(outcome.answers, 100, "all that were due in half a second");
    assert!(outcome.span >= Duration::from_secs(2), "{:?}", outcome.span);
    // The last was due after half a second and answered after two: four connections alone wait 80 ms.
    assert!(outcome.within(0.99) >= Duration::from_millis(1400), "{:?}", outcome.within(0.99));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_errand_counts_once_and_is_finished_when_the_time_is_over() {
    let asked = Arc::new(AtomicU64::new(0));
    let count = asked.clone();
    let slow = move || async move {
        count.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let address = serve(Router::new().route("/", get(slow))).await;

    let thrice = async |_, connection: &mut Connection| {
        connection.send(Ask::get("/")).await?;
        connection.send(Ask::get("/")).await?;
        connection.send(Ask::get("/")).await
    };
    let outcome = load(address, None).errands(&thrice).await;

    assert!(outcome.answers >= 4, "{}", outcome.answers);
    assert_eq!(asked.load(Ordering::Relaxed), outcome.answers * 3);
    assert!(outcome.within(0.5) >= Duration::from_millis(59), "{:?}", outcome.within(0.5));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_success_is_told_by_its_code() {
    let asked = Arc::new(AtomicU64::new(0));
    let answer = move || async move {
        match asked.fetch_add(1, Ordering::SeqCst) {
            0 => (StatusCode::CONFLICT, r#"{"code":"sold_out"}"#),
            1 => (StatusCode::BAD_GATEWAY, "oh"),
            _ => (StatusCode::OK, "{}"),
        }
    };
    let address = serve(Router::new().route("/", get(answer))).await;

    let outcome = load(address, None).once(&vec![Ask::get("/"); 5]).await;

    let failures: Vec<_> = outcome.failures.iter().map(|(what, count)| (what.as_str(), *count)).collect();
    assert_eq!((outcome.answers, &failures[..]), (3, &[("502", 1), ("sold_out", 1)][..]));
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_there_is_no_answer_and_what_must_be_done_fails_by_name() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();

    let outcome = load(nobody, None).once(&[Ask::get("/")]).await;
    let must = ask_all(nobody, 2, vec![Ask::post("/orders", "{}".into())]).await;

    assert_eq!(outcome.failures.get("no answer"), Some(&1));
    assert!(must.unwrap_err().to_string().starts_with("POST /orders was answered with no answer"));
}
