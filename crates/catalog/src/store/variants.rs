//! The SQL of variants and their prices.

use contracts::catalog::Priced;
use db::{Tx, many, query, query_for, values};
use kernel::{Currency, Money, ProductId, Result, Sku, Time, VariantId};

use super::uuids;
use crate::model::Variant;

/// Saves a new variant, unless another has its SKU. Returns whether it did.
pub async fn insert_variant(tx: &mut Tx, variant: &Variant) -> Result<bool> {
    let inserted = query(
        "INSERT INTO variants (id, product_id, sku, name, price, currency, for_sale, version)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (sku) DO NOTHING",
    )
    .bind(variant.id)
    .bind(variant.product_id)
    .bind(&variant.sku)
    .bind(&variant.name)
    .bind(variant.price.amount)
    .bind(variant.price.currency)
    .bind(variant.for_sale)
    .bind(variant.version)
    .execute(tx)
    .await?;
    Ok(inserted == 1)
}

/// The variant of that id.
pub async fn find_variant(tx: &mut Tx, id: VariantId) -> Result<Option<Variant>> {
    query("SELECT id, product_id, sku, name, price, currency, for_sale, version FROM variants WHERE id = $1")
        .bind(id)
        .fetch_optional(tx)
        .await
}

/// Saves a variant of a taken product.
pub async fn update_variant(tx: &mut Tx, variant: &Variant) -> Result<()> {
    query(
        "UPDATE variants SET name = $2, price = $3, currency = $4, for_sale = $5, version = $6 WHERE id = $1",
    )
    .bind(variant.id)
    .bind(&variant.name)
    .bind(variant.price.amount)
    .bind(variant.price.currency)
    .bind(variant.for_sale)
    .bind(variant.version)
    .execute(tx)
    .await?;
    Ok(())
}

/// Notes what a variant costs from now on.
pub async fn insert_price(tx: &mut Tx, variant: &Variant) -> Result<()> {
    let now = tx.world().now();
    query("INSERT INTO price_history (variant_id, version, price, currency, since_at) VALUES ($1, $2, $3, $4, $5)")
        .bind(variant.id)
        .bind(variant.version)
        .bind(variant.price.amount)
        .bind(variant.price.currency)
        .bind(now)
        .execute(tx)
        .await?;
    Ok(())
}

/// What a variant cost, and from when on.
pub struct PriceEntry {
    /// The version of the variant that brought it.
    pub version: i64,
    /// Per piece.
    pub price: Money,
    /// From then on.
    pub since_at: Time,
}

impl db::FromRow for PriceEntry {
    fn from_row(row: &db::Row<'_>) -> Result<PriceEntry> {
        Ok(PriceEntry {
            version: row.get("version")?,
            price: Money::new(row.get("price")?, row.get("currency")?),
            since_at: row.get("since_at")?,
        })
    }
}

/// What a variant cost, the newest first, before `before`.
pub async fn list_prices(
    tx: &mut Tx,
    id: VariantId,
    before: Option<i64>,
    limit: i64,
) -> Result<Vec<PriceEntry>> {
    query(
        "SELECT version, price, currency, since_at FROM price_history
         WHERE variant_id = $1 AND version < $2 ORDER BY version DESC LIMIT $3",
    )
    .bind(id)
    .bind(before.unwrap_or(i64::MAX))
    .bind(limit)
    .fetch_all(tx)
    .await
}

/// The variants of these products, each product's in the order they were added.
pub async fn variants_of(tx: &mut Tx, products: &[ProductId]) -> Result<Vec<Variant>> {
    // A list is an array on PostgreSQL and JSON on SQLite. A product has at
    // most a hundred variants and a list at most a hundred products.
    query_for(
        "SELECT id, product_id, sku, name, price, currency, for_sale, version FROM variants
         WHERE product_id IN (SELECT unhex(value) FROM json_each($1)) ORDER BY product_id, id LIMIT 10100",
        "SELECT id, product_id, sku, name, price, currency, for_sale, version FROM variants
         WHERE product_id = ANY($1) ORDER BY product_id, id LIMIT 10100",
    )
    .bind(uuids(products))
    .fetch_all(tx)
    .await
}

/// The prices of those of these SKUs that are for sale.
pub async fn prices(tx: &mut Tx, skus: &[Sku]) -> Result<Vec<Priced>> {
    type Row = (Sku, ProductId, String, Option<String>, i64, Currency);
    // The state is no bare column: no index of states fits, and products are found by their keys.
    let find = many(
        "SELECT v.sku, p.id, p.name, v.name, v.price, v.currency
         FROM variants v JOIN products p ON p.id = v.product_id
         WHERE v.sku = $1 AND v.for_sale = TRUE AND '' || p.state = 'active'",
        "SELECT v.sku, p.id, p.name, v.name, v.price, v.currency
         FROM variants v JOIN products p ON p.id = v.product_id
         WHERE v.sku = ANY ($1::TEXT[]) AND v.for_sale = TRUE AND '' || p.state = 'active'",
    );
    let rows: Vec<Row> = find.rows(skus, |sku| values![sku]).fetch_all(tx).await?;
    let priced = |(sku, product, product_name, variant_name, amount, currency): Row| {
        let name = match variant_name {
            Some(variant_name) => format!("{product_name} ({variant_name})"),
            None => product_name,
        };
        Priced { sku, product, name, price: Money::new(amount, currency) }
    };
    Ok(rows.into_iter().map(priced).collect())
}
