//! The real world, as it is for a process that `carmel torture` or a test hurts.

use std::path::PathBuf;

use kernel::{Outside, Time, World};

/// The file with the seconds by which this process's clock is wrong. (That its
/// name begins with CARMEL_TEST_ lets an older version start, too.)
pub const CLOCK: &str = "CARMEL_TEST_CLOCK";
/// The point at which this process dies. Not in a release build.
const DIES_AT: &str = "CARMEL_TEST_KILL_AT";

/// The real world, with a clock that can be stepped and a point at which the
/// process dies.
struct Frail {
    real: World,
    clock: Option<PathBuf>,
    dies_at: Option<String>,
}

/// The world of this process: the real one, unless its environment says
/// otherwise.
pub fn world() -> World {
    let clock = std::env::var_os(CLOCK).map(PathBuf::from);
    let dies_at = std::env::var(DIES_AT).ok().filter(|_| cfg!(debug_assertions));
    match (&clock, &dies_at) {
        (None, None) => World::real(),
        _ => World::new(Frail { real: World::real(), clock, dies_at }),
    }
}

impl Frail {
    /// By how much the clock is wrong now; by nothing when nobody has said so.
    fn wrong_micros(&self) -> i64 {
        let said = self.clock.as_ref().and_then(|file| std::fs::read_to_string(file).ok());
        said.and_then(|said| said.trim().parse::<i64>().ok()).unwrap_or_default() * 1_000_000
    }
}

impl Outside for Frail {
    fn now(&self) -> Time {
        Time::from_micros(self.real.now().micros() + self.wrong_micros())
    }

    fn steady(&self) -> Time {
        self.real.steady()
    }

    fn reached(&self, point: &str) {
        if self.dies_at.as_deref() == Some(point) {
            // SIGKILL, which nothing can catch: what is not on the disk is gone.
            let killed =
                std::process::Command::new("kill").args(["-9", &std::process::id().to_string()]).status();
            unreachable!("the process was to be killed at {point}: {killed:?}");
        }
    }
}
