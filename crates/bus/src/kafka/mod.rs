//! Kafka as the bus, by librdkafka.
//!
//! The events of a service are a topic, `carmel.orders`, with the entity as
//! key. A consumer is a group of its topics; it commits an offset when all
//! effects before it are committed. When partitions change hands, the new
//! process reads on from there while the old one may still be at what it had
//! read: both hear in order, and the second time has no effect.

mod consume;
mod line;
mod live;
mod settle;

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use kernel::{Error, Result, World};
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    error::KafkaError,
    producer::FutureProducer,
    types::RDKafkaErrorCode,
};

pub(crate) use line::Line;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// The wait after Kafka did not do what it was asked.
const PAUSE: Duration = Duration::from_millis(500);

/// Kafka brokers that carry events.
pub(crate) struct Kafka {
    brokers: String,
    world: World,
    /// Made again when librdkafka has given it up.
    producer: Mutex<FutureProducer>,
    /// The topics that were seen to be there, or that are not ours to make.
    topics: Mutex<HashSet<String>>,
}

impl Kafka {
    pub fn new(world: &World, brokers: &str) -> Result<Kafka> {
        let producer = Mutex::new(producer(brokers)?);
        Ok(Kafka { brokers: brokers.to_owned(), world: world.clone(), producer, topics: Mutex::default() })
    }

    /// Makes a topic that is missing. Where that is not allowed, those who run
    /// the brokers make it, as `docs/events.md` asks them to.
    async fn make_topic(&self, topic: &str, partitions: u32) -> Result<()> {
        if self.topics.lock().unwrap_or_else(PoisonError::into_inner).contains(topic) {
            return Ok(());
        }
        let admin: AdminClient<DefaultClientContext> = client(&self.brokers).create().map_err(away)?;
        // All are asked for, because a broker may make one that is asked for by name, in its own way.
        let list = move || (admin.inner().fetch_metadata(None, PATIENCE), admin);
        let (found, admin) = self.world.blocking(list).await?;
        if !found.map_err(away)?.topics().iter().any(|found| found.name() == topic) {
            let new = NewTopic::new(topic, partitions.cast_signed(), TopicReplication::Fixed(-1));
            let options = AdminOptions::new().request_timeout(Some(PATIENCE));
            let made = admin.create_topics([&new], &options).await.map_err(away)?;
            if let Some(Err((_, reason))) = made.first()
                && *reason != RDKafkaErrorCode::TopicAlreadyExists
            {
                tracing::error!(topic, %reason, "a topic is missing and cannot be made");
            }
        }
        self.topics.lock().unwrap_or_else(PoisonError::into_inner).insert(topic.to_owned());
        Ok(())
    }
}

/// What all clients have in common.
fn client(brokers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("client.id", "carmel");
    // Whoever is away may be back at any moment.
    config.set("reconnect.backoff.max.ms", "1000");
    // A question that a broker does not answer any more is given up after this, and not after a minute.
    config.set("socket.timeout.ms", "10000");
    config
}

/// One that sends a message once, however often it has to try, and puts an
/// entity where the clients of other languages put it. What is not there within
/// the time is tried again by the relay.
fn producer(brokers: &str) -> Result<FutureProducer> {
    let mut config = client(brokers);
    config.set("enable.idempotence", "true").set("acks", "all").set("partitioner", "murmur2_random");
    config.set("message.timeout.ms", PATIENCE.as_millis().to_string()).set("linger.ms", "1");
    config.create().map_err(|error| {
        let message = "the addresses of Kafka are written as in 127.0.0.1:9092,127.0.0.1:9093";
        Error::invalid("kafka_brokers", message).because(error)
    })
}

fn away(error: KafkaError) -> Error {
    Error::unavailable("kafka_unavailable", "kafka did not do what it was asked").because(error)
}

fn topic(service: &str) -> String {
    format!("carmel.{service}")
}
