//! A world whose clock a test puts forward.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use kernel::{BoxFuture, Outside, Time, World};

/// Goes as every clock does, and can be put forward; whoever sleeps notices.
#[derive(Clone)]
pub struct Clock {
    ahead: Arc<AtomicI64>,
    moved: Arc<tokio::sync::Notify>,
}

impl Clock {
    pub fn new() -> (Clock, World) {
        let clock = Clock { ahead: Arc::default(), moved: Arc::default() };
        (clock.clone(), World::new(Ahead { clock, real: World::real() }))
    }

    pub fn forward(&self, span: Duration) {
        self.ahead.fetch_add(span.as_micros() as i64, Ordering::SeqCst);
        self.moved.notify_waiters();
    }
}

struct Ahead {
    clock: Clock,
    real: World,
}

impl Outside for Ahead {
    fn now(&self) -> Time {
        Time::from_micros(self.real.now().micros() + self.clock.ahead.load(Ordering::SeqCst))
    }

    fn sleep_until(&self, until: Time) -> BoxFuture<'static, ()> {
        let (clock, real) = (self.clock.clone(), self.real.clone());
        Box::pin(async move {
            loop {
                let moved = clock.moved.notified();
                let until = until - Duration::from_micros(clock.ahead.load(Ordering::SeqCst) as u64);
                tokio::select! {
                    () = real.sleep_until(until) => return,
                    () = moved => {}
                }
            }
        })
    }
}
