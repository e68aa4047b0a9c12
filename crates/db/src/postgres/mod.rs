//! PostgreSQL: a transaction has a connection for itself, whoever only looks
//! shares one.

mod error;
mod pool;
mod value;

pub(crate) use value::read_value;

use std::{sync::Arc, time::Duration};

use futures::TryStreamExt;
use kernel::{Result, Value, World};

use self::{
    pool::{Busy, Connection, Door, Lease, Pool, Shared},
    value::Bound,
};
use crate::{Mode, Row, error::Failure, query::Read, row::Driver};

/// How long a transaction that was given up may take to be rolled back.
const PATIENCE: Duration = Duration::from_secs(2);

/// A schema of a PostgreSQL database.
pub(crate) struct Postgres {
    pool: Arc<Pool>,
    shared: Shared,
}

impl Postgres {
    pub async fn open(url: &str, schema: &str, connections: usize, world: &World) -> Result<Postgres> {
        let door = Arc::new(Door::new(url, schema, world)?);
        let pool = Pool::new(door.clone(), connections);
        make_schema(&pool, schema).await.map_err(|failure| failure.error)?;
        Ok(Postgres { pool, shared: Shared::new(door) })
    }

    pub async fn begin(&self, mode: Mode) -> Result<Tx, Failure> {
        Ok(Tx(match mode {
            Mode::Read => Way::Shared(self.shared.connection().await?),
            Mode::Write => Way::Alone(Alone::new(self.pool.lease().await?, "BEGIN")),
            Mode::Snapshot => {
                let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
                Way::Alone(Alone::new(self.pool.lease().await?, begin))
            }
        }))
    }

    /// Prepares a text without running it.
    pub async fn check(&self, sql: &str) -> Result<(), Failure> {
        let mut lease = self.pool.lease().await?;
        lease.set_clean(false);
        let prepared = lease.connection().client.prepare(sql).await;
        lease.set_clean(true);
        prepared.map(drop).map_err(|cause| error::statement(cause, sql))
    }

    pub async fn close(&self) {
        self.pool.close().await;
        self.shared.close();
    }
}

/// Makes the schema if it is missing. Only then, because it takes a right that
/// a user of an existing schema need not have.
async fn make_schema(pool: &Arc<Pool>, schema: &str) -> Result<(), Failure> {
    let ask = "SELECT 1 FROM pg_namespace WHERE nspname = $1";
    let mut lease = pool.lease().await?;
    lease.set_clean(false);
    let client = &lease.connection().client;
    let found = client.query_opt(ask, &[&schema]).await.map_err(|e| error::statement(e, ask))?;
    if found.is_none() {
        // IF NOT EXISTS alone fails when two make it at the same moment.
        let make = format!(
            "BEGIN; SELECT pg_advisory_xact_lock(hashtext('carmel schemas')); \
             CREATE SCHEMA IF NOT EXISTS {}; COMMIT",
            pool.door.schema()
        );
        client.batch_execute(&make).await.map_err(|e| error::statement(e, &make))?;
    }
    lease.set_clean(true);
    Ok(())
}

/// A transaction. Rolled back when it is dropped.
pub(crate) struct Tx(Way);

#[expect(clippy::large_enum_variant, reason = "it lives on the stack of its transaction, and is moved once")]
enum Way {
    /// Each statement by itself, on a connection that others use as well.
    Shared(Arc<Connection>),
    /// A transaction on a connection of its own.
    Alone(Alone),
}

struct Alone {
    /// Nothing once it is committed.
    lease: Option<Lease>,
    /// How it begins, until it has begun.
    begin: Option<&'static str>,
}

impl Tx {
    pub async fn fetch(
        &mut self,
        sql: &'static str,
        values: &[Value],
        read: &mut Read<'_>,
    ) -> Result<(), Failure> {
        match &mut self.0 {
            Way::Shared(connection) => {
                let _busy = Busy::on(connection);
                fetch(connection, sql, values, read).await
            }
            Way::Alone(alone) => {
                let (begin, connection) = alone.step();
                begun(connection, begin, fetch(connection, sql, values, read)).await
            }
        }
    }

