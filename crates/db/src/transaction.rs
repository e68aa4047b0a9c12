//! A transaction that is open: what a store function takes.

use kernel::{Error, Result, World};

use crate::{
    Db, Many, Query,
    error::{Failure, unstorable},
    postgres,
    query::{Read, is_unstorable},
    sqlite::{ReadTx, WriteTx},
};

/// What a transaction is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// To change something: all of it or nothing.
    Write,
    /// To look: every statement sees what is committed when it begins.
    Read,
    /// To look, at a replica if one has all that the caller changed.
    Near,
    /// To look at one picture of everything.
    Snapshot,
}

/// An open transaction: what a store function takes. After a statement that
/// the database refused every further one is refused too, and what was done is
/// rolled back.
pub struct Tx {
    db: Db,
    pub(crate) driver: Driver,
    signals: Vec<&'static str>,
    pub(crate) repeatable: bool,
    /// Whether a statement is under way, or was when it was dropped.
    pub(crate) interrupted: bool,
    failure: Option<Failure>,
}

/// The transaction of whichever driver it is. Each rolls back when dropped.
pub(crate) enum Driver {
    Write(WriteTx),
    Look(ReadTx),
    Postgres(postgres::Tx),
}

impl Tx {
    pub(crate) fn new(db: Db, driver: Driver) -> Tx {
        Tx { db, driver, signals: Vec::new(), repeatable: false, interrupted: false, failure: None }
    }

    /// The clock, chance and tasks of its database.
    pub fn world(&self) -> &World {
        self.db.world()
    }

    /// Which of the two databases it is.
    pub fn engine(&self) -> crate::Engine {
        self.db.engine()
    }

    /// Raises [`Db::signal`] once this is committed.
    pub fn signal(&mut self, name: &'static str) {
        if !self.signals.contains(&name) {
            self.signals.push(name);
        }
    }

    /// Says that running this body again is harmless, because it carries an
    /// idempotency key: then it is run again even when the fate of its commit
    /// is unknown.
    pub fn repeatable(&mut self) {
        self.repeatable = true;
    }

    pub(crate) async fn fetch(&mut self, query: Query, read: &mut Read<'_>) -> Result<()> {
        self.start()?;
        let outcome = match &mut self.driver {
            _ if query.is_unstorable() => Err(unstorable()),
            Driver::Write(tx) => tx.fetch(query.sqlite, &query.values, read),
            Driver::Look(tx) => tx.fetch(query.sqlite, &query.values, read),
            Driver::Postgres(tx) => tx.fetch(query.postgres, &query.values, read).await,
        };
        self.remember(outcome)
    }

    pub(crate) async fn execute(&mut self, query: Query) -> Result<u64> {
        self.start()?;
        let outcome = match &mut self.driver {
            _ if query.is_unstorable() => Err(unstorable()),
            Driver::Write(tx) => tx.execute(query.sqlite, &query.values),
            Driver::Look(tx) => tx.execute(query.sqlite, &query.values),
            Driver::Postgres(tx) => tx.execute(query.postgres, &query.values).await,
        };
        self.remember(outcome)
    }

    pub(crate) async fn fetch_many(&mut self, many: Many, read: &mut Read<'_>) -> Result<()> {
        self.start()?;
        let mut rows = many.values.chunks(many.width);
        let outcome = match &mut self.driver {
            _ if many.values.iter().any(is_unstorable) => Err(unstorable()),
            Driver::Write(tx) => rows.try_for_each(|row| tx.fetch(many.sqlite, row, read)),
            Driver::Look(tx) => rows.try_for_each(|row| tx.fetch(many.sqlite, row, read)),
            Driver::Postgres(tx) => tx.fetch(many.postgres, &many.into_columns(), read).await,
        };
        self.remember(outcome)
    }

    pub(crate) async fn execute_many(&mut self, many: Many) -> Result<u64> {
        self.start()?;
        let rows = many.values.chunks(many.width);
        let outcome = match &mut self.driver {
            _ if many.values.iter().any(is_unstorable) => Err(unstorable()),
            Driver::Write(tx) => rows.map(|row| tx.execute(many.sqlite, row)).sum(),
            Driver::Look(tx) => rows.map(|row| tx.execute(many.sqlite, row)).sum(),
            Driver::Postgres(tx) => tx.execute(many.postgres, &many.into_columns()).await,
        };
        self.remember(outcome)
    }

    /// Runs a statement for whose answer nobody waits: PostgreSQL is sent it with the next one.
    pub(crate) async fn execute_many_later(&mut self, many: Many) -> Result<()> {
        self.start()?;
        let mut rows = many.values.chunks(many.width);
        let outcome = match &mut self.driver {
            _ if many.values.iter().any(is_unstorable) => Err(unstorable()),
            Driver::Write(tx) => rows.try_for_each(|row| tx.execute(many.sqlite, row).map(drop)),
            Driver::Look(tx) => rows.try_for_each(|row| tx.execute(many.sqlite, row).map(drop)),
            Driver::Postgres(tx) => tx.execute_later(many.postgres, many.into_columns()).await,
        };
        self.remember(outcome)
    }

    /// Runs statements that have no parameters, separated by semicolons.
    pub(crate) async fn batch(&mut self, sql: &str) -> Result<()> {
        self.start()?;
        let outcome = match &mut self.driver {
            Driver::Write(tx) => tx.batch(sql),
            Driver::Look(_) => Err(Failure::last(Error::internal("who only looks changes nothing"))),
            Driver::Postgres(tx) => tx.batch(sql).await,
        };
        self.remember(outcome)
    }

    /// Sends rows to a `COPY … FROM STDIN`, which only PostgreSQL has.
    pub(crate) async fn copy(&mut self, sql: &str, lines: String) -> Result<()> {
        self.start()?;
        let outcome = match &mut self.driver {
            Driver::Postgres(tx) => tx.copy(sql, lines).await,
            Driver::Write(_) | Driver::Look(_) => Err(Failure::last(Error::internal("SQLite has no COPY"))),
        };
        self.remember(outcome)
    }

    /// Refuses a statement after one that failed or was not awaited to its end:
    /// what the transaction holds is then unknown.
    fn start(&mut self) -> Result<()> {
        if let Some(failure) = self.failure() {
            return Err(failure.error);
        }
        self.interrupted = true;
        Ok(())
    }

    pub(crate) fn failure(&self) -> Option<Failure> {
        if self.interrupted {
            return Some(Failure::last(Error::internal("a statement was not awaited to its end")));
        }
        self.failure.clone()
    }

    fn remember<T>(&mut self, outcome: Result<T, Failure>) -> Result<T> {
        self.interrupted = false;
        outcome.map_err(|failure| {
            let error = failure.error.clone();
            self.failure = Some(failure);
            error
        })
    }

    pub(crate) async fn commit(self) -> Result<(), Failure> {
        match self.driver {
            Driver::Write(tx) => tx.commit().await?,
            Driver::Look(tx) => drop(tx),
            Driver::Postgres(tx) => tx.commit().await?,
        }
        for name in self.signals {
            let signal = self.db.signal(name);
            // In this order: with nobody waiting the first leaves a permit, so that
            // the next who waits does not; the second wakes all who wait.
            signal.notify_one();
            signal.notify_waiters();
        }
        Ok(())
    }
}
