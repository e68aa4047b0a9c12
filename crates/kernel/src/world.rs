//! The seam to what a program does not decide itself: the clock, chance and
//! when a task runs. Everything else takes these from a [`World`] that it was
//! given, so that a test can hand in another.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use uuid::Uuid;

use crate::{Error, Kind, Result, Time};

/// A future on the heap that may move between threads.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What lies outside the program. But for the time it is the real one wherever
/// an implementation does not say otherwise.
pub trait Outside: Send + Sync + 'static {
    /// The time on the wall.
    fn now(&self) -> Time;
    /// The time on a clock that nobody sets. (That on the wall, where nobody
    /// sets it either.)
    fn steady(&self) -> Time {
        self.now()
    }
    /// Ends when the time on the wall has passed `until`. (Whoever sleeps does
    /// not notice that the clock is set.)
    fn sleep_until(&self, until: Time) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(until.since(self.now())))
    }
    /// Fills `bytes` with chance that nobody can guess.
    fn random(&self, bytes: &mut [u8]) {
        rand::Rng::fill_bytes(&mut rand::rng(), bytes);
    }
    /// Starts a task beside the caller's.
    fn spawn(&self, task: BoxFuture<'static, ()>) -> Task {
        Task::new(tokio::spawn(task))
    }
    /// Runs work that blocks its thread, away from the tasks.
    fn blocking(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()> {
        let work = tokio::task::spawn_blocking(work);
        Box::pin(async move { drop(work.await) })
    }
    /// The program has come to a point that has a name. A test may stop, fail
    /// or kill it there; outside of tests nothing happens.
    fn reached(&self, _point: &str) {}
    /// Whether this fault is to be made, to see that it would be found. Never
    /// outside of tests.
    fn planted(&self, _fault: &str) -> bool {
        false
    }
}

/// A started task: ended by [`Task::end`], awaited by [`Task::join`], and left
/// alone when dropped.
pub struct Task(tokio::task::JoinHandle<()>);

impl Task {
    /// Wraps a task of the runtime.
    pub fn new(handle: tokio::task::JoinHandle<()>) -> Task {
        Task(handle)
    }

    /// Ends it at its next wait.
    pub fn end(&self) {
        self.0.abort();
    }

    /// Waits until it has ended; says whether it ended by itself.
    pub async fn join(self) -> bool {
        self.0.await.is_ok()
    }
}

/// The clock, chance and tasks that a part was given. Cheap to clone.
#[derive(Clone)]
pub struct World {
    outside: Arc<dyn Outside>,
    last_id: Arc<AtomicU64>,
}

impl World {
    /// The real one, on the runtime of tokio.
    pub fn real() -> World {
        World::new(Real)
    }

    /// One made by a test.
    pub fn new(outside: impl Outside) -> World {
        World { outside: Arc::new(outside), last_id: Arc::new(AtomicU64::new(0)) }
    }

    /// The time on the wall.
    pub fn now(&self) -> Time {
        self.outside.now()
    }

    /// The time on a clock that goes on evenly when the one on the wall is set:
    /// for how long something took or may take in this process. It means
    /// nothing to another.
    pub fn steady(&self) -> Time {
        self.outside.steady()
    }

    /// Waits that long.
    pub async fn sleep(&self, span: Duration) {
        self.outside.sleep_until(self.now() + span).await;
    }

    /// Waits until then.
    pub async fn sleep_until(&self, until: Time) {
        self.outside.sleep_until(until).await;
    }

    /// The work's outcome, or nothing if it takes longer; then it is dropped.
    pub async fn timeout<T>(&self, limit: Duration, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            outcome = work => Some(outcome),
            () = self.sleep(limit) => None,
        }
    }

    /// Chance that nobody can guess.
    pub fn random<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.outside.random(&mut bytes);
        bytes
    }

    /// A whole number below `limit`, each as likely (but for a bias under 2⁻³²).
    pub fn below(&self, limit: u64) -> u64 {
        let wide = u128::from(u64::from_le_bytes(self.random())) * u128::from(limit.max(1));
        (wide >> 64) as u64
    }

    /// A span between half of `span` and all of it, so that those who failed
    /// together do not come back together.
    pub fn jitter(&self, span: Duration) -> Duration {
        let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(micros / 2 + self.below(micros / 2 + 1))
    }

    /// A UUIDv7 (RFC 9562). Those of one world sort in the order they were
    /// made: the millisecond and twelve bits of counting stand before the chance.
    pub fn uuid_v7(&self) -> Uuid {
        let tick = (self.now().micros().max(0) as u64 / 1000) << 12;
        let next = |last: u64| Some(if tick > last { tick } else { last + 1 });
        let last = self.last_id.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).unwrap_or_default();
        let tick = next(last).unwrap_or(tick);
        let (millis, count) = (tick >> 12, tick & 0xfff);
        let chance = u64::from_le_bytes(self.random());
        let high = (u128::from(millis) << 80) | (0x7 << 76) | (u128::from(count) << 64);
        Uuid::from_u128(high | (0b10 << 62) | u128::from(chance >> 2))
    }

    /// Says that a point with a name is reached, such as `orders.hold.done`:
    /// where a test may want the process to die.
    pub fn reached(&self, point: &str) {
        self.outside.reached(point);
    }

    /// Whether a fault that has a name is to be made here, such as
    /// `inbox_forgets`: a test plants it to see that it would be found. A
    /// release build has none of them.
    pub fn planted(&self, fault: &str) -> bool {
        cfg!(debug_assertions) && self.outside.planted(fault)
    }

    /// Starts a task beside this one.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> Task {
        self.outside.spawn(Box::pin(task))
    }

    /// Runs work that blocks its thread, away from the tasks.
    pub async fn blocking<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let (answer, outcome) = tokio::sync::oneshot::channel();
        let work = move || {
            // Nobody listens any more when the caller was dropped: then the answer is not needed.
            drop(answer.send(work()));
        };
        self.outside.blocking(Box::new(work)).await;
        outcome
            .await
            .map_err(|_| Error::new(Kind::Internal, "internal", "blocking work ended without an answer"))
    }
}

struct Real;

impl Outside for Real {
    fn now(&self) -> Time {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Time::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }

    fn steady(&self) -> Time {
        static BEGAN: LazyLock<(Time, Instant)> = LazyLock::new(|| (Real.now(), Instant::now()));
        BEGAN.0 + BEGAN.1.elapsed()
    }
}
