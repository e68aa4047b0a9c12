//! A transaction on PostgreSQL: on a connection of its own, or, for whoever
//! only looks, statement by statement on a connection that others use as well.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{SinkExt, TryStreamExt, future::join_all};
use kernel::Value;

use super::{
    Server,
    door::Door,
    error,
    pool::{Busy, Connection, Lease},
};
use crate::{
    Mode, Row, counts,
    error::{Again, Failure},
    query::Read,
    row::Driver,
};

/// How long a transaction that was given up may take to be rolled back.
const PATIENCE: Duration = Duration::from_secs(2);

/// How many statements may wait for the next one: with more `join_all` would no
/// longer ask them in their order.
const MOST_WAIT: usize = 16;

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
    /// What goes along with the next statement.
    waiting: Vec<Waiting>,
}

/// A statement whose answer nobody waits for: its text and its parameters.
type Waiting = (&'static str, Vec<Value>);

impl Tx {
    pub async fn begin(server: &Server, mode: Mode) -> Result<Tx, Failure> {
        let looks = matches!(mode, Mode::Read | Mode::Near);
        Ok(Tx(if looks && server.door.has_sessions() {
            Way::Shared(server.shared.connection().await?)
        } else {
            let lease = Some(server.pool.lease().await?);
            Way::Alone(Alone { lease, mode, begun: false, waiting: Vec::new() })
        }))
    }

    pub async fn fetch(
        &mut self,
        sql: &'static str,
        values: &[Value],
        read: &mut Read<'_>,
    ) -> Result<(), Failure> {
        counts::statement();
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
        counts::statement();
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

    /// Runs a statement before the next one or the commit, in the same packet;
    /// its failure is told there.
    pub async fn execute_later(&mut self, sql: &'static str, values: Vec<Value>) -> Result<(), Failure> {
        match &mut self.0 {
            Way::Alone(alone) if alone.waiting.len() < MOST_WAIT => {
                counts::statement();
                alone.waiting.push((sql, values));
                Ok(())
            }
            _ => self.execute(sql, &values).await.map(drop),
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
        if alone.mode != Mode::Write || !alone.begun && alone.waiting.is_empty() {
            return Ok(()); // nothing was changed: dropped, it is rolled back behind our back
        }
        let step = alone.step();
        let client = &step.connection.client;
        if client.is_closed() {
            let gone = client.batch_execute("").await.err();
            return gone.map_or(Ok(()), |cause| Err(error::statement(cause, "COMMIT")));
        }
        // A commit behind what failed is answered, and rolls back. One that is not answered may
        // have been kept, whatever is said of those before it.
        let outcome = step.run_with(client.batch_execute("COMMIT")).await;
        step.heed(outcome.and_then(|(before, committed)| match committed {
            Ok(()) => before,
            Err(cause) if cause.as_db_error().is_some() => before.and(Err(error::commit(cause))),
            Err(cause) => Err(error::commit(cause)),
        }))?;
        counts::commit();
        if let Some(lease) = &mut alone.lease {
            lease.set_clean(true);
        }
        alone.lease = None;
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
        let waiting = std::mem::take(&mut self.waiting);
        Step { begin, waiting, door: lease.door(), connection: lease.connection() }
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
    waiting: Vec<Waiting>,
    door: &'a Door,
    connection: &'a Connection,
}

impl Step<'_> {
    /// Runs it.
    async fn run<T>(&self, statement: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        let outcome = self.run_with(statement).await.and_then(|(before, outcome)| before.and(outcome));
        self.heed(outcome)
    }

    /// Leaves a server that takes no changes any more.
    fn heed<T>(&self, outcome: Result<T, Failure>) -> Result<T, Failure> {
        if outcome.as_ref().is_err_and(|failure| failure.again == Again::Elsewhere) {
            self.door.renew();
        }
        outcome
    }

    /// Runs it with what stands before it in the same packet: the beginning of its transaction
    /// and those who wait. Says how that went, and how it went itself.
    async fn run_with<T>(
        &self,
        statement: impl Future<Output = T>,
    ) -> Result<(Result<(), Failure>, T), Failure> {
        // It is moved several times from here on, and is large.
        let statement = Box::pin(statement);
        let asking = async {
            if self.begin.is_none() && self.waiting.is_empty() {
                return Ok((Ok(()), statement.await));
            }
            let mut begin = self.begin;
            if !self.waiting.iter().all(|(sql, _)| self.connection.is_ready(sql)) {
                // Prepared only when it is asked, it would be sent behind those after it.
                self.begin(begin.take()).await?;
                for (sql, _) in &self.waiting {
                    self.connection.prepare(sql).await?;
                }
            }
            let waiting = self.waiting.iter().map(|(sql, values)| self.connection.execute(sql, values));
            // `join` asks them in this order, and asking sends.
            let (began, before, outcome) = futures::join!(self.begin(begin), join_all(waiting), statement);
            let before = before.into_iter().try_for_each(|outcome| outcome.map(drop));
            Ok((began.and(before), outcome))
        };
        self.door.ask(asking).await
    }

    async fn begin(&self, text: Option<&str>) -> Result<(), Failure> {
        match text {
            Some(text) => batch(self.connection, text).await,
            None => Ok(()),
        }
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
