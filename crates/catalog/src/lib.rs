//! What is for sale: products, their variants and prices, and the categories
//! they are found in.
//!
//! Needs a database and, to show what is in stock, something that answers
//! [`contracts::inventory::Inventory`].

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod audit;
mod events;
mod http;
mod model;
mod service;
mod store;

use std::{sync::Arc, time::Duration};

use cache::Shared;
use contracts::inventory::Inventory;
use db::{Db, Migration};

pub use audit::{audit, breaches, deeds};
pub use events::consumers;
pub use http::{
    CategoryReply, ChangeCategoryBody, ChangeProductBody, ChangeVariantBody, NewCategoryBody, NewProductBody,
    NewVariantBody, ProductReply, VariantReply, routes,
};
pub use model::{
    Category, CategoryChange, CategoryError, Description, Full, Label, NewCategory, NewProduct, NewVariant,
    Product, ProductChange, ProductError, ProductState, Slug, Sought, Variant, VariantChange,
};
pub use service::Catalog;

/// What the service needs to start.
pub struct Needs {
    /// Where its tables are.
    pub db: Db,
    /// Who knows what is in stock; without it products are shown without.
    pub inventory: Option<Arc<dyn Inventory>>,
    /// Where products and prices are remembered for all processes; without it
    /// each process remembers its own.
    pub shared: Option<Shared>,
    /// How it behaves.
    pub settings: Settings,
}

/// How the service behaves.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long a product or a price that was read is remembered; zero: not at all.
    pub remember: Duration,
    /// How long a cache between visitors and the shop may answer with what they
    /// were shown, without asking; zero: not at all.
    pub shared: Duration,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { remember: Duration::from_secs(5 * 60), shared: Duration::ZERO }
    }
}

/// All tables of this service, those of the floors below included.
pub fn migrations() -> Vec<Migration> {
    [bus::MIGRATIONS, ::jobs::MIGRATIONS, web::idempotency::MIGRATIONS, store::MIGRATIONS].concat()
}
