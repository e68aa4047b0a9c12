//! How much of a queue one runner may begin.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use kernel::{Time, Value};

use crate::claim::Want;

/// A queue, as far as one runner has to do with it.
pub(crate) struct Queue {
    pub name: &'static str,
    /// The most jobs under way at once.
    pub most: usize,
    /// The kinds of job known here.
    pub names: Value,
    pub per_second: Option<u32>,
    pub rate: Option<Rate>,
    /// Whether it takes jobs that others add.
    pub external: bool,
    /// Whether its jobs are worked by others.
    pub elsewhere: bool,
    /// Who ends lowers it and then looks whether the bell is wanted; the runner
    /// wants the bell and then looks here: in one order for both, or each could
    /// miss the other.
    under_way: AtomicUsize,
}

impl Queue {
    pub fn new(name: &'static str, most: usize, names: &[&'static str]) -> Queue {
        let names = Value::Texts(names.iter().map(|name| (*name).to_owned()).collect());
        let (per_second, rate, under_way) = (None, None, AtomicUsize::new(0));
        Queue { name, most, names, per_second, rate, external: false, elsewhere: false, under_way }
    }

    /// How many may be begun here now.
    pub fn room(&self, now: Time) -> usize {
        if self.elsewhere {
            return 0;
        }
        let free = self.most.saturating_sub(self.under_way());
        self.rate.as_ref().map_or(free, |rate| free.min(rate.allowed(now)))
    }

    /// As many of its jobs as that.
    pub fn want(&self, limit: usize) -> Want {
        Want { queue: self.name, names: self.names.clone(), limit: limit as i64 }
    }

    pub fn under_way(&self) -> usize {
        self.under_way.load(Ordering::SeqCst)
    }

    pub fn begun(&self, count: usize, now: Time) {
        self.under_way.fetch_add(count, Ordering::SeqCst);
        if let Some(rate) = &self.rate {
            rate.spend(count, now);
        }
    }

    pub fn ended(&self) {
        self.under_way.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A rate: evenly spread, with a tenth of a second's worth at once (GCRA).
pub(crate) struct Rate {
    interval: Duration,
    burst: Duration,
    /// When what was begun so far would have been begun, evenly spread.
    even: Mutex<Time>,
}

impl Rate {
    pub fn per_second(count: u32) -> Rate {
        // Whole microseconds, as times are: else a burst of one falls short of one.
        let interval = Duration::from_micros((1_000_000 / u64::from(count.max(1))).max(1));
        Rate { interval, burst: interval.max(Duration::from_millis(100)), even: Mutex::new(Time::default()) }
    }

    fn allowed(&self, now: Time) -> usize {
        let ahead = (now + self.burst).since(self.even(now).max(now));
        usize::try_from(ahead.as_micros() / self.interval.as_micros()).unwrap_or(usize::MAX)
    }

    fn spend(&self, count: usize, now: Time) {
        let mut even = self.even.lock().unwrap_or_else(PoisonError::into_inner);
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        *even = (*even).max(now) + self.interval.saturating_mul(count);
    }

    /// When one more is allowed.
    pub fn next_at(&self, now: Time) -> Time {
        self.even(now) + self.interval - self.burst
    }

    fn even(&self, now: Time) -> Time {
        let mut even = self.even.lock().unwrap_or_else(PoisonError::into_inner);
        // Farther ahead than it ever gets: the clock was set back.
        *even = (*even).min(now + self.burst);
        *even
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_kept_over_any_second() {
        for per_second in [1, 3, 10, 50] {
            let rate = Rate::per_second(per_second);
            let begin = Time::from_micros(1_000_000_000);
            let mut begun = 0;

            for millis in 0..10_000 {
                let now = begin + Duration::from_millis(millis);
                let allowed = rate.allowed(now);
                rate.spend(allowed, now);
                begun += allowed;
            }

            let most = 10 * per_second as usize + (per_second as usize / 10).max(1);
            assert!((most - 2..=most).contains(&begun), "{begun} of {most} at {per_second} per second");
        }
    }

    #[test]
    fn a_clock_that_is_set_back_stops_nothing() {
        let rate = Rate::per_second(10);
        let (later, now) = (Time::from_micros(9_000_000_000), Time::from_micros(1_000_000_000));
        rate.spend(rate.allowed(later), later);

        assert_eq!(rate.allowed(now), 0);
        assert!(rate.next_at(now) <= now + Duration::from_secs(1));
        assert!(rate.allowed(now + Duration::from_secs(1)) > 0);
    }
}
