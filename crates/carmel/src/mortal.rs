//! A world in which the process dies at a point that has a name. For tests; not
//! in a release build.

use kernel::{BoxFuture, Outside, Task, Time, World};

/// The real world, until the point is reached.
pub struct Mortal {
    real: World,
    point: String,
}

impl Mortal {
    /// Dies when this point is reached.
    pub fn new(point: String) -> Mortal {
        Mortal { real: World::real(), point }
    }
}

impl Outside for Mortal {
    fn now(&self) -> Time {
        self.real.now()
    }

    fn sleep_until(&self, until: Time) -> BoxFuture<'static, ()> {
        let real = self.real.clone();
        Box::pin(async move { real.sleep_until(until).await })
    }

    fn random(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(16) {
            chunk.copy_from_slice(&self.real.random::<16>()[..chunk.len()]);
        }
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) -> Task {
        self.real.spawn(task)
    }

    fn blocking(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()> {
        let real = self.real.clone();
        Box::pin(async move { drop(real.blocking(work).await) })
    }

    fn reached(&self, point: &str) {
        if point == self.point {
            // SIGKILL, which nothing can catch: what is not on the disk is gone.
            let killed =
                std::process::Command::new("kill").args(["-9", &std::process::id().to_string()]).status();
            unreachable!("the process was to be killed at {point}: {killed:?}");
        }
    }
}
