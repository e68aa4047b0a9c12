//! What must be true of this service's tables, looked at from outside.

use std::time::Duration;

use contracts::Deed;
use db::{Db, Tx, query, query_for};
use kernel::{CategoryId, Currency, Money, ProductId, Result, Sku, Time, Value};

/// At most so many findings of a kind: who has more has one cause.
const MOST: i64 = 100;
/// What was changed longer ago may have lost its events.
const HORIZON: Duration = Duration::from_secs(23 * 3600);
/// Products looked at in one go.
const AT_ONCE: i64 = 1000;

/// Breaches, each a sentence.
pub async fn audit(db: &Db) -> Result<Vec<String>> {
    breaches(&mut db.picture().await?, db.world().now() - HORIZON).await
}

/// The same, seen in a picture of the database that has all events since then.
pub async fn breaches(tx: &mut Tx, since: Time) -> Result<Vec<String>> {
    let mut found = tables(tx).await?;
    found.extend(events(tx, since).await?);
    Ok(found)
}

/// Every product that was changed lately has announced its version.
async fn events(tx: &mut Tx, since: Time) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let mut after = ProductId::from_uuid(kernel::uuid::Uuid::nil());
    while found.len() < MOST as usize {
        let page = versions(tx, after, since).await?;
        let Some(last) = page.last() else { break };
        after = last.0;
        let silent = page.iter().filter(|(_, version, announced)| version != announced);
        found.extend(silent.map(|(id, version, announced)| {
            format!("{id} has version {version}, and the last one it announced is {announced}")
        }));
    }
    Ok(found)
}

/// Products with their versions and the last ones they announced.
async fn versions(tx: &mut Tx, after: ProductId, since: Time) -> Result<Vec<(ProductId, i64, i64)>> {
    let products: Vec<(ProductId, i64)> =
        query("SELECT id, version FROM products WHERE id > $1 AND updated_at > $2 ORDER BY id LIMIT $3")
            .bind(after)
            .bind(since)
            .bind(AT_ONCE)
            .fetch_all(tx)
            .await?;
    // A list is an array on PostgreSQL and JSON on SQLite.
    let announced: Vec<(String, i64)> = query_for(
        "SELECT subject, MAX(version) FROM outbox WHERE subject IN (SELECT value FROM json_each($1)) GROUP BY subject",
        "SELECT subject, MAX(version) FROM outbox WHERE subject = ANY($1) GROUP BY subject",
    )
    .bind(Value::Texts(products.iter().map(|(id, _)| id.to_string()).collect()))
    .fetch_all(tx)
    .await?;
    let announced: std::collections::HashMap<String, i64> = announced.into_iter().collect();
    let last = |id: ProductId| announced.get(&id.to_string()).copied().unwrap_or_default();
    Ok(products.into_iter().map(|(id, version)| (id, version, last(id))).collect())
}

/// Prices are the last ones of their history, and the categories are a tree.
async fn tables(tx: &mut Tx) -> Result<Vec<String>> {
    let mispriced: Vec<(Sku, i64, Option<i64>)> = query(
        "SELECT v.sku, v.price, h.price FROM variants v
         LEFT JOIN price_history h ON h.variant_id = v.id AND h.version =
             (SELECT MAX(last.version) FROM price_history last WHERE last.variant_id = v.id)
         WHERE h.price IS NULL OR h.price <> v.price OR h.currency <> v.currency OR h.version > v.version
         ORDER BY v.sku LIMIT $1",
    )
    .bind(MOST)
    .fetch_all(tx)
    .await?;
    let rootless: Vec<(CategoryId,)> = query(
        "WITH RECURSIVE tree(id) AS (
             SELECT id FROM categories WHERE parent_id IS NULL
             UNION SELECT c.id FROM categories c JOIN tree t ON c.parent_id = t.id
         )
         SELECT id FROM categories WHERE id NOT IN (SELECT id FROM tree) ORDER BY id LIMIT $1",
    )
    .bind(MOST)
    .fetch_all(tx)
    .await?;

    let mispriced = mispriced.into_iter().map(|(sku, price, noted)| match noted {
        Some(noted) => format!("{sku} costs {price}, and the last price in its history is {noted}"),
        None => format!("{sku} costs {price}, and its history has no price"),
    });
    let rootless = rootless.into_iter().map(|(id,)| format!("{id} is part of itself"));
    Ok(mispriced.chain(rootless).collect())
}

/// The products that were added since then, and the prices that were set.
pub async fn deeds(tx: &mut Tx, since: Time) -> Result<Vec<Deed>> {
    let added: Vec<(ProductId, Time)> =
        query("SELECT id, created_at FROM products WHERE created_at >= $1").bind(since).fetch_all(tx).await?;
    let set: Vec<(Sku, i64, i64, Currency, Time)> = query(
        "SELECT v.sku, h.version, h.price, h.currency, h.since_at FROM price_history h
         JOIN variants v ON v.id = h.variant_id WHERE h.since_at >= $1",
    )
    .bind(since)
    .fetch_all(tx)
    .await?;
    let (product, price) = (Deed::of("products"), Deed::of("prices"));
    let added = added.into_iter().map(|(id, at)| product(at, id.to_string()));
    let set = set.into_iter().map(|(sku, version, amount, currency, at)| {
        price(at, format!("{sku} costs {} (version {version})", Money::new(amount, currency)))
    });
    Ok(added.chain(set).collect())
}
