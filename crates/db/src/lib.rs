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

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod attempts;
mod caller;
mod counts;
mod error;
mod gather;
mod many;
mod migrate;
mod options;
mod postgres;
mod query;
mod row;
mod sqlite;
pub mod table;
mod transaction;

pub use attempts::Attempts;
pub use caller::Caller;
pub use counts::{Counts, counts};
pub use gather::Gather;
#[doc(hidden)]
pub use many::value;
pub use many::{Many, many};
pub use migrate::Migration;
pub use options::{Options, Pooler};
pub use query::{Query, query, query_for};
pub use row::{FromRow, Row};
pub use sqlite::{Disk, Moment, Step};
pub use transaction::{Mode, Tx};

use std::{
    collections::HashMap,
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use kernel::{Result, Time, World};
use tokio::sync::Notify;

use crate::{
    error::Failure,
    postgres::{Place, Postgres},
    sqlite::{Claim, Sqlite},
    transaction::Driver,
};

/// Where a service keeps its tables.
#[derive(Clone)]
pub enum Target {
    /// A SQLite file, made when it is missing.
    Sqlite {
        /// The file.
        path: PathBuf,
    },
    /// A schema of a PostgreSQL database, made when it is missing.
    Postgres {
        /// `postgres://user:password@host:port/database`. A secret: never shown.
        /// Of several hosts (`a:5432,b:5432`) it is the one that takes changes,
        /// even when that becomes another.
        url: String,
        /// The schema: the search path of every connection.
        schema: String,
        /// Connections that transactions may use at once.
        connections: usize,
    },
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Sqlite { path } => f.debug_struct("Sqlite").field("path", path).finish(),
            Target::Postgres { schema, connections, .. } => f
                .debug_struct("Postgres")
                .field("schema", schema)
                .field("connections", connections)
                .finish_non_exhaustive(),
        }
    }
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
pub struct Db(Arc<Inner>);

struct Inner {
    world: World,
    driver: Kind,
    signals: Mutex<HashMap<&'static str, Arc<Notify>>>,
}

enum Kind {
    Sqlite(Sqlite),
    Postgres(Postgres),
}

/// Whether anybody has a SQLite file open. Who opens it at this very moment
/// waits until this has looked.
pub fn is_open(path: &std::path::Path) -> Result<bool> {
    match Claim::Alone.take(path) {
        Ok(_) => Ok(false),
        Err(failure) if failure.error.code == sqlite::IN_USE => Ok(true),
        Err(failure) => Err(failure.error),
    }
}

/// Keeps everybody from opening a SQLite file until it is dropped. Fails with
/// `database_in_use` while anybody has it open.
pub fn keep_closed(path: &std::path::Path) -> Result<KeptClosed> {
    let lock = Claim::Alone.take(path).map_err(|failure| failure.error)?;
    Ok(KeptClosed { _lock: lock })
}

/// That nobody has a file open.
pub struct KeptClosed {
    _lock: std::fs::File,
}

/// How it is opened: the first for PostgreSQL, the others for SQLite.
struct Opening<'a> {
    options: &'a Options,
    claim: Claim,
    disk: Arc<dyn Disk>,
}

impl Db {
    /// Opens it. On PostgreSQL this fails with `unavailable` when no
    /// connection can be had.
    pub async fn open(target: &Target, world: &World) -> Result<Db> {
        Db::open_with(target, &Options::default(), world).await
    }

    /// Opens it, PostgreSQL with these options.
    pub async fn open_with(target: &Target, options: &Options, world: &World) -> Result<Db> {
        let opening = Opening { options, claim: Claim::Shared, disk: Arc::new(sqlite::Plain) };
        Db::open_so(target, opening, world).await
    }

    /// Opens a SQLite file for nobody else: fails with `database_in_use` while
    /// anybody has it open, and whoever opens it until it is closed fails alike.
    pub async fn open_alone(target: &Target, world: &World) -> Result<Db> {
        let options = &Options::default();
        let opening = Opening { options, claim: Claim::Alone, disk: Arc::new(sqlite::Plain) };
        Db::open_so(target, opening, world).await
    }

    /// Opens a SQLite file that the caller keeps closed to all others.
    pub async fn open_kept(target: &Target, _: &KeptClosed, world: &World) -> Result<Db> {
        let options = &Options::default();
        let opening = Opening { options, claim: Claim::Keeper, disk: Arc::new(sqlite::Plain) };
        Db::open_so(target, opening, world).await
    }

    /// Opens it, with SQLite on a disk made by a test.
    pub async fn open_on(target: &Target, world: &World, disk: Arc<dyn Disk>) -> Result<Db> {
        let opening = Opening { options: &Options::default(), claim: Claim::Shared, disk };
        Db::open_so(target, opening, world).await
    }

