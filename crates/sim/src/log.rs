//! What happens in a simulation, line by line, for whoever looks at one seed.

use std::{
    fmt,
    sync::atomic::{AtomicBool, Ordering},
};

static TOLD: AtomicBool = AtomicBool::new(false);

/// From now on everything is told on the standard output.
pub fn tell_all() {
    TOLD.store(true, Ordering::Relaxed);
}

#[allow(clippy::print_stdout)]
pub(crate) fn say(what: fmt::Arguments<'_>) {
    if TOLD.load(Ordering::Relaxed) {
        println!("{what}");
    }
}
