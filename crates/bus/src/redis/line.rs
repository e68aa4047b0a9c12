//! Puts events into the streams, and notices when Redis has lost some.
//!
//! A mark in Redis holds the id of the server's run and a random word. It is
//! gone after FLUSHALL, and names another run after a restart or a failover;
//! each may have lost what we were told was there. Then all that a consumer is
//! not known to have heard is sent again, before anything newer: an event goes
//! into a stream only under the mark that was there before it was claimed.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, LazyLock},
    time::Duration,
};

use futures::future::join_all;
use kernel::{Error, EventId, Result};
use redis::{AsyncCommands, Script, aio::ConnectionManager, pipe};

use super::{Redis, away, partition, stream};
use crate::{
    Envelope,
    deliver::{Unheard, stuck},
    listeners, outbox,
    relay::Relay,
};

/// By how much the clocks of two processes may differ: who sent an event and who
/// says until when all was heard may be two.
const CLOCKS: Duration = Duration::from_secs(15 * 60);

/// Adds events to a stream, all or none, if the mark is the one that is given
/// and the server's run the one that the mark names.
static ADD: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
         local run = string.match(ARGV[1], '^%w+')
         if not string.find(redis.call('INFO', 'server'), 'run_id:' .. run, 1, true) then return 0 end
         for i = 2, #ARGV do redis.call('XADD', KEYS[1], '*', 'event', ARGV[i]) end
         return 1",
    )
});

/// A way into the streams of a service.
pub(crate) struct Line {
    connection: ConnectionManager,
    service: &'static str,
    partitions: u32,
    mark: String,
}

impl Redis {
    /// Gets ready to send. What Redis has lost since the last time is unsent in
    /// the outbox when this returns.
    pub async fn line(&self, relay: &Relay<'_>) -> Result<Line> {
        let mut connection = self.shared.clone();
        let (found, server): (Option<String>, String) = pipe()
            .cmd("GET")
            .arg(mark_of(relay.service))
            .cmd("INFO")
            .arg("server")
            .query_async(&mut connection)
            .await
            .map_err(away)?;
        let run = server.lines().find_map(|line| line.strip_prefix("run_id:")).unwrap_or("unknown");
        let mark = match found.filter(|mark| mark.split(' ').next() == Some(run)) {
            Some(mark) => mark,
            None => {
                send_again(relay).await?;
                let mark = format!("{run} {}", self.world.uuid_v7().simple());
                connection.set::<_, _, ()>(mark_of(relay.service), &mark).await.map_err(away)?;
                mark
            }
        };
        let partitions = relay.bus.options.partitions;
        Ok(Line { connection, service: relay.service, partitions, mark })
    }
}

fn mark_of(service: &str) -> String {
    format!("carmel:events:{service}:mark")
}

/// Everything that a consumer is not known to have heard is unsent again. Those
/// that have heard it will notice.
async fn send_again(relay: &Relay<'_>) -> Result<()> {
    let known = listeners::list(relay.db).await?;
    let lingers = relay.db.world().now() - relay.bus.options.linger;
    let since = known.into_values().min().unwrap_or(lingers) - CLOCKS;
    let events = db::write!(relay.db, async |tx| {
        tx.repeatable(); // unsent twice is unsent
        outbox::send_again(tx, since).await
    })?;
    if events > 0 {
        tracing::warn!(
            service = relay.service,
            events,
            "redis is new or may have lost events: they are sent again"
        );
    }
    Ok(())
}

impl Line {
    /// Adds them to their streams. Returns those that were not added.
    pub async fn send(&self, events: &[Arc<Envelope>]) -> HashMap<EventId, Unheard> {
        let mut parts: BTreeMap<u32, Vec<Arc<Envelope>>> = BTreeMap::new();
        for event in events {
            parts.entry(partition(&event.subject, self.partitions)).or_default().push(event.clone());
        }
        let sent = join_all(parts.into_iter().map(async |(partition, events)| {
            let added = self.add(partition, &events).await;
            added.err().map(|error| stuck(&events, "redis", &error)).unwrap_or_default()
        }));
        sent.await.into_iter().flatten().collect()
    }

    async fn add(&self, partition: u32, events: &[Arc<Envelope>]) -> Result<()> {
        let mut add = ADD.key(stream(self.service, partition));
        add.key(mark_of(self.service)).arg(&self.mark);
        for event in events {
            add.arg(event.to_json()?);
        }
        let added: bool = add.invoke_async(&mut self.connection.clone()).await.map_err(away)?;
        if !added {
            return Err(Error::unavailable(
                "redis_is_new",
                "redis may have lost earlier events: they go first",
            ));
        }
        Ok(())
    }
}
