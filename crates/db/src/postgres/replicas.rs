//! Replicas: which of them have what a caller must see.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::future::join_all;
use kernel::{Error, Task, Time};

use super::{Server, Tx};
use crate::{Caller, Mode, error::Failure};

/// How often they are asked how far they are.
const EVERY: Duration = Duration::from_millis(250);
/// How long an answer to that may take.
const PATIENCE: Duration = Duration::from_secs(1);
/// By how much the clocks of two of our processes may differ.
const CLOCKS: Duration = Duration::from_secs(1);
/// Of a replica that serves nobody.
const OUT: i64 = i64::MIN;

/// How far the log of changes is written, in bytes.
const WRITTEN: &str = "SELECT CAST(pg_current_wal_lsn() - '0/0' AS BIGINT)";
/// How far a replica has followed; nothing once it is a replica no more.
const FOLLOWED: &str =
    "SELECT CASE WHEN pg_is_in_recovery() THEN CAST(pg_last_wal_replay_lsn() - '0/0' AS BIGINT) END";

/// The replicas of a server.
pub(super) struct Replicas {
    all: Arc<[Replica]>,
    lag: Duration,
    next: AtomicUsize,
    watch: Task,
}

struct Replica {
    server: Arc<Server>,
    /// It has everything that was committed before this time.
    has: AtomicI64,
}

impl Replicas {
    /// All of them, each left out until it is seen to follow `primary`.
    pub fn watched(primary: Arc<Server>, servers: Vec<Arc<Server>>, lag: Duration) -> Replicas {
        let replica = |server| Replica { server, has: AtomicI64::new(OUT) };
        let all: Arc<[Replica]> = servers.into_iter().map(replica).collect();
        let world = primary.door.world.clone();
        let watch = world.spawn(watch(primary, all.clone(), lag));
        Replicas { all, lag, next: AtomicUsize::new(0), watch }
    }

    /// One that has all that the caller of this task has changed, by turns.
    pub fn nearest(&self) -> Option<&Server> {
        let caller = Caller::current()?;
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let replica = |at| &self.all[turn.wrapping_add(at) % self.all.len()];
        let now = replica(0).server.door.world.now();
        let mut needed = now - self.lag;
        if let Some(wrote_at) = caller.wrote_at() {
            needed = needed.max(wrote_at + CLOCKS);
        }
        let fit = (0..self.all.len()).map(replica).find(|replica| replica.has() > needed)?;
        Some(&fit.server)
    }

    pub async fn close(&self) {
        self.watch.end();
        for replica in self.all.iter() {
            replica.server.close().await;
        }
    }
}

impl Drop for Replicas {
    fn drop(&mut self) {
        self.watch.end();
    }
}

impl Replica {
    fn has(&self) -> Time {
        Time::from_micros(self.has.load(Ordering::Relaxed))
    }

    /// Asks how far it is; `written` says, latest first, what was there when.
    async fn look(&self, written: &VecDeque<(Time, i64)>) {
        let followed = position(&self.server, FOLLOWED).await;
        let has = match &followed {
            Ok(Some(to)) => written.iter().find(|(_, position)| position <= to).map(|(time, _)| *time),
            _ => None,
        };
        let before = self.has.swap(has.map_or(OUT, Time::micros), Ordering::Relaxed);
        match (before != OUT, has) {
            (false, Some(_)) => tracing::info!(db.hosts = self.server.door.name(), "a replica serves"),
            (true, None) => {
                let cause =
                    followed.err().map_or("it is too far behind".into(), |failure| failure.error.chain());
                tracing::warn!(db.hosts = self.server.door.name(), cause, "a replica is left out");
            }
            _ => (),
        }
    }
}

/// Asks all of them again and again.
async fn watch(primary: Arc<Server>, all: Arc<[Replica]>, lag: Duration) {
    let world = &primary.door.world;
    let mut written = VecDeque::new();
    loop {
        // The time first: whatever was committed before it is in what is written after it.
        let time = world.now();
        if let Ok(Some(position)) = position(&primary, WRITTEN).await {
            written.push_front((time, position));
        }
        while written.back().is_some_and(|(time, _)| *time < world.now() - lag) {
            written.pop_back();
        }
        join_all(all.iter().map(|replica| replica.look(&written))).await;
        world.sleep(EVERY).await;
    }
}

/// What a server says about how far it is.
async fn position(server: &Server, sql: &'static str) -> Result<Option<i64>, Failure> {
    let ask = async {
        let mut position = None;
        let mut tx = Tx::begin(server, Mode::Read).await?;
        let mut read = |row: &crate::Row<'_>| {
            position = row.at(0)?;
            Ok(false)
        };
        tx.fetch(sql, &[], &mut read).await?;
        Ok(position)
    };
    let answer = server.door.world.timeout(PATIENCE, ask).await;
    answer.unwrap_or_else(|| {
        Err(Failure::last(Error::unavailable("database_unavailable", "the database does not answer")))
    })
}
