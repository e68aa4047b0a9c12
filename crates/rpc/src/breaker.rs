//! Whether an address is to be called: a circuit breaker.

use std::time::Duration;

use kernel::Time;

use crate::PoolOptions;

/// What is known of an address's failures. It is in use until it fails too
/// often, then ejected for a while, then probed by one call, whose end decides.
#[derive(Default)]
pub struct Breaker {
    state: State,
    failed_in_row: u32,
    /// The last 64 calls, the newest in the lowest bit; 1 is a failure.
    recent: u64,
    seen: u32,
    /// How often it was ejected without having behaved for long in between.
    ejections: u32,
}

#[derive(Default, PartialEq)]
enum State {
    #[default]
    InUse,
    Ejected {
        until: Time,
    },
    Probed,
}

/// How many calls are remembered.
const REMEMBERED: u32 = u64::BITS;

impl Breaker {
    /// Whether anybody may call.
    pub fn in_use(&self) -> bool {
        self.state == State::InUse
    }

    /// Whether the time has come that one call finds out if it is back.
    pub fn probe_is_due(&self, now: Time) -> bool {
        matches!(self.state, State::Ejected { until } if until <= now)
    }

    /// One call is on its way to find out.
    pub fn probe(&mut self) {
        self.state = State::Probed;
    }

    /// The probe ended without a verdict: the next call may be one.
    pub fn not_probed(&mut self, now: Time) {
        if self.state == State::Probed {
            self.state = State::Ejected { until: now };
        }
    }

    /// If it is ejected, the next call may find out whether it is back.
    pub fn let_probe(&mut self, now: Time) {
        if let State::Ejected { until } = &mut self.state {
            *until = now;
        }
    }

    /// If it is ejected, no call needs to find out before `until`.
    pub fn keep_out(&mut self, until: Time) {
        if let State::Ejected { until: before } = &mut self.state {
            *before = until.max(*before);
        }
    }

    /// The probe was answered: it is in use again.
    pub fn come_back(&mut self) {
        *self = Breaker { ejections: self.ejections, ..Breaker::default() };
    }

    /// A call was answered.
    pub fn succeeded(&mut self) {
        if self.in_use() {
            self.remember(0);
            self.failed_in_row = 0;
            if self.seen == REMEMBERED && self.recent == 0 {
                self.ejections = 0;
            }
        }
    }

    /// A call failed; says whether that is too often.
    pub fn failed(&mut self, options: &PoolOptions) -> bool {
        if !self.in_use() {
            return false; // a call from before it was ejected
        }
        self.remember(1);
        self.failed_in_row += 1;
        let many = self.seen >= options.failures_among
            && self.recent.count_ones() * 100 >= self.seen * options.failure_percent;
        many || self.failed_in_row >= options.failures_in_row
    }

    /// It is not called until then. Returns how long that is: each time that
    /// it follows another, twice as long.
    pub fn eject(&mut self, now: Time, options: &PoolOptions) -> Duration {
        let span = options.ejected_first.saturating_mul(1 << self.ejections.min(16));
        let span = span.min(options.ejected_longest);
        self.ejections += 1;
        self.state = State::Ejected { until: now + span };
        span
    }

    fn remember(&mut self, failed: u64) {
        self.recent = self.recent << 1 | failed;
        self.seen = (self.seen + 1).min(REMEMBERED);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether an address is ejected after these calls: `x` fails, `.` succeeds.
    fn ejected(calls: &str) -> bool {
        let mut breaker = Breaker::default();
        calls.chars().any(|call| match call {
            'x' => breaker.failed(&PoolOptions::default()),
            _ => {
                breaker.succeeded();
                false
            }
        })
    }

    #[test]
    fn five_failures_in_a_row_are_too_many_and_so_is_every_second_of_twenty() {
        for (calls, expected) in [
            ("xxxx", false),
            ("xxxxx", true),
            ("xxxx.xxxx", false),
            (&"x.".repeat(9), false),
            (&"x.".repeat(11), true),
            (&"x..".repeat(30), false),
        ] {
            assert_eq!(ejected(calls), expected, "{calls}");
        }
    }

    #[test]
    fn who_fails_again_stays_away_twice_as_long() {
        let options = PoolOptions::default();
        let mut breaker = Breaker::default();
        let spans: Vec<u64> = (0..7)
            .map(|_| {
                let span = breaker.eject(Time::default(), &options).as_secs();
                breaker.come_back();
                span
            })
            .collect();
        assert_eq!(spans, [1, 2, 4, 8, 16, 30, 30]);

        (0..64).for_each(|_| breaker.succeeded());

        assert_eq!(breaker.eject(Time::default(), &options).as_secs(), 1);
    }
}
