//! Which address is picked, by a clock that the tests move.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::atomic::{AtomicU16, Ordering},
    time::Duration,
};

use kernel::{Kind, World};
use rpc::{Pick, Pool, PoolOptions};
use testkit::clock::Clock;

use crate::{servers::in_the_end, shelf::patient};

const FAST: &str = "http://10.0.0.1:3003";
const SLOW: &str = "http://10.0.0.2:3003";

fn pool(clock: &Clock, addresses: &[&str]) -> Pool {
    let addresses: Vec<String> = addresses.iter().map(|address| (*address).to_owned()).collect();
    Pool::new(&clock.world(), "shelf", &addresses, patient()).unwrap()
}

fn eject(pool: &Pool, address: &str) {
    let others: Vec<String> =
        pool.states().into_iter().map(|state| state.address).filter(|other| other != address).collect();
    (0..5).for_each(|_| pool.pick_besides(&others).unwrap().failed());
    assert!(state(pool, address).ejected);
}

fn state(pool: &Pool, address: &str) -> rpc::AddressState {
    pool.states().into_iter().find(|state| state.address == address).unwrap()
}

#[test]
fn a_slow_address_gets_a_small_share() {
    let clock = Clock::new();
    let pool = pool(&clock, &[FAST, SLOW]);

    let mut shares: HashMap<String, u32> = HashMap::new();
    for _ in 0..1000 {
        let pick = pool.pick().unwrap();
        *shares.entry(pick.address().to_owned()).or_default() += 1;
        clock.forward(Duration::from_millis(if pick.address() == SLOW { 100 } else { 1 }));
        pick.succeeded();
    }

    assert!(shares[SLOW] < 50, "{shares:?}");
    assert!(state(&pool, SLOW).latency > state(&pool, FAST).latency);
}

#[test]
fn calls_that_are_under_way_are_spread_evenly() {
    let pool = pool(&Clock::new(), &[FAST, SLOW]);

    let picks: Vec<Pick> = (0..10).map(|_| pool.pick().unwrap()).collect();

    assert_eq!(pool.states().iter().map(|state| state.outstanding).collect::<Vec<_>>(), [5, 5]);
    drop(picks);
    assert_eq!(pool.states().iter().map(|state| state.outstanding).sum::<u32>(), 0);
}

#[test]
fn another_try_goes_to_another_address_as_long_as_there_is_one() {
    let pool = pool(&Clock::new(), &[FAST, SLOW]);

    for _ in 0..20 {
        assert_eq!(pool.pick_besides(&[FAST.to_owned()]).unwrap().address(), SLOW);
    }
    eject(&pool, SLOW);

    assert_eq!(pool.pick_besides(&[FAST.to_owned()]).unwrap().address(), FAST);
}

#[test]
fn an_address_that_fails_is_left_out_and_comes_back_after_one_good_call() {
    let clock = Clock::new();
    let pool = pool(&clock, &[FAST, SLOW]);

    eject(&pool, SLOW);

    assert!((0..100).all(|_| pool.pick().unwrap().address() == FAST));
    clock.forward(Duration::from_secs(61));
    let probe = pool.pick().unwrap();
    assert_eq!((probe.address(), probe.is_probe()), (SLOW, true));
    assert!((0..100).all(|_| pool.pick().unwrap().address() == FAST), "one call is enough to find out");
    probe.succeeded();
    assert!(!state(&pool, SLOW).ejected);
    let pick = pool.pick_besides(&[FAST.to_owned()]).unwrap();
    assert_eq!((pick.address(), pick.is_probe()), (SLOW, false));
}

#[test]
fn when_each_address_is_left_out_the_answer_comes_at_once() {
    let clock = Clock::new();
    let pool = pool(&clock, &[FAST]);

    eject(&pool, FAST);

    let error = pool.pick().err().unwrap();
    assert_eq!((error.kind, &*error.code), (Kind::Unavailable, "service_unreachable"));
    clock.forward(Duration::from_secs(61));
    pool.pick().unwrap().failed();
    clock.forward(Duration::from_secs(100));
    assert!(pool.pick().is_err(), "it failed again, so it stays away for longer");
    clock.forward(Duration::from_secs(21));
    assert!(pool.pick().unwrap().is_probe());
}

