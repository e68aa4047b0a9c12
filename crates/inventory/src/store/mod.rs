//! The tables of stock. Every function is one statement, and everything that
//! concerns one order begins by locking its row in `holds`.

mod many;

use contracts::inventory::Line;
use db::{Migration, Tx, query, query_for};
use kernel::{OrderId, Result, Sku, Time, Value};

use crate::model::{HoldState, MAIN, Movement, Reservation, Stock};

pub use many::{
    claim_new, insert_lines, insert_sales, lines_of, lock_stock, sell_all, sell_all_held, take_all, unclaim,
};

/// The tables of this service alone.
pub const MIGRATIONS: &[Migration] = &[Migration {
    name: "inventory_1",
    sql: "
        CREATE TABLE stock (
            sku TEXT NOT NULL,
            location TEXT NOT NULL,
            on_hand BIGINT NOT NULL CHECK (on_hand >= 0),
            held BIGINT NOT NULL CHECK (held >= 0),
            version BIGINT NOT NULL,
            PRIMARY KEY (sku, location),
            CHECK (held <= on_hand)
        );
        CREATE TABLE movements (
            sku TEXT NOT NULL,
            location TEXT NOT NULL,
            version BIGINT NOT NULL,
            quantity BIGINT NOT NULL CHECK (quantity <> 0),
            reason TEXT NOT NULL,
            note TEXT NOT NULL,
            order_id UUID,
            moved_at BIGINT NOT NULL,
            PRIMARY KEY (sku, location, version)
        );
        CREATE INDEX movements_of_order ON movements (order_id, sku) WHERE order_id IS NOT NULL;
        CREATE TABLE holds (
            order_id UUID NOT NULL PRIMARY KEY,
            state TEXT NOT NULL,
            undone BOOLEAN NOT NULL,
            expires_at BIGINT NOT NULL,
            turns BIGINT NOT NULL
        );
        CREATE INDEX holds_open ON holds (expires_at) WHERE state = 'open';
        CREATE TABLE hold_lines (
            order_id UUID NOT NULL,
            sku TEXT NOT NULL,
            quantity BIGINT NOT NULL CHECK (quantity > 0),
            PRIMARY KEY (order_id, sku)
        )",
}];

/// Locks the row of an order until the transaction ends; makes it, open, when
/// there is none (then `turns` is 0). What it returns stays true until then.
pub async fn claim(tx: &mut Tx, order: OrderId, expires_at: Time) -> Result<Reservation> {
    query(
        "INSERT INTO holds (order_id, state, undone, expires_at, turns) VALUES ($1, $2, $3, $4, 0)
         ON CONFLICT (order_id) DO UPDATE SET turns = holds.turns + 1
         RETURNING state, undone, expires_at, turns",
    )
    .bind(order)
    .bind(HoldState::Open)
    .bind(false)
    .bind(expires_at)
    .fetch_one(tx)
    .await
}

/// Locks the row of an order and leaves the mark of an undo on it; makes it
/// when there is none.
pub async fn mark_undone(tx: &mut Tx, order: OrderId) -> Result<Reservation> {
    query(
        "INSERT INTO holds (order_id, state, undone, expires_at, turns) VALUES ($1, $2, $3, 0, 0)
         ON CONFLICT (order_id) DO UPDATE SET undone = $3, turns = holds.turns + 1
         RETURNING state, undone, expires_at, turns",
    )
    .bind(order)
    .bind(HoldState::Nothing)
    .bind(true)
    .fetch_one(tx)
    .await
}

/// Locks the row of an order, if there is one.
pub async fn lock(tx: &mut Tx, order: OrderId) -> Result<Option<Reservation>> {
    query(
        "UPDATE holds SET turns = turns + 1 WHERE order_id = $1
         RETURNING state, undone, expires_at, turns",
    )
    .bind(order)
    .fetch_optional(tx)
    .await
}

/// Locks the row of an order and moves it from open to sold. Returns whether
/// it was there to be moved.
pub async fn sell(tx: &mut Tx, order: OrderId) -> Result<bool> {
    let sold = query(
        "UPDATE holds SET state = $3, turns = turns + 1
         WHERE order_id = $1 AND state = $2 AND undone = FALSE",
    )
    .bind(order)
    .bind(HoldState::Open)
    .bind(HoldState::Sold)
    .execute(tx)
    .await?;
    Ok(sold == 1)
}

/// Moves a hold from one state to the next. Returns whether it was there to be moved.
pub async fn advance(tx: &mut Tx, order: OrderId, from: HoldState, to: HoldState) -> Result<bool> {
    let moved = query("UPDATE holds SET state = $3 WHERE order_id = $1 AND state = $2")
        .bind(order)
        .bind(from)
        .bind(to)
        .execute(tx)
        .await?;
    Ok(moved == 1)
}

