//! Takes events from an outbox to the consumers, again and again.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use db::Db;
use kernel::{EventId, Result, Time};
use tokio_util::sync::CancellationToken;

use crate::{
    Envelope,
    bus::Inner,
    carrier::Carrier,
    deliver::Unheard,
    outbox::{self, Outgoing},
    waits,
};

/// How often a relay looks for what other processes have announced.
const POLL: Duration = Duration::from_secs(1);
/// How long a relay that is not heard of keeps others from what it has taken.
/// A batch takes far less, and one that takes longer does no harm: who hears
/// an event twice notices. The audit is more patient than this.
pub(crate) const LEASE: Duration = Duration::from_secs(15);
/// The most entities in one batch.
const HEADS: i64 = 256;
/// The most further events of those, where somebody is to be told of them.
const FOLLOWERS: i64 = 512;
/// The same where nobody is: marking them is all there is to do.
const UNHEARD: i64 = 4096;

/// The relay of one outbox.
pub(crate) struct Relay<'a> {
    pub service: &'static str,
    pub db: &'a Db,
    pub bus: &'a Inner,
}

/// What came of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Passed {
    pub claimed: usize,
    pub sent: usize,
    /// Whether there may be more that is due.
    pub more: bool,
}

/// What a batch has taken, each part in the order of each entity.
struct Batch {
    /// The events of entities whose next one somebody here listens to.
    told: Vec<Outgoing>,
    /// Events that nobody here listens to: marked sent already.
    passed_by: Vec<Arc<Envelope>>,
    more: bool,
}

impl Relay<'_> {
    /// Relays until `stop` is cancelled and the batch under way is done.
    pub async fn until(&self, stop: &CancellationToken) {
        let world = self.db.world();
        let signal = self.db.signal(outbox::SIGNAL);
        // Whether only the poll woke it; the first pass gets everything ready.
        let mut polled = false;
        while !stop.is_cancelled() {
            // Listened to from before the look, so that nothing is missed between.
            let signalled = signal.notified();
            tokio::pin!(signalled);
            signalled.as_mut().enable();
            match self.look(polled).await {
                Ok(true) => {
                    polled = false;
                    continue;
                }
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(service = self.service, error = error.chain(), "events were not relayed");
                    tokio::select! {
                        biased;
                        () = stop.cancelled() => {}
                        () = world.sleep(world.jitter(POLL)) => {}
                    }
                }
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = &mut signalled => polled = false,
                () = world.sleep(world.jitter(POLL)) => polled = true,
            }
        }
    }

    /// Relays one batch, and says whether there may be more. When only polled,
    /// it first asks whether anything is due, without a writer's lock: a shop at
    /// rest changes nothing.
    async fn look(&self, polled: bool) -> Result<bool> {
        if polled && !db::read!(self.db, async |tx| { outbox::is_due(tx).await })? {
            return Ok(false);
        }
        Ok(self.pass().await?.more)
    }

    /// Relays one batch of what is due.
    pub async fn pass(&self) -> Result<Passed> {
        let consumers = self.bus.consumers();
        let carrier = Carrier::ready(self, &consumers).await?;
        let Batch { told, passed_by, more } = self.claim(&carrier).await?;
        self.report(&passed_by);
        let claimed = told.len() + passed_by.len();
        let attempts: HashMap<EventId, u32> = told.iter().map(|event| (event.id, event.attempts)).collect();
        let (events, mut unheard) = readable(told);
        if self.db.world().planted("sent_before_it_is_heard") {
            self.record(&events, Vec::new()).await?;
        }
        unheard.extend(carrier.carry(&events).await);
        if !events.is_empty() {
            self.db.world().reached("bus.carried");
        }
        let put_off: Vec<PutOff> =
            unheard.iter().filter_map(|(id, why)| self.put_off(*id, why, &attempts)).collect();
        let sent: Vec<Arc<Envelope>> = in_order(events, &unheard);
        if !sent.is_empty() || !put_off.is_empty() {
            self.record(&sent, put_off).await?;
        }
        self.report(&sent);
        let sent = sent.len() + passed_by.len();
        Ok(Passed { claimed, sent, more })
    }

    /// Takes what is due. What nobody here listens to is marked sent with it.
    async fn claim(&self, carrier: &Carrier<'_>) -> Result<Batch> {
        let until = self.db.world().now() + LEASE;
        db::write!(self.db, async |tx| {
            let heads = outbox::heads(tx, HEADS).await?;
            let first: HashSet<EventId> = heads.iter().map(|event| event.id).collect();
            let mut more = heads.len() as i64 == HEADS;
            let is_heard = |event: &Outgoing| carrier.takes(&event.topic);
            let (mut told, mut rest): (Vec<_>, Vec<_>) = heads.into_iter().partition(is_heard);
            if !told.is_empty() {
                let followers = outbox::followers(tx, &told, FOLLOWERS).await?;
                more |= followers.len() as i64 == FOLLOWERS;
                told.extend(followers);
            }
            let mut passed_by = Vec::new();
            if !rest.is_empty() {
                let followers = outbox::followers(tx, &rest, UNHEARD).await?;
                more |= followers.len() as i64 == UNHEARD;
                rest.extend(followers);
                let ends = |event: &Outgoing| is_heard(event) || !event.is_readable();
                let (run, mut others) = leading(rest, ends);
                // An entity of which nothing is marked is ours, and what cannot
                // be read is put off; any other is given back by the mark.
                let given_back: HashSet<&str> = run.iter().map(|event| event.subject.as_str()).collect();
                let before = others.len();
                others.retain(|event| !given_back.contains(event.subject.as_str()));
                more |= others.len() < before;
                told.extend(others);
                let ids: Vec<EventId> = run.iter().map(|event| event.id).collect();
                if !ids.is_empty() {
                    outbox::mark_sent(tx, &ids).await?;
                }
                passed_by = run;
            }
            // Its first event keeps an entity.
            let kept: Vec<EventId> =
                told.iter().map(|event| event.id).filter(|id| first.contains(id)).collect();
            if !kept.is_empty() {
                outbox::claim(tx, &kept, until).await?;
            }
            let passed_by = passed_by.into_iter().filter_map(|event| event.envelope().ok()).map(Arc::new);
            Ok::<_, kernel::Error>(Batch { told, passed_by: passed_by.collect(), more })
        })
    }

    /// When to try again; nothing for one that only waits behind another.
    fn put_off(&self, id: EventId, why: &Unheard, attempts: &HashMap<EventId, u32>) -> Option<PutOff> {
        let error = why.error.as_ref()?;
        let before = attempts.get(&id).copied().unwrap_or_default();
        let wait = waits::after(self.db.world(), before, error);
        tracing::warn!(
            event.id = %id,
            by = why.by,
            attempt = before + 1,
            wait_ms = wait.as_millis(),
            error = error.chain(),
            "event not sent, to be tried again"
        );
        let error = format!("{}: {}", why.by, error.chain());
        Some(PutOff { id, until: self.db.world().now() + wait, error })
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
            self.bus.carried(event);
        }
    }
}

