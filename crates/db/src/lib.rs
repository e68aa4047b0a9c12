//! How to store. One SQL text runs on SQLite and on PostgreSQL; a change is
//! made in [`write!`], which retries what may be retried, and looked at in
//! [`read!`]. The drivers are nobody else's business.
//!
//! # Isolation
//!
//! The one level that both engines give, and that all code here relies on, is
//! READ COMMITTED: a statement sees what was committed before it began, and
//! two changes of one row follow each other. Between two statements of one
//! transaction others may commit, so a decision is made by the statement that
//! changes the row (a guarded `UPDATE`, `ON CONFLICT`, a `CHECK`), never by an
//! earlier `SELECT`. (SQLite gives more: its writers follow one another and a
//! `read!` is a snapshot. Nothing may depend on it.) Where one picture of
//! several tables is needed there is [`snapshot!`].

mod gather;
mod migrate;
mod query;
mod row;
mod transaction;

pub use gather::Gather;
pub use migrate::Migration;
pub use query::{Query, query, query_for};
pub use row::{FromRow, Row};
pub use transaction::{Attempts, Mode, Tx};

use std::{path::PathBuf, sync::Arc};

use kernel::{Result, Time, World};
use tokio::sync::Notify;

/// Where a service keeps its tables.
#[derive(Clone, Debug)]
pub enum Target {
    /// A SQLite file, made when it is missing.
    Sqlite {
        /// The file.
        path: PathBuf,
    },
    /// A schema of a PostgreSQL database, made when it is missing.
    Postgres {
        /// `postgres://user:password@host:port/database`. A secret: never shown.
        url: String,
        /// The schema: the search path of every connection.
        schema: String,
        /// Connections that transactions may use at once.
        connections: usize,
    },
}

/// Which of the two databases it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// SQLite
    Sqlite,
    /// PostgreSQL
    Postgres,
}

/// The database of one service. Cheap to clone.
#[derive(Clone)]
pub struct Db {
    world: World,
}

impl Db {
    /// Opens it. On PostgreSQL this fails with `unavailable` when no
    /// connection can be had.
    pub async fn open(target: &Target, world: &World) -> Result<Db> {
        let _ = target;
        Ok(Db { world: world.clone() })
    }

    /// Which of the two databases it is.
    pub fn engine(&self) -> Engine {
        todo!()
    }

    /// The clock, chance and tasks it was given.
    pub fn world(&self) -> &World {
        &self.world
    }

    /// Brings the tables up to date: applies, in order, what was not applied
    /// yet, each in a transaction, one process at a time. Returns how many.
    /// Refuses (`migration_changed`) when an applied one has another text now.
    pub async fn migrate(&self, migrations: &[Migration]) -> Result<usize> {
        let _ = migrations;
        todo!()
    }

    /// Asks the database for its time: whether it answers.
    pub async fn time(&self) -> Result<Time> {
        todo!()
    }

    /// Prepares a text without running it: whether this engine understands it.
    pub async fn check(&self, sql: &str) -> Result<()> {
        let _ = sql;
        todo!()
    }

    /// A signal that [`Tx::signal`] raises when its transaction is committed.
    /// A hint that something is there to be looked at, never a proof.
    pub fn signal(&self, name: &'static str) -> Arc<Notify> {
        let _ = name;
        todo!()
    }

    /// Waits for what is under way and closes every connection.
    pub async fn close(&self) {}
}
