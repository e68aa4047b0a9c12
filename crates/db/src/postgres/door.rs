//! The way to a server: which hosts, and what a connection is told first.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::future::select_ok;
use kernel::{Error, Result, Time, World};
use tokio_postgres::{
    Config, NoTls,
    config::{Host, TargetSessionAttrs},
};

use super::{error, pool::Connection};
use crate::{Mode, Pooler, counts, error::Failure};

/// How long a connection may take to be there.
const PATIENCE: Duration = Duration::from_secs(5);

/// A server that has answered nothing at all for so long is silent: longer
/// than a statement may take.
const SILENCE: Duration = Duration::from_secs(12);
/// No statement waits for its answer.
const NOBODY: i64 = i64::MIN;

/// Which server of a cluster is meant.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// The one that takes changes, whichever of the hosts it is just now.
    Primary,
    /// One that follows it.
    Replica,
}

/// How to connect.
pub(super) struct Door {
    /// One for each host of the URL.
    hosts: Vec<Config>,
    schema: String,
    pooler: Pooler,
    /// What each transaction begins with, by its mode.
    write: String,
    look: String,
    snapshot: String,
    /// Grows when the server turns out not to take changes any more:
    /// connections of before are not used again.
    age: AtomicU64,
    /// When the first statement was asked that came after the last answer.
    asked_at: AtomicI64,
    pub world: World,
}

impl Door {
    pub fn new(url: &str, role: Role, schema: &str, pooler: Pooler, world: &World) -> Result<Door> {
        let mut hosts = Vec::new();
        for url in one_by_one(url) {
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
            if role == Role::Primary {
                // Not one that is a replica, still or again.
                config.target_session_attrs(TargetSessionAttrs::ReadWrite);
            }
            hosts.push(config);
        }
        let schema = quoted(schema);
        let local = if pooler == Pooler::None { String::new() } else { settings("SET LOCAL", &schema) };
        Ok(Door {
            hosts,
            pooler,
            write: format!("BEGIN;{local}"),
            look: format!("BEGIN READ ONLY;{local}"),
            snapshot: format!("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;{local}"),
            schema,
            age: AtomicU64::new(0),
            asked_at: AtomicI64::new(NOBODY),
            world: world.clone(),
        })
    }

    /// The schema's name, in quotes.
    pub fn schema(&self) -> &str {
        &self.schema
    }

    /// Whether a session lasts as long as its connection.
    pub fn has_sessions(&self) -> bool {
        self.pooler == Pooler::None
    }

    /// Whether a connection may keep statements that it has prepared.
    pub fn prepares(&self) -> bool {
        self.pooler != Pooler::Plain
    }

    /// What a transaction begins with.
    pub fn begin(&self, mode: Mode) -> &str {
        match mode {
            Mode::Write => &self.write,
            Mode::Read | Mode::Near => &self.look,
            Mode::Snapshot => &self.snapshot,
        }
    }

    /// The hosts, for the log: nothing else of the URL.
    pub fn name(&self) -> String {
        let of = |config: &Config| match (config.get_hosts().first(), config.get_ports().first()) {
            (Some(Host::Tcp(host)), port) => format!("{host}:{}", port.unwrap_or(&5432)),
            (Some(Host::Unix(path)), _) => path.display().to_string(),
            (None, _) => "no host".to_owned(),
        };
        self.hosts.iter().map(of).collect::<Vec<_>>().join(",")
    }

    /// Whether a connection may be used for another statement.
    pub fn admits(&self, connection: &Connection) -> bool {
        !connection.client.is_closed() && connection.age == self.age.load(Ordering::Relaxed)
    }

    /// The server takes no changes any more: none of its connections is used again.
    pub fn renew(&self) {
        self.age.fetch_add(1, Ordering::Relaxed);
    }

    /// Runs a statement. One that is given up counts as not answered.
    pub async fn ask<T>(&self, statement: impl Future<Output = T>) -> T {
        if self.asked_at.load(Ordering::Relaxed) == NOBODY {
            let now = self.world.steady().micros();
            // Of several who are the first either will do.
            self.asked_at.store(now, Ordering::Relaxed);
        }
        let outcome = statement.await;
        counts::trip();
        if self.asked_at.load(Ordering::Relaxed) != NOBODY {
            self.asked_at.store(NOBODY, Ordering::Relaxed);
        }
        outcome
    }

