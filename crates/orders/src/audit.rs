//! What must always be true of orders, looked for in what is stored.

use std::time::Duration;

use contracts::{Deed, orders::OrderState};
use db::{Db, Query, Tx, query, query_for};
use kernel::{Currency, Money, OrderId, Result, Sku, Time, uuid::Uuid};

use crate::{Settings, jobs::Fulfil, store};

/// What was changed longer ago may have lost its events.
const HORIZON: Duration = Duration::from_secs(23 * 3600);
/// How long an order may be on its way: its job gives up after one to two days.
const LONGEST_ON_ITS_WAY: Duration = Duration::from_secs(3 * 24 * 3600);
/// How many rows are looked at in one go.
const PAGE: i64 = 10_000;
/// At most so many findings of a kind: who has more has one cause.
const MOST: usize = 100;
/// Before all others.
const NO_ORDER: OrderId = OrderId::from_uuid(Uuid::nil());

/// Breaches of what must always be true of orders, each a sentence with its
/// ids; empty when all is well. Looks at everything, page by page.
pub async fn audit(db: &Db) -> Result<Vec<String>> {
    breaches(&mut db.picture().await?, db.world().now() - HORIZON).await
}

/// The same, seen in a picture of the database that has all events since then.
pub async fn breaches(tx: &mut Tx, since: Time) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let mut after = NO_ORDER;
    while let Some(last) = last_of_page(tx, after).await? {
        for check in CHECKS {
            found.extend(check.run(tx, after, last).await?);
        }
        found.extend(unannounced(tx, (after, last), since).await?);
        after = last;
        if found.len() > CHECKS.len() * MOST {
            break;
        }
    }
    let name = <Fulfil as ::jobs::Job>::NAME;
    let forgotten = forgotten(tx).await?.into_iter();
    found.extend(forgotten.map(|order| format!("{order} stands still and has no job {name}")));
    found.extend(slow(tx).await?);
    Ok(found)
}

/// The last of a page of orders behind this one; none at the end.
async fn last_of_page(tx: &mut Tx, after: OrderId) -> Result<Option<OrderId>> {
    let last: Option<(OrderId,)> = query(
        "SELECT id FROM (SELECT id FROM orders WHERE id > $1 ORDER BY id LIMIT $2) AS page ORDER BY id DESC LIMIT 1",
    )
    .bind(after)
    .bind(PAGE)
    .fetch_optional(tx)
    .await?;
    Ok(last.map(|(id,)| id))
}

/// A question that finds those of `id > $1 AND id <= $2` that break a rule, and
/// what is wrong with them.
struct Check {
    find: fn() -> Query,
    wrong: &'static str,
}

impl Check {
    async fn run(&self, tx: &mut Tx, after: OrderId, last: OrderId) -> Result<Vec<String>> {
        let found: Vec<(OrderId,)> = (self.find)().bind(after).bind(last).fetch_all(tx).await?;
        Ok(found.into_iter().map(|(id,)| format!("{id} {}", self.wrong)).collect())
    }
}

