//! Takes events from an outbox to the consumers, again and again.

use std::{collections::HashMap, sync::Arc, time::Duration};

use db::Db;
use kernel::{EventId, Result, Time};
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use crate::{
    Consumer, Envelope,
    deliver::{Unheard, deliver},
    outbox::{self, Outgoing},
};

/// How often a relay looks for what other processes have announced.
const POLL: Duration = Duration::from_secs(1);
/// How long a relay that is not heard of keeps others from what it has taken.
const LEASE: Duration = Duration::from_secs(60);
/// The most entities, and the most further events of those, in one batch.
const HEADS: i64 = 256;
const FOLLOWERS: i64 = 512;
/// The wait after a first failure and the longest one.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// The relay of one outbox.
pub(crate) struct Relay<'a> {
    pub service: &'static str,
    pub db: &'a Db,
    pub live: &'a broadcast::Sender<Arc<Envelope>>,
}

/// What came of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Passed {
    pub claimed: usize,
    pub sent: usize,
}

impl Relay<'_> {
    /// Relays until `stop` is cancelled and the batch under way is done.
    pub async fn until(&self, stop: &CancellationToken, consumers: impl Fn() -> Vec<Arc<dyn Consumer>>) {
        let world = self.db.world();
        let signal = self.db.signal(outbox::SIGNAL);
        while !stop.is_cancelled() {
            // Listened to from before the look, so that nothing is missed between.
            let signalled = signal.notified();
            tokio::pin!(signalled);
            signalled.as_mut().enable();
            match self.pass(&consumers()).await {
                Ok(passed) if passed.claimed > 0 => continue,
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(
                        service = self.service,
                        error = error.chain(),
                        "events were not relayed"
                    );
                    tokio::select! {
                        () = stop.cancelled() => {}
                        () = world.sleep(world.jitter(POLL)) => {}
                    }
                }
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = &mut signalled => {}
                () = world.sleep(world.jitter(POLL)) => {}
            }
        }
    }

    /// Relays one batch of what is due.
    pub async fn pass(&self, consumers: &[Arc<dyn Consumer>]) -> Result<Passed> {
        let (heads, followers) = self.claim().await?;
        if heads.is_empty() {
            return Ok(Passed { claimed: 0, sent: 0 });
        }
        let claimed = heads.len();
        let attempts: HashMap<EventId, u32> = heads
            .iter()
            .chain(&followers)
            .map(|event| (event.id, event.attempts))
            .collect();
        let events = heads
            .into_iter()
            .chain(followers)
            .map(|event| event.envelope().map(Arc::new))
            .collect::<Result<Vec<_>>>()?;
        let unheard = deliver(consumers, &events).await;
        let put_off = unheard
            .iter()
            .filter_map(|(id, why)| self.put_off(*id, why, &attempts))
            .collect();
        let sent: Vec<Arc<Envelope>> = in_order(events, &unheard);
        self.record(&sent, put_off).await?;
        self.report(&sent);
        Ok(Passed {
            claimed,
            sent: sent.len(),
        })
    }

    async fn claim(&self) -> Result<(Vec<Outgoing>, Vec<Outgoing>)> {
        let until = self.db.world().now() + LEASE;
        db::write!(self.db, async |tx| {
            let heads = outbox::claim(tx, until, HEADS).await?;
            if heads.is_empty() {
                return Ok((heads, Vec::new()));
            }
            let followers = outbox::followers(tx, &heads, FOLLOWERS).await?;
            Ok((heads, followers))
        })
    }

    /// When to try again; nothing for one that only waits behind another.
    fn put_off(&self, id: EventId, why: &Unheard, attempts: &HashMap<EventId, u32>) -> Option<PutOff> {
        let error = why.error.as_ref()?;
        let before = attempts.get(&id).copied().unwrap_or_default();
        let wait = FIRST_WAIT
            .saturating_mul(2u32.saturating_pow(before))
            .min(LONGEST_WAIT);
        let wait = self.db.world().jitter(wait);
        tracing::warn!(
            event.id = %id,
            consumer = why.consumer,
            attempt = before + 1,
            wait_ms = wait.as_millis(),
            error = error.chain(),
            "event not heard, to be told again"
        );
        let error = format!("{}: {}", why.consumer, error.chain());
        Some(PutOff {
            id,
            until: self.db.world().now() + wait,
            error,
        })
    }

    /// What was sent and what was not, in one transaction: an entity is given
    /// back with its last event that was sent.
    async fn record(&self, sent: &[Arc<Envelope>], put_off: Vec<PutOff>) -> Result<()> {
        let sent: Vec<EventId> = sent.iter().map(|event| event.id).collect();
        db::write!(self.db, async |tx| {
            tx.repeatable(); // marking a row sent twice is marking it once
            if !sent.is_empty() {
                outbox::mark_sent(tx, &sent).await?;
            }
            for PutOff { id, until, error } in &put_off {
                outbox::put_off(tx, *id, *until, error).await?;
            }
            Ok(())
        })
    }

    fn report(&self, sent: &[Arc<Envelope>]) {
        metrics::counter!("outbox_relayed_total", "service" => self.service).increment(sent.len() as u64);
        for event in sent {
            tracing::debug!(event.id = %event.id, event.topic = event.topic, event.subject = event.subject, "event sent");
            // With nobody listening there is nobody to tell.
            drop(self.live.send(event.clone()));
        }
    }
}

struct PutOff {
    id: EventId,
    until: Time,
    error: String,
}

/// Those that everybody has heard, for live feeds in the order of each entity.
fn in_order(events: Vec<Arc<Envelope>>, unheard: &HashMap<EventId, Unheard>) -> Vec<Arc<Envelope>> {
    events
        .into_iter()
        .filter(|event| !unheard.contains_key(&event.id))
        .collect()
}
