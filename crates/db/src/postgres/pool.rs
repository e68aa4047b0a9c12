//! Connections to PostgreSQL: some that a transaction has for itself, and two
//! that all who only look share, their statements one behind the other on the wire.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use kernel::Value;
use tokio::sync::{Mutex as Gate, OwnedSemaphorePermit, Semaphore};
use tokio_postgres::{Client, RowStream, Statement};

use super::{door::Door, error, value::Bound};
use crate::error::{Failure, closed};

/// A connection and the statements that it knows.
pub(super) struct Connection {
    pub client: Client,
    /// The way that it came.
    pub door: Arc<Door>,
    /// By address and length of their text, which is there as long as the program.
    statements: Mutex<HashMap<(usize, usize), Statement>>,
    /// The age of its door when it was made.
    pub age: u64,
    /// Statements under way, where it is shared.
    busy: AtomicUsize,
}

impl Connection {
    pub fn new(client: Client, door: Arc<Door>, age: u64) -> Connection {
        let busy = AtomicUsize::new(0);
        Connection { client, door, statements: Mutex::default(), age, busy }
    }

    /// Asks for the rows of a statement.
    pub async fn rows(&self, sql: &'static str, values: &[Value]) -> Result<RowStream, Failure> {
        let asked = if self.door.prepares() {
            let statement = self.statement(sql).await?;
            self.client.query_raw(&statement, values.iter().map(Bound)).await
        } else {
            let typed = values.iter().map(|value| (Bound(value), Bound(value).kind()));
            self.client.query_typed_raw(sql, typed).await
        };
        asked.map_err(|cause| self.failed(cause, sql))
    }

    /// Runs a statement and says how many rows it changed.
    pub async fn execute(&self, sql: &'static str, values: &[Value]) -> Result<u64, Failure> {
        let changed = if self.door.prepares() {
            let statement = self.statement(sql).await?;
            self.client.execute_raw(&statement, values.iter().map(Bound)).await
        } else {
            let bound: Vec<Bound<'_>> = values.iter().map(Bound).collect();
            let typed: Vec<_> = bound.iter().map(|value| (value as _, value.kind())).collect();
            self.client.execute_typed(sql, &typed).await
        };
        changed.map_err(|cause| self.failed(cause, sql))
    }

    /// Whether a statement can be sent at once: it is prepared, or never is.
    pub fn is_ready(&self, sql: &'static str) -> bool {
        !self.door.prepares() || self.statements().contains_key(&key(sql))
    }

    /// Prepares a statement for when it is asked.
    pub async fn prepare(&self, sql: &'static str) -> Result<(), Failure> {
        self.statement(sql).await.map(drop)
    }

    /// The statement of that text, prepared once.
    async fn statement(&self, sql: &'static str) -> Result<Statement, Failure> {
        let key = key(sql);
        if let Some(statement) = self.statements().get(&key) {
            return Ok(statement.clone());
        }
        let statement = self.client.prepare(sql).await.map_err(|e| error::statement(e, sql))?;
        self.statements().insert(key, statement.clone());
        Ok(statement)
    }

    /// What a failure means. After one about a statement itself, all are prepared anew.
    pub fn failed(&self, cause: tokio_postgres::Error, sql: &str) -> Failure {
        if error::is_stale(&cause) {
            self.statements().clear();
        }
        error::statement(cause, sql)
    }

    fn statements(&self) -> std::sync::MutexGuard<'_, HashMap<(usize, usize), Statement>> {
        self.statements.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// By what a connection knows a text.
fn key(sql: &'static str) -> (usize, usize) {
    (sql.as_ptr() as usize, sql.len())
}

/// Connections of which a transaction has one for itself.
pub(super) struct Pool {
    pub door: Arc<Door>,
    seats: Arc<Semaphore>,
    size: u32,
    idle: Mutex<Vec<Connection>>,
}

impl Pool {
    pub fn new(door: Arc<Door>, size: usize) -> Arc<Pool> {
        let size = u32::try_from(size.max(1)).unwrap_or(u32::MAX);
        Arc::new(Pool { door, seats: Arc::new(Semaphore::new(size as usize)), size, idle: Mutex::default() })
    }

