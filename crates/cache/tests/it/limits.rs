//! How often somebody may ask, in one process and in several.

use std::time::Duration;

use cache::{Limits, Quota};
use kernel::World;
use testkit::{clock::Clock, redis::Server};

use crate::world::{Process, Table, until};

/// Nothing comes back while a story takes.
const FIVE: Quota = Quota { most: 5, within: Duration::from_secs(100_000) };

async fn granted(limits: &[&Limits], who: &str) -> usize {
    let mut granted = 0;
    for n in 0..20 {
        granted += usize::from(limits[n % limits.len()].take("read", who, FIVE).await.is_granted);
    }
    granted
}

#[tokio::test]
async fn what_was_spent_comes_back_in_its_time() {
    let clock = Clock::new();
    let limits = Limits::new(&clock.world(), None);
    let quota = Quota { most: 3, within: Duration::from_secs(3_000) };
    for left in [2, 1, 0] {
        let budget = limits.take("read", "ann", quota).await;
        assert_eq!((budget.is_granted, budget.left), (true, left));
    }

    let refused = limits.take("read", "ann", quota).await;
    assert!(!refused.is_granted && refused.more_after <= Duration::from_secs(1_000));
    assert!(limits.take("read", "bob", quota).await.is_granted);
    assert!(limits.take("change", "ann", quota).await.is_granted);

    clock.forward(refused.more_after); // as it was told
    assert!(limits.take("read", "ann", quota).await.is_granted);
    assert!(!limits.take("read", "ann", quota).await.is_granted);
    clock.forward(Duration::from_secs(100_000));
    assert_eq!(limits.take("read", "ann", quota).await.left, 2);
}

/// They share one budget; without Redis each has its own; and with Redis back
/// what was spent there is still spent.
#[tokio::test]
async fn processes_share_one_budget_and_without_redis_each_has_its_own() {
    let (redis, world, table) = (Server::start(), World::real(), Table::new());
    let ann = Process::start(&world, &table, &redis.url()).await;
    let bob = Process::start(&world, &table, &redis.url()).await;
    let of = |process: &Process| Limits::new(&world, process.shared.as_ref());
    let (at_ann, at_bob) = (of(&ann), of(&bob));
    // On a machine that is slow for a moment a process counts for itself: then the next customer shows it.
    let somebody = || format!("{:x}", u64::from_le_bytes(world.random()));
    let share = async || granted(&[&at_ann, &at_bob], &somebody()).await == 5;
    until("they share a budget", share).await;

    redis.freeze();
    assert_eq!(granted(&[&at_ann], "carl").await, 5);
    assert_eq!(granted(&[&at_bob], "carl").await, 5);

    redis.thaw();
    until("they share again", share).await;
}

/// What was spent at one process, another one that starts later knows of, and
/// tells how long to wait.
#[tokio::test]
async fn a_budget_in_redis_outlives_the_process() {
    let (redis, world, table) = (Server::start(), World::real(), Table::new());
    let quota = Quota { most: 3, within: Duration::from_secs(3_000) };
    let take = async |who: &str| {
        let process = Process::start(&world, &table, &redis.url()).await;
        Limits::new(&world, process.shared.as_ref()).take("read", who, quota).await
    };

    until("somebody's budget is kept in Redis", async || {
        let who = format!("{:x}", u64::from_le_bytes(world.random()));
        let mut left = vec![];
        for _ in 0..3 {
            left.push(take(&who).await.left);
        }
        let refused = take(&who).await;
        let wait = Duration::from_secs(900)..Duration::from_secs(1_000);
        left == [2, 1, 0] && !refused.is_granted && wait.contains(&refused.more_after)
    })
    .await;
}