/// Opens a hold until then: one that had expired, or one that is to last longer.
pub async fn reopen(tx: &mut Tx, order: OrderId, expires_at: Time) -> Result<()> {
    query("UPDATE holds SET state = $2, expires_at = $3 WHERE order_id = $1")
        .bind(order)
        .bind(HoldState::Open)
        .bind(expires_at)
        .execute(tx)
        .await?;
    Ok(())
}

/// Writes down what an order holds of a SKU.
pub async fn insert_line(tx: &mut Tx, order: OrderId, line: &Line) -> Result<()> {
    query("INSERT INTO hold_lines (order_id, sku, quantity) VALUES ($1, $2, $3)")
        .bind(order)
        .bind(&line.sku)
        .bind(line.quantity)
        .execute(tx)
        .await?;
    Ok(())
}

/// What an order holds or held, in the order of the SKUs.
pub async fn lines(tx: &mut Tx, order: OrderId) -> Result<Vec<Line>> {
    let rows: Vec<(Sku, u32)> =
        query("SELECT sku, quantity FROM hold_lines WHERE order_id = $1 ORDER BY sku LIMIT 1000")
            .bind(order)
            .fetch_all(tx)
            .await?;
    Ok(rows.into_iter().map(|(sku, quantity)| Line { sku, quantity }).collect())
}

/// Holds so many of a SKU, if so many are free: the statement decides.
pub async fn take(tx: &mut Tx, sku: &Sku, quantity: i64) -> Result<Option<Stock>> {
    query(
        "UPDATE stock SET held = held + $2, version = version + 1
         WHERE sku = $1 AND location = $3 AND held + $2 <= on_hand
         RETURNING sku, on_hand, held, version",
    )
    .bind(sku)
    .bind(quantity)
    .bind(MAIN)
    .fetch_optional(tx)
    .await
}

/// Part of a planted fault: says how many are held, whatever happened meanwhile.
pub async fn overwrite_held(tx: &mut Tx, sku: &Sku, held: i64) -> Result<()> {
    query("UPDATE stock SET held = $2 WHERE sku = $1 AND location = $3 AND $2 <= on_hand")
        .bind(sku)
        .bind(held)
        .bind(MAIN)
        .execute(tx)
        .await?;
    Ok(())
}

/// Gives back so many that were held.
pub async fn give_back(tx: &mut Tx, sku: &Sku, quantity: i64) -> Result<Stock> {
    query(
        "UPDATE stock SET held = held - $2, version = version + 1
         WHERE sku = $1 AND location = $3
         RETURNING sku, on_hand, held, version",
    )
    .bind(sku)
    .bind(quantity)
    .bind(MAIN)
    .fetch_one(tx)
    .await
}

/// Sells so many that were held.
pub async fn sell_held(tx: &mut Tx, sku: &Sku, quantity: i64) -> Result<Stock> {
    query(
        "UPDATE stock SET on_hand = on_hand - $2, held = held - $2, version = version + 1
         WHERE sku = $1 AND location = $3
         RETURNING sku, on_hand, held, version",
    )
    .bind(sku)
    .bind(quantity)
    .bind(MAIN)
    .fetch_one(tx)
    .await
}

/// Takes so many that nobody holds out of the shop's hands, if so many are free.
pub async fn withdraw(tx: &mut Tx, sku: &Sku, quantity: i64) -> Result<Option<Stock>> {
    query(
        "UPDATE stock SET on_hand = on_hand - $2, version = version + 1
         WHERE sku = $1 AND location = $3 AND held + $2 <= on_hand
         RETURNING sku, on_hand, held, version",
    )
    .bind(sku)
    .bind(quantity)
    .bind(MAIN)
    .fetch_optional(tx)
    .await
}

/// Puts so many into the shop's hands; the first ones of a SKU, too.
pub async fn put(tx: &mut Tx, sku: &Sku, quantity: i64) -> Result<Stock> {
    query(
        "INSERT INTO stock (sku, location, on_hand, held, version) VALUES ($1, $3, $2, 0, 1)
         ON CONFLICT (sku, location) DO UPDATE
         SET on_hand = stock.on_hand + $2, version = stock.version + 1
         RETURNING sku, on_hand, held, version",
    )
    .bind(sku)
    .bind(quantity)
    .bind(MAIN)
    .fetch_one(tx)
    .await
}

