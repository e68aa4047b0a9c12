//! What is for sale.

use bus::Event;
use kernel::{Money, ProductId, Sku, words};
use serde::{Deserialize, Serialize};

rpc::service! {
    /// What other services may ask of the catalogue.
    pub trait Catalog, CatalogClient, catalog_routes = "catalog" {
        /// Prices of those SKUs that are for sale; the others are left out.
        #[read]
        async fn prices(Prices) -> Vec<Priced>;
    }
}

/// Asks for prices.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Prices {
    /// Of what; at most 100.
    pub skus: Vec<Sku>,
}

/// What one piece of a SKU costs now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Priced {
    /// What.
    pub sku: Sku,
    /// The product it is a variant of.
    pub product: ProductId,
    /// Product and variant in words, for the order and the mail.
    pub name: String,
    /// Per piece.
    pub price: Money,
}

words! {
    /// What became of a product.
    pub enum ProductChange {
        /// It is new.
        Created = "product_created",
        /// It, one of its variants, a price or its categories changed.
        Changed = "product_changed",
    }
}

/// `catalog.product_created`, `catalog.product_changed`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProductEvent {
    /// What became of it.
    pub change: ProductChange,
    /// Which.
    pub product: ProductId,
    /// All its SKUs.
    pub skus: Vec<Sku>,
    /// The product's version after it.
    pub version: i64,
}

impl Event for ProductEvent {
    const SOURCE: &'static str = "catalog";
    fn topic(&self) -> String {
        format!("catalog.{}", self.change)
    }
    fn entity(&self) -> String {
        self.product.to_string()
    }
    fn version(&self) -> i64 {
        self.version
    }
}
