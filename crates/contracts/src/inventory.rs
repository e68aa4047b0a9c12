//! What is there.

use bus::Event;
use kernel::{OrderId, Sku, Time};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

rpc::service! {
    /// What other services may ask of inventory. Each ask is harmless when
    /// repeated. `release` and `restock` leave a mark, so that a `hold` or
    /// `commit` that arrives after them is refused (conflict `order_undone`).
    pub trait Inventory, InventoryClient, inventory_routes = "inventory" {
        /// Holds every line for an order, or none. The hold gives itself back
        /// when it expires. Asked again for the same order, it answers as the
        /// first time and, once expired, holds anew.
        /// Errors: conflict `out_of_stock`, conflict `order_undone`.
        async fn hold(Hold) -> Held;
        /// Gives back what is held or sold for an order, if anything is.
        async fn release(Release) -> ();
        /// Turns what is held into a sale. What expired meanwhile is taken
        /// anew if there is stock.
        /// Errors: conflict `out_of_stock`, conflict `order_undone`, not found `nothing_held`.
        async fn commit(Commit) -> ();
        /// Puts back what an order bought, if it did; what is only held, too.
        async fn restock(Restock) -> ();
        /// How much there is of each SKU; those without stock are left out.
        #[read]
        async fn levels(Levels) -> Vec<Level>;
    }
}

/// So many of a SKU.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// What.
    #[schema(inline)]
    pub sku: Sku,
    /// How many; at least one.
    #[schema(minimum = 1, maximum = 10000)]
    pub quantity: u32,
}

/// Asks to hold stock.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Hold {
    /// For whom.
    pub order: OrderId,
    /// Each SKU once.
    pub lines: Vec<Line>,
}

/// Stock is held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Until then.
    pub expires_at: Time,
}

/// Asks to give held stock back.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Release {
    /// Whose.
    pub order: OrderId,
}

/// Asks to sell what is held.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Commit {
    /// Whose.
    pub order: OrderId,
}

/// Asks to put sold stock back.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Restock {
    /// Whose.
    pub order: OrderId,
}

/// Asks how much there is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Levels {
    /// Of what; at most 100.
    pub skus: Vec<Sku>,
}

/// How much there is of a SKU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Level {
    /// What.
    #[schema(inline)]
    pub sku: Sku,
    /// In the shop's hands.
    pub on_hand: i64,
    /// Of these, held for orders.
    pub held: i64,
    /// Of these, for sale: `on_hand - held`.
    pub available: i64,
}

/// `inventory.stock_changed`
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StockChanged {
    /// Of what.
    pub sku: Sku,
    /// In the shop's hands, after it.
    pub on_hand: i64,
    /// Held for orders, after it.
    pub held: i64,
    /// The stock's version after it.
    pub version: i64,
}

impl Event for StockChanged {
    const SOURCE: &'static str = "inventory";
    fn topic(&self) -> String {
        "inventory.stock_changed".into()
    }
    fn entity(&self) -> String {
        self.sku.to_string()
    }
    fn version(&self) -> i64 {
        self.version
    }
}