    /// Leaves a server that is silent, frozen or cut off without a word: none of
    /// its connections is used again, and whoever takes its place is looked for.
    pub fn listen(&self) {
        let asked_at = self.asked_at.load(Ordering::Relaxed);
        if asked_at == NOBODY || self.world.steady().since(Time::from_micros(asked_at)) < SILENCE {
            return;
        }
        let found = self.asked_at.compare_exchange(asked_at, NOBODY, Ordering::Relaxed, Ordering::Relaxed);
        if found.is_ok() {
            tracing::warn!(db.hosts = self.name(), "PostgreSQL is silent: its connections are left");
            self.renew();
        }
    }

    /// Connects to whichever host is the first to say that it is the right one.
    /// All are asked at once: one that is frozen would hold up the others.
    pub async fn connect(self: &Arc<Door>, read_only: bool) -> Result<Connection, Failure> {
        let age = self.age.load(Ordering::Relaxed);
        let asked = self.hosts.iter().map(|config| Box::pin(config.connect(NoTls)));
        let connecting = async {
            let ((client, wire), _) = select_ok(asked).await.map_err(error::connecting)?;
            self.world.spawn(async move {
                if let Err(cause) = wire.await {
                    // Whoever uses it learns of it; with nobody using it, it is no fault.
                    tracing::debug!(cause = error::said(&cause), "a connection to PostgreSQL ended");
                }
            });
            if self.has_sessions() {
                let mut settings = settings("SET", &self.schema);
                if read_only {
                    settings.push_str(" SET default_transaction_read_only = true");
                }
                client.batch_execute(&settings).await.map_err(error::connecting)?;
            }
            Ok(Connection::new(client, self.clone(), age))
        };
        let outcome = self.world.timeout(PATIENCE, connecting).await;
        outcome.unwrap_or_else(|| {
            let error = Error::unavailable("database_unavailable", "the database does not answer");
            Err(Failure::last(error.because("no connection in time")))
        })
    }
}

/// What holds in every transaction; `set` says for how long.
fn settings(set: &str, schema: &str) -> String {
    [
        ("search_path", schema),
        ("statement_timeout", "'10s'"),
        ("lock_timeout", "'5s'"),
        ("idle_in_transaction_session_timeout", "'10s'"),
        ("timezone", "'UTC'"),
        // As on SQLite a plan depends on the text alone, and is made once. What PostgreSQL knows of
        // a table is a minute old: a plan by that walks a whole table that was small then.
        ("plan_cache_mode", "force_generic_plan"),
        ("enable_seqscan", "off"),
        ("enable_bitmapscan", "off"),
        ("enable_hashjoin", "off"),
        ("enable_mergejoin", "off"),
        ("jit", "off"),
    ]
    .map(|(name, value)| format!(" {set} {name} = {value};"))
    .concat()
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// `postgres://me@a:1,b:2/x` is `postgres://me@a:1/x` and `postgres://me@b:2/x`.
fn one_by_one(url: &str) -> Vec<String> {
    let start = url.find("://").map_or(0, |at| at + 3);
    let end = url[start..].find(['/', '?']).map_or(url.len(), |at| start + at);
    let start = url[start..end].rfind('@').map_or(start, |at| start + at + 1);
    let (before, hosts, behind) = (&url[..start], &url[start..end], &url[end..]);
    hosts.split(',').map(|host| format!("{before}{host}{behind}")).collect()
}

#[cfg(test)]
mod tests {
    use super::one_by_one;

    #[test]
    fn each_host_has_a_url_of_its_own() {
        for (url, expected) in [
            ("postgres://a/x", &["postgres://a/x"][..]),
            (
                "postgres://me:p%40,w@a:1,b:2/x?y=,",
                &["postgres://me:p%40,w@a:1/x?y=,", "postgres://me:p%40,w@b:2/x?y=,"],
            ),
            ("postgres://a,b?user=me", &["postgres://a?user=me", "postgres://b?user=me"]),
            ("postgres://[::1]:1,b", &["postgres://[::1]:1", "postgres://b"]),
        ] {
            assert_eq!(one_by_one(url), expected);
        }
    }
}