struct PutOff {
    id: EventId,
    until: Time,
    error: String,
}

/// The beginning of each entity up to where it ends, and what is behind that.
fn leading(events: Vec<Outgoing>, ends: impl Fn(&Outgoing) -> bool) -> (Vec<Outgoing>, Vec<Outgoing>) {
    let mut ended: HashSet<String> = HashSet::new();
    events.into_iter().partition(|event| {
        let here = ended.contains(&event.subject) || ends(event);
        if here {
            ended.insert(event.subject.clone());
        }
        !here
    })
}

/// Those that can be read. One that cannot is a fault of its own, to be put
/// off alone; the later ones of its entity wait behind it.
fn readable(events: Vec<Outgoing>) -> (Vec<Arc<Envelope>>, HashMap<EventId, Unheard>) {
    let mut blocked: HashSet<String> = HashSet::new();
    let (mut read, mut unheard) = (Vec::new(), HashMap::new());
    for event in events {
        let (id, subject) = (event.id, event.subject.clone());
        if blocked.contains(&subject) {
            continue;
        }
        match event.envelope() {
            Ok(envelope) => read.push(Arc::new(envelope)),
            Err(error) => {
                blocked.insert(subject);
                unheard.insert(id, Unheard { by: "relay", error: Some(error) });
            }
        }
    }
    (read, unheard)
}

/// Those that were carried, for live feeds in the order of each entity.
fn in_order(events: Vec<Arc<Envelope>>, unheard: &HashMap<EventId, Unheard>) -> Vec<Arc<Envelope>> {
    events.into_iter().filter(|event| !unheard.contains_key(&event.id)).collect()
}
