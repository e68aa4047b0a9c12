//! Who has a file open. SQLite's own locks last as long as a transaction; these
//! last as long as the file is open.

use std::{
    fs::{File, TryLockError},
    path::Path,
    time::Duration,
};

use kernel::{Error, World};

use crate::error::Failure;

/// Whoever looks whether a file is open has it for less than this.
const PATIENCE: Duration = Duration::from_millis(400);
/// The code of a refusal.
pub(crate) const IN_USE: &str = "database_in_use";

/// How a file is opened.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Claim {
    /// Beside others.
    Shared,
    /// By nobody else until it is closed.
    Alone,
    /// By whoever keeps it closed to all others already.
    Keeper,
}

impl Claim {
    /// The same, and waits a moment for somebody who only looks whether it is
    /// open, because that is done by taking it alone.
    pub async fn take_patiently(self, path: &Path, world: &World) -> Result<File, Failure> {
        let until = world.now() + PATIENCE;
        loop {
            match self.take(path) {
                Err(failure) if failure.error.code == IN_USE && world.now() < until => {
                    world.sleep(PATIENCE / 20).await;
                }
                outcome => return outcome,
            }
        }
    }

    /// Takes a lock on a file beside it (`users.db-open`), or refuses at once.
    /// On the file itself it would end SQLite's locks when it is closed.
    pub fn take(self, path: &Path) -> Result<File, Failure> {
        let mut name = path.as_os_str().to_owned();
        name.push("-open");
        let file = File::options().create(true).append(true).open(name).map_err(failed)?;
        let taken = match self {
            Claim::Shared => file.try_lock_shared(),
            Claim::Alone => file.try_lock(),
            Claim::Keeper => Ok(()),
        };
        match taken {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => Err(Failure::last(self.refused(path))),
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }

    fn refused(self, path: &Path) -> Error {
        let why = match self {
            Claim::Shared => "is being moved by another process",
            Claim::Alone | Claim::Keeper => "is open in another process",
        };
        Error::conflict(IN_USE, format!("{} {why}", path.display()))
    }
}

fn failed(error: std::io::Error) -> Failure {
    Failure::last(Error::unavailable("storage_failed", "the storage does not work").because(error))
}
