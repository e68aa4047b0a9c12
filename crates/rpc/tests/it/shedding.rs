//! A line that work waits in, by a clock that the tests move.

use std::time::Duration;

use axum::{Extension, body::Body, extract::Request};
use futures::{FutureExt, future::join_all, poll};
use http_body_util::BodyExt;
use kernel::{Kind, World};
use rpc::{Place, Shed, ShedOptions};
use testkit::clock::Clock;
use tower::ServiceExt;

use crate::{
    servers::in_the_end,
    shelf::{Wooden, shelf_routes},
};

/// A line with one place to work, and spans longer than a busy machine may
/// stand still in the middle of a story.
fn line(clock: &Clock) -> Shed {
    let (target, interval, longest) =
        (Duration::from_secs(20), Duration::from_secs(100), Duration::from_secs(1000));
    Shed::new(&clock.world(), "calls", ShedOptions { at_once: 1, target, interval, longest })
}

fn refused(outcome: Option<kernel::Result<Place>>) -> bool {
    outcome.is_some_and(|outcome| {
        let refusal = outcome.map(drop).unwrap_err();
        (refusal.kind, &*refusal.code) == (Kind::Unavailable, "overloaded")
    })
}

#[tokio::test]
async fn a_line_that_stays_is_not_made_longer() {
    let clock = Clock::new();
    let line = line(&clock);
    let first = line.enter().await.unwrap();
    let mut second = Box::pin(line.enter());
    assert!(poll!(&mut second).is_pending());

    clock.forward(Duration::from_secs(30));
    drop(first);
    let second = second.await.unwrap();
    let mut third = Box::pin(line.enter());
    assert!(poll!(&mut third).is_pending(), "one long wait is a burst");
    clock.forward(Duration::from_secs(100));

    assert!(refused(line.enter().now_or_never()), "it waits too long for too long");
    drop(second);
    drop(third.await.unwrap());
    line.enter().await.expect("the line is gone");
    let _busy = line.enter().await.unwrap();
    assert!(line.enter().now_or_never().is_none(), "and so is what was held against it");
}

#[tokio::test]
async fn a_burst_is_let_in() {
    let line = line(&Clock::new());

    let places = join_all((0..1000).map(async |_| line.enter().await.map(drop))).await;

    assert!(places.iter().all(Result::is_ok));
}

#[tokio::test]
async fn nobody_waits_behind_work_that_never_ends() {
    let clock = Clock::new();
    let line = line(&clock);
    let _stuck = line.enter().await.unwrap();
    let mut second = Box::pin(line.enter());
    assert!(poll!(&mut second).is_pending());

    clock.forward(Duration::from_secs(1000));

    assert!(refused(Some(in_the_end(second).await)));
    clock.forward(Duration::from_secs(100));
    assert!(refused(line.enter().now_or_never()));
}

#[tokio::test]
async fn the_deadline_shrinks_while_a_call_waits_in_line() {
    let clock = Clock::new();
    let line = line(&clock);
    let service = Wooden::in_world(clock.world());
    let routes =
        rpc::shed(shelf_routes(service), &line, rpc::refuse).layer(Extension::<World>(clock.world()));
    let busy = line.enter().await.unwrap();
    let ask = Request::post("/rpc/shelf/left").header("carmel-deadline-ms", "10000");
    let mut call = Box::pin(routes.oneshot(ask.body(Body::from("null")).unwrap()));
    assert!(poll!(&mut call).is_pending());

    clock.forward(Duration::from_millis(900));
    drop(busy);

    let body = call.await.unwrap().into_body().collect().await.unwrap().to_bytes();
    let left: u64 = serde_json::from_slice(&body).unwrap();
    assert!(left <= 9_100, "{left}");
}