const CHECKS: &[Check] = &[
    Check {
        find: || {
            query(
                "SELECT id FROM orders WHERE id > $1 AND id <= $2 AND state IN ('confirmed', 'shipped', 'delivered')
                 AND (SELECT COUNT(DISTINCT step) FROM order_steps WHERE order_id = id AND state = 'done'
                      AND step IN ('hold', 'screen', 'authorise', 'commit', 'capture')) <> 5 LIMIT 100",
            )
        },
        wrong: "is sold, but not each of its five steps is done",
    },
    Check {
        find: || {
            query(
                "SELECT id FROM orders WHERE id > $1 AND id <= $2 AND state = 'cancelled'
                 AND EXISTS (SELECT 1 FROM order_steps WHERE order_id = id AND state IN ('started', 'done', 'failed')
                     AND step IN ('hold', 'authorise', 'commit', 'capture')) LIMIT 100",
            )
        },
        wrong: "is cancelled, but a step of it is not undone",
    },
    Check {
        find: || {
            query(
                "SELECT id FROM orders WHERE id > $1 AND id <= $2 AND state = 'refunded'
                 AND EXISTS (SELECT 1 FROM order_steps WHERE order_id = id AND state IN ('started', 'done', 'failed')
                     AND (step = 'capture' OR step = 'commit' AND shipped_at IS NULL)) LIMIT 100",
            )
        },
        wrong: "is refunded, but its capture or its sale is not undone",
    },
    Check {
        find: || {
            query(
                "SELECT id FROM orders WHERE id > $1 AND id <= $2 AND NOT EXISTS (
                     SELECT 1 FROM order_history h WHERE h.order_id = id AND h.state = orders.state AND h.version = (
                         SELECT MAX(latest.version) FROM order_history latest WHERE latest.order_id = id)) LIMIT 100",
            )
        },
        wrong: "stands where its history does not end",
    },
    Check {
        find: || {
            query(
                "SELECT id FROM orders WHERE id > $1 AND id <= $2
                 AND (SELECT COALESCE(CAST(SUM(quantity * price) AS BIGINT), -1) FROM order_lines WHERE order_id = id)
                     <> total LIMIT 100",
            )
        },
        wrong: "costs something else than its lines do",
    },
    // A screening takes nothing, so who cancels meanwhile does not wait for it.
    Check {
        find: || {
            query(
                "SELECT id FROM orders WHERE id > $1 AND id <= $2
                 AND state IN ('confirmed', 'shipped', 'delivered', 'cancelled', 'refunded')
                 AND EXISTS (SELECT 1 FROM order_steps s WHERE s.order_id = id AND s.state = 'started'
                     AND s.step <> 'screen' AND NOT EXISTS (SELECT 1 FROM order_steps later
                         WHERE later.order_id = id AND later.step = s.step AND later.attempt > s.attempt)) LIMIT 100",
            )
        },
        wrong: "is at rest, but a step of it has not ended",
    },
];

/// Moves that nobody was told of, as far back as the outbox surely reaches. In
/// two forms, because each engine writes a UUID as text in its own way.
async fn unannounced(tx: &mut Tx, (after, last): (OrderId, OrderId), since: Time) -> Result<Vec<String>> {
    let found: Vec<(OrderId, i64, OrderState)> = query_for(
        "SELECT h.order_id, h.version, h.state FROM orders JOIN order_history h ON h.order_id = orders.id
         WHERE orders.id > $1 AND orders.id <= $2 AND updated_at > $3 AND h.at > $3 AND NOT EXISTS (
             SELECT 1 FROM outbox o WHERE o.subject = 'ord_' || lower(hex(h.order_id))
                AND o.version = h.version AND o.topic = 'orders.' || h.state) LIMIT 100",
        "SELECT h.order_id, h.version, h.state FROM orders JOIN order_history h ON h.order_id = orders.id
         WHERE orders.id > $1 AND orders.id <= $2 AND updated_at > $3 AND h.at > $3 AND NOT EXISTS (
             SELECT 1 FROM outbox o WHERE o.subject = 'ord_' || replace(h.order_id::TEXT, '-', '')
                AND o.version = h.version AND o.topic = 'orders.' || h.state) LIMIT 100",
    )
    .bind(after)
    .bind(last)
    .bind(since)
    .fetch_all(tx)
    .await?;
    let sentence =
        |(order, version, state)| format!("{order} came to be {state} at version {version} without an event");
    Ok(found.into_iter().map(sentence).collect())
}

/// Orders that should be moving, have not for long and have no job that is
/// unfinished or seen as a dead letter. Long is ten times the default of
/// [`Settings::still_after`], whatever is set: the audit knows no settings. A
/// shop that sweeps more seldom than that sees orders here that the next sweep
/// finds.
pub async fn forgotten(tx: &mut Tx) -> Result<Vec<OrderId>> {
    let since = tx.world().now() - Settings::default().still_after * 10;
    let (mut after, mut found) = ((Time::from_micros(i64::MIN), NO_ORDER), Vec::new());
    while found.len() < MOST {
        let still = store::still(tx, since, after).await?;
        let Some((at, last, _)) = still.last() else { break };
        after = (*at, *last);
        found.extend(still.iter().map(|(_, order, _)| *order));
    }
    Ok(found)
}

