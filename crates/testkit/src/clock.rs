//! A clock that a test moves.

use std::{sync::Arc, time::Duration};

use kernel::{BoxFuture, Outside, Time, World};
use tokio::sync::watch;

/// A clock that goes with the real one, plus what the test has moved it by.
/// Who sleeps until a time that was jumped over wakes at once. Cheap to clone.
#[derive(Clone)]
pub struct Clock {
    ahead: Arc<watch::Sender<Duration>>,
}

impl Clock {
    /// One that shows the real time.
    pub fn new() -> Clock {
        Clock { ahead: Arc::new(watch::Sender::new(Duration::ZERO)) }
    }

    /// A world that goes by this clock.
    pub fn world(&self) -> World {
        World::new(MovedWorld { real: World::real(), ahead: self.ahead.clone() })
    }

    /// Moves it forward.
    pub fn forward(&self, span: Duration) {
        self.ahead.send_modify(|ahead| *ahead += span);
    }
}

impl Default for Clock {
    fn default() -> Clock {
        Clock::new()
    }
}

/// The real world under a moved clock.
struct MovedWorld {
    real: World,
    ahead: Arc<watch::Sender<Duration>>,
}

impl Outside for MovedWorld {
    fn now(&self) -> Time {
        self.real.now() + *self.ahead.borrow()
    }

    fn sleep_until(&self, until: Time) -> BoxFuture<'static, ()> {
        let (real, mut ahead) = (self.real.clone(), self.ahead.subscribe());
        Box::pin(async move {
            loop {
                let now = real.now() + *ahead.borrow_and_update();
                let left = until.since(now);
                if left.is_zero() {
                    return;
                }
                tokio::select! {
                    () = real.sleep(left) => return,
                    Ok(()) = ahead.changed() => {} // the clock was moved: look again
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_sleeps_wakes_when_the_clock_is_moved() {
        let clock = Clock::new();
        let world = clock.world();
        let began = world.now();
        let sleeper = tokio::spawn({
            let world = world.clone();
            async move { world.sleep(Duration::from_secs(3600)).await }
        });
        tokio::task::yield_now().await;

        clock.forward(Duration::from_secs(1800));
        clock.forward(Duration::from_secs(1801));

        sleeper.await.unwrap();
        assert!(world.now().since(began) >= Duration::from_secs(3601));
    }
}
