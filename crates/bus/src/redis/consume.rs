//! Lets a consumer hear what is in the streams.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, LazyLock},
    time::Duration,
};

use futures::future::join_all;
use kernel::Result;
use redis::{AsyncCommands, Script, aio::ConnectionManager};
use tokio_util::sync::CancellationToken;

use super::{
    BLOCK, PAUSE, Redis, away, connect,
    read::{Part, Place, make_group, places, read},
    streams,
};
use crate::{Consumer, bus::Inner, deliver::deliver_all};

/// How long a process that is not heard of keeps its share of the streams.
const MEMBER: Duration = Duration::from_secs(5);

/// Says that a process of a consumer is here; returns all that are. By the
/// server's clock, which they have in common.
static JOIN: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local time = redis.call('TIME')
         local now = time[1] * 1000 + math.floor(time[2] / 1000)
         redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
         redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
         redis.call('PEXPIRE', KEYS[1], ARGV[2])
         return redis.call('ZRANGE', KEYS[1], 0, -1)",
    )
});

/// Moves a group on, from the place that was read behind: where another process
/// has moved it, or the stream is a new one, it stays.
static ADVANCE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
             local at = {}
             for i = 1, #group, 2 do at[group[i]] = group[i + 1] end
             if at['name'] == ARGV[1] and at['last-delivered-id'] == ARGV[2] then
                 redis.call('XGROUP', 'SETID', KEYS[1], ARGV[1], ARGV[3])
                 return 1
             end
         end
         return 0",
    )
});

impl Redis {
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
        let name = consumer.name();
        let mut ear = match Ear::new(self, consumer, bus.options.partitions) {
            Ok(ear) => ear,
            Err(error) => return tracing::error!(consumer = name, error = error.chain(), "nothing is heard"),
        };
        while !stop.is_cancelled() {
            if let Err(error) = ear.hear(stop).await {
                tracing::warn!(
                    consumer = name,
                    error = error.chain(),
                    "events were not heard, to be read again"
                );
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = self.world.sleep(self.world.jitter(PAUSE)) => {}
                }
            }
        }
        if let Err(error) = ear.leave().await {
            tracing::debug!(consumer = name, error = error.chain(), "the others will notice by themselves");
        }
    }
}

/// One process of a consumer.
struct Ear<'a> {
    consumer: &'a Arc<dyn Consumer>,
    redis: &'a Redis,
    /// Its own, because it is kept waiting.
    connection: ConnectionManager,
    member: String,
    /// Everything the consumer listens to.
    streams: Vec<String>,
}

impl<'a> Ear<'a> {
    fn new(redis: &'a Redis, consumer: &'a Arc<dyn Consumer>, partitions: u32) -> Result<Ear<'a>> {
        let services: BTreeSet<&str> =
            consumer.topics().iter().filter_map(|topic| topic.split('.').next()).collect();
        Ok(Ear {
            consumer,
            redis,
            connection: connect(&redis.client)?,
            member: redis.world.uuid_v7().simple().to_string(),
            streams: services.into_iter().flat_map(|service| streams(service, partitions)).collect(),
        })
    }

    /// Hears what comes next in this process' share of the streams, if
    /// something comes.
    async fn hear(&mut self, stop: &CancellationToken) -> Result<()> {
        let places = self.places().await?;
        if places.is_empty() {
            self.redis.world.sleep(BLOCK).await; // more processes than streams
            return Ok(());
        }
        let parts = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            parts = read(&mut self.connection, &places) => parts?,
        };
        if parts.is_empty() {
            return Ok(());
        }
        self.consumer.db().world().reached("bus.read");
        let events: Vec<_> = parts.iter().flat_map(|part| part.events.iter().cloned()).collect();
        if deliver_all(self.consumer, &events, stop).await {
            self.consumer.db().world().reached("bus.heard");
            self.advance(&places, &parts).await?;
        }
        Ok(())
    }

    /// Where to read on, in each stream of its share. While processes come and
    /// go two may read the same, which does no harm.
    async fn places(&mut self) -> Result<BTreeMap<String, Place>> {
        let name = self.consumer.name();
        let mut join = JOIN.key(self.members());
        join.arg(&self.member).arg(MEMBER.as_millis() as u64);
        let mut shared = self.redis.shared.clone();
        let mut members: Vec<String> = join.invoke_async(&mut shared).await.map_err(away)?;
        members.sort_unstable();
        let mine = |index: usize| members[index % members.len()] == self.member;
        let mine = self.streams.iter().enumerate().filter(|(index, _)| mine(*index));
        let found = join_all(mine.map(async |(_, stream)| {
            let mut shared = shared.clone();
            let place = places(&mut shared, stream).await?.get(name).copied();
            if place.is_none() {
                make_group(&mut shared, stream, name).await?;
            }
            Ok((stream.clone(), place.unwrap_or_default()))
        }));
        found.await.into_iter().collect()
    }

    async fn advance(&self, places: &BTreeMap<String, Place>, parts: &[Part]) -> Result<()> {
        let moved = join_all(parts.iter().map(async |part| {
            let from = places.get(&part.stream).copied().unwrap_or_default();
            let mut advance = ADVANCE.key(&part.stream);
            advance.arg(self.consumer.name()).arg(from.to_string()).arg(part.until.to_string());
            advance.invoke_async::<bool>(&mut self.redis.shared.clone()).await.map_err(away)
        }));
        moved.await.into_iter().collect::<Result<Vec<bool>>>()?;
        Ok(())
    }

    /// Gives its share to the others at once.
    async fn leave(&self) -> Result<()> {
        self.redis.shared.clone().zrem(self.members(), &self.member).await.map_err(away)
    }

    fn members(&self) -> String {
        format!("carmel:consumers:{}", self.consumer.name())
    }
}