/// Orders that have been on their way for longer than anybody tries.
async fn slow(tx: &mut Tx) -> Result<Vec<String>> {
    let found: Vec<(OrderId, OrderState, Time)> = query(
        "SELECT id, state, updated_at FROM orders
         WHERE state IN ('placed', 'held', 'in_review', 'authorised', 'committed', 'cancelling', 'refunding')
           AND (state <> 'in_review' OR approved_by IS NOT NULL) AND updated_at < $1
         ORDER BY updated_at, id LIMIT $2",
    )
    .bind(tx.world().now() - LONGEST_ON_ITS_WAY)
    .bind(MOST as i64)
    .fetch_all(tx)
    .await?;
    let sentence = |(order, state, at)| format!("{order} is {state} since {at}");
    Ok(found.into_iter().map(sentence).collect())
}

/// What the audit of the whole shop compares with stock and payments.
#[derive(Clone, Debug, PartialEq)]
pub struct Fact {
    /// Which order.
    pub order: OrderId,
    /// Where it stands.
    pub state: OrderState,
    /// What it costs.
    pub total: Money,
    /// Whether it left the house.
    pub shipped: bool,
    /// What was bought, and how many of it.
    pub lines: Vec<(Sku, u32)>,
}

/// An order as it is compared.
struct Row {
    id: OrderId,
    state: OrderState,
    total: i64,
    currency: Currency,
    shipped_at: Option<Time>,
}

db::from_row!(Row { id, state, total, currency, shipped_at });

/// The orders behind the given one in the order of their ids, at most so many,
/// as the audit of the whole shop needs them; none at the end.
pub async fn facts(tx: &mut Tx, after: Option<OrderId>, most: i64) -> Result<Vec<Fact>> {
    let after = after.unwrap_or(NO_ORDER);
    let orders: Vec<Row> =
        query("SELECT id, state, total, currency, shipped_at FROM orders WHERE id > $1 ORDER BY id LIMIT $2")
            .bind(after)
            .bind(most)
            .fetch_all(tx)
            .await?;
    let Some(last) = orders.last().map(|order| order.id) else { return Ok(Vec::new()) };
    let lines: Vec<(OrderId, Sku, u32)> = query(
        "SELECT order_id, sku, quantity FROM order_lines WHERE order_id > $1 AND order_id <= $2
         ORDER BY order_id, line LIMIT 1000000",
    )
    .bind(after)
    .bind(last)
    .fetch_all(tx)
    .await?;
    let mut lines = lines.into_iter().peekable();
    let mut facts = Vec::with_capacity(orders.len());
    for order in orders {
        let mut own = Vec::new();
        while let Some((_, sku, quantity)) = lines.next_if(|(of, ..)| *of == order.id) {
            own.push((sku, quantity));
        }
        facts.push(Fact {
            order: order.id,
            state: order.state,
            total: Money::new(order.total, order.currency),
            shipped: order.shipped_at.is_some(),
            lines: own,
        });
    }
    Ok(facts)
}

/// The orders that were placed since then, and what became of orders.
pub async fn deeds(tx: &mut Tx, since: Time) -> Result<Vec<Deed>> {
    let placed: Vec<(OrderId, String, i64, Currency, Time)> =
        query("SELECT id, number, total, currency, placed_at FROM orders WHERE placed_at >= $1")
            .bind(since)
            .fetch_all(tx)
            .await?;
    let moved: Vec<(OrderId, i64, OrderState, Time)> =
        query("SELECT order_id, version, state, at FROM order_history WHERE at >= $1")
            .bind(since)
            .fetch_all(tx)
            .await?;
    let (order, step) = (Deed::of("orders"), Deed::of("changes of orders"));
    let placed = placed.into_iter().map(|(id, number, total, currency, at)| {
        order(at, format!("{number} ({id}) of {}", Money::new(total, currency)))
    });
    let moved = moved
        .into_iter()
        .map(|(id, version, state, at)| step(at, format!("{id} became {state} (version {version})")));
    Ok(placed.chain(moved).collect())
}
