//! How a database is opened, beside where it is.

use std::{fmt, time::Duration};

/// How a PostgreSQL database is opened, where the plain way does not do.
/// SQLite has no use for any of it.
#[derive(Clone)]
pub struct Options {
    /// How long to wait for a server that is not there yet. With none, opening
    /// fails at once.
    pub wait: Duration,
    /// What stands between us and the server.
    pub pooler: Pooler,
    /// The URLs of replicas, which may serve [`read_near!`](crate::read_near).
    /// Secrets: never shown. One that is not there is left out until it is.
    pub replicas: Vec<String>,
    /// A replica that is further behind than this is left out.
    pub lag: Duration,
    /// Whether a schema that is missing is made. Where not, opening fails
    /// (`no_tables`).
    pub makes_schema: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            wait: Duration::ZERO,
            pooler: Pooler::None,
            replicas: Vec::new(),
            lag: Duration::from_secs(5),
            makes_schema: true,
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("wait", &self.wait)
            .field("pooler", &self.pooler)
            .field("replicas", &self.replicas.len())
            .field("lag", &self.lag)
            .finish()
    }
}

/// What stands between us and PostgreSQL. Behind a pooler every transaction
/// brings its search path and its time limits along, because no session is
/// ours for longer than that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pooler {
    /// Nothing.
    #[default]
    None,
    /// A pooler in transaction mode that knows no prepared statements:
    /// pgbouncer before 1.21, or with `max_prepared_statements = 0`.
    Plain,
    /// A pooler in transaction mode that knows them: pgbouncer from 1.21 on,
    /// with `max_prepared_statements` above 0.
    Preparing,
}
