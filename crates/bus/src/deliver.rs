//! Brings a batch of events to the consumers, whoever carried it here.
//!
//! When an event is done with, it was heard (its effect and its inbox row are
//! committed) or is kept beside the effects to be told again. Whoever reads
//! events one after the other, and goes on only from those that are done with,
//! may read some of them again, and another may read the same at the same
//! time: no effect is doubled and none comes before that of an earlier event
//! of its entity.

use std::{
    collections::{HashMap, HashSet},
    panic::AssertUnwindSafe,
    sync::Arc,
};

use db::Tx;
use futures::{FutureExt, StreamExt, stream};
use kernel::{Error, EventId, Result};
use tokio_util::sync::CancellationToken;

use crate::{Consumer, Envelope, inbox, refused, waits};

/// The most events that one transaction of a consumer takes.
const CHUNK: usize = 64;
/// How many transactions of consumers are under way at once.
const AT_ONCE: usize = 8;

/// Why an event is not done with: who is at fault (a consumer whose database
/// is away, a broker) and the error, or no error when only an earlier event of
/// the entity stood in the way.
#[derive(Debug)]
pub(crate) struct Unheard {
    pub by: &'static str,
    pub error: Option<Error>,
}

/// None of these is done with: the first of each entity is at fault, the others
/// wait behind it.
pub(crate) fn stuck(events: &[Arc<Envelope>], by: &'static str, error: &Error) -> Vec<(EventId, Unheard)> {
    let mut entities = HashSet::new();
    let first = events.iter().map(|event| entities.insert(event.subject.as_str()));
    let errors = first.map(|first| first.then(|| error.clone()));
    events.iter().zip(errors).map(|(event, error)| (event.id, Unheard { by, error })).collect()
}

/// Lets everybody hear what he listens to. `events` are in the order of the
/// versions of each entity. Returns those that are not done with.
pub(crate) async fn deliver(
    consumers: &[Arc<dyn Consumer>],
    events: &[Arc<Envelope>],
) -> HashMap<EventId, Unheard> {
    let work: Vec<_> = consumers
        .iter()
        .flat_map(|consumer| {
            rounds(consumer.as_ref(), events).into_iter().map(|round| (consumer.clone(), round))
        })
        .map(|(consumer, round)| tell(consumer, round))
        .collect();
    let unheard: Vec<Vec<(EventId, Unheard)>> = stream::iter(work).buffer_unordered(AT_ONCE).collect().await;
    unheard.into_iter().flatten().collect()
}

/// Lets one consumer hear, and waits while its database is away. Returns whether
/// all is done with: not so when `stop` was cancelled before.
pub(crate) async fn deliver_all(
    consumer: &Arc<dyn Consumer>,
    events: &[Arc<Envelope>],
    stop: &CancellationToken,
) -> bool {
    let world = consumer.db().world();
    let mut before = 0;
    loop {
        let unheard = deliver(std::slice::from_ref(consumer), events).await;
        let Some(error) = unheard.into_values().find_map(|unheard| unheard.error) else { return true };
        tracing::warn!(
            consumer = consumer.name(),
            error = error.chain(),
            "events were not heard, to be told again"
        );
        tokio::select! {
            biased;
            () = stop.cancelled() => return false,
            () = world.sleep(waits::after(world, before, &error)) => before += 1,
        }
    }
}

/// What a consumer listens to, in parts that do not depend on each other: each
/// has entities whole.
fn rounds(consumer: &dyn Consumer, events: &[Arc<Envelope>]) -> Vec<Vec<Arc<Envelope>>> {
    let mut entities: HashMap<&str, Vec<Arc<Envelope>>> = HashMap::new();
    let mut order = Vec::new();
    for event in events.iter().filter(|event| consumer.topics().contains(&event.topic.as_str())) {
        let entity = entities.entry(&event.subject).or_default();
        if entity.is_empty() {
            order.push(event.subject.as_str());
        }
        entity.push(event.clone());
    }
    let mut rounds: Vec<Vec<Arc<Envelope>>> = Vec::new();
    for entity in order.into_iter().filter_map(|subject| entities.remove(subject)) {
        match rounds.last_mut() {
            Some(round) if round.len() + entity.len() <= CHUNK => round.extend(entity),
            _ => rounds.push(entity),
        }
    }
    rounds
}

