//! `carmel audit`: looks at every invariant of a shop, service by service and
//! then across them.
//!
//! There is one picture of each service, taken at nearly the same moment. While
//! the shop runs two of them may differ by what happened in between, so what
//! looks broken across services is looked at again, a little later and by its
//! id, before it is called a breach.

pub(crate) mod across;
mod events;
mod past;
mod pictures;
mod repair;

use std::{collections::BTreeSet, time::Duration};

use db::{Target, Tx};
use kernel::{Error, Kind, Result, Time, World};
use serde::Serialize;
use serde_json::Value;

pub use self::past::Past;
use self::{
    across::Suspects,
    events::{Listener, Suspect},
    pictures::Pictures,
};
use crate::{
    config::{Config, EventBus},
    databases::{self, SERVICES},
    shop::{Shop, minutes},
};

/// What was looked at, and what is wrong.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// What was looked at, each with how much of it there was.
    pub looked_at: Vec<String>,
    /// What was mended, each a sentence with its ids.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mended: Vec<String>,
    /// Breaches, each a sentence with its ids.
    pub breaches: Vec<String>,
}

/// What an audit must know of a shop.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// For how long events are kept that were sent, and what was heard of them.
    pub events_kept: Duration,
    /// For how long an event may be on its way after it was sent.
    pub under_way: Duration,
}

impl Default for Terms {
    fn default() -> Terms {
        Terms { events_kept: minutes(7 * 24 * 60), under_way: Duration::ZERO }
    }
}

impl Terms {
    /// Those of a shop with these settings. A broker takes its time; in one
    /// process an event is sent when all have heard it.
    pub fn of(config: &Config) -> Terms {
        let by_broker = !matches!(config.events.bus, EventBus::Memory)
            && (!config.kafka.brokers.is_empty() || !config.redis.queue_url.is_empty());
        let under_way = if by_broker { Duration::from_secs(120) } else { Duration::ZERO };
        Terms { events_kept: minutes(config.events.keep_minutes), under_way }
    }
}

/// How long a suspect is given to become well by itself, and how often.
const SECOND_LOOK: Duration = Duration::from_millis(500);
const LOOKS: usize = 4;
/// How far back changes are looked at for their events, when those are kept so long.
const LONG_ENOUGH: Duration = Duration::from_secs(23 * 3600);
/// At most about so many suspects of a kind: who has more has one cause.
const MOST: usize = 1000;

/// Looks at everything.
pub async fn audit(shop: &Shop) -> Result<Report> {
    audit_by(shop, Terms::default()).await
}

/// The same on other terms.
pub async fn audit_by(shop: &Shop, terms: Terms) -> Result<Report> {
    let (looked_at, suspects) = suspects(shop, terms).await?;
    Ok(Report { looked_at, mended: Vec::new(), breaches: suspects.sentences() })
}

/// Looks at everything, mends what can be derived again, and looks again.
pub async fn repair(shop: &Shop, terms: Terms) -> Result<Report> {
    let (_, found) = suspects(shop, terms).await?;
    let mended = repair::repair(shop, &found.events).await?;
    Ok(Report { mended, ..audit_by(shop, terms).await? })
}

/// The breaches in what `carmel audit --json` printed. Fails (`audit_failed`)
/// when it printed no report: then it could not look.
pub fn breaches_said(said: &str) -> Result<Vec<String>> {
    let printed = said.find('{').map(|at| serde_json::Deserializer::from_str(&said[at..]));
    let report: Option<Value> = printed.and_then(|report| report.into_iter().next()?.ok());
    let breaches = report.as_ref().and_then(|report| report["breaches"].as_array());
    let breaches = breaches
        .ok_or_else(|| Error::unavailable("audit_failed", format!("carmel audit could not look: {said}")))?;
    Ok(breaches.iter().map(|breach| format!("audit: {}", breach.as_str().unwrap_or_default())).collect())
}

/// `carmel audit`, on the shop of these settings. It mends by the clock on the
/// wall; a shop that does not run is looked at by the time when it ended.
pub async fn command(config: &Config, world: &World, mends: bool, stopped: bool) -> Result<Report> {
    must_exist(config)?;
    let stopped = stopped || nobody_serves(config)?;
    let (terms, past) = (Terms::of(config), Past::new(world));
    let shop = Shop::look(config, &past.world()).await?;
    let mut mended = Vec::new();
    if mends {
        let (_, found) = suspects(&shop, terms).await?;
        mended = repair::repair(&shop, &found.events).await?;
    }
    if stopped {
        past.set_back(&shop).await?;
    }
    let report = audit_by(&shop, terms).await;
    shop.close().await;
    Ok(Report { mended, ..report? })
}

/// Refuses (`no_shop`) to look at files that are not there, or not all in their places.
pub(crate) fn must_exist(config: &Config) -> Result<()> {
    if SERVICES.iter().any(|service| config.database.url_of(service).is_none()) {
        databases::may_open(config)?;
    }
    for service in SERVICES {
        if let Target::Sqlite { path } = databases::target(config, service)
            && !path.exists()
        {
            let message = format!(
                "there is no shop in {}: {} is missing; data.folder (CARMEL_DATA_FOLDER) names the folder of one",
                config.data.folder.display(),
                path.display()
            );
            return Err(Error::new(Kind::Invalid, "no_shop", message));
        }
    }
    Ok(())
}

