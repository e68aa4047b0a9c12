//! Making, changing and finding products.

use bus::outbox;
use contracts::catalog::ProductChange as Became;
use db::Tx;
use futures::future::join_all;
use kernel::{CategoryId, ProductId, Result, VariantId, World};
use web::{Answer, Cursor, IdempotencyKey, IfMatch, List, Page, idempotency};

use super::{Catalog, slug_taken_instead};
use crate::{
    model::{
        Full, NewProduct, NewVariant, Product, ProductChange, ProductError, ProductState, Slug, Sought,
        Variant,
    },
    store,
};

/// Which change of which product.
pub struct ChangeProduct {
    /// Which product.
    pub id: ProductId,
    /// The version that the caller looked at.
    pub if_match: IfMatch,
    /// What to change.
    pub change: ProductChange,
}

/// Which products are asked for; those that are not, all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Search {
    /// In this category or one below it, by id or slug.
    pub category: Option<String>,
    /// With this in their name.
    pub q: Option<Sought>,
    /// In this state.
    pub state: Option<ProductState>,
}

impl Catalog {
    /// Makes a product with its variants.
    pub async fn create(
        &self,
        new: NewProduct,
        key: Option<&IdempotencyKey>,
    ) -> Result<Answer<Full>, ProductError> {
        new.check()?;
        let full = draft(self.db.world(), &new);
        let outcome: Result<Answer<Full>, ProductError> =
            web::once!(self.db, key, async |tx| { insert(tx, full.clone(), new.slug.is_some()).await });
        let answer = outcome?;
        self.changed(&answer.value).await; // somebody may remember that its SKUs have no price
        Ok(answer)
    }

    /// Makes many products in few transactions, for sample data. All of a
    /// transaction or none: it stops at the first that cannot be made.
    pub async fn insert_many(&self, products: &[NewProduct]) -> Result<Vec<Full>, ProductError> {
        let mut made = Vec::with_capacity(products.len());
        for some in products.chunks(50) {
            some.iter().try_for_each(NewProduct::check)?;
            let drafts: Vec<Full> = some.iter().map(|new| draft(self.db.world(), new)).collect();
            let inserted: Result<Vec<Full>, ProductError> = db::write!(self.db, async |tx| {
                let mut inserted = Vec::with_capacity(drafts.len());
                for (full, new) in drafts.iter().zip(some) {
                    inserted.push(insert(tx, full.clone(), new.slug.is_some()).await?);
                }
                Ok(inserted)
            });
            let inserted = inserted?;
            join_all(inserted.iter().map(|full| self.changed(full))).await;
            made.extend(inserted);
        }
        Ok(made)
    }

    /// Changes a product.
    pub async fn change(
        &self,
        ask: ChangeProduct,
        key: Option<&IdempotencyKey>,
    ) -> Result<Answer<Full>, ProductError> {
        if let Some(key) = key
            && let Some(before) = idempotency::find(&self.db, key).await?
        {
            return Ok(before); // The version it was asked for is not the current one any more.
        }
        let ChangeProduct { id, if_match, change } = &ask;
        change.check()?;
        let outcome: Result<Answer<Full>, ProductError> = web::once!(self.db, key, async |tx| {
            let now =
                store::take(tx, *id).await?.ok_or_else(|| ProductError::NoSuchProduct(id.to_string()))?;
            if_match.check(now.version - 1)?;
            let product = change.apply(now)?;
            if !store::update_product(tx, &product).await? {
                return Err(ProductError::SlugTaken(product.slug));
            }
            if let Some(categories) = &change.categories {
                put_into(tx, *id, categories).await?;
            }
            announce(tx, *id).await
        });
        match outcome {
            Ok(answer) => {
                self.changed(&answer.value).await;
                Ok(answer)
            }
            Err(ProductError::Other(error)) => Err(self.explain(error, *id, change.slug.as_ref()).await?),
            Err(error) => Err(error),
        }
    }

