//! The disk of a simulated process: refuses, is full, and is where it dies.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use db::{Disk, Step};
use kernel::{Error, Result};

use crate::{log, world::Machine};

/// A disk as it is seen by one process.
pub struct Faulty {
    machine: Arc<Machine>,
    steps: AtomicU64,
    /// The change at which the process dies; never for 0.
    dies_at: AtomicU64,
    full: AtomicBool,
    /// Once in so many steps it refuses; never for 0.
    refuses: AtomicU64,
}

impl Faulty {
    /// One that works.
    pub fn new(machine: &Arc<Machine>) -> Arc<Faulty> {
        Arc::new(Faulty {
            machine: machine.clone(),
            steps: AtomicU64::new(0),
            dies_at: AtomicU64::new(0),
            full: AtomicBool::new(false),
            refuses: AtomicU64::new(0),
        })
    }

    /// The process dies when it has made so many changes more.
    pub fn die_after(&self, steps: u64) {
        self.dies_at.store(self.steps.load(Ordering::Relaxed) + steps + 1, Ordering::Relaxed);
    }

    /// There is no room left, or there is some again.
    pub fn fill(&self, full: bool) {
        self.full.store(full, Ordering::Relaxed);
    }

    /// Once in so many steps it does not work; for 0 it does again.
    pub fn refuse_once_in(&self, steps: u64) {
        self.refuses.store(steps, Ordering::Relaxed);
    }
}

impl Disk for Faulty {
    fn before(&self, step: Step<'_>) -> Result<()> {
        let writes = match step {
            Step::Begin => false,
            Step::Statement(sql) => !sql.trim_start().starts_with("SELECT"),
            Step::Commit => true,
        };
        // Where it dies between two of these makes no difference to what is kept.
        let at = self.steps.fetch_add(u64::from(writes), Ordering::Relaxed) + u64::from(writes);
        log::say(format_args!("step {at} {step:?}"));
        if writes && at == self.dies_at.load(Ordering::Relaxed) {
            self.machine.die();
        }
        if self.machine.is_dead() {
            return Err(Error::unavailable("dead", "the process has died"));
        }
        if writes && self.full.load(Ordering::Relaxed) {
            return Err(Error::unavailable("storage_full", "there is no room left to store this"));
        }
        let steps = self.refuses.load(Ordering::Relaxed);
        if steps > 0 && self.machine.draw(|chance| chance.once_in(steps)) {
            return Err(Error::unavailable("storage_failed", "the storage does not work"));
        }
        Ok(())
    }
}
