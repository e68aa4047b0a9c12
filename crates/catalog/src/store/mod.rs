//! The SQL: products here, their variants and the categories beside.

mod categories;
mod variants;

use db::{Migration, Tx, query, query_for};
use kernel::{CategoryId, ProductId, Result, Value};

pub use categories::{
    above, categories_of, find_category, insert_category, list_categories, lock_tree, missing_categories,
    set_categories, update_category,
};
pub use variants::{
    PriceEntry, find_variant, insert_price, insert_variant, list_prices, prices, update_variant, variants_of,
};

use crate::model::{Full, Product, Slug};

/// The tables of this service.
pub const MIGRATIONS: &[Migration] = &[Migration {
    name: "catalog_1",
    // `search` is the name in small letters: the two engines make them
    // differently from anything but ASCII, so that is done here. The one row of
    // `category_tree` is what those wait for who move a category.
    sql: "
        CREATE TABLE products (
            id UUID NOT NULL PRIMARY KEY,
            slug TEXT NOT NULL UNIQUE,
            name TEXT NOT NULL,
            search TEXT NOT NULL,
            description TEXT NOT NULL,
            state TEXT NOT NULL CHECK (state IN ('draft', 'active', 'archived')),
            version BIGINT NOT NULL CHECK (version >= 1),
            created_at BIGINT NOT NULL,
            updated_at BIGINT NOT NULL
        );
        CREATE INDEX products_state ON products (state, id);
        CREATE TABLE variants (
            id UUID NOT NULL PRIMARY KEY,
            product_id UUID NOT NULL REFERENCES products (id),
            sku TEXT NOT NULL UNIQUE,
            name TEXT,
            price BIGINT NOT NULL CHECK (price >= 0),
            currency TEXT NOT NULL,
            for_sale BOOLEAN NOT NULL,
            version BIGINT NOT NULL CHECK (version >= 1)
        );
        CREATE INDEX variants_product ON variants (product_id, id);
        CREATE TABLE price_history (
            variant_id UUID NOT NULL REFERENCES variants (id),
            version BIGINT NOT NULL,
            price BIGINT NOT NULL CHECK (price >= 0),
            currency TEXT NOT NULL,
            since_at BIGINT NOT NULL,
            PRIMARY KEY (variant_id, version)
        );
        CREATE TABLE categories (
            id UUID NOT NULL PRIMARY KEY,
            parent_id UUID REFERENCES categories (id),
            slug TEXT NOT NULL UNIQUE,
            name TEXT NOT NULL,
            version BIGINT NOT NULL CHECK (version >= 1),
            CHECK (parent_id <> id)
        );
        CREATE INDEX categories_parent ON categories (parent_id);
        CREATE TABLE product_categories (
            product_id UUID NOT NULL REFERENCES products (id),
            category_id UUID NOT NULL REFERENCES categories (id),
            PRIMARY KEY (product_id, category_id)
        );
        CREATE INDEX product_categories_category ON product_categories (category_id, product_id);
        CREATE TABLE category_tree (
            id BIGINT NOT NULL PRIMARY KEY,
            moves BIGINT NOT NULL
        );
        INSERT INTO category_tree (id, moves) VALUES (1, 0);
    ",
}];

/// Saves a new product, unless another has its slug. Returns whether it did.
pub async fn insert_product(tx: &mut Tx, product: &Product) -> Result<bool> {
    let inserted = query(
        "INSERT INTO products (id, slug, name, search, description, state, version, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (slug) DO NOTHING",
    )
    .bind(product.id)
    .bind(&product.slug)
    .bind(&product.name)
    .bind(searched(product.name.as_str()))
    .bind(&product.description)
    .bind(product.state)
    .bind(product.version)
    .bind(product.created_at)
    .bind(product.updated_at)
    .execute(tx)
    .await?;
    Ok(inserted == 1)
}

/// Locks a product, its variants and its categories for the rest of the
/// transaction by raising its version, and returns it as it is then: what is
/// decided on it stays true.
pub async fn take(tx: &mut Tx, id: ProductId) -> Result<Option<Product>> {
    let now = tx.world().now();
    query(
        "UPDATE products SET version = version + 1, updated_at = $2 WHERE id = $1
         RETURNING id, slug, name, description, state, version, created_at, updated_at",
    )
    .bind(id)
    .bind(now)
    .fetch_optional(tx)
    .await
}

/// Saves a taken product, unless another has its slug. Returns whether it did.
pub async fn update_product(tx: &mut Tx, product: &Product) -> Result<bool> {
    let updated = query(
        "UPDATE products SET slug = $2, name = $3, search = $4, description = $5, state = $6
         WHERE id = $1 AND NOT EXISTS (SELECT 1 FROM products other WHERE other.slug = $2 AND other.id <> $1)",
    )
    .bind(product.id)
    .bind(&product.slug)
    .bind(&product.name)
    .bind(searched(product.name.as_str()))
    .bind(&product.description)
    .bind(product.state)
    .execute(tx)
    .await?;
    Ok(updated == 1)
}

