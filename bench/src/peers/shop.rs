//! Which shops there are, and what each is asked for an errand.

use std::{fmt, net::SocketAddr, time::Duration};

use load::{Answer, Ask, Broken, Connection};
use serde_json::Value;

use super::{Plan, medusa::Medusa, vendure::Vendure};
use crate::{
    fill::{Filled, fill},
    shop::{buy, wait_until_settled},
    stacks::{Kind, Stack},
};

/// Which shop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Peer {
    /// Carmel alone, on SQLite.
    Embedded,
    /// Carmel on PostgreSQL.
    Postgres,
    /// Vendure on PostgreSQL and Redis: a server and a worker.
    Vendure,
    /// Vendure on SQLite: one process.
    VendureSqlite,
    /// Medusa on PostgreSQL and Redis: a server and a worker.
    Medusa,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Peer::Embedded => "Carmel, SQLite",
            Peer::Postgres => "Carmel, PostgreSQL",
            Peer::Vendure => "Vendure, PostgreSQL",
            Peer::VendureSqlite => "Vendure, SQLite",
            Peer::Medusa => "Medusa, PostgreSQL",
        })
    }
}

/// A running shop that was filled; everything of it ends when it is dropped.
pub enum Shop<'a> {
    /// Ours.
    Carmel(Box<Stack<'a>>, Filled),
    /// Asked in GraphQL.
    Vendure(Vendure),
    /// Asked as its storefronts ask.
    Medusa(Medusa),
}

impl<'a> Shop<'a> {
    /// Starts one, fills it and starts it again, so that nothing is cached.
    pub async fn start(plan: &Plan, carmel: &'a crate::shop::Plan, peer: Peer) -> Shop<'a> {
        match peer {
            Peer::Embedded => Shop::carmel(carmel, Kind::Embedded).await,
            Peer::Postgres => Shop::carmel(carmel, Kind::Postgres).await,
            Peer::Vendure => Shop::Vendure(Vendure::start(plan)),
            Peer::VendureSqlite => Shop::Vendure(Vendure::start_small(plan)),
            Peer::Medusa => Shop::Medusa(Medusa::start(plan).await),
        }
    }

    async fn carmel(plan: &'a crate::shop::Plan, kind: Kind) -> Shop<'a> {
        let mut stack = Stack::start(plan, kind).await;
        let filled = fill(plan, &stack).await;
        stack.analyse();
        stack.restart_cold().await;
        Shop::Carmel(Box::new(stack), filled)
    }

    /// Where it answers.
    pub fn address(&self) -> SocketAddr {
        match self {
            Shop::Carmel(stack, _) => stack.address(),
            Shop::Vendure(vendure) => vendure.node.address(),
            Shop::Medusa(medusa) => medusa.node.address(),
        }
    }

    /// The processor time of the shop's own processes.
    pub fn busy(&self) -> Duration {
        match self {
            Shop::Carmel(stack, _) => stack.busy(),
            Shop::Vendure(vendure) => vendure.node.busy(),
            Shop::Medusa(medusa) => medusa.node.busy(),
        }
    }

    /// What is resident of the shop's own processes.
    pub fn memory_mb(&self) -> f64 {
        match self {
            Shop::Carmel(stack, _) => stack.memory_mb(),
            Shop::Vendure(vendure) => vendure.node.memory_mb(),
            Shop::Medusa(medusa) => medusa.node.memory_mb(),
        }
    }

    /// The ways to ask for the first twenty products, with their variants and prices.
    pub fn pages(&self) -> Vec<(&'static str, Ask)> {
        match self {
            Shop::Carmel(..) => vec![(PAGE, Ask::get("/products?limit=20"))],
            Shop::Vendure(vendure) => vec![(PAGE, vendure.page()), (SEARCHED, vendure.searched_page())],
            Shop::Medusa(medusa) => vec![(PAGE, medusa.page())],
        }
    }

    /// How many products a page shows.
    pub fn shown(&self, answer: &Value) -> usize {
        let items = match self {
            Shop::Carmel(..) => &answer["items"],
            Shop::Vendure(_) if answer["data"]["search"].is_object() => &answer["data"]["search"]["items"],
            Shop::Vendure(_) => &answer["data"]["products"]["items"],
            Shop::Medusa(_) => &answer["products"],
        };
        items.as_array().map_or(0, Vec::len)
    }

    /// Whether it keeps carts: Carmel takes a basket with the order.
    pub fn has_carts(&self) -> bool {
        !matches!(self, Shop::Carmel(..))
    }

    /// A visitor who is not signed in puts a first thing into a cart.
    pub async fn add_to_new_cart(&self, number: u64, connection: &mut Connection) -> Result<Answer, Broken> {
        match self {
            Shop::Carmel(..) => unreachable!("it keeps no carts"),
            Shop::Vendure(vendure) => vendure.add_to_new_cart(number, connection).await,
            Shop::Medusa(medusa) => medusa.add_to_new_cart(number, connection).await,
        }
    }

    /// A customer buys one thing: everything from the empty cart to the order.
    pub async fn place_order(&self, number: u64, connection: &mut Connection) -> Result<Answer, Broken> {
        match self {
            Shop::Carmel(_, filled) => {
                let (customers, products) = (&filled.customers, &filled.products);
                let customer = &customers[number as usize % customers.len()];
                let product = &products[another(number, customers.len(), products.len())];
                connection.send(buy(customer, &product.sku, "tok_success")).await
            }
            Shop::Vendure(vendure) => vendure.place_order(number, connection).await,
            Shop::Medusa(medusa) => medusa.place_order(number, connection).await,
        }
    }

    /// How many requests that takes.
    pub fn requests_per_order(&self) -> u64 {
        if self.has_carts() { 5 } else { 1 }
    }

    /// Waits until no order is under way any more. The others have done with an
    /// order when they answer, as far as it is paid.
    pub async fn wait_until_settled(&self) {
        if let Shop::Carmel(stack, filled) = self {
            wait_until_settled(stack, filled).await;
            stack.check(filled).await;
        }
    }
}

const PAGE: &str = "a page of twenty products";
const SEARCHED: &str = "a page of twenty products, from the search index";

/// Which product this order is of: each customer buys something else each time.
pub fn another(number: u64, customers: usize, products: usize) -> usize {
    (number as usize * 7 + number as usize / customers) % products
}