/// Writes a movement down, beside the change of `stock` that it is about.
pub async fn insert_movement(tx: &mut Tx, movement: &Movement, order: Option<OrderId>) -> Result<()> {
    query(
        "INSERT INTO movements (sku, location, version, quantity, reason, note, order_id, moved_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(&movement.sku)
    .bind(MAIN)
    .bind(movement.version)
    .bind(movement.quantity)
    .bind(movement.reason)
    .bind(&movement.note)
    .bind(order)
    .bind(movement.moved_at)
    .execute(tx)
    .await?;
    Ok(())
}

/// How much there is of a SKU.
pub async fn find(tx: &mut Tx, sku: &Sku) -> Result<Option<Stock>> {
    query("SELECT sku, on_hand, held, version FROM stock WHERE sku = $1 AND location = $2")
        .bind(sku)
        .bind(MAIN)
        .fetch_optional(tx)
        .await
}

/// How much there is of each of these; those without stock are left out.
pub async fn find_all(tx: &mut Tx, skus: &[Sku]) -> Result<Vec<Stock>> {
    // Two forms, because each engine takes a list in its own way.
    query_for(
        "SELECT sku, on_hand, held, version FROM stock
         WHERE sku IN (SELECT value FROM json_each($1)) AND location = $2 ORDER BY sku LIMIT 100",
        "SELECT sku, on_hand, held, version FROM stock
         WHERE sku = ANY($1::text[]) AND location = $2 ORDER BY sku LIMIT 100",
    )
    .bind(Value::Texts(skus.iter().map(Sku::to_string).collect()))
    .bind(MAIN)
    .fetch_all(tx)
    .await
}

/// The stock behind a SKU, in the order of the SKUs.
pub async fn list(tx: &mut Tx, after: &str, limit: i64) -> Result<Vec<Stock>> {
    query(
        "SELECT sku, on_hand, held, version FROM stock
         WHERE sku > $1 AND location = $2 ORDER BY sku LIMIT $3",
    )
    .bind(after)
    .bind(MAIN)
    .bind(limit)
    .fetch_all(tx)
    .await
}

/// The movements of a SKU before a version, latest first.
pub async fn movements(tx: &mut Tx, sku: &Sku, before: i64, limit: i64) -> Result<Vec<Movement>> {
    query(
        "SELECT sku, version, quantity, reason, note, moved_at FROM movements
         WHERE sku = $1 AND location = $2 AND version < $3 ORDER BY version DESC LIMIT $4",
    )
    .bind(sku)
    .bind(MAIN)
    .bind(before)
    .bind(limit)
    .fetch_all(tx)
    .await
}

/// Whether a hold is open past its time.
pub async fn any_overdue(tx: &mut Tx, now: Time) -> Result<bool> {
    let found: Option<(i64,)> =
        query("SELECT turns FROM holds WHERE state = 'open' AND expires_at <= $1 LIMIT 1")
            .bind(now)
            .fetch_optional(tx)
            .await?;
    Ok(found.is_some())
}

/// Marks open holds that are past their time as expired and returns whose they
/// were. Two forms, because on PostgreSQL a sweep has to wait for those who
/// sell or give back the same rows at this moment, in the order in which
/// everybody locks them; on SQLite nobody else can write anyway.
pub async fn expire(tx: &mut Tx, now: Time, limit: i64) -> Result<Vec<OrderId>> {
    let rows: Vec<(OrderId,)> = query_for(
        "UPDATE holds SET state = 'expired', turns = turns + 1 WHERE order_id IN (
             SELECT order_id FROM holds WHERE state = 'open' AND expires_at <= $1
             ORDER BY order_id LIMIT $2)
         RETURNING order_id",
        "UPDATE holds SET state = 'expired', turns = turns + 1 WHERE order_id IN (
             SELECT order_id FROM holds WHERE state = 'open' AND expires_at <= $1
             ORDER BY order_id LIMIT $2 FOR UPDATE)
         RETURNING order_id",
    )
    .bind(now)
    .bind(limit)
    .fetch_all(tx)
    .await?;
    Ok(rows.into_iter().map(|(order,)| order).collect())
}

/// What became of the stock of the orders behind this one, in their order.
pub async fn states_after(tx: &mut Tx, after: OrderId, limit: i64) -> Result<Vec<(OrderId, HoldState)>> {
    query("SELECT order_id, state FROM holds WHERE order_id > $1 ORDER BY order_id LIMIT $2")
        .bind(after)
        .bind(limit)
        .fetch_all(tx)
        .await
}

