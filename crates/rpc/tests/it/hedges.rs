//! A second try beside the first.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use axum::{Router, routing::post};
use kernel::{Kind, World};
use rpc::Options;
use testkit::clock::Clock;

use crate::{
    servers::{in_the_end, until},
    shelf::{Shelf, ShelfClient, in_world, serve},
};

/// Two addresses; of all calls after [`Story::stick`] the first one hangs,
/// wherever it arrives.
struct Story {
    shelf: ShelfClient,
    clock: Clock,
    stuck: Arc<AtomicBool>,
    arrived: Arc<AtomicU32>,
    dropped: Arc<AtomicU32>,
}

struct Counted(Arc<AtomicU32>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Story {
    async fn begin() -> Story {
        let (clock, stuck) = (Clock::new(), Arc::new(AtomicBool::new(false)));
        let (arrived, dropped) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let (sticks, seen, gone) = (stuck.clone(), arrived.clone(), dropped.clone());
        let answer = async move || {
            seen.fetch_add(1, Ordering::SeqCst);
            if sticks.swap(false, Ordering::SeqCst) {
                let _gone = Counted(gone);
                std::future::pending::<()>().await;
            }
            "null"
        };
        let routes = Router::new()
            .route("/rpc/shelf/left", post(answer.clone()))
            .route("/rpc/shelf/put_back", post(answer));
        let addresses = [serve(routes.clone()).await, serve(routes).await];
        let options = Options { limit: Duration::from_secs(3600), ..Options::default() };
        let shelf = in_world(&clock.world(), &addresses, options);
        let order = kernel::OrderId::new(&World::real());
        for _ in 0..40 {
            shelf.left(()).await.unwrap();
        }
        for _ in 0..40 {
            shelf.put_back(order).await.unwrap(); // so that no loser of the reads is still on its way
        }
        Story { shelf, clock, stuck, arrived, dropped }
    }

    fn stick(&self) {
        self.stuck.store(true, Ordering::SeqCst);
        self.arrived.store(0, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn a_read_that_takes_long_is_asked_elsewhere_and_the_loser_dropped() {
    let story = Story::begin().await;

    story.stick();
    in_the_end(story.shelf.left(())).await.unwrap();

    assert_eq!(story.arrived.load(Ordering::SeqCst), 2);
    until(|| story.dropped.load(Ordering::SeqCst) == 1).await;
    assert!(story.shelf.0.pool().states().iter().all(|state| !state.ejected && state.outstanding == 0));
}

#[tokio::test]
async fn a_call_that_changes_something_is_under_way_once_at_a_time() {
    let story = Story::begin().await;

    story.stick();
    let order = kernel::OrderId::new(&World::real());
    let time_passes = async {
        until(|| story.arrived.load(Ordering::SeqCst) == 1).await;
        story.clock.forward(Duration::from_secs(60));
        for _ in 0..20 {
            story.shelf.put_back(order).await.unwrap(); // a second try would have arrived by now
        }
        story.clock.forward(Duration::from_secs(3600));
    };
    let (answer, ()) = tokio::join!(story.shelf.put_back(order), time_passes);

    assert_eq!(answer.unwrap_err().kind, Kind::TimedOut);
    assert_eq!(story.arrived.load(Ordering::SeqCst), 1 + 20);
}
