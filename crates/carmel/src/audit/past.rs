//! The time by which a shop that does not run is looked at: when it ended, not
//! now. What it left to be done is not late while nobody is there to do it.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use kernel::{Outside, Result, Time, World};

use crate::shop::Shop;

/// A clock that can be set back, and stands still then: nothing becomes late
/// while a large shop is looked at. Cheap to clone.
#[derive(Clone)]
pub struct Past {
    real: World,
    /// Where it stands, in microseconds; nought while it goes.
    stands_at: Arc<AtomicI64>,
}

impl Past {
    /// One that goes with the real one.
    pub fn new(real: &World) -> Past {
        Past { real: real.clone(), stands_at: Arc::default() }
    }

    /// A world that goes by it.
    pub fn world(&self) -> World {
        World::new(self.clone())
    }

    /// Sets it back to when the shop was last at work, as its schedules say:
    /// each has its next slot before it, and the shortest is of a minute. Those
    /// that this program does not know say nothing: nobody has moved them on.
    pub async fn set_back(&self, shop: &Shop) -> Result<()> {
        let known: Vec<&str> = shop.runners()?.iter().flat_map(jobs::Runner::schedules).collect();
        let mut last: Option<Time> = None;
        for (_, db) in &shop.databases {
            let next: Result<Option<Time>> =
                db::read!(db, async |tx| { jobs::audit::next_slot(tx, &known).await });
            last = [last, next?].into_iter().flatten().min();
        }
        if let Some(last) = last {
            self.stands_at.store(last.min(self.real.now()).micros(), Ordering::SeqCst);
        }
        Ok(())
    }
}

impl Outside for Past {
    fn now(&self) -> Time {
        match self.stands_at.load(Ordering::SeqCst) {
            0 => self.real.now(),
            at => Time::from_micros(at),
        }
    }

    /// Goes on: what is waited for while looking has its limits.
    fn steady(&self) -> Time {
        self.real.steady()
    }

    fn reached(&self, point: &str) {
        self.real.reached(point);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_clock_that_was_set_back_stands_still_and_spans_go_on() {
        let past = Past::new(&World::real());
        let ended = Time::from_micros(1_790_000_000_000_000);
        past.stands_at.store(ended.micros(), Ordering::SeqCst);
        let (world, began) = (past.world(), past.world().steady());

        std::thread::sleep(Duration::from_millis(5));

        assert_eq!(world.now(), ended);
        assert!(world.steady().since(began) >= Duration::from_millis(5));
    }
}
