//! Lets a consumer hear what is in the topics.

use std::{collections::BTreeSet, sync::Arc};

use futures::{FutureExt, future::join_all};
use kernel::Result;
use rdkafka::{
    Message, Offset, TopicPartitionList,
    consumer::{CommitMode, Consumer as _, StreamConsumer},
    message::BorrowedMessage,
};
use tokio_util::sync::CancellationToken;

use super::{Kafka, PAUSE, away, client, topic};
use crate::{Consumer, Envelope, bus::Inner, deliver::deliver_all};

/// The most messages that are heard before their offsets are committed.
const MOST: usize = 256;

impl Kafka {
    /// Lets all of them hear, and the live feeds see, until `stop` is cancelled.
    pub async fn consume_until(
        &self,
        bus: &Inner,
        consumers: &[Arc<dyn Consumer>],
        stop: &CancellationToken,
    ) {
        let hearing = consumers.iter().map(|consumer| self.hear_until(bus, consumer, stop));
        tokio::join!(join_all(hearing), self.show_until(bus, stop));
    }

    async fn hear_until(&self, bus: &Inner, consumer: &Arc<dyn Consumer>, stop: &CancellationToken) {
        let mut ear = None;
        while !stop.is_cancelled() {
            let hearing = async {
                if ear.is_none() {
                    ear = Some(self.join(bus, consumer).await?);
                }
                let Some(ear) = &ear else { return Ok(()) };
                hear(ear, consumer, stop).await
            };
            let heard: Result<()> = hearing.await;
            if let Err(error) = heard {
                let consumer = consumer.name();
                tracing::warn!(consumer, error = error.chain(), "events were not heard, to be read again");
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = self.world.sleep(self.world.jitter(PAUSE)) => {}
                }
            }
        }
        // Leaving the group waits for an answer.
        let left = self.world.blocking(move || drop(ear)).await;
        debug_assert!(left.is_ok());
    }

    /// Joins the group of a consumer.
    async fn join(&self, bus: &Inner, consumer: &Arc<dyn Consumer>) -> Result<StreamConsumer> {
        let services = consumer.topics().iter().filter_map(|topic| topic.split('.').next());
        let topics: Vec<String> = services.collect::<BTreeSet<_>>().into_iter().map(topic).collect();
        for topic in &topics {
            self.make_topic(topic, bus.options.partitions).await?;
        }
        let mut config = client(&self.brokers);
        config.set("group.id", consumer.name()).set("enable.auto.commit", "false");
        config.set("auto.offset.reset", "earliest"); // a group that is new
        config.set("session.timeout.ms", "10000"); // a process that is not heard of
        // A join that is not answered any more is given up after this, and not after five minutes. Whoever
        // waits longer than that for his database is out of the group until he reads again.
        config.set("max.poll.interval.ms", "60000");
        config.set("topic.metadata.refresh.interval.ms", "10000"); // a topic that others make
        let ear: StreamConsumer = config.create().map_err(away)?;
        ear.subscribe(&topics.iter().map(String::as_str).collect::<Vec<_>>()).map_err(away)?;
        Ok(ear)
    }
}

/// Hears what comes next, and commits the offsets behind it.
async fn hear(ear: &StreamConsumer, consumer: &Arc<dyn Consumer>, stop: &CancellationToken) -> Result<()> {
    let first = tokio::select! {
        () = stop.cancelled() => return Ok(()),
        first = ear.recv() => first.map_err(away)?,
    };
    let mut messages = vec![first];
    while messages.len() < MOST
        && let Some(Ok(next)) = ear.recv().now_or_never()
    {
        messages.push(next);
    }
    let events: Vec<Arc<Envelope>> = messages.iter().filter_map(read).collect();
    let mut offsets = TopicPartitionList::new();
    for message in &messages {
        let behind = Offset::Offset(message.offset() + 1);
        offsets.add_partition_offset(message.topic(), message.partition(), behind).map_err(away)?;
    }
    drop(messages);
    consumer.db().world().reached("bus.read");
    if deliver_all(consumer, &events, stop).await {
        consumer.db().world().reached("bus.heard");
        ear.commit(&offsets, CommitMode::Async).map_err(away)?;
    }
    Ok(())
}

/// The event in a message.
pub(super) fn read(message: &BorrowedMessage<'_>) -> Option<Arc<Envelope>> {
    let event = Envelope::from_json(message.payload().unwrap_or_default());
    let (topic, partition, offset) = (message.topic(), message.partition(), message.offset());
    // Nobody else writes here; and nobody can make sense of it later.
    event
        .inspect_err(|error| {
            tracing::error!(topic, partition, offset, error = error.chain(), "no event: passed over");
        })
        .ok()
        .map(Arc::new)
}
