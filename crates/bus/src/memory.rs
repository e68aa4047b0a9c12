//! The bus, and its form inside one process.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use db::Db;
use kernel::Result;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use crate::{Consumer, Envelope, relay::Relay, sweep};

/// How many events a live feed may be behind before it misses some.
const LIVE: usize = 1024;

/// Carries events from the outboxes to the consumers. Cheap to clone.
#[derive(Clone)]
pub struct Bus(Kind);

/// What carries them: this process now, a broker later.
#[derive(Clone)]
enum Kind {
    Memory(Arc<Memory>),
}

struct Memory {
    consumers: RwLock<Vec<Arc<dyn Consumer>>>,
    live: broadcast::Sender<Arc<Envelope>>,
    keep: Duration,
}

impl Bus {
    /// The one inside this process: what is relayed here is heard here. Keeps
    /// for 7 days what was sent or heard.
    pub fn memory() -> Bus {
        Bus::memory_keeping(Duration::from_secs(7 * 24 * 3600))
    }

    /// The same, keeping for that long what was sent (so that it can be looked
    /// at) and what was heard (so that it is not heard twice).
    pub fn memory_keeping(span: Duration) -> Bus {
        let (live, _) = broadcast::channel(LIVE);
        Bus(Kind::Memory(Arc::new(Memory { consumers: RwLock::default(), live, keep: span })))
    }

    /// From now on this consumer hears what is relayed. To be called before the
    /// first [`Bus::relay`]: what was sent before is not told again.
    pub fn subscribe(&self, consumer: Arc<dyn Consumer>) {
        let Kind::Memory(memory) = &self.0;
        memory.consumers.write().unwrap_or_else(PoisonError::into_inner).push(consumer);
    }

    /// Relays the outbox of one service until `stop` is cancelled, then
    /// finishes what is under way. Clears away, too, what was sent or heard
    /// long ago.
    pub async fn relay(&self, service: &'static str, db: Db, stop: CancellationToken) {
        let Kind::Memory(memory) = &self.0;
        let relay = Relay { service, db: &db, live: &memory.live };
        tokio::select! {
            () = relay.until(&stop, || memory.consumers()) => {}
            () = sweep::forever(service, &db, memory.keep) => {}
        }
    }

    /// Relays what is there now and returns how many were sent. What fails is
    /// not tried again before its time.
    pub async fn relay_once(&self, service: &'static str, db: &Db) -> Result<usize> {
        let Kind::Memory(memory) = &self.0;
        let relay = Relay { service, db, live: &memory.live };
        let mut sent = 0;
        loop {
            let passed = relay.pass(&memory.consumers()).await?;
            sent += passed.sent;
            if passed.claimed == 0 {
                return Ok(sent);
            }
        }
    }

    /// What is sent from now on, for live feeds: who is too slow misses some,
    /// and an event may come twice.
    pub fn listen(&self) -> broadcast::Receiver<Arc<Envelope>> {
        let Kind::Memory(memory) = &self.0;
        memory.live.subscribe()
    }
}

impl Memory {
    fn consumers(&self) -> Vec<Arc<dyn Consumer>> {
        self.consumers.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
