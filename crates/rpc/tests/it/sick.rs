//! Addresses that die, hang, hang up, answer nonsense and come back.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use axum::{Extension, Router, http::StatusCode, routing::post};
use kernel::{Kind, OrderId, World};
use rpc::Options;
use testkit::clock::Clock;

use crate::{
    servers::{Dead, always, in_the_end, rude, silent, until},
    shelf::{Shelf, ShelfClient, Wooden, at, in_world, serve, shelf_routes},
};

async fn well() -> String {
    serve(shelf_routes(Wooden::new())).await
}

fn is_ejected(shelf: &ShelfClient, address: &str) -> bool {
    shelf.0.pool().states().iter().any(|state| state.address == address && state.ejected)
}

#[tokio::test]
async fn no_caller_learns_of_an_address_that_is_dead_hangs_up_or_is_replaced() {
    let (bad_gateway, _) = always(StatusCode::BAD_GATEWAY, "").await;
    let dead = Dead::new();
    for sick in [dead.address(), rude().await, bad_gateway] {
        let shelf = at(&[sick.clone(), well().await], Options::default());

        for _ in 0..200 {
            shelf.left(()).await.unwrap();
        }

        assert!(is_ejected(&shelf, &sick), "{sick}");
    }
}

#[tokio::test]
async fn an_address_that_says_nothing_costs_a_few_callers_their_time_and_then_nobody() {
    let (clock, sick) = (Clock::new(), silent().await);
    let options = Options { tries: 1, ..Options::default() };
    let shelf = in_world(&clock.world(), &[sick.clone(), well().await], options);
    let waits = || shelf.0.pool().states().iter().any(|state| state.address == sick && state.outstanding > 0);

    let mut late = 0;
    for _ in 0..100 {
        let call = shelf.put_back(OrderId::new(&World::real()));
        let time_passes = async {
            until(waits).await;
            clock.forward(Duration::from_secs(10));
            std::future::pending().await
        };
        late += tokio::select! { answer = call => u32::from(answer.is_err()), () = time_passes => 0 };
    }

    assert_eq!(late, 5);
    assert!(is_ejected(&shelf, &sick));
}

#[tokio::test]
async fn a_connection_that_gives_no_sign_of_life_is_given_up_long_before_the_deadline() {
    let options = Options { limit: Duration::from_secs(3600), tries: 1, ..Options::default() };
    let shelf = at(&[silent().await], options);

    let error = in_the_end(shelf.left(())).await.unwrap_err();

    assert_eq!((error.kind, &*error.code), (Kind::Unavailable, "service_unreachable"));
}

#[tokio::test]
async fn an_address_that_comes_back_is_used_again() {
    let (clock, dead) = (Clock::new(), Dead::new());
    let address = dead.address();
    let shelf = in_world(&clock.world(), std::slice::from_ref(&address), Options::default());
    for _ in 0..5 {
        shelf.left(()).await.unwrap_err();
    }

    dead.rise(shelf_routes(Wooden::new()));

    let error = shelf.left(()).await.unwrap_err();
    assert!(error.message.contains("failed a moment ago"), "{error}");
    clock.forward(Duration::from_secs(61));
    shelf.left(()).await.unwrap();
    assert!(!is_ejected(&shelf, &address));
}

#[tokio::test]
async fn a_probe_that_hangs_does_not_keep_its_caller_waiting() {
    let clock = Clock::new();
    let sick = silent().await;
    // Over HTTP/1.1, where no missing sign of life gives it away.
    let options = Options { limit: Duration::from_secs(3600), http2: false, ..Options::default() };
    let shelf = in_world(&clock.world(), &[sick.clone(), well().await], options);
    shelf.0.pool().report(&sick, false);

    clock.forward(Duration::from_secs(61));
    in_the_end(shelf.put_back(OrderId::new(&World::real()))).await.unwrap();

    assert!(is_ejected(&shelf, &sick));
    assert!(!shelf.0.pool().pick().unwrap().is_probe(), "it was found out, so nobody tries at once");
}

#[tokio::test]
async fn what_the_service_answers_is_no_failure_of_its_address() {
    let address = well().await;
    let shelf = at(std::slice::from_ref(&address), Options::default());

    for kind in [Kind::Internal, Kind::Unavailable, Kind::TimedOut].repeat(10) {
        shelf.fail(kind).await.unwrap_err();
    }

    assert!(!is_ejected(&shelf, &address));
}

#[tokio::test]
async fn something_slow_behind_a_service_ejects_no_address() {
    let (clock, arrived) = (Clock::new(), Arc::new(AtomicU32::new(0)));
    let (seen, world) = (arrived.clone(), clock.world());
    let hang = |request| {
        rpc::hidden::answer(request, async move |(): ()| {
            seen.fetch_add(1, Ordering::SeqCst);
            std::future::pending::<kernel::Result<Option<u64>>>().await
        })
    };
    let routes = Router::new().route("/rpc/shelf/left", post(hang)).layer(Extension(world.clone()));
    let address = serve(routes).await;
    let shelf = in_world(&world, std::slice::from_ref(&address), Options::default());

    let calls = futures::future::join_all((0..8).map(|_| shelf.left(())));
    let time_passes = async {
        until(|| arrived.load(Ordering::SeqCst) == 8).await;
        clock.forward(Duration::from_secs(9));
    };
    let (answers, ()) = tokio::join!(calls, time_passes);

    assert!(answers.iter().all(|answer| answer.as_ref().is_err_and(|error| error.kind == Kind::TimedOut)));
    assert!(!is_ejected(&shelf, &address), "it said itself that time ran out");
}