    /// Products, the newest first.
    pub async fn list(&self, search: &Search, page: &Page) -> Result<List<Full>> {
        let before = page.after.as_ref().map(|cursor| cursor.key(0)).transpose()?;
        let category = search.category.as_deref();
        let which = store::Which {
            category: category.map(|text| text.parse::<CategoryId>().map_err(|_| text)),
            q: search.q.as_ref().map(Sought::as_str),
            state: search.state.map(ProductState::as_str),
            before,
            limit: page.limit + 1,
        };
        let rows: Result<Vec<Full>> =
            db::snapshot!(self.db, async |tx| { store::list_full(tx, &which).await });
        Ok(List::page(rows?, page, |full| Cursor::of(&[full.product.id])))
    }

    async fn explain(
        &self,
        error: kernel::Error,
        id: ProductId,
        slug: Option<&Slug>,
    ) -> Result<ProductError> {
        let Some(slug) = slug else { return Ok(error.into()) };
        let theirs: Result<Option<ProductId>> =
            db::read!(self.db, async |tx| { store::find_by_slug(tx, slug).await });
        let taken = theirs?.is_some_and(|other| other != id);
        Ok(if taken { slug_taken_instead(error, slug) } else { error.into() })
    }
}

/// What a new product becomes, if nobody has its slug and its SKUs.
fn draft(world: &World, new: &NewProduct) -> Full {
    let (id, now) = (ProductId::new(world), world.now());
    let product = Product {
        id,
        slug: new.slug.clone().unwrap_or_else(|| Slug::of(&new.name, "product")),
        name: new.name.clone(),
        description: new.description.clone(),
        state: new.state,
        version: 1,
        created_at: now,
        updated_at: now,
    };
    let variants = new.variants.iter().map(|new| variant(world, id, new)).collect();
    let mut categories = new.categories.clone();
    categories.sort();
    categories.dedup();
    Full { product, variants, categories }
}

/// What a new variant becomes.
pub(super) fn variant(world: &World, product_id: ProductId, new: &NewVariant) -> Variant {
    let NewVariant { sku, name, price } = new.clone();
    Variant { id: VariantId::new(world), product_id, sku, name, price, for_sale: true, version: 1 }
}

async fn insert(tx: &mut Tx, mut full: Full, slug_is_wanted: bool) -> Result<Full, ProductError> {
    if !store::insert_product(tx, &full.product).await? {
        if slug_is_wanted {
            return Err(ProductError::SlugTaken(full.product.slug));
        }
        // The end of the id is chance.
        let id = full.product.id.to_string();
        full.product.slug = full.product.slug.with(&id[id.len() - 8..]);
        if !store::insert_product(tx, &full.product).await? {
            return Err(ProductError::SlugTaken(full.product.slug));
        }
    }
    put_into(tx, full.product.id, &full.categories).await?;
    for variant in &full.variants {
        if !store::insert_variant(tx, variant).await? {
            return Err(ProductError::SkuTaken(variant.sku.clone()));
        }
        store::insert_price(tx, variant).await?;
    }
    outbox::add(tx, &full.event(Became::Created)).await?;
    Ok(full)
}

/// A category is never removed, so one that is there stays there.
async fn put_into(tx: &mut Tx, id: ProductId, categories: &[CategoryId]) -> Result<(), ProductError> {
    if let Some(missing) = store::missing_categories(tx, categories).await? {
        return Err(ProductError::NoSuchCategory(missing));
    }
    Ok(store::set_categories(tx, id, categories).await?)
}

/// Announces that a taken product, or something of it, was changed. Returns it
/// as it is now.
pub(super) async fn announce(tx: &mut Tx, id: ProductId) -> Result<Full, ProductError> {
    let full = store::find_full(tx, &[id]).await?.pop();
    let full = full.ok_or_else(|| ProductError::NoSuchProduct(id.to_string()))?;
    outbox::add(tx, &full.event(Became::Changed)).await?;
    Ok(full)
}
