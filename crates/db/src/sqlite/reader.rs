//! The readers of a SQLite file: opened when they are needed, a handful at most.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use kernel::Value;
use rusqlite::Connection;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Access, Disk, Step, command, connect, execute, failure, fetch, told};
use crate::{
    error::{Failure, closed},
    query::Read,
};

/// Readers finish within one poll, so more of them than threads would only hold memory.
const MOST: usize = 4;

/// Connections that only look.
pub(crate) struct Readers {
    path: PathBuf,
    seats: Arc<Semaphore>,
    idle: Mutex<Vec<Connection>>,
    disk: Arc<dyn Disk>,
}

impl Readers {
    pub fn new(path: &Path, disk: Arc<dyn Disk>) -> Arc<Readers> {
        Arc::new(Readers {
            path: path.to_owned(),
            seats: Arc::new(Semaphore::new(MOST)),
            idle: Mutex::default(),
            disk,
        })
    }

    /// Begins to look at one picture of the file.
    pub async fn begin(self: &Arc<Readers>) -> Result<ReadTx, Failure> {
        let seat = match self.seats.clone().try_acquire_owned() {
            Ok(seat) => seat,
            Err(_) => {
                let seat = self.seats.clone().acquire_owned().await;
                seat.map_err(|_| Failure::last(closed()))?
            }
        };
        self.disk.before(Step::Begin).map_err(Failure::last)?;
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let connection = match idle {
            Some(connection) => connection,
            None => connect(&self.path, Access::Read).map_err(failure)?,
        };
        let tx = ReadTx { readers: self.clone(), connection: Some(connection), _seat: seat };
        command(tx.connection(), "BEGIN")?;
        Ok(tx)
    }

    /// Prepares a text without running it.
    pub async fn check(self: &Arc<Readers>, sql: &str) -> Result<(), Failure> {
        let tx = self.begin().await?;
        tx.connection().prepare(sql).map(drop).map_err(|e| told(e, sql))
    }

    pub async fn close(&self) {
        if let Ok(all) = self.seats.acquire_many(MOST as u32).await {
            self.seats.close();
            drop(all);
        }
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// A transaction that looks. Ends when it is dropped.
pub(crate) struct ReadTx {
    readers: Arc<Readers>,
    connection: Option<Connection>,
    // Given back after `drop` has put the connection back.
    _seat: OwnedSemaphorePermit,
}

impl ReadTx {
    pub fn fetch(&self, sql: &str, values: &[Value], read: &mut Read<'_>) -> Result<(), Failure> {
        fetch((self.connection(), &*self.readers.disk), sql, values, read)
    }

    pub fn execute(&self, sql: &str, values: &[Value]) -> Result<u64, Failure> {
        execute((self.connection(), &*self.readers.disk), sql, values)
    }

    fn connection(&self) -> &Connection {
        self.connection.as_ref().expect("only drop takes it")
    }
}

impl Drop for ReadTx {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else {
            return;
        };
        // One that cannot end its transaction is closed instead of kept.
        if connection.is_autocommit() || command(&connection, "ROLLBACK").is_ok() {
            let mut idle = self.readers.idle.lock().unwrap_or_else(PoisonError::into_inner);
            idle.push(connection);
        }
    }
}
