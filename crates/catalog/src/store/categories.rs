//! The SQL of categories and of what is found in them.

use db::{Tx, query, query_for};
use kernel::{CategoryId, ProductId, Result, Value};

use super::uuids;
use crate::model::{Category, Slug};

/// Saves a new category, unless another has its slug. Returns whether it did.
pub async fn insert_category(tx: &mut Tx, category: &Category) -> Result<bool> {
    let inserted = query(
        "INSERT INTO categories (id, parent_id, slug, name, version) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (slug) DO NOTHING",
    )
    .bind(category.id)
    .bind(category.parent_id)
    .bind(&category.slug)
    .bind(&category.name)
    .bind(category.version)
    .execute(tx)
    .await?;
    Ok(inserted == 1)
}

/// Makes those who change a category follow one another, so that of two who
/// put a category below each other's the second sees what the first did.
pub async fn lock_tree(tx: &mut Tx) -> Result<()> {
    query("UPDATE category_tree SET moves = moves + 1 WHERE id = 1").execute(tx).await?;
    Ok(())
}

/// The category of that id.
pub async fn find_category(tx: &mut Tx, id: CategoryId) -> Result<Option<Category>> {
    query("SELECT id, parent_id, slug, name, version FROM categories WHERE id = $1")
        .bind(id)
        .fetch_optional(tx)
        .await
}

/// A category and all those it is part of, in any order.
pub async fn above(tx: &mut Tx, id: CategoryId) -> Result<Vec<CategoryId>> {
    let found: Vec<(CategoryId,)> = query(
        "WITH RECURSIVE above(id, parent_id) AS (
             SELECT id, parent_id FROM categories WHERE id = $1
             UNION SELECT c.id, c.parent_id FROM categories c JOIN above a ON c.id = a.parent_id
         )
         SELECT id FROM above LIMIT 10000",
    )
    .bind(id)
    .fetch_all(tx)
    .await?;
    Ok(found.into_iter().map(|(id,)| id).collect())
}

/// Saves a changed category, unless another has its slug. Returns whether it did.
pub async fn update_category(tx: &mut Tx, category: &Category) -> Result<bool> {
    let updated = query(
        "UPDATE categories SET parent_id = $2, slug = $3, name = $4, version = $5
         WHERE id = $1 AND NOT EXISTS (SELECT 1 FROM categories other WHERE other.slug = $3 AND other.id <> $1)",
    )
    .bind(category.id)
    .bind(category.parent_id)
    .bind(&category.slug)
    .bind(&category.name)
    .bind(category.version)
    .execute(tx)
    .await?;
    Ok(updated == 1)
}

/// Categories by their slugs, behind `after`.
pub async fn list_categories(tx: &mut Tx, after: Option<&Slug>, limit: i64) -> Result<Vec<Category>> {
    query("SELECT id, parent_id, slug, name, version FROM categories WHERE slug > $1 ORDER BY slug LIMIT $2")
        .bind(after.map(Slug::as_str).unwrap_or_default())
        .bind(limit)
        .fetch_all(tx)
        .await
}

/// The first of these categories that there is not.
pub async fn missing_categories(tx: &mut Tx, ids: &[CategoryId]) -> Result<Option<CategoryId>> {
    // A list is an array on PostgreSQL and JSON on SQLite.
    let found: Vec<(CategoryId,)> = query_for(
        "SELECT id FROM categories WHERE id IN (SELECT unhex(value) FROM json_each($1))",
        "SELECT id FROM categories WHERE id = ANY($1)",
    )
    .bind(Value::Uuids(ids.iter().map(|id| id.uuid()).collect()))
    .fetch_all(tx)
    .await?;
    Ok(ids.iter().find(|id| !found.contains(&(**id,))).copied())
}

/// Puts a taken product into these categories and no others.
pub async fn set_categories(tx: &mut Tx, product: ProductId, categories: &[CategoryId]) -> Result<()> {
    query("DELETE FROM product_categories WHERE product_id = $1").bind(product).execute(tx).await?;
    for category in categories {
        query(
            "INSERT INTO product_categories (product_id, category_id) VALUES ($1, $2) ON CONFLICT DO NOTHING",
        )
        .bind(product)
        .bind(*category)
        .execute(tx)
        .await?;
    }
    Ok(())
}

/// Which of these products is in which categories.
pub async fn categories_of(tx: &mut Tx, products: &[ProductId]) -> Result<Vec<(ProductId, CategoryId)>> {
    // A list is an array on PostgreSQL and JSON on SQLite.
    query_for(
        "SELECT product_id, category_id FROM product_categories
         WHERE product_id IN (SELECT unhex(value) FROM json_each($1)) ORDER BY product_id, category_id LIMIT 2100",
        "SELECT product_id, category_id FROM product_categories
         WHERE product_id = ANY($1) ORDER BY product_id, category_id LIMIT 2100",
    )
    .bind(uuids(products))
    .fetch_all(tx)
    .await
}
