//! Each event that was sent against what its consumers have heard, and the
//! other way round; and each that people are told of against the mails.

use std::{
    collections::{BTreeSet, HashSet},
    time::Duration,
};

use bus::audit::{announced, heard_after, known, listens_since, sent_after};
use kernel::{EventId, OrderId, Result, Time, uuid::Uuid};
use notifications::Occasion;

use super::{MOST, pictures::Pictures};
use crate::shop::Shop;

/// How many events are looked at at once.
const PAGE: i64 = 5_000;
/// Who writes the mails.
const MAIL: &str = "notifications.mail";

/// A consumer and the services it listens to.
pub struct Listener {
    name: &'static str,
    topics: &'static [&'static str],
    sources: BTreeSet<&'static str>,
}

impl Listener {
    /// Everybody of a shop.
    pub fn all(shop: &Shop) -> Vec<Listener> {
        let of = |topic: &&'static str| service(topic);
        let listener = |consumer: &dyn bus::Consumer| Listener {
            name: consumer.name(),
            topics: consumer.topics(),
            sources: consumer.topics().iter().map(of).collect(),
        };
        shop.consumers().iter().map(|consumer| listener(consumer.as_ref())).collect()
    }
}

/// The service that a topic or a consumer belongs to.
fn service(name: &str) -> &str {
    name.split('.').next().unwrap_or_default()
}

/// What is wrong with an event.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Suspect {
    /// Which.
    pub event: EventId,
    /// Who announced it.
    pub source: &'static str,
    /// Who has to do with it.
    pub consumer: &'static str,
    /// What.
    pub wrong: Wrong,
}

/// What can be wrong with an event.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wrong {
    /// It was sent, and the consumer does not know it.
    Unheard(String),
    /// The consumer has heard it, and nobody announced it.
    Unannounced,
    /// It was heard, and there is neither a mail about it nor a job that writes one.
    Untold(OrderId, Occasion),
}

impl Suspect {
    /// In words.
    pub fn sentence(&self) -> String {
        let Suspect { event, source, consumer, wrong } = self;
        match wrong {
            Wrong::Unheard(what) => format!("{event} ({what}) was sent, and {consumer} has not heard it"),
            Wrong::Unannounced => format!("{consumer} has heard {event}, and {source} did not announce it"),
            Wrong::Untold(order, occasion) => {
                format!("{event} was heard, and nobody writes the mail that {order} is {occasion}")
            }
        }
    }
}

/// Looks at the events that were announced since then; returns how many there
/// are, too. Of a consumer those are expected that were announced since it
/// listens: what was sent before is not told again.
pub async fn all(
    pictures: &mut Pictures,
    listeners: &[Listener],
    since: Time,
    until: Time,
) -> Result<(usize, Vec<Suspect>)> {
    let (mut seen, mut suspects) = (HashSet::new(), Vec::new());
    let mut count = 0;
    for listener in listeners {
        let own = pictures.of(service(listener.name));
        let first = match listens_since(own, listener.name).await? {
            Some(begun) => first_at(since.max(begun)),
            // Nobody has run it since that is noted: it shows by what it has heard.
            None => match heard_after(own, listener.name, first_at(since), 1).await?.pop() {
                Some(heard) => heard,
                None => continue,
            },
        };
        for source in &listener.sources {
            let sent = unheard(pictures, listener, source, first, until, &mut suspects).await?;
            if seen.insert(*source) {
                count += sent;
            }
        }
        unannounced(pictures, listener, first, &mut suspects).await?;
    }
    Ok((count, suspects))
}

/// Looks at these only; those that are still wrong.
pub async fn again(pictures: &mut Pictures, suspects: Vec<Suspect>) -> Result<Vec<Suspect>> {
    let mut still = Vec::new();
    for suspect in suspects {
        let own = service(suspect.consumer);
        let id = [suspect.event];
        let wrong = match &suspect.wrong {
            Wrong::Unheard(_) => known(pictures.of(own), suspect.consumer, &id).await?.is_empty(),
            Wrong::Unannounced => announced(pictures.of(suspect.source), &id).await?.is_empty(),
            Wrong::Untold(order, occasion) => {
                !notifications::untold(&mut pictures.notifications, &[(*order, *occasion)]).await?.is_empty()
            }
        };
        if wrong {
            still.push(suspect);
        }
    }
    Ok(still)
}

