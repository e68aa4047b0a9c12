//! Which calls are made again, and how often.

use std::sync::atomic::Ordering;

use axum::http::StatusCode;
use kernel::{Kind, World};
use rpc::{Channel, Options, Pool, PoolOptions};

use crate::{
    servers::{Dead, always, rude},
    shelf::{Shelf, ShelfClient, Wooden, at, serve, shelf_routes},
};

const OVERLOADED: &str = r#"{"kind":"unavailable","code":"overloaded","message":"too much to do"}"#;

#[tokio::test]
async fn a_call_that_must_not_be_repeated_is_not_when_its_fate_is_unknown() {
    let service = Wooden::new();
    let shelf = at(&[rude().await, serve(shelf_routes(service.clone())).await], Options::default());

    let mut lost = 0;
    for _ in 0..100 {
        lost += u32::from(shelf.paint(()).await.is_err());
    }

    assert!((1..=5).contains(&lost), "{lost}");
    assert_eq!(service.finished.load(Ordering::SeqCst), 100 - lost);
}

#[tokio::test]
async fn what_never_began_may_always_be_tried_elsewhere() {
    let (overloaded, asked) = always(StatusCode::BAD_REQUEST, OVERLOADED).await;
    let dead = Dead::new();
    let service = Wooden::new();
    let well = serve(shelf_routes(service.clone())).await;
    let shelf = at(&[dead.address(), overloaded.clone(), well], Options::default());

    for painted in 1..=20 {
        assert_eq!(shelf.paint(()).await.unwrap(), painted);
    }

    assert!(asked.load(Ordering::SeqCst) > 0);
    let states = shelf.0.pool().states();
    assert!(
        !states.iter().find(|state| state.address == overloaded).unwrap().ejected,
        "it is well, and busy"
    );
}

#[tokio::test]
async fn retries_stay_a_fraction_of_the_calls() {
    let (address, asked) = always(StatusCode::SERVICE_UNAVAILABLE, "").await;
    let never = PoolOptions { failures_in_row: u32::MAX, failure_percent: 101, ..PoolOptions::default() };
    let pool = Pool::new(&World::real(), "shelf", &[address], never).unwrap();
    let options = Options { retry_percent: 10, retries_per_second: 0, ..Options::default() };
    let shelf = ShelfClient(Channel::with(&World::real(), pool, options));

    for _ in 0..200 {
        assert_eq!(shelf.left(()).await.unwrap_err().kind, Kind::Unavailable);
    }

    let asked = asked.load(Ordering::SeqCst);
    assert!((210..=220).contains(&asked), "{asked}");
}