/// The product with this slug.
pub async fn find_by_slug(tx: &mut Tx, slug: &Slug) -> Result<Option<ProductId>> {
    let found: Option<(ProductId,)> =
        query("SELECT id FROM products WHERE slug = $1").bind(slug).fetch_optional(tx).await?;
    Ok(found.map(|(id,)| id))
}

/// The products with these ids and all that belongs to them, in any order,
/// those that there are. Of one moment only in a snapshot, or when taken.
pub async fn find_full(tx: &mut Tx, ids: &[ProductId]) -> Result<Vec<Full>> {
    // A list is an array on PostgreSQL and JSON on SQLite.
    let products: Vec<Product> = query_for(
        "SELECT id, slug, name, description, state, version, created_at, updated_at FROM products
         WHERE id IN (SELECT unhex(value) FROM json_each($1))",
        "SELECT id, slug, name, description, state, version, created_at, updated_at FROM products
         WHERE id = ANY($1)",
    )
    .bind(uuids(ids))
    .fetch_all(tx)
    .await?;
    complete(tx, products).await
}

/// Adds to products what belongs to them.
async fn complete(tx: &mut Tx, products: Vec<Product>) -> Result<Vec<Full>> {
    let ids: Vec<ProductId> = products.iter().map(|product| product.id).collect();
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let mut full: Vec<Full> = products
        .into_iter()
        .map(|product| Full { product, variants: Vec::new(), categories: Vec::new() })
        .collect();
    for variant in variants_of(tx, &ids).await? {
        if let Some(one) = full.iter_mut().find(|one| one.product.id == variant.product_id) {
            one.variants.push(variant);
        }
    }
    for (product, category) in categories_of(tx, &ids).await? {
        if let Some(one) = full.iter_mut().find(|one| one.product.id == product) {
            one.categories.push(category);
        }
    }
    Ok(full)
}

/// Which products are asked for.
pub struct Which<'a> {
    /// In this category or one below it, by id or slug.
    pub category: Option<Result<CategoryId, &'a str>>,
    /// With this in their name.
    pub q: Option<&'a str>,
    /// In this state.
    pub state: Option<&'static str>,
    /// Older than this one.
    pub before: Option<ProductId>,
    /// At most so many.
    pub limit: i64,
}

/// Products, the newest first, and all that belongs to them.
pub async fn list_full(tx: &mut Tx, which: &Which<'_>) -> Result<Vec<Full>> {
    let found = match which.category {
        None => query(
            "SELECT id, slug, name, description, state, version, created_at, updated_at FROM products
             WHERE id < $1 AND (state = $2 OR $2 = '') AND (search LIKE $3 ESCAPE '!' OR $3 = '')
             ORDER BY id DESC LIMIT $4",
        ),
        Some(_) => query(
            "WITH RECURSIVE tree(id) AS (
                 SELECT id FROM categories WHERE id = $5 OR slug = $6
                 UNION SELECT c.id FROM categories c JOIN tree t ON c.parent_id = t.id
             )
             SELECT id, slug, name, description, state, version, created_at, updated_at FROM products
             WHERE id < $1 AND (state = $2 OR $2 = '') AND (search LIKE $3 ESCAPE '!' OR $3 = '')
               AND EXISTS (SELECT 1 FROM product_categories pc JOIN tree t ON t.id = pc.category_id
                           WHERE pc.product_id = products.id)
             ORDER BY id DESC LIMIT $4",
        ),
    };
    let found = found
        .bind(which.before.unwrap_or(ProductId::from_uuid(kernel::uuid::Uuid::max())))
        .bind(which.state.unwrap_or_default())
        .bind(which.q.map(pattern).unwrap_or_default())
        .bind(which.limit);
    let found = match which.category {
        None => found,
        Some(Ok(id)) => found.bind(id).bind(""),
        Some(Err(slug)) => found.bind(kernel::uuid::Uuid::nil()).bind(slug),
    };
    let products: Vec<Product> = found.fetch_all(tx).await?;
    complete(tx, products).await
}

/// A name as it is searched in.
fn searched(name: &str) -> String {
    name.to_lowercase()
}

/// The pattern of names that contain this text.
fn pattern(text: &str) -> String {
    let mut pattern = String::from("%");
    for c in searched(text.trim()).chars() {
        if matches!(c, '%' | '_' | '!') {
            pattern.push('!');
        }
        pattern.push(c);
    }
    pattern.push('%');
    pattern
}

fn uuids(ids: &[ProductId]) -> Value {
    Value::Uuids(ids.iter().map(|id| id.uuid()).collect())
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_search_for_signs_finds_signs() {
        for (text, pattern) in
            [("Mug", "%mug%"), ("50%_!", "%50!%!_!!%"), (" GRÖSSE ", "%grösse%"), ("", "%%")]
        {
            assert_eq!(super::pattern(text), pattern);
        }
    }
}
