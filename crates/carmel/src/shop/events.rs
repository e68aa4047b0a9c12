//! What carries the events of a shop from one service to the next.

use bus::{Bus, Options};
use kernel::{Error, Result, World};

use super::minutes;
use crate::{
    config::{Config, EventBus},
    databases::SERVICES,
    part::Parts,
};

/// Every consumer, and the services that it listens to.
pub const LISTENERS: &[(&str, &[&str])] =
    &[("users.forget", &["users"]), ("catalog.forget", &["catalog"]), ("notifications.mail", &["orders"])];

/// The bus of a process that runs these parts. Errors: services that run apart
/// without anything that carries their events (invalid `no_event_bus`).
pub fn bus(config: &Config, world: &World, parts: &Parts) -> Result<Bus> {
    let options = Options {
        services: SERVICES,
        listeners: LISTENERS,
        keep: minutes(config.events.keep_minutes),
        partitions: config.events.partitions,
        ..Options::default()
    };
    match chosen(config) {
        EventBus::Kafka => Bus::kafka(world, &config.kafka.brokers.join(","), options),
        EventBus::Redis => Bus::redis(world, config.redis.queue_url.expose(), options),
        _ if parts.has_all_services() || parts.services().count() == 0 => {
            Ok(Bus::memory_keeping(options.keep))
        }
        _ => Err(no_bus()),
    }
}

/// Fails (`no_event_bus`) when nothing carries events between processes.
pub fn must_reach_others(config: &Config) -> Result<()> {
    if chosen(config) == EventBus::Memory { Err(no_bus()) } else { Ok(()) }
}

fn no_bus() -> Error {
    let message = "services that run apart need something that carries their events: set redis.queue_url \
                   (REDIS_URL) or kafka.brokers (KAFKA_BROKERS)";
    Error::invalid("no_event_bus", message)
}

fn chosen(config: &Config) -> EventBus {
    match config.events.bus {
        EventBus::Auto if !config.kafka.brokers.is_empty() => EventBus::Kafka,
        EventBus::Auto if !config.redis.queue_url.is_empty() => EventBus::Redis,
        EventBus::Auto => EventBus::Memory,
        chosen => chosen,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use kernel::World;

    use super::*;
    use crate::shop::Shop;

    #[tokio::test]
    async fn every_consumer_stands_in_the_list_of_listeners() {
        let folder = std::env::temp_dir().join(format!("carmel-listeners-{}", std::process::id()));
        let mut config = Config::default();
        config.data.folder.clone_from(&folder);
        let shop = Shop::open(&config, &World::real()).await.unwrap();
        let consumers = shop.consumers();
        std::fs::remove_dir_all(folder).unwrap();

        let listed: BTreeSet<_> = LISTENERS.iter().map(|(name, from)| (*name, from.to_vec())).collect();
        let real: BTreeSet<_> = consumers
            .iter()
            .map(|consumer| {
                let of = |topic: &&'static str| topic.split('.').next().unwrap_or_default();
                let from: BTreeSet<_> = consumer.topics().iter().map(of).collect();
                (consumer.name(), from.into_iter().collect::<Vec<_>>())
            })
            .collect();

        assert_eq!(listed, real);
    }
}
