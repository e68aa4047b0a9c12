//! What must always be true of orders, looked for in what is stored.

use std::time::Duration;

use contracts::orders::{OrderLine, OrderState};
use db::{Db, FromRow, Query, Tx, query, query_for};
use kernel::{Money, OrderId, Result, Time, uuid::Uuid};

use crate::{Settings, jobs::Fulfil, model::Order, store};

/// How long an announced event is surely still in the outbox.
const OUTBOX_REACHES: Duration = Duration::from_secs(24 * 3600);
/// How many rows are looked at in one go.
const PAGE: i64 = 500;

/// Breaches of what must always be true of orders, each a sentence with its
/// ids; empty when all is well. Looks at everything, page by page.
pub async fn audit(db: &Db) -> Result<Vec<String>> {
    let mut breaches = Vec::new();
    let mut after = OrderId::from_uuid(Uuid::nil());
    loop {
        let page: Result<Vec<OrderId>> = db::snapshot!(db, async |tx| { orders(tx, after).await });
        let page = page?;
        let Some(last) = page.last().copied() else { break };
        let found: Result<Vec<String>> = db::snapshot!(db, async |tx| {
            let mut found = Vec::new();
            for check in CHECKS {
                found.extend(check.run(tx, after, last).await?);
            }
            found.extend(unannounced(tx, after, last).await?);
            Ok(found)
        });
        breaches.extend(found?);
        after = last;
    }
    breaches.extend(forgotten(db).await?);
    Ok(breaches)
}

async fn orders(tx: &mut Tx, after: OrderId) -> Result<Vec<OrderId>> {
    let page: Vec<(OrderId,)> = query("SELECT id FROM orders WHERE id > $1 ORDER BY id LIMIT $2")
        .bind(after)
        .bind(PAGE)
        .fetch_all(tx)
        .await?;
    Ok(page.into_iter().map(|(id,)| id).collect())
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
                      AND step IN ('hold', 'screen', 'authorise', 'commit', 'capture')) <> 5 LIMIT 500",
            )
        },
        wrong: "is sold, but not each of its five steps is done",
    },
    Check {
        find: || {
            query(
                "SELECT id FROM orders WHERE id > $1 AND id <= $2 AND state = 'cancelled'
                 AND EXISTS (SELECT 1 FROM order_steps WHERE order_id = id AND state IN ('started', 'done', 'failed')
                     AND step IN ('hold', 'authorise', 'commit', 'capture')) LIMIT 500",
            )
        },
        wrong: "is cancelled, but a step of it is not undone",
    },
    Check {
        find: || {
            query(
                "SELECT id FROM orders WHERE id > $1 AND id <= $2 AND state = 'refunded'
                 AND EXISTS (SELECT 1 FROM order_steps WHERE order_id = id AND state IN ('started', 'done', 'failed')
                     AND (step = 'capture' OR step = 'commit' AND shipped_at IS NULL)) LIMIT 500",
            )
        },
        wrong: "is refunded, but its capture or its sale is not undone",
    },
    Check {
        find: || {
            query(
                "SELECT id FROM orders WHERE id > $1 AND id <= $2 AND NOT EXISTS (
                     SELECT 1 FROM order_history h WHERE h.order_id = id AND h.state = orders.state AND h.version = (
                         SELECT MAX(latest.version) FROM order_history latest WHERE latest.order_id = id)) LIMIT 500",
            )
        },
        wrong: "stands where its history does not end",
    },
    Check {
        find: || {
            query(
                "SELECT id FROM orders WHERE id > $1 AND id <= $2
                 AND (SELECT COALESCE(CAST(SUM(quantity * price) AS BIGINT), -1) FROM order_lines WHERE order_id = id)
                     <> total LIMIT 500",
            )
        },
        wrong: "costs something else than its lines do",
    },
];

/// Moves that nobody was told of, as far back as the outbox surely reaches. In
/// two forms, because each engine writes a UUID as text in its own way.
async fn unannounced(tx: &mut Tx, after: OrderId, last: OrderId) -> Result<Vec<String>> {
    let since = tx.world().now() - OUTBOX_REACHES;
    let found: Vec<(OrderId, i64, OrderState)> = query_for(
        "SELECT h.order_id, h.version, h.state FROM order_history h
         WHERE h.order_id > $1 AND h.order_id <= $2 AND h.at > $3 AND NOT EXISTS (
             SELECT 1 FROM outbox o WHERE o.subject = 'ord_' || lower(hex(h.order_id))
                AND o.version = h.version AND o.topic = 'orders.' || h.state) LIMIT 500",
        "SELECT h.order_id, h.version, h.state FROM order_history h
         WHERE h.order_id > $1 AND h.order_id <= $2 AND h.at > $3 AND NOT EXISTS (
             SELECT 1 FROM outbox o WHERE o.subject = 'ord_' || replace(h.order_id::TEXT, '-', '')
                AND o.version = h.version AND o.topic = 'orders.' || h.state) LIMIT 500",
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
async fn forgotten(db: &Db) -> Result<Vec<String>> {
    let since = db.world().now() - Settings::default().still_after * 10;
    let (mut after, mut found) = ((Time::from_micros(i64::MIN), OrderId::from_uuid(Uuid::nil())), Vec::new());
    loop {
        let still: Result<Vec<_>> = db::read!(db, async |tx| { store::still(tx, since, after).await });
        let still = still?;
        let Some((at, last, _)) = still.last() else {
            return Ok(found);
        };
        after = (*at, *last);
        let name = <Fulfil as ::jobs::Job>::NAME;
        found.extend(still.iter().map(|(_, order, _)| format!("{order} stands still and has no job {name}")));
    }
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
    /// What was bought.
    pub lines: Vec<OrderLine>,
}

/// The orders behind the given one in the order of their ids, at most 500, as
/// the audit of the whole shop needs them; none at the end.
pub async fn facts(db: &Db, after: Option<OrderId>) -> Result<Vec<Fact>> {
    let after = after.unwrap_or(OrderId::from_uuid(Uuid::nil()));
    let found: Result<(Vec<Order>, Vec<store::LineRow>)> = db::snapshot!(db, async |tx| {
        let orders: Vec<Order> = page(
            query(
                "SELECT id, number, customer_id, state, reason, total, currency, address, token, approved_by, screening,
                        carrier, tracking, shipped_at, job_id, version, placed_at, updated_at
                 FROM orders WHERE id > $1 ORDER BY id LIMIT $2",
            ),
            tx,
            after,
        )
        .await?;
        let Some(last) = orders.last().map(|order| order.id) else {
            return Ok((orders, Vec::new()));
        };
        let lines = query(
            "SELECT order_id, sku, name, quantity, price FROM order_lines WHERE order_id > $1 AND order_id <= $2
             ORDER BY order_id, line LIMIT 50000",
        );
        let lines = lines.bind(after).bind(last).fetch_all(tx).await?;
        Ok((orders, lines))
    });
    let (orders, lines) = found?;
    let mut lines = lines.into_iter().peekable();
    let mut facts = Vec::with_capacity(orders.len());
    for order in orders {
        let mut own = Vec::new();
        while let Some(row) = lines.next_if(|row| row.order_id == order.id) {
            own.push(row.line(order.currency()));
        }
        let shipped = order.shipped_at.is_some();
        facts.push(Fact { order: order.id, state: order.state, total: order.total, shipped, lines: own });
    }
    Ok(facts)
}

async fn page<T: FromRow>(query: Query, tx: &mut Tx, after: OrderId) -> Result<Vec<T>> {
    query.bind(after).bind(PAGE).fetch_all(tx).await
}
