//! The bus: one face, whatever carries the events.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use db::Db;
use futures::future::join_all;
use kernel::{Result, World};
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

#[cfg(feature = "kafka")]
use crate::kafka::Kafka;
use crate::{Consumer, Envelope, inbox, redis::Redis, refused, relay::Relay, sweep};

/// How many events a live feed may be behind before it misses some.
const LIVE: usize = 1024;
/// How often a consumer is told again what it refused and is due.
const AGAIN: Duration = Duration::from_secs(1);

/// Carries events from the outboxes to the consumers. Cheap to clone.
#[derive(Clone)]
pub struct Bus(Arc<Inner>);

pub(crate) struct Inner {
    pub kind: Kind,
    pub options: Options,
    pub live: broadcast::Sender<Arc<Envelope>>,
    consumers: RwLock<Vec<Arc<dyn Consumer>>>,
}

/// What carries them.
pub(crate) enum Kind {
    /// This process: who is told is here.
    Memory,
    /// Redis Streams.
    Redis(Redis),
    /// Kafka.
    #[cfg(feature = "kafka")]
    Kafka(Kafka),
}

/// How a bus behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// Every service that announces something: what live feeds see.
    pub services: &'static [&'static str],
    /// Every consumer of the fleet, with the services it listens to: those that
    /// the audit wants to see hear by way of Kafka. (Redis knows them itself.)
    pub listeners: &'static [(&'static str, &'static [&'static str])],
    /// For how long what was sent is kept (so that it can be looked at and sent
    /// again) and what was heard (so that it is not heard twice).
    pub keep: Duration,
    /// Into how many parts the events of a service are divided at a broker: so
    /// many processes can share the work of a consumer. The same everywhere;
    /// changed only while nothing is under way, because an entity moves.
    pub partitions: u32,
    /// For how long Redis keeps an event at least that all have heard, for
    /// those who come late and for readers that are none of ours.
    pub linger: Duration,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            services: &[],
            listeners: &[],
            keep: Duration::from_secs(7 * 24 * 3600),
            partitions: 8,
            linger: Duration::from_secs(3600),
        }
    }
}

impl Bus {
    /// The one inside this process: what is relayed here is heard here. Keeps
    /// for 7 days what was sent or heard.
    pub fn memory() -> Bus {
        Bus::new(Kind::Memory, Options::default())
    }

    /// The same, keeping for that long what was sent (so that it can be looked
    /// at) and what was heard (so that it is not heard twice).
    pub fn memory_keeping(keep: Duration) -> Bus {
        Bus::new(Kind::Memory, Options { keep, ..Options::default() })
    }

    /// By Redis Streams: what is relayed anywhere is heard by one process of
    /// each consumer. Redis may be away, now and later. Errors: invalid
    /// `redis_url`.
    pub fn redis(world: &World, url: &str, options: Options) -> Result<Bus> {
        Ok(Bus::new(Kind::Redis(Redis::new(world, url)?), options))
    }

    /// By Kafka, in the same way; `brokers` are addresses with commas between.
    /// Errors: invalid `kafka_brokers`.
    #[cfg(feature = "kafka")]
    pub fn kafka(world: &World, brokers: &str, options: Options) -> Result<Bus> {
        Ok(Bus::new(Kind::Kafka(Kafka::new(world, brokers)?), options))
    }

    fn new(kind: Kind, options: Options) -> Bus {
        let (live, _) = broadcast::channel(LIVE);
        Bus(Arc::new(Inner { kind, options, live, consumers: RwLock::default() }))
    }

    /// From now on this consumer hears what is relayed. To be called before
    /// [`Bus::relay`] and [`Bus::consume`]: in memory, what was sent before is
    /// not told again; from a broker a new consumer hears what that still has.
    pub fn subscribe(&self, consumer: Arc<dyn Consumer>) {
        self.0.consumers.write().unwrap_or_else(PoisonError::into_inner).push(consumer);
    }