/// Tells a consumer one after the other. What it refuses is kept; when its
/// database is away, that and the rest is not done with.
async fn tell(consumer: Arc<dyn Consumer>, events: Vec<Arc<Envelope>>) -> Vec<(EventId, Unheard)> {
    let by = consumer.name();
    for (begun, chunk) in events.chunks(CHUNK).enumerate() {
        let Err(at_fault) = tell_chunk(consumer.as_ref(), chunk).await else { continue };
        return stuck(&events[begun * CHUNK..], by, &at_fault);
    }
    Vec::new()
}

async fn tell_chunk(consumer: &dyn Consumer, chunk: &[Arc<Envelope>]) -> Result<()> {
    match hear(consumer, chunk).await {
        Ok(()) => return Ok(()),
        // Nobody is at fault, and asking for each would take long.
        Err(away) if waits::is_away(&away) => return Err(away),
        Err(_) => {}
    }
    for event in chunk {
        match hear(consumer, std::slice::from_ref(event)).await {
            Ok(()) => {}
            Err(away) if waits::is_away(&away) => return Err(away),
            Err(error) => {
                refused::report(consumer, event, 1, &error);
                let kept: Result<()> = db::write!(consumer.db(), async |tx| {
                    refused::keep(tx, consumer.name(), event, Some(&error)).await
                });
                kept?;
            }
        }
    }
    Ok(())
}

/// The effects of these and the notes that they were heard, in one transaction;
/// those of an entity that waits are kept behind the others of it.
async fn hear(consumer: &dyn Consumer, events: &[Arc<Envelope>]) -> Result<()> {
    let subjects: HashSet<&str> = events.iter().map(|event| event.subject.as_str()).collect();
    let subjects: Vec<String> = subjects.into_iter().map(str::to_owned).collect();
    caught(consumer, async {
        db::write!(consumer.db(), async |tx| {
            let blocked = refused::blocked(tx, consumer.name(), subjects.clone()).await?;
            let mut free = Vec::with_capacity(events.len());
            for event in events {
                if blocked.contains(&event.subject) {
                    refused::keep(tx, consumer.name(), event, None).await?;
                } else {
                    free.push(event.as_ref());
                }
            }
            take_effect(tx, consumer, &free).await
        })
    })
    .await
}

/// The effect of one that was kept, which is kept no longer.
pub(crate) async fn hear_again(consumer: &dyn Consumer, event: &Envelope) -> Result<()> {
    caught(consumer, async {
        db::write!(consumer.db(), async |tx| {
            take_effect(tx, consumer, &[event]).await?;
            refused::forget(tx, consumer.name(), event.id).await?;
            Ok(())
        })
    })
    .await
}

/// The effects of those that were not heard before, beside their inbox rows. A
/// broker may have one twice in a row.
async fn take_effect(tx: &mut Tx, consumer: &dyn Consumer, events: &[&Envelope]) -> Result<()> {
    let ids: Vec<EventId> = events.iter().map(|event| event.id).collect();
    let mut new = inbox::note(tx, consumer.name(), &ids).await?;
    let heard = new.len();
    let new: Vec<&Envelope> = events.iter().copied().filter(|event| new.remove(&event.id)).collect();
    consumer.hear_all(tx, &new).await?;
    tracing::debug!(consumer = consumer.name(), heard, repeated = events.len() - heard, "events heard");
    Ok(())
}

/// A consumer that panics has refused.
async fn caught(consumer: &dyn Consumer, hearing: impl Future<Output = Result<()>>) -> Result<()> {
    let panicked = |_| Err(Error::internal(format!("the consumer {} panicked", consumer.name())));
    AssertUnwindSafe(hearing).catch_unwind().await.unwrap_or_else(panicked)
}