    async fn open_so(target: &Target, opening: Opening<'_>, world: &World) -> Result<Db> {
        let Opening { options, claim, disk } = opening;
        let driver = match target {
            Target::Sqlite { path } => Kind::Sqlite(Sqlite::open(path, claim, world, disk).await?),
            Target::Postgres { url, schema, connections } => {
                let place = Place { url, schema, connections: *connections };
                Kind::Postgres(Postgres::open(place, options, world).await?)
            }
        };
        Ok(Db(Arc::new(Inner { world: world.clone(), driver, signals: Mutex::default() })))
    }

    /// Which of the two databases it is.
    pub fn engine(&self) -> Engine {
        match self.0.driver {
            Kind::Sqlite(_) => Engine::Sqlite,
            Kind::Postgres(_) => Engine::Postgres,
        }
    }

    /// The clock, chance and tasks it was given.
    pub fn world(&self) -> &World {
        &self.0.world
    }

    /// Brings the tables up to date: applies, in order, what was not applied
    /// yet, each in a transaction, one process at a time. Returns how many.
    /// Refuses (`migration_changed`) when an applied one has another text now.
    /// What a newer program has added stays; where that has taken something away
    /// that this one needs it is refused (`program_too_old`).
    pub async fn migrate(&self, migrations: &[Migration]) -> Result<usize> {
        migrate::migrate(self, migrations).await
    }

    /// Fails unless the tables are as these migrations leave them, and changes
    /// nothing: `no_tables`, `tables_too_old`, `program_too_old`.
    pub async fn must_be_current(&self, migrations: &[Migration]) -> Result<()> {
        migrate::must_be_current(self, migrations).await
    }

    /// The names of the migrations that were applied, in their order.
    pub async fn migrations(&self) -> Result<Vec<String>> {
        migrate::applied(self).await
    }

    /// Asks the database for its time: whether it answers.
    pub async fn time(&self) -> Result<Time> {
        // Each engine has its own clock, and no service asks for it.
        let ask = "SELECT CAST(unixepoch('subsec') * 1000 AS INTEGER) * 1000";
        let postgres = "SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT)";
        let (time,) = read!(self, async |tx| { query_for(ask, postgres).fetch_one::<(Time,)>(tx).await })?;
        Ok(time)
    }

    /// Prepares a text without running it: whether this engine understands it.
    pub async fn check(&self, sql: &str) -> Result<()> {
        let outcome = match &self.0.driver {
            Kind::Sqlite(sqlite) => sqlite.readers.check(sql).await,
            Kind::Postgres(postgres) => postgres.check(sql).await,
        };
        outcome.map_err(|failure| failure.error)
    }

    /// A signal that [`Tx::signal`] raises when its transaction is committed.
    /// A hint that something is there to be looked at, never a proof. All who
    /// wait are woken; with nobody waiting the next who does is not kept.
    pub fn signal(&self, name: &'static str) -> Arc<Notify> {
        let mut signals = self.0.signals.lock().unwrap_or_else(PoisonError::into_inner);
        signals.entry(name).or_default().clone()
    }

    /// Waits for what is under way and closes every connection.
    pub async fn close(&self) {
        match &self.0.driver {
            Kind::Sqlite(sqlite) => sqlite.close().await,
            Kind::Postgres(postgres) => postgres.close().await,
        }
    }

    /// Begins to look at one picture of everything, for as long as that takes:
    /// what an audit needs. What is committed from now on is not in it. Ends when
    /// it is dropped.
    pub async fn picture(&self) -> Result<Tx> {
        let mut tx = Attempts::new(self, Mode::Snapshot).begin().await?;
        if self.engine() == Engine::Postgres {
            // It takes long, and reads tables whole.
            let settings = "SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0; \
                 SET LOCAL plan_cache_mode = auto; SET LOCAL enable_seqscan = on; SET LOCAL enable_bitmapscan = on; \
                 SET LOCAL enable_hashjoin = on; SET LOCAL enable_mergejoin = on";
            tx.batch(settings).await?;
        }
        // The picture is of the moment of the first question. SQLite takes none before it reads the file.
        let first = query_for(
            "SELECT COUNT(*) FROM sqlite_schema",
            "SELECT CAST(COUNT(*) AS BIGINT) FROM pg_namespace",
        );
        first.fetch_one::<(i64,)>(&mut tx).await?;
        Ok(tx)
    }

    /// Begins a transaction, and says what it is: one that nobody near can
    /// answer is asked of the primary.
    async fn begin(&self, mode: Mode) -> Result<(Tx, Mode), Failure> {
        let (driver, mode) = match &self.0.driver {
            Kind::Sqlite(sqlite) if mode == Mode::Write => {
                (Driver::Write(sqlite.writer.begin().await?), mode)
            }
            Kind::Sqlite(sqlite) => (Driver::Look(sqlite.readers.begin().await?), mode),
            Kind::Postgres(postgres) => {
                let (tx, mode) = postgres.begin(mode).await?;
                (Driver::Postgres(tx), mode)
            }
        };
        Ok((Tx::new(self.clone(), driver), mode))
    }
}
