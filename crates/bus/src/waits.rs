//! How long until something that failed is tried again.

use std::time::Duration;

use kernel::{Error, Kind, World};

/// The wait after a first failure and the longest one.
const FIRST: Duration = Duration::from_secs(1);
pub(crate) const LONGEST: Duration = Duration::from_secs(300);
/// The longest one when something is away: nobody is at fault, and it may be
/// back at any moment.
const AWAY: Duration = Duration::from_secs(5);

/// The wait after so many failures before this one.
pub(crate) fn after(world: &World, before: u32, error: &Error) -> Duration {
    let longest = if is_away(error) { AWAY } else { LONGEST };
    world.jitter(FIRST.saturating_mul(2u32.saturating_pow(before)).min(longest))
}

/// Whether something that is needed did not answer.
pub(crate) fn is_away(error: &Error) -> bool {
    matches!(error.kind, Kind::Unavailable | Kind::TimedOut)
}
