//! Brings a batch of events to the consumers.

use std::{
    collections::{HashMap, HashSet},
    panic::AssertUnwindSafe,
    sync::Arc,
};

use futures::{FutureExt, StreamExt, stream};
use kernel::{Error, EventId, Kind, Result};

use crate::{Consumer, Envelope, inbox};

/// The most events that one transaction of a consumer takes.
const CHUNK: usize = 64;
/// How many transactions of consumers are under way at once.
const AT_ONCE: usize = 8;

/// Why an event was not heard by everybody: the consumer's name and its error,
/// or no error when only an earlier event of the entity stood in the way.
#[derive(Debug)]
pub(crate) struct Unheard {
    pub consumer: &'static str,
    pub error: Option<Error>,
}

/// Lets everybody hear what he listens to. `events` are in the order of the
/// versions of each entity. Returns those that somebody has not heard.
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

/// Tells a consumer one after the other; behind an event that it does not
/// take, the later ones of that entity wait.
async fn tell(consumer: Arc<dyn Consumer>, events: Vec<Arc<Envelope>>) -> Vec<(EventId, Unheard)> {
    let mut blocked: HashSet<String> = HashSet::new();
    let mut unheard = Vec::new();
    for chunk in events.chunks(CHUNK) {
        let free = chunk.iter().all(|event| !blocked.contains(&event.subject));
        let Some(refused) = (if free { hear(consumer.as_ref(), chunk).await.err() } else { Some(None) })
        else {
            continue;
        };
        // When its database is away nobody is at fault, and asking for each would take long.
        let away = refused.filter(|error| matches!(error.kind, Kind::Unavailable | Kind::TimedOut));
        for event in chunk {
            let outcome = match &away {
                _ if blocked.contains(&event.subject) => Err(None),
                Some(error) => Err(Some(error.clone())),
                None => hear(consumer.as_ref(), std::slice::from_ref(event)).await,
            };
            if let Err(error) = outcome {
                blocked.insert(event.subject.clone());
                unheard.push((event.id, Unheard { consumer: consumer.name(), error }));
            }
        }
    }
    unheard
}

/// The effects of these and the notes that they were heard, in one transaction.
async fn hear(consumer: &dyn Consumer, events: &[Arc<Envelope>]) -> Result<(), Option<Error>> {
    let ids: Vec<EventId> = events.iter().map(|event| event.id).collect();
    let heard = async {
        let heard: Result<usize> = db::write!(consumer.db(), async |tx| {
            let new = inbox::note(tx, consumer.name(), &ids).await?;
            for event in events.iter().filter(|event| new.contains(&event.id)) {
                consumer.hear(tx, event).await?;
            }
            Ok(new.len())
        });
        heard
    };
    let heard = AssertUnwindSafe(heard).catch_unwind().await;
    let panicked = |_| Err(Error::internal(format!("the consumer {} panicked", consumer.name())));
    let new = heard.unwrap_or_else(panicked).map_err(Some)?;
    tracing::debug!(consumer = consumer.name(), heard = new, repeated = events.len() - new, "events heard");
    Ok(())
}