/// Whether this is a shop in files that no other process has open.
fn nobody_serves(config: &Config) -> Result<bool> {
    let mut nobody = true;
    for service in SERVICES {
        nobody &= match databases::target(config, service) {
            Target::Sqlite { path } => !db::is_open(&path)?,
            Target::Postgres { .. } => false,
        };
    }
    Ok(nobody)
}

/// What looks wrong.
struct Found {
    /// Within each service, a sentence each.
    own: BTreeSet<String>,
    /// Between the services.
    across: Suspects,
    events: Vec<Suspect>,
}

impl Found {
    fn is_nothing(&self) -> bool {
        self.own.is_empty() && self.across.is_empty() && self.events.is_empty()
    }

    fn sentences(self) -> Vec<String> {
        let across = self
            .across
            .into_iter()
            .flat_map(|(order, wrong)| wrong.into_iter().map(move |wrong| format!("{order}: {wrong}")));
        let events = self.events.iter().map(|suspect| format!("events: {}", suspect.sentence()));
        self.own.into_iter().chain(across).chain(events).collect()
    }
}

async fn suspects(shop: &Shop, terms: Terms) -> Result<(Vec<String>, Found)> {
    let (looked_at, mut found) = look(shop, terms).await?;
    for _ in 1..LOOKS {
        if found.is_nothing() {
            break;
        }
        shop.world().sleep(SECOND_LOOK).await;
        let mut pictures = Pictures::take(shop).await?;
        let across = across::again(&mut pictures, &found.across).await?;
        let events = events::again(&mut pictures, found.events).await?;
        let mut own = BTreeSet::new();
        if !found.own.is_empty() {
            own = services(shop.world(), pictures, terms).await?.1;
            own.retain(|breach| found.own.contains(breach));
        }
        found = Found { own, across, events };
    }
    Ok((looked_at, found))
}

async fn look(shop: &Shop, terms: Terms) -> Result<(Vec<String>, Found)> {
    let now = shop.world().now();
    let (mut pictures, own) = services(shop.world(), Pictures::take(shop).await?, terms).await?;
    let (orders, across) = across::all(&mut pictures).await?;
    let (since, until) = (now - events::horizon(terms.events_kept), now - terms.under_way);
    let listeners = Listener::all(shop);
    let (sent, events) = events::all(&mut pictures, &listeners, since, until).await?;
    let mut looked_at: Vec<String> = shop
        .databases
        .iter()
        .map(|(service, _)| format!("{service}: its own rules, its jobs, its events, its idempotency keys"))
        .collect();
    looked_at.push(format!("orders against payments and stock: {orders} orders"));
    looked_at.push(format!("events against what {} consumers heard: {sent} since {since}", listeners.len()));
    Ok((looked_at, Found { own, across, events }))
}

/// What each service finds wrong with itself. They look side by side.
async fn services(world: &World, pictures: Pictures, terms: Terms) -> Result<(Pictures, BTreeSet<String>)> {
    let Pictures { users, catalog, inventory, orders, payments, notifications } = pictures;
    let since = world.now() - events::horizon(terms.events_kept).min(LONG_ENOUGH);
    let (orders, payments, inventory, users, catalog, notifications) = futures::join!(
        own(world, "orders", orders, since),
        own(world, "payments", payments, since),
        own(world, "inventory", inventory, since),
        own(world, "users", users, since),
        own(world, "catalog", catalog, since),
        own(world, "notifications", notifications, since),
    );
    let mut found = BTreeSet::new();
    let mut keep = |looked: Result<(Tx, Vec<String>)>| {
        let (tx, breaches) = looked?;
        found.extend(breaches);
        Ok::<_, Error>(tx)
    };
    let pictures = Pictures {
        users: keep(users)?,
        catalog: keep(catalog)?,
        inventory: keep(inventory)?,
        orders: keep(orders)?,
        payments: keep(payments)?,
        notifications: keep(notifications)?,
    };
    Ok((pictures, found))
}

/// What a service finds wrong with itself, in a task of its own.
async fn own(world: &World, service: &'static str, mut tx: Tx, since: Time) -> Result<(Tx, Vec<String>)> {
    let (answer, answered) = tokio::sync::oneshot::channel();
    drop(world.spawn(async move {
        let found = breaches(service, &mut tx, since).await;
        // Whoever asked may be gone: then nobody wants to know.
        drop(answer.send(found.map(|found| (tx, found))));
    }));
    answered.await.map_err(Error::internal)?
}

async fn breaches(service: &'static str, tx: &mut Tx, since: Time) -> Result<Vec<String>> {
    let own = match service {
        "users" => users::breaches(tx, since).await?,
        "catalog" => catalog::breaches(tx, since).await?,
        "inventory" => inventory::breaches(tx).await?,
        "orders" => orders::breaches(tx, since).await?,
        "payments" => payments::breaches(tx).await?,
        _ => notifications::breaches(tx).await?,
    };
    let jobs = jobs::audit::breaches(tx).await?;
    let events = bus::audit::breaches(tx).await?;
    let keys = web::idempotency::breaches(tx).await?;
    let all = own.into_iter().chain(jobs).chain(events).chain(keys);
    Ok(all.map(|breach| format!("{service}: {breach}")).collect())
}
