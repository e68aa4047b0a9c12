//! Puts events into topics.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, PoisonError},
};

use futures::future::join_all;
use kernel::{EventId, Result};
use rdkafka::{
    message::{Header, OwnedHeaders},
    producer::{FutureProducer, FutureRecord, Producer},
};

use super::{Kafka, PATIENCE, away, producer, topic};
use crate::{
    Envelope,
    deliver::{Unheard, stuck},
    relay::Relay,
};

/// A way into the topic of a service.
pub(crate) struct Line {
    producer: FutureProducer,
    topic: String,
}

impl Kafka {
    /// Gets ready to send.
    pub async fn line(&self, relay: &Relay<'_>) -> Result<Line> {
        let topic = topic(relay.service);
        self.make_topic(&topic, relay.bus.options.partitions).await?;
        Ok(Line { producer: self.producer()?, topic })
    }

    /// The producer, another one when it has given up for good.
    fn producer(&self) -> Result<FutureProducer> {
        let mut current = self.producer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, reason)) = current.client().fatal_error() {
            tracing::warn!(reason, "the producer of Kafka gave up: another one begins");
            *current = producer(&self.brokers)?;
        }
        Ok(current.clone())
    }
}

impl Line {
    /// Sends them, entity beside entity. Returns those of which it is not known
    /// that Kafka has them.
    pub async fn send(&self, events: &[Arc<Envelope>]) -> HashMap<EventId, Unheard> {
        let mut entities: BTreeMap<&str, Vec<Arc<Envelope>>> = BTreeMap::new();
        for event in events {
            entities.entry(&event.subject).or_default().push(event.clone());
        }
        let unheard = join_all(entities.into_values().map(|run| self.send_run(run))).await;
        unheard.into_iter().flatten().collect()
    }

    /// Each when the one before is there: one that ran out of time could
    /// otherwise be tried again behind a later one.
    async fn send_run(&self, run: Vec<Arc<Envelope>>) -> Vec<(EventId, Unheard)> {
        for (sent, event) in run.iter().enumerate() {
            if let Err(error) = self.put(event).await {
                return stuck(&run[sent..], "kafka", &error);
            }
        }
        Vec::new()
    }

    async fn put(&self, event: &Envelope) -> Result<()> {
        let json = event.to_json()?;
        let kind = Header { key: "content-type", value: Some("application/cloudevents+json; charset=UTF-8") };
        let record = FutureRecord::to(&self.topic)
            .key(&event.subject)
            .payload(&json)
            .headers(OwnedHeaders::new().insert(kind));
        self.producer.send(record, PATIENCE).await.map_err(|(error, _)| away(error))?;
        Ok(())
    }
}
