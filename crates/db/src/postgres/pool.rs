//! Connections to PostgreSQL: some that a transaction has for itself, and two
//! that all who only look share, their statements one behind the other on the wire.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use kernel::{Error, Result, World};
use tokio::sync::{Mutex as Gate, OwnedSemaphorePermit, Semaphore};
use tokio_postgres::{Client, Config, NoTls, Statement};

use super::error;
use crate::error::{Failure, closed};

/// How long a connection may take to be there.
const PATIENCE: Duration = Duration::from_secs(5);

/// A connection and the statements that it knows.
pub(super) struct Connection {
    pub client: Client,
    /// By address and length of their text, which is there as long as the program.
    statements: Mutex<HashMap<(usize, usize), Statement>>,
    /// Statements under way, where it is shared.
    busy: AtomicUsize,
}

impl Connection {
    /// The statement of that text, prepared once.
    pub async fn statement(&self, sql: &'static str) -> Result<Statement, Failure> {
        let key = (sql.as_ptr() as usize, sql.len());
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

/// How to connect.
pub(super) struct Door {
    config: Config,
    schema: String,
    pub world: World,
}

impl Door {
    pub fn new(url: &str, schema: &str, world: &World) -> Result<Door> {
        let mut config: Config = url.parse().map_err(|cause: tokio_postgres::Error| {
            // Without the cause's text: it may quote the password.
            drop(cause);
            Error::invalid(
                "database_url_invalid",
                "the database's URL is postgres://user:password@host:port/database",
            )
        })?;
        config
            .application_name("carmel")
            .keepalives_idle(Duration::from_secs(30))
            .tcp_user_timeout(Duration::from_secs(15));
        Ok(Door { config, schema: quoted(schema), world: world.clone() })
    }

    /// The schema's name, in quotes.
    pub fn schema(&self) -> &str {
        &self.schema
    }

    pub async fn connect(&self, read_only: bool) -> Result<Connection, Failure> {
        let connecting = async {
            let (client, wire) = self.config.connect(NoTls).await.map_err(error::connecting)?;
            self.world.spawn(async move {
                if let Err(cause) = wire.await {
                    // Whoever uses it learns of it; with nobody using it, it is no fault.
                    tracing::debug!(cause = error::said(&cause), "a connection to PostgreSQL ended");
                }
            });
            let settings = format!(
                "SET search_path = {}; SET statement_timeout = '10s'; SET lock_timeout = '5s'; \
                 SET idle_in_transaction_session_timeout = '10s'; SET timezone = 'UTC'; \
                 SET default_transaction_read_only = {read_only}",
                self.schema
            );
            client.batch_execute(&settings).await.map_err(error::connecting)?;
            Ok(Connection { client, statements: Mutex::default(), busy: AtomicUsize::new(0) })
        };
        let outcome = self.world.timeout(PATIENCE, connecting).await;
        outcome.unwrap_or_else(|| {
            let error = Error::unavailable("database_unavailable", "the database does not answer");
            Err(Failure::last(error.because("no connection in time")))
        })
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
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
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        // The last one first: its statements are prepared, and the others may rest.
        std::iter::from_fn(|| idle.pop()).find(|connection| !connection.client.is_closed())
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

    pub fn world(&self) -> &World {
        &self.pool.door.world
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else {
            return;
        };
        if self.clean && !connection.client.is_closed() {
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
        let [first, second] = &self.slots;
        let slot = if second.busy() < first.busy() { second } else { first };
        if let Some(connection) = slot.open() {
            return Ok(connection);
        }
        let _gate = slot.gate.lock().await;
        if let Some(connection) = slot.open() {
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
    fn open(&self) -> Option<Arc<Connection>> {
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        connection.as_ref().filter(|c| !c.client.is_closed()).cloned()
    }

    fn busy(&self) -> usize {
        self.open().map_or(0, |connection| connection.busy.load(Ordering::Relaxed))
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