/// Events of a source that a listener should have heard; returns how many the
/// source has sent.
async fn unheard(
    pictures: &mut Pictures,
    listener: &Listener,
    source: &'static str,
    first: EventId,
    until: Time,
    suspects: &mut Vec<Suspect>,
) -> Result<usize> {
    let (mut after, mut count) = (before(first), 0);
    let last = first_at(until);
    while suspects.len() < MOST {
        let page = sent_after(pictures.of(source), after, PAGE).await?;
        let Some(end) = page.last() else { break };
        after = end.id;
        count += page.len();
        let own: Vec<_> = page
            .into_iter()
            .filter(|event| event.id < last && listener.topics.contains(&event.topic.as_str()))
            .collect();
        let ids: Vec<EventId> = own.iter().map(|event| event.id).collect();
        let known = known(pictures.of(service(listener.name)), listener.name, &ids).await?;
        let suspect = |event, wrong| Suspect { event, source, consumer: listener.name, wrong };
        let silent = own.iter().filter(|event| !known.contains(&event.id));
        suspects.extend(
            silent.map(|event| {
                suspect(event.id, Wrong::Unheard(format!("{} of {}", event.topic, event.subject)))
            }),
        );
        if listener.name == MAIL {
            let news: Vec<(EventId, (OrderId, Occasion))> = own
                .iter()
                .filter(|event| known.contains(&event.id))
                .filter_map(|event| {
                    Some((event.id, (event.subject.parse().ok()?, Occasion::of(&event.topic)?)))
                })
                .collect();
            let told: Vec<_> = news.iter().map(|(_, news)| *news).collect();
            let untold = notifications::untold(&mut pictures.notifications, &told).await?;
            let refused = untold.iter().filter_map(|news_of| news.iter().find(|(_, news)| news == news_of));
            suspects.extend(
                refused.map(|(event, (order, occasion))| suspect(*event, Wrong::Untold(*order, *occasion))),
            );
        }
    }
    Ok(count)
}

/// What a listener has heard that none of its sources has announced.
async fn unannounced(
    pictures: &mut Pictures,
    listener: &Listener,
    first: EventId,
    suspects: &mut Vec<Suspect>,
) -> Result<()> {
    let mut after = before(first);
    while suspects.len() < MOST {
        let heard = heard_after(pictures.of(service(listener.name)), listener.name, after, PAGE).await?;
        let Some(end) = heard.last() else { break };
        after = *end;
        let mut unknown: HashSet<EventId> = heard.iter().copied().collect();
        for source in &listener.sources {
            let ids: Vec<EventId> = unknown.iter().copied().collect();
            for id in announced(pictures.of(source), &ids).await? {
                unknown.remove(&id);
            }
        }
        let source = listener.sources.first().copied().unwrap_or_default();
        let suspect = |event| Suspect { event, source, consumer: listener.name, wrong: Wrong::Unannounced };
        suspects.extend(unknown.into_iter().map(suspect));
    }
    Ok(())
}

/// The lowest id that an event of that time may have: it begins with its
/// millisecond (UUIDv7, RFC 9562).
fn first_at(time: Time) -> EventId {
    let millis = u128::try_from(time.micros().max(0) / 1000).unwrap_or_default();
    EventId::from_uuid(Uuid::from_u128(millis << 80))
}

fn before(id: EventId) -> EventId {
    EventId::from_uuid(Uuid::from_u128(id.uuid().as_u128().saturating_sub(1)))
}

/// How far back events are compared, when they are kept so long: what is
/// cleared away at this moment is not looked for.
pub fn horizon(kept: Duration) -> Duration {
    kept - Duration::from_secs(3600).min(kept / 4)
}