#[test]
fn a_caller_that_goes_away_says_nothing_about_the_address() {
    let clock = Clock::new();
    let pool = pool(&clock, &[FAST]);

    (0..50).for_each(|_| drop(pool.pick().unwrap()));

    assert!(!state(&pool, FAST).ejected);
    eject(&pool, FAST);
    clock.forward(Duration::from_secs(61));
    drop(pool.pick().unwrap());
    assert!(pool.pick().unwrap().is_probe(), "the call that was to find out found nothing");
}

#[test]
fn a_health_check_takes_out_and_lets_the_next_call_find_out() {
    let clock = Clock::new();
    let pool = pool(&clock, &[FAST, SLOW]);

    pool.report(SLOW, false);
    assert!(state(&pool, SLOW).ejected);
    clock.forward(Duration::from_secs(50));
    pool.report(SLOW, false);
    clock.forward(Duration::from_secs(50));
    assert!(!pool.pick().unwrap().is_probe(), "it was unhealthy less than a minute ago");
    pool.report(SLOW, true);

    let probe = pool.pick().unwrap();
    assert_eq!((probe.address(), probe.is_probe()), (SLOW, true));
}

#[test]
fn a_health_check_does_not_take_the_last_one_out() {
    let clock = Clock::new();
    let pool = pool(&clock, &[FAST, SLOW]);

    pool.report(SLOW, false);
    pool.report(FAST, false);

    assert!(state(&pool, SLOW).ejected && !state(&pool, FAST).ejected);
    assert_eq!(pool.pick().unwrap().address(), FAST);
}

#[test]
fn while_one_finds_out_the_others_go_where_a_health_check_found_all_well() {
    let clock = Clock::new();
    let pool = pool(&clock, &[FAST]);
    eject(&pool, FAST);
    assert!(pool.pick().is_err());

    pool.report(FAST, true);
    let (first, second) = (pool.pick().unwrap(), pool.pick().unwrap());

    assert_eq!((first.is_probe(), second.is_probe()), (true, false));
    first.failed();
    assert!(pool.pick().is_err(), "a call has found out better");
}

/// What the name stands for in the story below: the last byte of its address.
static STANDS_FOR: AtomicU16 = AtomicU16::new(1);

#[tokio::test]
async fn a_name_is_looked_up_again() {
    let clock = Clock::new();
    let look_up = |name: &str| match STANDS_FOR.load(Ordering::SeqCst) {
        0 => Err(std::io::Error::other(name.to_owned())),
        last => Ok((1..=last).map(|last| SocketAddr::from(([10, 0, 0, last as u8], 3003))).collect()),
    };
    let options = PoolOptions { look_up, ..patient() };
    let pool = Pool::new(&clock.world(), "shelf", &["http://shelf:3003".to_owned()], options).unwrap();
    assert_eq!(pool.pick().unwrap().address(), FAST);
    eject(&pool, FAST);
    let count = async |expected: usize| {
        in_the_end(async {
            while pool.states().len() != expected {
                clock.forward(Duration::from_secs(1));
                World::real().sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
    };

    STANDS_FOR.store(2, Ordering::SeqCst);
    count(2).await;
    assert!(state(&pool, FAST).ejected, "what was known of an address that stays is kept");
    STANDS_FOR.store(0, Ordering::SeqCst);
    for _ in 0..100 {
        clock.forward(Duration::from_secs(1));
        tokio::task::yield_now().await;
    }
    assert_eq!(pool.states().len(), 2, "a name that cannot be found keeps what it stood for");
    STANDS_FOR.store(1, Ordering::SeqCst);
    count(1).await;
}

#[test]
fn a_bad_address_is_named() {
    let clock = Clock::new();
    let addresses = [FAST.to_owned(), "orders:3002".to_owned()];

    let error = Pool::new(&clock.world(), "orders", &addresses, PoolOptions::default()).err().unwrap();

    assert_eq!(&*error.code, "bad_address");
    assert!(error.message.contains("\"orders:3002\" is no address of orders"), "{error}");
}
