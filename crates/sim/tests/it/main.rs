//! Seeds of the simulated shop.
#![allow(clippy::unwrap_used)]

use std::{
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use sim::{Plan, Template, run};

static TEMPLATE: LazyLock<Arc<Template>> = LazyLock::new(|| {
    sim::keep_memory();
    Arc::new(Template::new())
});

/// How many seeds are simulated here, as the tests are built. `cargo xtask test`
/// has 10,000 simulated beside the tests, by a build that is made to be fast.
const SEEDS: u64 = 100;

#[test]
fn the_same_seed_does_the_same_again() {
    for seed in 1..=6 {
        let plan = Plan::of(seed, None);
        assert_eq!(run(&TEMPLATE, &plan), run(&TEMPLATE, &plan), "seed {seed}");
    }
}

#[test]
fn no_seed_breaks_a_promise() {
    let (next, sums) = (AtomicU64::new(1), [const { AtomicU64::new(0) }; 3]);
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed > SEEDS {
                        return;
                    }
                    let outcome = run(&TEMPLATE, &Plan::of(seed, None));
                    assert!(outcome.breaches.is_empty(), "seed {seed}: {:#?}", outcome.breaches);
                    let seen = [outcome.orders as u64, outcome.unclear, outcome.deaths];
                    sums.iter().zip(seen).for_each(|(sum, seen)| _ = sum.fetch_add(seen, Ordering::Relaxed));
                }
            });
        }
    });
    let [orders, unclear, deaths] = sums.map(AtomicU64::into_inner);
    assert!(
        orders > SEEDS && unclear > SEEDS && deaths > SEEDS / 4,
        "{orders} orders, {unclear} unclear answers, {deaths} deaths: too few to mean anything"
    );
}

/// Those that nearly every seed finds; the others are hunted by `cargo xtask
/// simulate --hunt`, which `test --full` runs.
#[test]
fn what_is_planted_is_found() {
    for name in ["key_is_forgotten", "job_is_done_before_its_work", "event_outside_its_transaction"] {
        let found = (1..=60).find(|seed| !run(&TEMPLATE, &Plan::of(*seed, Some(name))).breaches.is_empty());
        assert!(found.is_some(), "{name} was not found");
    }
}
