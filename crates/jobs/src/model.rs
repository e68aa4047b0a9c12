//! What a job is, and when it is tried again; no database, no clock.

use std::time::Duration;

use kernel::{JobId, Time};
use serde::{Serialize, de::DeserializeOwned};

/// Work for later: what a worker needs to know of it, saved as JSON.
pub trait Job: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// What kind of work it is, service first: `orders.fulfil`.
    const NAME: &'static str;
    /// The queue it stands in: what is paused, limited and measured together.
    const QUEUE: &'static str = "default";

    /// How often and how soon it is tried.
    fn policy() -> Policy {
        Policy::default()
    }

    /// Jobs of one kind and one key are the same work: of them at most one
    /// waits and at most one runs.
    ///
    /// [`add`](crate::add) answers with the waiting one if there is one. One
    /// that runs already does not count, because it may have looked at its data
    /// before the change that adds this one: then the new one waits until the
    /// other has ended. (If the running one fails while a new one waits, it is
    /// over: the one that waits is its next attempt.)
    fn unique(&self) -> Option<String> {
        None
    }
}

/// How often and how soon a kind of job is tried. Saved with each job when it
/// is added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The most attempts; then it is a dead letter.
    pub attempts: u32,
    /// The wait after the first failure; it doubles with each further one.
    pub first_wait: Duration,
    /// The longest wait.
    pub longest_wait: Duration,
    /// How long a worker that is not heard of keeps the job. It is renewed
    /// while the worker runs.
    pub lease: Duration,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy {
            attempts: 12,
            first_wait: Duration::from_millis(500),
            longest_wait: Duration::from_secs(300),
            lease: Duration::from_secs(30),
        }
    }
}

impl Policy {
    /// The longest wait after so many attempts, before chance shortens it.
    pub fn wait(&self, attempt: u32) -> Duration {
        let doubled = 2u32.saturating_pow(attempt.saturating_sub(1));
        self.first_wait.saturating_mul(doubled).min(self.longest_wait)
    }
}

/// How one job is to be run.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Not before this has passed.
    pub delay: Duration,
    /// Not before then; `delay` counts from it.
    pub at: Option<Time>,
    /// Lower runs first; 0 is usual.
    pub priority: i32,
    /// The trace it belongs to (W3C `traceparent`), handed to its worker.
    pub traceparent: Option<String>,
}

kernel::words! {
    /// Where a job stands.
    pub enum State {
        /// To be run, now or later.
        Waiting = "waiting",
        /// Leased by a worker.
        Running = "running",
        /// Done, or made needless by a later job of the same key.
        Done = "done",
        /// Failed for good: a person looks and may [`retry`](crate::retry) it.
        Dead = "dead",
    }
}

/// A job as a person sees it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct JobView {
    /// Which one.
    pub id: JobId,
    /// What kind of work.
    pub name: String,
    /// The queue it stands in.
    pub queue: String,
    /// Where it stands.
    pub state: State,
    /// How many attempts were begun.
    pub attempt: u32,
    /// How many there may be.
    pub attempts: u32,
    /// Not before then.
    pub run_at: Time,
    /// Why the last attempt failed.
    pub last_error: Option<String>,
    /// When it was added.
    pub added_at: Time,
    /// When it was done or given up.
    pub finished_at: Option<Time>,
    /// How far it is, in percent, as its worker says.
    pub progress: i64,
}

db::from_row!(JobView {
    id,
    name,
    queue,
    state,
    attempt,
    attempts,
    run_at,
    last_error,
    added_at,
    finished_at,
    progress,
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_up_to_the_longest() {
        let policy = Policy {
            first_wait: Duration::from_secs(1),
            longest_wait: Duration::from_secs(60),
            ..Policy::default()
        };

        for (attempt, seconds) in [(1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (4_000_000_000, 60)] {
            assert_eq!(policy.wait(attempt), Duration::from_secs(seconds), "attempt {attempt}");
        }
    }
}
