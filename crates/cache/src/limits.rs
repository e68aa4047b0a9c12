//! How often somebody may ask: one budget for all processes that share a Redis.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use kernel::World;
use moka::future::Cache;
use redis::Script;

use crate::{channel::LIMITS, shared::Shared};

/// How many budgets are remembered in this process while Redis is away.
const BUDGETS: u64 = 100_000;

/// So many requests within a span: as many at once, if there were none before,
/// and from then on one after each part of the span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// How many; at least one.
    pub most: u32,
    /// Within which span.
    pub within: Duration,
}

/// What is left of a budget, or that there is nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Whether the request may be served.
    pub is_granted: bool,
    /// How many more may be served at once.
    pub left: u32,
    /// When there is more again: after a refusal one more request, otherwise
    /// the whole quota.
    pub more_after: Duration,
}

/// The generic cell rate algorithm: of each budget one time is kept, at which
/// it is whole again. Redis keeps it for all processes and goes by its own
/// clock; while it is away or slow, each process gives out the whole quota by
/// itself. Cheap to clone.
#[derive(Clone)]
pub struct Limits {
    world: World,
    shared: Option<Shared>,
    take: Script,
    here: Cache<String, Arc<AtomicI64>>,
}

impl Limits {
    /// Budgets that are shared with other processes, if there is something to
    /// share them through.
    pub fn new(world: &World, shared: Option<&Shared>) -> Limits {
        Limits {
            world: world.clone(),
            shared: shared.cloned(),
            take: Script::new(TAKE),
            here: Cache::new(BUDGETS),
        }
    }

    /// Takes one request out of somebody's budget: `("read", "usr_…")`.
    pub async fn take(&self, class: &str, who: &str, quota: Quota) -> Budget {
        let key = format!("{LIMITS}:{class}:{who}");
        let spent = match self.take_from_all(&key, quota).await {
            Some(spent) => spent,
            None => self.take_here(key, quota).await,
        };
        quota.budget(spent)
    }

    async fn take_from_all(&self, key: &str, quota: Quota) -> Option<i64> {
        let mut take = self.take.key(key);
        take.arg(quota.each()).arg(quota.room());
        self.shared.as_ref()?.run(&take).await
    }

    async fn take_here(&self, key: String, quota: Quota) -> i64 {
        let now = self.world.steady().micros();
        let whole_at = self.here.entry(key).or_default().await.into_value();
        let mut spent = 0;
        let take = |before: i64| {
            let after = before.max(now) + quota.each();
            let over = after - now - quota.room();
            spent = if over > 0 { -over } else { after - now };
            (over <= 0).then_some(after)
        };
        // Whether it was taken is told by what was spent.
        let _: Result<i64, i64> = whole_at.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take);
        spent
    }
}

impl Quota {
    /// After how many microseconds there is one more.
    fn each(self) -> i64 {
        (self.room() / i64::from(self.most.max(1))).max(1)
    }

    /// How many microseconds the whole of it takes to come back.
    fn room(self) -> i64 {
        i64::try_from(self.within.as_micros()).unwrap_or(i64::MAX)
    }

    /// `spent` is how many microseconds it takes until all is there again; if
    /// it is negative, nothing was granted, and it is the wait for one more.
    fn budget(self, spent: i64) -> Budget {
        let left = (self.room() - spent) / self.each();
        Budget {
            is_granted: spent >= 0,
            left: if spent < 0 { 0 } else { u32::try_from(left).unwrap_or(0) },
            more_after: Duration::from_micros(spent.unsigned_abs()),
        }
    }
}

/// The same as `take_here`, by the clock of Redis.
const TAKE: &str = "
    local time = redis.call('TIME')
    local now = time[1] * 1000000 + time[2]
    local each, room = tonumber(ARGV[1]), tonumber(ARGV[2])
    local after = math.max(tonumber(redis.call('GET', KEYS[1]) or 0), now) + each
    local over = after - now - room
    if over > 0 then
        return -over
    end
    redis.call('SET', KEYS[1], string.format('%.0f', after), 'PX', math.ceil((after - now) / 1000))
    return after - now";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_read_off_what_was_spent() {
        let quota = Quota { most: 60, within: Duration::from_secs(60) };
        for (spent, is_granted, left) in
            [(1_000_000, true, 59), (1_500_000, true, 58), (60_000_000, true, 0), (-300_000, false, 0)]
        {
            let more_after = Duration::from_micros(i64::unsigned_abs(spent));
            assert_eq!(quota.budget(spent), Budget { is_granted, left, more_after });
        }
    }
}
