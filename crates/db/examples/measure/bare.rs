//! The deeds on the bare drivers, as one would write them by hand.

use std::{
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use rusqlite::Connection;
use tokio::sync::Semaphore;
use tokio_postgres::{Client, NoTls, Statement};

use crate::{Deed, Does, INSERT, Keys, READ, ROWS, TABLE, UPDATE};

/// One connection, one thread, one loop: nothing between the caller and SQLite.
pub struct Sqlite {
    connection: Mutex<Connection>,
    keys: Arc<Keys>,
}

impl Sqlite {
    pub fn open(path: &Path) -> Sqlite {
        let mut connection = Connection::open(path).unwrap();
        connection.execute_batch("PRAGMA journal_mode = wal; PRAGMA synchronous = full").unwrap();
        connection.execute_batch(TABLE).unwrap();
        let keys = Keys::new(ROWS);
        let fill = connection.transaction().unwrap();
        for id in 0..ROWS {
            fill.execute(INSERT, (id, id, "a name")).unwrap();
        }
        fill.commit().unwrap();
        Sqlite { connection: Mutex::new(connection), keys }
    }

    /// Deeds per second.
    pub fn rate(&self, deed: Deed, span: Duration) -> f64 {
        let connection = self.connection.lock().unwrap();
        let (start, mut done) = (Instant::now(), 0);
        while start.elapsed() < span {
            Self::run(&connection, deed, &self.keys);
            done += 1;
        }
        f64::from(done) / start.elapsed().as_secs_f64()
    }

    fn run(connection: &Connection, deed: Deed, keys: &Keys) {
        let prepared = |sql| connection.prepare_cached(sql).unwrap();
        match deed {
            Deed::Read | Deed::Gathered => {
                let read = |row: &rusqlite::Row<'_>| {
                    Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, String>(2)?))
                };
                prepared(READ).query_row([keys.known()], read).unwrap();
            }
            Deed::Insert => {
                let id = keys.fresh();
                prepared(INSERT).execute((id, id, "a name")).unwrap();
            }
            Deed::Ten => {
                let first = keys.ten();
                prepared("BEGIN IMMEDIATE").execute([]).unwrap();
                for id in first..first + 10 {
                    prepared(UPDATE).execute([id]).unwrap();
                }
                prepared("COMMIT").execute([]).unwrap();
            }
        }
    }
}

/// A pool of twenty connections.
pub struct Postgres {
    seats: Semaphore,
    idle: Mutex<Vec<Session>>,
    keys: Arc<Keys>,
}

struct Session {
    client: Client,
    read: Statement,
    insert: Statement,
    update: Statement,
}

impl Postgres {
    pub async fn open(server: &str) -> Postgres {
        let url = format!("{server}/postgres");
        let mut idle = Vec::new();
        for place in 0..20 {
            let (client, wire) = tokio_postgres::connect(&url, NoTls).await.unwrap();
            tokio::spawn(wire);
            if place == 0 {
                client.batch_execute(TABLE).await.unwrap();
                let fill = format!(
                    "INSERT INTO rows SELECT n, n, 'a name' FROM generate_series(0, {ROWS} - 1) AS n"
                );
                client.batch_execute(&fill).await.unwrap();
            }
            let (read, insert) = (client.prepare(READ).await.unwrap(), client.prepare(INSERT).await.unwrap());
            let update = client.prepare(UPDATE).await.unwrap();
            idle.push(Session { client, read, insert, update });
        }
        Postgres { seats: Semaphore::new(20), idle: Mutex::new(idle), keys: Keys::new(ROWS) }
    }
}

impl Does for Postgres {
    async fn call(&self, deed: Deed) {
        let _seat = self.seats.acquire().await.unwrap();
        let session = self.idle.lock().unwrap().pop().unwrap();
        let client = &session.client;
        match deed {
            Deed::Read | Deed::Gathered => {
                let row = client.query_one(&session.read, &[&self.keys.known()]).await.unwrap();
                let _: (i64, i64, String) = (row.get(0), row.get(1), row.get(2));
            }
            Deed::Insert => {
                let id = self.keys.fresh();
                client.execute(&session.insert, &[&id, &id, &"a name"]).await.unwrap();
            }
            Deed::Ten => {
                client.batch_execute("BEGIN").await.unwrap();
                let first = self.keys.ten();
                for id in first..first + 10 {
                    client.execute(&session.update, &[&id]).await.unwrap();
                }
                client.batch_execute("COMMIT").await.unwrap();
            }
        }
        self.idle.lock().unwrap().push(session);
    }
}