    pub async fn lease(self: &Arc<Pool>) -> Result<Lease, Failure> {
        let seat = self.seats.clone().acquire_owned().await;
        let seat = seat.map_err(|_| Failure::last(closed()))?;
        let connection = match self.idle_one() {
            Some(connection) => connection,
            None => self.door.connect(false).await?,
        };
        Ok(Lease { pool: self.clone(), connection: Some(connection), clean: true, _seat: seat })
    }

    fn idle_one(&self) -> Option<Connection> {
        self.door.listen();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        // The last one first: its statements are prepared, and the others may rest.
        std::iter::from_fn(|| idle.pop()).find(|connection| self.door.admits(connection))
    }

    pub async fn close(&self) {
        if let Ok(all) = self.seats.acquire_many(self.size).await {
            self.seats.close();
            drop(all);
        }
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// A connection for one alone. Goes back when dropped, unless it is not clean.
pub(super) struct Lease {
    pool: Arc<Pool>,
    connection: Option<Connection>,
    /// Whether no transaction is open on it and nobody waits for an answer.
    clean: bool,
    // Given back after `drop` has put the connection back.
    _seat: OwnedSemaphorePermit,
}

impl Lease {
    pub fn connection(&self) -> &Connection {
        self.connection.as_ref().expect("only drop takes it")
    }

    /// Only a clean one is used by the next.
    pub fn set_clean(&mut self, clean: bool) {
        self.clean = clean;
    }

    pub fn door(&self) -> &Door {
        &self.pool.door
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else {
            return;
        };
        if self.clean && self.pool.door.admits(&connection) {
            let mut idle = self.pool.idle.lock().unwrap_or_else(PoisonError::into_inner);
            idle.push(connection);
        }
    }
}

/// The connections that those who only look share.
pub(super) struct Shared {
    door: Arc<Door>,
    slots: [Slot; 2],
}

#[derive(Default)]
struct Slot {
    connection: Mutex<Option<Arc<Connection>>>,
    /// Only one connects.
    gate: Gate<()>,
}

impl Shared {
    pub fn new(door: Arc<Door>) -> Shared {
        Shared { door, slots: Default::default() }
    }

    /// The connection that has less to do; with nothing to do on both the first,
    /// which is warm.
    pub async fn connection(&self) -> Result<Arc<Connection>, Failure> {
        self.door.listen();
        let [first, second] = &self.slots;
        let busy = |slot: &Slot| slot.open(&self.door).map_or(0, |c| c.busy.load(Ordering::Relaxed));
        let slot = if busy(second) < busy(first) { second } else { first };
        if let Some(connection) = slot.open(&self.door) {
            return Ok(connection);
        }
        let _gate = slot.gate.lock().await;
        if let Some(connection) = slot.open(&self.door) {
            return Ok(connection);
        }
        let connection = Arc::new(self.door.connect(true).await?);
        *slot.connection.lock().unwrap_or_else(PoisonError::into_inner) = Some(connection.clone());
        Ok(connection)
    }

    /// Forgets them; they end when the last who uses them is done.
    pub fn close(&self) {
        for slot in &self.slots {
            *slot.connection.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }
}

impl Slot {
    fn open(&self, door: &Door) -> Option<Arc<Connection>> {
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        connection.as_ref().filter(|connection| door.admits(connection)).cloned()
    }
}

/// Counts a statement as under way on a shared connection.
pub(super) struct Busy<'a>(&'a Connection);

impl<'a> Busy<'a> {
    pub fn on(connection: &'a Connection) -> Busy<'a> {
        connection.busy.fetch_add(1, Ordering::Relaxed);
        Busy(connection)
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::Relaxed);
    }
}
