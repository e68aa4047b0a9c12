//! The program: see the library of the same name.

use std::process::ExitCode;

/// Allocates without a lock on the hot paths, and gives memory back.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    carmel::run()
}