/// The lines of the orders in a range, in the order of the orders.
pub async fn lines_between(tx: &mut Tx, after: OrderId, until: OrderId) -> Result<Vec<(OrderId, Sku, u32)>> {
    query(
        "SELECT order_id, sku, quantity FROM hold_lines
         WHERE order_id > $1 AND order_id <= $2 ORDER BY order_id, sku LIMIT 1000000",
    )
    .bind(after)
    .bind(until)
    .fetch_all(tx)
    .await
}

/// What the movements of the SKUs in a range add up to.
pub async fn moved_between(tx: &mut Tx, after: &str, until: &str) -> Result<Vec<(Sku, i64)>> {
    query(
        "SELECT sku, CAST(SUM(quantity) AS BIGINT) FROM movements
         WHERE sku > $1 AND sku <= $2 AND location = $3 GROUP BY sku ORDER BY sku LIMIT 10000",
    )
    .bind(after)
    .bind(until)
    .bind(MAIN)
    .fetch_all(tx)
    .await
}

/// The last versions that the SKUs in a range have announced, as far as the
/// outbox reaches.
pub async fn announced_between(tx: &mut Tx, after: &str, until: &str) -> Result<Vec<(Sku, i64)>> {
    query(
        "SELECT subject, MAX(version) FROM outbox
         WHERE subject > $1 AND subject <= $2 AND topic = 'inventory.stock_changed'
         GROUP BY subject ORDER BY subject LIMIT 10000",
    )
    .bind(after)
    .bind(until)
    .fetch_all(tx)
    .await
}

/// SKUs that were moved and have no stock.
pub async fn without_stock(tx: &mut Tx, limit: i64) -> Result<Vec<(Sku,)>> {
    query(
        "SELECT DISTINCT m.sku FROM movements m
         WHERE NOT EXISTS (SELECT 1 FROM stock s WHERE s.sku = m.sku AND s.location = m.location)
         ORDER BY m.sku LIMIT $1",
    )
    .bind(limit)
    .fetch_all(tx)
    .await
}

/// Holds that are open and ended before then, the oldest first.
pub async fn overdue(tx: &mut Tx, before: Time, limit: i64) -> Result<Vec<(OrderId, Time)>> {
    query(
        "SELECT order_id, expires_at FROM holds WHERE state = 'open' AND expires_at <= $1
         ORDER BY expires_at, order_id LIMIT $2",
    )
    .bind(before)
    .bind(limit)
    .fetch_all(tx)
    .await
}

/// The last of so many orders behind this one; none at the end.
pub async fn last_of_page(tx: &mut Tx, after: OrderId, most: i64) -> Result<Option<OrderId>> {
    let last: Vec<(OrderId,)> = query(
        "SELECT order_id FROM (SELECT order_id FROM holds WHERE order_id > $1 ORDER BY order_id LIMIT $2) AS page
         ORDER BY order_id DESC LIMIT 1",
    )
    .bind(after)
    .bind(most)
    .fetch_all(tx)
    .await?;
    Ok(last.first().map(|(order,)| *order))
}

/// What the open holds of the SKUs in a range add up to.
pub async fn open_holds(tx: &mut Tx, after: &str, until: &str) -> Result<Vec<(Sku, i64)>> {
    query(
        "SELECT l.sku, CAST(SUM(l.quantity) AS BIGINT) FROM holds h
         JOIN hold_lines l ON l.order_id = h.order_id
         WHERE h.state = 'open' AND l.sku > $1 AND l.sku <= $2 GROUP BY l.sku ORDER BY l.sku LIMIT 10000",
    )
    .bind(after)
    .bind(until)
    .fetch_all(tx)
    .await
}

/// Orders of a range whose movements do not add up to what they bought: minus
/// each line while it is sold, nothing otherwise. Whose, of what, how many, and
/// the sum; at most 100.
pub async fn wrongly_moved(
    tx: &mut Tx,
    after: OrderId,
    until: OrderId,
) -> Result<Vec<(OrderId, Sku, i64, i64)>> {
    query(
        "SELECT h.order_id, l.sku, l.quantity, CAST(COALESCE(SUM(m.quantity), 0) AS BIGINT)
         FROM holds h JOIN hold_lines l ON l.order_id = h.order_id
         LEFT JOIN movements m ON m.order_id = l.order_id AND m.sku = l.sku
         WHERE h.order_id > $1 AND h.order_id <= $2
         GROUP BY h.order_id, h.state, l.sku, l.quantity
         HAVING CASE WHEN h.state = $3 THEN -l.quantity ELSE 0 END <> COALESCE(SUM(m.quantity), 0)
         ORDER BY h.order_id, l.sku LIMIT 100",
    )
    .bind(after)
    .bind(until)
    .bind(HoldState::Sold)
    .fetch_all(tx)
    .await
}
