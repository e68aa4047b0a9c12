//! How many tries beyond the first are allowed.

use std::sync::{Mutex, PoisonError};

use kernel::{Time, World};

/// A bucket of tokens, one for each further try. Every call pays a part of one
/// in, and so does every second; so retries stay a fraction of the calls also
/// when each of them fails, instead of multiplying what a sick service has to
/// bear.
pub struct Budget {
    world: World,
    per_call: f64,
    per_second: f64,
    bucket: Mutex<Bucket>,
}

struct Bucket {
    tokens: f64,
    at: Time,
}

/// The bucket holds what so many seconds pay in.
const SECONDS: f64 = 4.0;

impl Budget {
    /// So many per hundred calls and so many per second. It begins full.
    pub fn new(world: &World, percent: u32, per_second: u32) -> Budget {
        let (per_call, per_second) = (f64::from(percent) / 100.0, f64::from(per_second));
        let bucket = Bucket { tokens: per_second * SECONDS, at: world.steady() };
        Budget { world: world.clone(), per_call, per_second, bucket: Mutex::new(bucket) }
    }

    /// A call is made for the first time.
    pub fn pay_in(&self) {
        self.change(|bucket| bucket.tokens += self.per_call);
    }

    /// Takes one token, if there is one.
    pub fn take(&self) -> bool {
        self.change(|bucket| {
            let enough = bucket.tokens >= 1.0;
            bucket.tokens -= if enough { 1.0 } else { 0.0 };
            enough
        })
    }

    fn change<T>(&self, change: impl FnOnce(&mut Bucket) -> T) -> T {
        let now = self.world.steady();
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        bucket.tokens += now.since(bucket.at).as_secs_f64() * self.per_second;
        bucket.at = now.max(bucket.at);
        let outcome = change(&mut bucket);
        // At least one fits, or a service that is seldom called could never retry.
        bucket.tokens = bucket.tokens.min((self.per_second * SECONDS).max(1.0));
        outcome
    }
}
