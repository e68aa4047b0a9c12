//! Looks, now and then, how far the consumers of a service have come, and notes
//! it in the database, for the audit.

use std::{collections::HashMap, time::Duration};

use kernel::{Result, Time};
use rdkafka::{
    TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    error::KafkaResult,
};
use tokio_util::sync::CancellationToken;

use super::{Kafka, PATIENCE, away, client, topic};
use crate::{listeners, relay::Relay};

/// How often.
const EVERY: Duration = Duration::from_secs(15);

impl Kafka {
    /// Until `stop` is cancelled, and once more then. Of those who listen it
    /// looks after the ones that the options name: Kafka has groups of others, too.
    pub async fn settle_until(&self, relay: &Relay<'_>, stop: &CancellationToken) {
        let names = relay.bus.options.listeners;
        let names = names.iter().filter(|(_, services)| services.contains(&relay.service));
        let mut looks: Vec<Look> = names.map(|(name, _)| Look::new(name)).collect();
        while !looks.is_empty() {
            let last = stop.is_cancelled();
            for look in &mut looks {
                if let Err(error) = look.again(self, relay).await {
                    let (service, consumer) = (relay.service, look.consumer);
                    tracing::warn!(
                        service,
                        consumer,
                        error = error.chain(),
                        "how far it has come was not looked up"
                    );
                }
            }
            if last {
                return;
            }
            let world = relay.db.world();
            tokio::select! {
                () = stop.cancelled() => {}
                () = world.sleep(world.jitter(EVERY)) => {}
            }
        }
        stop.cancelled().await;
    }
}

/// How one consumer has come on.
struct Look {
    consumer: &'static str,
    /// Where the ends of the partitions were, and when: who has come there has
    /// heard all that was sent before.
    ends: Option<(Time, Offsets)>,
}

type Offsets = HashMap<i32, i64>;

impl Look {
    fn new(consumer: &'static str) -> Look {
        Look { consumer, ends: None }
    }

    async fn again(&mut self, kafka: &Kafka, relay: &Relay<'_>) -> Result<()> {
        let began = relay.db.world().now();
        let (config, topic) = ((client(&kafka.brokers), self.consumer), topic(relay.service));
        let offsets = move || {
            let (mut config, name) = config;
            // It asks for the group's offsets and joins nothing.
            let asker: BaseConsumer = config.set("group.id", name).create()?;
            offsets(&asker, &topic)
        };
        let (ends, places) = kafka.world.blocking(offsets).await?.map_err(away)?;
        let (since, goal) = self.ends.take().unwrap_or((began, ends.clone()));
        let is_at =
            |ends: &Offsets| ends.iter().all(|(partition, end)| places.get(partition).unwrap_or(&0) >= end);
        let heard_until = if is_at(&ends) { Some(began) } else { is_at(&goal).then_some(since) };
        let lag = if is_at(&ends) { Duration::ZERO } else { began.since(since) };
        metrics::gauge!("bus_lag_seconds", "service" => relay.service, "consumer" => self.consumer)
            .set(lag.as_secs_f64());
        self.ends = Some(if is_at(&goal) { (began, ends) } else { (since, goal) });
        db::write!(relay.db, async |tx| {
            tx.repeatable(); // it never goes back
            match heard_until {
                Some(until) => listeners::note(tx, self.consumer, until).await,
                None => listeners::expect(tx, self.consumer, began).await,
            }
        })
    }
}

/// The ends of the partitions that have something, and how far a group has come.
fn offsets(asker: &BaseConsumer, topic: &str) -> KafkaResult<(Offsets, Offsets)> {
    let metadata = asker.fetch_metadata(Some(topic), PATIENCE)?;
    let (mut ends, mut asked) = (Offsets::new(), TopicPartitionList::new());
    for partition in metadata.topics().iter().flat_map(|topic| topic.partitions()) {
        let (begin, end) = asker.fetch_watermarks(topic, partition.id(), PATIENCE)?;
        if end > begin {
            ends.insert(partition.id(), end);
        }
        asked.add_partition(topic, partition.id());
    }
    let committed = asker.committed_offsets(asked, PATIENCE)?;
    let places =
        committed.elements().iter().filter_map(|at| Some((at.partition(), at.offset().to_raw()?))).collect();
    Ok((ends, places))
}