    pub async fn execute(&mut self, sql: &'static str, values: &[Value]) -> Result<u64, Failure> {
        match &mut self.0 {
            Way::Shared(connection) => {
                let _busy = Busy::on(connection);
                execute(connection, sql, values).await
            }
            Way::Alone(alone) => {
                let (begin, connection) = alone.step();
                begun(connection, begin, execute(connection, sql, values)).await
            }
        }
    }

    /// Runs statements that have no parameters.
    pub async fn batch(&mut self, sql: &str) -> Result<(), Failure> {
        match &mut self.0 {
            Way::Shared(connection) => batch(connection, sql).await,
            Way::Alone(alone) => {
                let (begin, connection) = alone.step();
                begun(connection, begin, batch(connection, sql)).await
            }
        }
    }

    pub async fn commit(self) -> Result<(), Failure> {
        let Way::Alone(mut alone) = self.0 else {
            return Ok(());
        };
        let Some(mut lease) = alone.lease.take() else {
            return Ok(());
        };
        if alone.begin.is_some() {
            return Ok(()); // nothing was asked, so nothing was begun
        }
        let client = &lease.connection().client;
        if client.is_closed() {
            let gone = client.batch_execute("").await.err();
            return gone.map_or(Ok(()), |cause| Err(error::statement(cause, "COMMIT")));
        }
        client.batch_execute("COMMIT").await.map_err(error::commit)?;
        lease.set_clean(true);
        Ok(())
    }
}

impl Alone {
    fn new(lease: Lease, begin: &'static str) -> Alone {
        Alone { lease: Some(lease), begin: Some(begin) }
    }

    /// What is to be sent first, and where. From here on the connection is not clean.
    fn step(&mut self) -> (Option<&'static str>, &Connection) {
        let lease = self.lease.as_mut().expect("only commit and drop take it");
        lease.set_clean(false);
        (self.begin.take(), lease.connection())
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        let Some(mut lease) = self.lease.take() else {
            return;
        };
        if self.begin.is_some() || lease.connection().client.is_closed() {
            return;
        }
        // The caller does not wait for it. It stands on the wire behind what is
        // still under way; if that takes too long the connection is closed.
        let world = lease.world().clone();
        let clock = world.clone();
        world.spawn(async move {
            let rolling_back = lease.connection().client.batch_execute("ROLLBACK");
            let outcome = clock.timeout(PATIENCE, rolling_back).await;
            if let Some(Ok(())) = outcome {
                lease.set_clean(true);
            }
        });
    }
}

/// The statement, with the beginning of its transaction before it in the same packet.
async fn begun<T>(
    connection: &Connection,
    begin: Option<&'static str>,
    statement: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let Some(begin) = begin else {
        return statement.await;
    };
    // `join` asks the first one first, and asking sends.
    let (began, outcome) = futures::join!(connection.client.batch_execute(begin), statement);
    began.map_err(|cause| error::statement(cause, begin))?;
    outcome
}

async fn fetch(
    connection: &Connection,
    sql: &'static str,
    values: &[Value],
    read: &mut Read<'_>,
) -> Result<(), Failure> {
    let statement = connection.statement(sql).await?;
    let failed = |cause| connection.failed(cause, sql);
    let rows = connection.client.query_raw(&statement, values.iter().map(Bound)).await;
    let mut rows = std::pin::pin!(rows.map_err(failed)?);
    let mut wanted = true;
    // To the end even when no more is wanted: an error behind the last row is one as well.
    while let Some(row) = rows.try_next().await.map_err(failed)? {
        if wanted {
            wanted = read(&Row(Driver::Postgres(&row))).map_err(Failure::last)?;
        }
    }
    Ok(())
}

async fn execute(connection: &Connection, sql: &'static str, values: &[Value]) -> Result<u64, Failure> {
    let statement = connection.statement(sql).await?;
    let changed = connection.client.execute_raw(&statement, values.iter().map(Bound)).await;
    changed.map_err(|cause| connection.failed(cause, sql))
}

async fn batch(connection: &Connection, sql: &str) -> Result<(), Failure> {
    let outcome = connection.client.batch_execute(sql).await;
    outcome.map_err(|cause| error::statement(cause, sql))
}
