//! Inventory with something in stock, asked here or over HTTP.

use std::{sync::Arc, time::Duration};

use contracts::inventory::{
    Commit, Held, Hold, InventoryClient, Level, Levels, Line, Release, Restock, inventory_routes,
};
use db::Db;
use inventory::{Inventory, Needs, Settings};
use kernel::{Error, OrderId, Result, Sku, World};
use testkit::{TestDb, clock::Clock};

/// Where inventory runs, as the one who asks sees it.
#[derive(Clone, Copy, Debug)]
pub enum Way {
    Here,
    OverHttp,
}

pub const WAYS: [Way; 2] = [Way::Here, Way::OverHttp];
pub const HOLD_FOR: Duration = Duration::from_secs(900);

/// A shop whose stock is asked for in one way.
#[derive(Clone)]
pub struct Shop {
    pub db: Db,
    pub clock: Clock,
    pub inventory: Inventory,
    asked: Arc<dyn contracts::inventory::Inventory>,
}

impl Shop {
    pub async fn start(tests: &TestDb, way: Way) -> Shop {
        Shop::with(tests, way, Settings { hold_for: HOLD_FOR, ..Settings::default() }).await
    }

    pub async fn with(tests: &TestDb, way: Way, settings: Settings) -> Shop {
        let clock = Clock::new();
        let name = format!("inventory_{way:?}_{}", settings.gather_most).to_lowercase();
        let db = tests.open_in(&clock.world(), &name, &inventory::migrations()).await;
        let inventory = Inventory::new(Needs { db: db.clone(), settings });
        let asked: Arc<dyn contracts::inventory::Inventory> = match way {
            Way::Here => Arc::new(inventory.clone()),
            Way::OverHttp => {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                let address = format!("http://{}", listener.local_addr().unwrap());
                let routes = inventory_routes(Arc::new(inventory.clone()));
                tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
                Arc::new(InventoryClient(rpc::Channel::new(&World::real(), "inventory", &[address]).unwrap()))
            }
        };
        Shop { db, clock, inventory, asked }
    }

    pub fn order(&self) -> OrderId {
        OrderId::new(self.db.world())
    }

    pub async fn stock(&self, sku: &str, quantity: i64) {
        self.inventory.receive(&[(sku.parse().unwrap(), quantity)], "for the test").await.unwrap();
    }

    pub async fn hold(&self, order: OrderId, lines: &[(&str, u32)]) -> Result<Held> {
        let line = |(sku, quantity): &(&str, u32)| Line { sku: sku.parse().unwrap(), quantity: *quantity };
        self.asked.hold(Hold { order, lines: lines.iter().map(line).collect() }).await
    }

    pub async fn release(&self, order: OrderId) -> Result<()> {
        self.asked.release(Release { order }).await
    }

    pub async fn commit(&self, order: OrderId) -> Result<()> {
        self.asked.commit(Commit { order }).await
    }

    pub async fn restock(&self, order: OrderId) -> Result<()> {
        self.asked.restock(Restock { order }).await
    }

    /// On hand and held.
    pub async fn level(&self, sku: &str) -> (i64, i64) {
        let levels = self.levels(&[sku]).await;
        (levels[0].on_hand, levels[0].held)
    }

    pub async fn levels(&self, skus: &[&str]) -> Vec<Level> {
        let skus: Vec<Sku> = skus.iter().map(|sku| sku.parse().unwrap()).collect();
        self.asked.levels(Levels { skus }).await.unwrap()
    }

    /// Every invariant, and that nothing is left over.
    pub async fn audit(&self) {
        assert_eq!(inventory::audit(&self.db).await.unwrap(), Vec::<String>::new());
        let bus = bus::Bus::memory();
        while bus.relay_once("inventory", &self.db).await.unwrap() > 0 {}
        let left: Result<(i64, i64)> = db::read!(self.db, async |tx| {
            Ok((bus::outbox::pending(tx).await?, jobs::pending(tx).await?))
        });
        assert_eq!(left.unwrap(), (0, 0), "events and jobs are left over");
    }
}

/// What an error is to whoever asked.
pub fn code<T: std::fmt::Debug>(outcome: Result<T, Error>) -> String {
    outcome.unwrap_err().code.into_owned()
}
