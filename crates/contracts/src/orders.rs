//! What was bought.

use bus::Event;
use kernel::{Money, OrderId, Sku, UserId, words};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

rpc::service! {
    /// What other services may ask of orders.
    pub trait Orders, OrdersClient, orders_routes = "orders" {
        /// An order in short. Errors: not found `no_such_order`.
        #[read]
        async fn order(GetOrder) -> OrderInShort;
    }
}

/// Asks for an order.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GetOrder {
    /// Which.
    pub id: OrderId,
}

/// An order as other services see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderInShort {
    /// Which.
    pub id: OrderId,
    /// What people call it: `C-7F3K9Q2M`.
    pub number: String,
    /// Who bought.
    pub customer: UserId,
    /// Where it stands.
    pub state: OrderState,
    /// What was bought.
    pub lines: Vec<OrderLine>,
    /// What it costs.
    pub total: Money,
}

/// One line of an order, at the price it was placed at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OrderLine {
    /// What.
    #[schema(inline)]
    pub sku: Sku,
    /// In words, as it was called then.
    pub name: String,
    /// How many.
    pub quantity: u32,
    /// Per piece.
    #[schema(inline)]
    pub price: Money,
}

words! {
    /// Where an order stands. The arrows between are drawn in `orders::model`.
    pub enum OrderState {
        /// Accepted; its saga begins.
        Placed = "placed",
        /// Its stock is held.
        Held = "held",
        /// A person looks at it.
        InReview = "in_review",
        /// The provider has promised the money.
        Authorised = "authorised",
        /// Its stock is sold.
        Committed = "committed",
        /// Paid: the money is captured.
        Confirmed = "confirmed",
        /// On its way.
        Shipped = "shipped",
        /// Arrived.
        Delivered = "delivered",
        /// Being undone, step by step.
        Cancelling = "cancelling",
        /// Undone: nothing is held, sold or charged.
        Cancelled = "cancelled",
        /// The money is on its way back.
        Refunding = "refunding",
        /// Paid back.
        Refunded = "refunded",
    }
}

/// `orders.<state>`: an order came to stand there.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OrderEvent {
    /// Which.
    pub order: OrderId,
    /// What people call it.
    pub number: String,
    /// Who bought.
    pub customer: UserId,
    /// Where it stands now.
    pub state: OrderState,
    /// Why, when it was cancelled: a stable code such as `out_of_stock`.
    pub reason: Option<String>,
    /// What it costs.
    pub total: Money,
    /// The order's version after it.
    pub version: i64,
}

impl Event for OrderEvent {
    const SOURCE: &'static str = "orders";
    fn topic(&self) -> String {
        format!("orders.{}", self.state)
    }
    fn entity(&self) -> String {
        self.order.to_string()
    }
    fn version(&self) -> i64 {
        self.version
    }
}
