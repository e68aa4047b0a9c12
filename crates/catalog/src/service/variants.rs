//! Adding and changing variants, and what they cost.

use kernel::{ProductId, Result, VariantId};
use serde::{Deserialize, Serialize};
use web::{Answer, Cursor, IdempotencyKey, IfMatch, List, Page, idempotency};

use super::{
    Catalog,
    products::{announce, variant},
};
use crate::{
    model::{Full, NewVariant, ProductError, Variant, VariantChange},
    store::{self, PriceEntry},
};

/// Which change of which variant.
pub struct ChangeVariant {
    /// Which variant.
    pub id: VariantId,
    /// The version of it that the caller looked at.
    pub if_match: IfMatch,
    /// What to change.
    pub change: VariantChange,
}

/// A variant and its product after a change.
#[derive(Serialize, Deserialize)]
struct Changed {
    variant: Variant,
    full: Full,
}

impl Catalog {
    /// Adds a variant to a product.
    pub async fn add_variant(
        &self,
        product: ProductId,
        new: NewVariant,
        key: Option<&IdempotencyKey>,
    ) -> Result<Answer<Variant>, ProductError> {
        new.check()?;
        let variant = variant(self.db.world(), product, &new);
        let answer: Result<Answer<Changed>, ProductError> = web::once!(self.db, key, async |tx| {
            let no_such = || ProductError::NoSuchProduct(product.to_string());
            store::take(tx, product).await?.ok_or_else(no_such)?;
            if store::variants_of(tx, &[product]).await?.len() >= Full::MOST_VARIANTS {
                return Err(ProductError::TooManyVariants);
            }
            if !store::insert_variant(tx, &variant).await? {
                return Err(ProductError::SkuTaken(variant.sku.clone()));
            }
            store::insert_price(tx, &variant).await?;
            Ok(Changed { variant: variant.clone(), full: announce(tx, product).await? })
        });
        Ok(self.told(answer?).await)
    }

    /// Changes a variant. Another price is noted in its history; orders get it
    /// from the moment this is answered.
    pub async fn change_variant(
        &self,
        ask: ChangeVariant,
        key: Option<&IdempotencyKey>,
    ) -> Result<Answer<Variant>, ProductError> {
        if let Some(key) = key
            && let Some(before) = idempotency::find::<Changed>(&self.db, key).await?
        {
            return Ok(before.map(|changed| changed.variant)); // The version it was asked for is not the current one any more.
        }
        let ChangeVariant { id, if_match, change } = &ask;
        change.check()?;
        let answer: Result<Answer<Changed>, ProductError> = web::once!(self.db, key, async |tx| {
            let no_such = || ProductError::NoSuchVariant(*id);
            let product = store::find_variant(tx, *id).await?.ok_or_else(no_such)?.product_id;
            store::take(tx, product).await?.ok_or_else(no_such)?;
            // Read again: only now nobody else can change it.
            let now = store::find_variant(tx, *id).await?.ok_or_else(no_such)?;
            if_match.check(now.version)?;
            let variant = change.apply(now.clone());
            store::update_variant(tx, &variant).await?;
            if variant.price != now.price {
                store::insert_price(tx, &variant).await?;
            }
            Ok(Changed { variant, full: announce(tx, product).await? })
        });
        Ok(self.told(answer?).await)
    }

    /// What a variant cost, the newest first.
    pub async fn price_history(&self, id: VariantId, page: &Page) -> Result<List<PriceEntry>, ProductError> {
        let before = page.after.as_ref().map(|cursor| cursor.key(0)).transpose()?;
        let rows: Result<Vec<PriceEntry>, ProductError> = db::read!(self.db, async |tx| {
            store::find_variant(tx, id).await?.ok_or(ProductError::NoSuchVariant(id))?;
            Ok(store::list_prices(tx, id, before, page.limit + 1).await?)
        });
        Ok(List::page(rows?, page, |entry| Cursor::of(&[entry.version])))
    }

    async fn told(&self, answer: Answer<Changed>) -> Answer<Variant> {
        self.changed(&answer.value.full).await;
        answer.map(|changed| changed.variant)
    }
}
