//! A transaction on PostgreSQL: on a connection of its own, or, for whoever
//! only looks, statement by statement on a connection that others use as well.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{SinkExt, TryStreamExt};
use kernel::Value;

use super::{
    Server,
    door::Door,
    error,
    pool::{Busy, Connection, Lease},
};
use crate::{
    Mode, Row,
    error::{Again, Failure},
    query::Read,
    row::Driver,
};

/// How long a transaction that was given up may take to be rolled back.
const PATIENCE: Duration = Duration::from_secs(2);

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
    mode: Mode,
    begun: bool,
}

impl Tx {
    pub async fn begin(server: &Server, mode: Mode) -> Result<Tx, Failure> {
        let looks = matches!(mode, Mode::Read | Mode::Near);
        Ok(Tx(if looks && server.door.has_sessions() {
            Way::Shared(server.shared.connection().await?)
        } else {
            let lease = Some(server.pool.lease().await?);
            Way::Alone(Alone { lease, mode, begun: false })
        }))
    }

    pub async fn fetch(
        &mut self,
        sql: &'static str,
        values: &[Value],
        read: &mut Read<'_>,
    ) -> Result<(), Failure> {
        match &mut self.0 {
            Way::Shared(connection) => {
                let _busy = Busy::on(connection);
                connection.door.ask(fetch(connection, sql, values, read)).await
            }
            Way::Alone(alone) => {
                let step = alone.step();
                step.run(fetch(step.connection, sql, values, read)).await
            }
        }
    }

    pub async fn execute(&mut self, sql: &'static str, values: &[Value]) -> Result<u64, Failure> {
        match &mut self.0 {
            Way::Shared(connection) => {
                let _busy = Busy::on(connection);
                connection.door.ask(connection.execute(sql, values)).await
            }
            Way::Alone(alone) => {
                let step = alone.step();
                step.run(step.connection.execute(sql, values)).await
            }
        }
    }

    /// Runs statements that have no parameters.
    pub async fn batch(&mut self, sql: &str) -> Result<(), Failure> {
        match &mut self.0 {
            Way::Shared(connection) => connection.door.ask(batch(connection, sql)).await,
            Way::Alone(alone) => {
                let step = alone.step();
                step.run(batch(step.connection, sql)).await
            }
        }
    }

    /// Sends lines to a `COPY … FROM STDIN`.
    pub async fn copy(&mut self, sql: &str, lines: String) -> Result<(), Failure> {
        match &mut self.0 {
            Way::Shared(connection) => connection.door.ask(copy(connection, sql, lines)).await,
            Way::Alone(alone) => {
                let step = alone.step();
                step.run(copy(step.connection, sql, lines)).await
            }
        }
    }

    /// Prepares a text without running it.
    pub async fn check(&mut self, sql: &str) -> Result<(), Failure> {
        let prepare = async |connection: &Connection| {
            let prepared = connection.client.prepare(sql).await;
            prepared.map(drop).map_err(|cause| error::statement(cause, sql))
        };
        match &mut self.0 {
            Way::Shared(connection) => connection.door.ask(prepare(connection)).await,
            Way::Alone(alone) => {
                let step = alone.step();
                step.run(prepare(step.connection)).await
            }
        }
    }

    pub async fn commit(self) -> Result<(), Failure> {
        let Way::Alone(mut alone) = self.0 else {
            return Ok(());
        };
        if alone.mode != Mode::Write || !alone.begun {
            return Ok(()); // nothing was changed: dropped, it is rolled back behind our back
        }
        let Some(mut lease) = alone.lease.take() else {
            return Ok(());
        };
        let client = &lease.connection().client;
        if client.is_closed() {
            let gone = client.batch_execute("").await.err();
            return gone.map_or(Ok(()), |cause| Err(error::statement(cause, "COMMIT")));
        }
        lease.door().ask(client.batch_execute("COMMIT")).await.map_err(error::commit)?;
        lease.set_clean(true);
        Ok(())
    }
}

impl Alone {
    /// The next statement. From here on the connection is not clean.
    fn step(&mut self) -> Step<'_> {
        let lease = self.lease.as_mut().expect("only commit and drop take it");
        lease.set_clean(false);
        let first = !std::mem::replace(&mut self.begun, true);
        let begin = first.then(|| lease.door().begin(self.mode));
        Step { begin, door: lease.door(), connection: lease.connection() }
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        let Some(mut lease) = self.lease.take() else {
            return;
        };
        if !self.begun || lease.connection().client.is_closed() {
            return;
        }
        // The caller does not wait for it. It stands on the wire behind what is
        // still under way; if that takes too long the connection is closed.
        let world = lease.door().world.clone();
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

/// Where a statement of a transaction goes, and what stands before it.
struct Step<'a> {
    begin: Option<&'a str>,
    door: &'a Door,
    connection: &'a Connection,
}

impl Step<'_> {
    /// Runs it, with the beginning of its transaction before it in the same packet.
    async fn run<T>(&self, statement: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        let asking = async {
            let Some(begin) = self.begin else {
                return statement.await;
            };
            // `join` asks the first one first, and asking sends.
            let (began, outcome) = futures::join!(self.connection.client.batch_execute(begin), statement);
            began.map_err(|cause| error::statement(cause, begin)).and(outcome)
        };
        let outcome = self.door.ask(asking).await;
        if outcome.as_ref().is_err_and(|failure| failure.again == Again::Elsewhere) {
            self.door.renew();
        }
        outcome
    }
}

async fn fetch(
    connection: &Connection,
    sql: &'static str,
    values: &[Value],
    read: &mut Read<'_>,
) -> Result<(), Failure> {
    let failed = |cause| connection.failed(cause, sql);
    let mut rows = std::pin::pin!(connection.rows(sql, values).await?);
    let mut wanted = true;
    // To the end even when no more is wanted: an error behind the last row is one as well.
    while let Some(row) = rows.try_next().await.map_err(failed)? {
        if wanted {
            wanted = read(&Row(Driver::Postgres(&row))).map_err(Failure::last)?;
        }
    }
    Ok(())
}

async fn batch(connection: &Connection, sql: &str) -> Result<(), Failure> {
    let outcome = connection.client.batch_execute(sql).await;
    outcome.map_err(|cause| error::statement(cause, sql))
}

async fn copy(connection: &Connection, sql: &str, lines: String) -> Result<(), Failure> {
    let failed = |cause| error::statement(cause, sql);
    let mut sink = std::pin::pin!(connection.client.copy_in(sql).await.map_err(failed)?);
    sink.send(Bytes::from(lines)).await.map_err(failed)?;
    sink.finish().await.map(drop).map_err(failed)
}
