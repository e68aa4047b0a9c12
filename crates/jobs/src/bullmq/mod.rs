//! How a fleet shares its jobs: through BullMQ's queues on Redis, where any
//! BullMQ tool sees them. See <https://docs.bullmq.io>.
//!
//! The database remains the truth. A row that is ready is *handed over*: it
//! becomes a BullMQ job, which stands for one lease of that row and nothing
//! else. Whoever takes the BullMQ job leases the row, works, and records the
//! outcome in the database before BullMQ hears of it. So a BullMQ job may be
//! lost, doubled, late or forged: the row is begun once under that lease, or
//! not at all.

mod address;
mod dispatcher;
mod external;
mod hand_over;
mod heard;
mod link;
mod taker;
mod watch;

use std::{fmt, time::Duration};

use kernel::{JobId, Result, World};

use address::Address;

pub(crate) use heard::Hearer;
pub(crate) use link::Link;
pub(crate) use taker::Taker;
pub(crate) use watch::Watch;

/// How jobs come to their workers.
#[derive(Clone, Debug, Default)]
pub enum Dispatch {
    /// Each runner claims them in the database.
    #[default]
    Database,
    /// They are handed over to BullMQ's queues, which all runners share with
    /// any other BullMQ tool.
    Bullmq(Bullmq),
}

/// Where the BullMQ queues are.
#[derive(Clone)]
pub struct Bullmq {
    pub(crate) address: Address,
    pub(crate) look_up_after: Duration,
}

impl Bullmq {
    /// In the Redis of that address:
    /// - `redis://[user:password@]host[:port][/number]`
    /// - `redis+sentinel://[user:password@]sentinel:26379,…/master[/number]`,
    ///   where the login is that of the master
    /// - `redis+cluster://[user:password@]node:6379,…`, where the keys begin
    ///   with `{bull}` and not with `bull`
    ///
    /// Its `maxmemory-policy` must be `noeviction`. Fails with
    /// `queue_url_invalid`.
    pub fn at(url: &str) -> Result<Bullmq> {
        Ok(Bullmq { address: Address::parse(url)?, look_up_after: Duration::from_secs(30) })
    }

    /// Who waits in Redis for so long is looked up there, even in a Redis that
    /// seems to have lost nothing: 30 seconds unless told.
    pub fn look_up_after(mut self, span: Duration) -> Self {
        self.look_up_after = span;
        self
    }

    /// Fails with `queue_evicts` when that Redis may throw away what it was
    /// given, and with `queue_away` (which passes) when it does not answer.
    pub async fn check(&self, world: &World) -> Result<()> {
        link::check(self, world).await
    }
}

impl fmt::Debug for Bullmq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bullmq({})", self.address)
    }
}

/// The BullMQ name of a service's queue: `orders.default`.
pub(crate) fn queue_name(service: &str, queue: &str) -> String {
    // BullMQ refuses a colon, which separates the parts of its keys.
    format!("{service}.{queue}").replace(':', ".")
}

/// One lease of a row: the BullMQ job `job_…-3` is its third.
///
/// Attempts would not do as numbers: one that was put off is not counted, and a
/// dead letter that somebody repeats counts from one again. Leases never repeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Turn {
    pub id: JobId,
    /// The token of that lease.
    pub token: i64,
}

impl Turn {
    /// The one that a BullMQ job stands for, if it is one of ours.
    pub fn named(bullmq_id: &str) -> Option<Turn> {
        let (id, token) = bullmq_id.rsplit_once('-')?;
        Some(Turn { id: id.parse().ok()?, token: token.parse().ok()? })
    }
}

impl fmt::Display for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.id, self.token)
    }
}
