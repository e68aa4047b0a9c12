//! What can be done: ask, decide, save.

mod categories;
mod products;
mod variants;

use std::{sync::Arc, time::Duration};

use cache::{Coalesced, Remembered};
use contracts::{
    catalog::{self as contract, Priced},
    inventory::{Inventory, Level, Levels},
};
use db::{Db, Gather};
use futures::future::{join, join_all, try_join_all};
use kernel::{Error, ProductId, Result, Sku};
use web::{Page, WrittenList};

use crate::{
    Needs, Settings,
    model::{Full, ProductError, Slug},
    store,
};

pub use categories::ChangeCategory;
pub use products::{ChangeProduct, Search};
pub use variants::ChangeVariant;

/// The service. Cheap to clone.
#[derive(Clone)]
pub struct Catalog {
    pub(crate) db: Db,
    pub(crate) settings: Settings,
    inventory: Option<Arc<dyn Inventory>>,
    products: Remembered<ProductId, Arc<Full>>,
    prices: Remembered<Sku, Priced>,
    /// Of many who look at the same page at once, one looks at the tables.
    pub(crate) pages: Coalesced<(Search, Page, Eyes), WrittenList>,
}

/// Whose eyes a list is written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Eyes {
    /// They see all of a product.
    Staff,
    /// They see what is for sale of it.
    Customers,
}

/// How many products, and how many prices, are remembered.
const REMEMBERED: u64 = 50_000;
/// How many reads become one statement.
const GATHERED: usize = 64;
/// How many prices may be asked for at once.
const MOST_PRICES: usize = 100;

impl Catalog {
    /// The service on its tables, which must be migrated.
    pub fn new(needs: Needs) -> Catalog {
        let Needs { db, inventory, shared, settings } = needs;
        Catalog {
            products: products(&db, settings.remember).shared("products", shared.as_ref()),
            prices: prices(&db, settings.remember).shared("prices", shared.as_ref()),
            pages: Coalesced::default(),
            settings,
            inventory,
            db,
        }
    }

    /// A product, as it is or was remembered; never older than a change that
    /// was answered here, nor, where processes share what they remember, than
    /// one that was answered elsewhere 50 ms ago.
    pub async fn find(&self, id: ProductId) -> Result<Option<Arc<Full>>> {
        self.products.get(&id).await
    }

    /// The product with this slug.
    pub async fn find_by_slug(&self, slug: &Slug) -> Result<Option<Arc<Full>>> {
        let found: Result<Option<ProductId>> =
            db::read!(self.db, async |tx| { store::find_by_slug(tx, slug).await });
        match found? {
            Some(id) => self.find(id).await,
            None => Ok(None),
        }
    }

    /// How much there is of the variants of a product; nothing when that
    /// cannot be learnt now, because the product can still be shown.
    pub async fn levels(&self, full: &Full) -> Option<Vec<Level>> {
        let inventory = self.inventory.as_ref()?;
        let skus: Vec<Sku> = full.variants.iter().map(|variant| variant.sku.clone()).collect();
        if skus.is_empty() {
            return Some(Vec::new());
        }
        match inventory.levels(Levels { skus }).await {
            Ok(levels) => Some(levels),
            Err(error) => {
                tracing::warn!(product.id = %full.product.id, error = error.chain(), "a product is shown without its stock");
                None
            }
        }
    }

    /// Forgets what any process remembers of a product and its prices, before
    /// the change is answered. Variants are never removed, so its SKUs after a
    /// change are all that it ever had.
    async fn changed(&self, full: &Full) {
        let prices = full.variants.iter().map(|variant| self.prices.changed(&variant.sku));
        join(self.products.changed(&full.product.id), join_all(prices)).await;
    }

    /// The same for a change that others made: nobody waits for it.
    pub(crate) fn forget(&self, id: ProductId, skus: &[Sku]) {
        self.products.forget(&id);
        skus.iter().for_each(|sku| self.prices.forget(sku));
    }
}

#[rpc::async_trait]
impl contract::Catalog for Catalog {
    async fn prices(&self, ask: contract::Prices) -> Result<Vec<Priced>> {
        if ask.skus.len() > MOST_PRICES {
            let message = format!("at most {MOST_PRICES} prices are told at once, not {}", ask.skus.len());
            return Err(Error::invalid("too_many_skus", message));
        }
        let found = try_join_all(ask.skus.iter().map(|sku| self.prices.get(sku))).await?;
        Ok(found.into_iter().flatten().collect())
    }
}

/// Products by id, remembered for a while.
fn products(db: &Db, keep: Duration) -> Remembered<ProductId, Arc<Full>> {
    let reads = product_reads(db);
    Remembered::new(db.world(), REMEMBERED, keep, move |id| {
        let reads = reads.clone();
        async move { Ok(reads.call(id).await?.map(Arc::new)) }
    })
}

/// Prices by SKU, likewise.
fn prices(db: &Db, keep: Duration) -> Remembered<Sku, Priced> {
    let reads = price_reads(db);
    Remembered::new(db.world(), REMEMBERED, keep, move |sku| {
        let reads = reads.clone();
        async move { reads.call(sku).await }
    })
}

/// Products by id: of many who ask at once, one look at the tables.
fn product_reads(db: &Db) -> Gather<ProductId, Option<Full>> {
    let db = db.clone();
    Gather::new(db.clone().world(), GATHERED, move |ids: Vec<ProductId>| {
        let db = db.clone();
        Box::pin(async move {
            // A snapshot, so that version and variants are of one moment.
            let found: Result<Vec<Full>> = db::snapshot!(db, async |tx| { store::find_full(tx, &ids).await });
            let found = found?;
            let answer = |id: &ProductId| found.iter().find(|full| full.product.id == *id).cloned();
            Ok(ids.iter().map(|id| Ok(answer(id))).collect())
        })
    })
}

/// Prices by SKU, likewise.
fn price_reads(db: &Db) -> Gather<Sku, Option<Priced>> {
    let db = db.clone();
    Gather::new(db.clone().world(), GATHERED, move |skus: Vec<Sku>| {
        let db = db.clone();
        Box::pin(async move {
            let found: Result<Vec<Priced>> = db::read!(db, async |tx| { store::prices(tx, &skus).await });
            let found = found?;
            let answer = |sku: &Sku| found.iter().find(|priced| priced.sku == *sku).cloned();
            Ok(skus.iter().map(|sku| Ok(answer(sku))).collect())
        })
    })
}

/// Which of two refusals it was: the database lets one of two have a slug that
/// both take at once, and its refusal does not say which column it was about.
fn slug_taken_instead(error: Error, slug: &Slug) -> ProductError {
    tracing::debug!(error = error.chain(), "a slug was taken meanwhile");
    ProductError::SlugTaken(slug.clone())
}