    /// Relays the outbox of one service until `stop` is cancelled, then
    /// finishes what is under way. Clears away, too, what was sent or heard
    /// long ago.
    pub async fn relay(&self, service: &'static str, db: Db, stop: CancellationToken) {
        let relay = Relay { service, db: &db, bus: &self.0 };
        let settled = async {
            match &self.0.kind {
                Kind::Memory => stop.cancelled().await,
                Kind::Redis(redis) => redis.settle_until(&relay, &stop).await,
                #[cfg(feature = "kafka")]
                Kind::Kafka(kafka) => kafka.settle_until(&relay, &stop).await,
            }
        };
        tokio::select! {
            biased;
            _ = async { tokio::join!(relay.until(&stop), settled) } => {}
            () = sweep::forever(service, &db, self.0.options.keep) => {}
        }
    }

    /// Relays what is there now and returns how many were sent. What fails is
    /// not tried again before its time.
    pub async fn relay_once(&self, service: &'static str, db: &Db) -> Result<usize> {
        let relay = Relay { service, db, bus: &self.0 };
        let mut sent = 0;
        loop {
            let passed = relay.pass().await?;
            sent += passed.sent;
            if passed.claimed == 0 {
                return Ok(sent);
            }
        }
    }

    /// Lets the consumers of this process hear until `stop` is cancelled and
    /// what is under way is done: what a broker has for them, and again what
    /// they refused. A process that has consumers or live feeds runs this once.
    pub async fn consume(&self, stop: CancellationToken) {
        let consumers = self.0.consumers();
        let again = consumers.iter().map(|consumer| tell_again_until(consumer.as_ref(), &stop));
        let heard = async {
            match &self.0.kind {
                Kind::Memory => {}
                Kind::Redis(redis) => redis.consume_until(&self.0, &consumers, &stop).await,
                #[cfg(feature = "kafka")]
                Kind::Kafka(kafka) => kafka.consume_until(&self.0, &consumers, &stop).await,
            }
        };
        tokio::join!(join_all(again), heard);
    }

    /// Tells the consumers of this process again what they refused and is due.
    /// Returns how many events were taken.
    pub async fn tell_again(&self) -> Result<usize> {
        let mut taken = 0;
        for consumer in self.0.consumers() {
            taken += refused::tell_again(consumer.as_ref()).await?;
        }
        Ok(taken)
    }

    /// What is sent from now on, for live feeds and to forget what was
    /// remembered of it: in memory what this process relays, from a broker
    /// what any process does, while [`Bus::consume`] runs here. Who is too slow
    /// misses some, and an event may come twice.
    pub fn listen(&self) -> broadcast::Receiver<Arc<Envelope>> {
        self.0.live.subscribe()
    }
}

impl Inner {
    pub fn consumers(&self) -> Vec<Arc<dyn Consumer>> {
        self.consumers.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// An event was carried by this process. From a broker it comes back by itself.
    pub fn carried(&self, event: &Arc<Envelope>) {
        if matches!(self.kind, Kind::Memory) {
            self.show(event.clone());
        }
    }

    /// Shows an event to the live feeds.
    pub fn show(&self, event: Arc<Envelope>) {
        // With nobody listening there is nobody to tell.
        drop(self.live.send(event));
    }
}

async fn tell_again_until(consumer: &dyn Consumer, stop: &CancellationToken) {
    let world = consumer.db().world();
    let mut is_known = false;
    while !stop.is_cancelled() {
        let told = async {
            if !is_known {
                inbox::listens(consumer.db(), consumer.name()).await?;
                is_known = true;
            }
            refused::tell_again(consumer).await
        };
        if let Err(error) = told.await {
            tracing::warn!(
                consumer = consumer.name(),
                error = error.chain(),
                "refused events were not told again"
            );
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = world.sleep(world.jitter(AGAIN)) => {}
        }
    }
}
