//! What lies outside a simulated process: time that jumps to whatever is next,
//! chance from the seed, and tasks that are delayed, frozen and killed.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use kernel::{BoxFuture, Outside, Task, Time, World};
use tokio::{
    sync::Notify,
    task::AbortHandle,
    time::{Instant, Sleep},
};

use crate::{chance::Chance, log};

/// When every simulation begins, in microseconds since 1970: far enough from
/// the edges of an hour or a day that those are nothing special.
pub const BEGINNING: i64 = 1_790_000_000_000_000;

/// A process on a simulated machine.
pub struct Machine {
    began: Instant,
    chance: Mutex<Chance>,
    /// How much its clock is ahead, in microseconds.
    ahead: AtomicI64,
    /// Once in so many polls a task of it is delayed; never for 0.
    hurry: AtomicU64,
    dead: AtomicBool,
    frozen: AtomicBool,
    waiting: Mutex<Vec<Waker>>,
    tasks: Mutex<Vec<AbortHandle>>,
    planted: Option<&'static str>,
    /// Rung when it has died.
    pub died: Notify,
}

impl Machine {
    /// One that was switched on when the simulation began.
    pub fn new(began: Instant, seed: u64, planted: Option<&'static str>) -> Arc<Machine> {
        Arc::new(Machine {
            began,
            chance: Mutex::new(Chance::new(seed)),
            ahead: AtomicI64::new(0),
            hurry: AtomicU64::new(0),
            dead: AtomicBool::new(false),
            frozen: AtomicBool::new(false),
            waiting: Mutex::default(),
            tasks: Mutex::default(),
            planted,
            died: Notify::new(),
        })
    }

    /// The world of what runs on it.
    pub fn world(self: &Arc<Machine>) -> World {
        World::new(On(self.clone()))
    }

    /// Draws from its chance.
    pub fn draw<T>(&self, how: impl FnOnce(&mut Chance) -> T) -> T {
        how(&mut self.chance.lock().unwrap())
    }

    /// From now on its tasks are delayed once in so many polls.
    pub fn delay_once_in(&self, polls: u64) {
        self.hurry.store(polls, Ordering::Relaxed);
    }

    /// Sets its clock forward, or back.
    pub fn step_clock(&self, micros: i64) {
        self.ahead.fetch_add(micros, Ordering::Relaxed);
    }

    /// It dies in the middle of what it does.
    pub fn die(&self) {
        if !self.dead.swap(true, Ordering::Relaxed) {
            log::say(format_args!("{:?} a process dies", self.began.elapsed()));
            self.died.notify_one();
        }
    }

    /// Whether it has died.
    pub fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Relaxed)
    }

    /// It stands still (SIGSTOP).
    pub fn freeze(&self) {
        self.frozen.store(true, Ordering::Relaxed);
    }

    /// It goes on (SIGCONT).
    pub fn thaw(&self) {
        self.frozen.store(false, Ordering::Relaxed);
        self.waiting.lock().unwrap().drain(..).for_each(Waker::wake);
    }

    /// Takes away all that a dead process had: its tasks, and what they held.
    pub fn clear_away(&self) {
        self.die();
        self.tasks.lock().unwrap().drain(..).for_each(|task| task.abort());
    }
}

/// The world of a machine.
struct On(Arc<Machine>);

impl Outside for On {
    fn now(&self) -> Time {
        let micros = i64::try_from(self.0.began.elapsed().as_micros()).unwrap();
        Time::from_micros(BEGINNING + micros + self.0.ahead.load(Ordering::Relaxed))
    }

    fn sleep_until(&self, until: Time) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(until.since(self.now())))
    }

    fn random(&self, bytes: &mut [u8]) {
        self.0.draw(|chance| chance.fill(bytes));
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) -> Task {
        let task = tokio::spawn(Paced { machine: self.0.clone(), delay: None, task });
        let mut tasks = self.0.tasks.lock().unwrap();
        tasks.retain(|task| !task.is_finished());
        tasks.push(task.abort_handle());
        Task::new(task)
    }

    fn blocking(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()> {
        Box::pin(async { work() })
    }

    fn planted(&self, fault: &str) -> bool {
        self.0.planted == Some(fault)
    }
}

/// A task of a machine, which goes on when the machine lets it.
struct Paced {
    machine: Arc<Machine>,
    delay: Option<Pin<Box<Sleep>>>,
    task: BoxFuture<'static, ()>,
}

/// Most delays only let others go first; a few take long enough for something
/// to run out.
fn delay(chance: &mut Chance) -> Duration {
    match chance.below(20) {
        0 => Duration::from_secs(chance.between(1, 40)),
        1..4 => Duration::from_millis(chance.between(50, 1000)),
        _ => Duration::from_millis(chance.between(1, 20)),
    }
}

impl Future for Paced {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let machine = self.machine.clone();
        if machine.is_dead() {
            return Poll::Pending; // for ever: it is cleared away
        }
        if machine.frozen.load(Ordering::Relaxed) {
            machine.waiting.lock().unwrap().push(context.waker().clone());
            return Poll::Pending;
        }
        let polls = machine.hurry.load(Ordering::Relaxed);
        if self.delay.is_none() && polls > 0 {
            let drawn = machine.draw(|chance| chance.once_in(polls).then(|| delay(chance)));
            self.delay = drawn.map(|span| Box::pin(tokio::time::sleep(span)));
        }
        if let Some(delay) = &mut self.delay {
            if delay.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            self.delay = None;
        }
        self.task.as_mut().poll(context)
    }
}
