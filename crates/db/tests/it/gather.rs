//! Gathering.

use std::sync::{Arc, Mutex};

use db::Gather;
use futures::{FutureExt, future::join_all};
use kernel::{Error, Kind, World};
use tokio::sync::Semaphore;

/// The batches that were asked for.
type Seen = Arc<Mutex<Vec<Vec<i64>>>>;

/// Doubles what it is asked, one batch per permit; 13 is refused with all who
/// came with it, 7 is refused alone, 99 panics, and with 503 what is asked is away.
fn doubling(most: usize) -> (Gather<i64, i64>, Arc<Semaphore>, Seen) {
    let (gate, seen) = (Arc::new(Semaphore::new(0)), Arc::new(Mutex::new(Vec::new())));
    let (open, log) = (gate.clone(), seen.clone());
    let gather = Gather::new(&World::real(), most, move |keys: Vec<i64>| {
        let (open, log) = (open.clone(), log.clone());
        async move {
            open.acquire().await.unwrap().forget();
            log.lock().unwrap().push(keys.clone());
            assert!(!keys.contains(&99), "a fault in the batch");
            if keys.contains(&13) {
                return Err(Error::conflict("unlucky", "13 is refused"));
            }
            if keys.contains(&503) {
                return Err(Error::unavailable("away", "nobody answers"));
            }
            let answer = |n| {
                if n == 7 { Err(Error::not_found("none", "no 7")) } else { Ok(n * 2) }
            };
            Ok(keys.into_iter().map(answer).collect())
        }
        .boxed()
    });
    (gather, gate, seen)
}

#[tokio::test]
async fn with_nobody_waiting_a_call_goes_alone_at_once() {
    let (gather, gate, seen) = doubling(10);
    gate.add_permits(2);

    assert_eq!(gather.call(1).await.unwrap(), 2);
    assert_eq!(gather.call(2).await.unwrap(), 4);

    assert_eq!(*seen.lock().unwrap(), [[1], [2]]);
}

#[tokio::test]
async fn what_comes_meanwhile_goes_together_in_the_order_of_arrival() {
    let (gather, gate, seen) = doubling(4);
    let first = tokio::spawn({
        let gather = gather.clone();
        async move { gather.call(0).await }
    });
    tokio::task::yield_now().await;
    tokio::task::yield_now().await;
    let mut rest = Box::pin(join_all((1..=7).map(|n| gather.call(n))));
    assert!(futures::poll!(&mut rest).is_pending());

    gate.add_permits(3);

    assert_eq!(first.await.unwrap().unwrap(), 0);
    let answers = rest.await;
    assert_eq!(*seen.lock().unwrap(), [vec![0], vec![1, 2, 3, 4], vec![5, 6, 7]]);
    assert_eq!(answers[..6].iter().map(|a| *a.as_ref().unwrap()).collect::<Vec<_>>(), [2, 4, 6, 8, 10, 12]);
    assert_eq!(answers[6].as_ref().unwrap_err().code, "none");
}

#[tokio::test]
async fn two_that_are_about_the_same_are_in_batches_of_their_own_in_their_order() {
    let (gather, gate, seen) = doubling(3);
    let gather = gather.one_of_each(|n| n % 10);
    gate.add_permits(10);

    let answers = join_all([1, 11, 2, 21, 12, 3, 4].map(|n| gather.call(n))).await;

    let answers: Vec<i64> = answers.into_iter().map(Result::unwrap).collect();
    assert_eq!(answers, [2, 22, 4, 42, 24, 6, 8]);
    assert_eq!(*seen.lock().unwrap(), [vec![1, 2, 3], vec![11, 12, 4], vec![21]]);
}

#[tokio::test]
async fn a_refused_batch_is_split_until_the_one_at_fault_is_alone() {
    let (gather, gate, seen) = doubling(10);
    gate.add_permits(20);

    let answers = join_all([11, 12, 13, 14].map(|n| gather.call(n))).await;

    let codes: Vec<_> =
        answers.iter().map(|a| a.as_ref().map_or_else(|e| e.code.to_string(), i64::to_string)).collect();
    assert_eq!(codes, ["22", "24", "unlucky", "28"]);
    assert_eq!(*seen.lock().unwrap(), [vec![11, 12, 13, 14], vec![11, 12], vec![13, 14], vec![13], vec![14]]);
}

#[tokio::test]
async fn a_batch_is_not_split_while_what_it_asks_is_away() {
    let (gather, gate, seen) = doubling(10);
    gate.add_permits(20);

    let answers = join_all([1, 2, 503, 4].map(|n| gather.call(n))).await;

    assert!(answers.into_iter().all(|answer| answer.unwrap_err().code == "away"));
    assert_eq!(*seen.lock().unwrap(), [[1, 2, 503, 4]]);
}

#[tokio::test]
async fn a_caller_that_is_dropped_harms_nobody() {
    let (gather, gate, seen) = doubling(10);
    let (mut one, mut two, mut three) =
        (Box::pin(gather.call(1)), Box::pin(gather.call(2)), Box::pin(gather.call(3)));
    assert!(futures::poll!(&mut one).is_pending());
    tokio::task::yield_now().await;
    assert!(futures::poll!(&mut two).is_pending() && futures::poll!(&mut three).is_pending());

    drop(one); // under way
    drop(two); // waiting
    gate.add_permits(2);

    assert_eq!(three.await.unwrap(), 6);
    assert_eq!(*seen.lock().unwrap(), [[1], [3]]);
}

#[tokio::test]
async fn a_batch_that_panics_answers_all_and_the_next_works() {
    let (gather, gate, _) = doubling(10);
    gate.add_permits(2);

    let answers = join_all([1, 99].map(|n| gather.call(n))).await;

    assert!(answers.into_iter().all(|answer| answer.unwrap_err().kind == Kind::Internal));
    assert_eq!(gather.call(4).await.unwrap(), 8);
}
