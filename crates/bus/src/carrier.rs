//! The relay's end of a bus: where a batch of events goes.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use kernel::{EventId, Result};

#[cfg(feature = "kafka")]
use crate::kafka;
use crate::{
    Consumer, Envelope,
    bus::Kind,
    deliver::{Unheard, deliver},
    redis,
    relay::Relay,
};

/// What takes a batch, ready for it.
pub(crate) enum Carrier<'a> {
    /// The consumers of this process, and what they listen to.
    Memory(&'a [Arc<dyn Consumer>], HashSet<&'static str>),
    /// The streams of the service.
    Redis(redis::Line),
    /// The topic of the service.
    #[cfg(feature = "kafka")]
    Kafka(kafka::Line),
}

impl<'a> Carrier<'a> {
    /// Gets ready before anything is claimed: when the broker is away, nothing
    /// is taken that would have to be put off.
    pub async fn ready(relay: &Relay<'a>, consumers: &'a [Arc<dyn Consumer>]) -> Result<Carrier<'a>> {
        Ok(match &relay.bus.kind {
            Kind::Memory => {
                let topics = consumers.iter().flat_map(|consumer| consumer.topics()).copied().collect();
                Carrier::Memory(consumers, topics)
            }
            Kind::Redis(redis) => Carrier::Redis(redis.line(relay).await?),
            #[cfg(feature = "kafka")]
            Kind::Kafka(kafka) => Carrier::Kafka(kafka.line(relay).await?),
        })
    }

    /// Whether anybody is to be told of a topic. At a broker nobody knows who
    /// reads.
    pub fn takes(&self, topic: &str) -> bool {
        match self {
            Carrier::Memory(_, topics) => topics.contains(topic),
            _ => true,
        }
    }

    /// Carries them, those of an entity in their order. Returns those that were
    /// not: behind one, no later one of its entity is carried.
    pub async fn carry(&self, events: &[Arc<Envelope>]) -> HashMap<EventId, Unheard> {
        match self {
            Carrier::Memory(consumers, _) => deliver(consumers, events).await,
            Carrier::Redis(line) => line.send(events).await,
            #[cfg(feature = "kafka")]
            Carrier::Kafka(line) => line.send(events).await,
        }
    }
}
