//! What was bought: orders and the saga that fulfils them.
//!
//! An order is placed in one transaction together with the job that fulfils
//! it. That job takes the order step by step through inventory and payments
//! ([`mod@saga`]), records each step, and walks back when it must.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod audit;
mod events;
mod http;
mod jobs;
mod looks;
mod model;
mod saga;
mod service;
mod store;
mod waiting;

pub use crate::jobs::runner;
pub use audit::{Fact, audit, breaches, deeds, facts, forgotten};
pub use events::consumers;
pub use http::routes;
pub use model::{Address, PlaceError};

use std::{sync::Arc, time::Duration};

use contracts::{catalog::Catalog, inventory::Inventory, payments::Payments};
use db::{Db, Migration};

use crate::{
    looks::Looks, model::Details, saga::Records, service::Placings, store::OnTheWay, waiting::Waiting,
};

/// What this service needs to start.
pub struct Needs {
    /// Where its tables are.
    pub db: Db,
    /// Who knows the prices.
    pub catalog: Arc<dyn Catalog>,
    /// Who has the stock.
    pub inventory: Arc<dyn Inventory>,
    /// Who takes the money.
    pub payments: Arc<dyn Payments>,
    /// What may be set.
    pub settings: Settings,
}

/// What may be set.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// An order that should be moving and has not changed for so long is
    /// looked at by the sweep.
    pub still_after: Duration,
    /// The most orders that are gathered into one transaction; with 1 each goes alone.
    pub gather_most: usize,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { still_after: Duration::from_secs(60), gather_most: 64 }
    }
}

/// The service. Cheap to clone.
#[derive(Clone)]
pub struct Orders {
    db: Db,
    catalog: Arc<dyn Catalog>,
    inventory: Arc<dyn Inventory>,
    payments: Arc<dyn Payments>,
    settings: Settings,
    waiting: Waiting,
    placings: Placings,
    looks: Looks<OnTheWay>,
    shown: Looks<Details>,
    records: Records,
}

impl Orders {
    /// The service, made of what it needs.
    pub fn new(needs: Needs) -> Orders {
        let Needs { db, catalog, inventory, payments, settings } = needs;
        let most = settings.gather_most;
        Orders {
            placings: Placings::new(&db, most),
            looks: Looks::new(&db, most, |tx, ids| Box::pin(store::on_the_way(tx, ids))),
            shown: Looks::new(&db, most, |tx, ids| Box::pin(store::all_details(tx, ids))),
            records: Records::new(&db, most),
            waiting: Waiting::default(),
            db,
            catalog,
            inventory,
            payments,
            settings,
        }
    }

    /// Ends every wait for an order to be settled, now and from now on: whoever
    /// waits is answered with the order as it is. For a process that ends.
    pub fn drain(&self) {
        self.waiting.drain();
    }
}

/// Its tables, for [`Db::migrate`].
pub fn migrations() -> Vec<Migration> {
    [bus::MIGRATIONS, ::jobs::MIGRATIONS, web::idempotency::MIGRATIONS, store::MIGRATIONS].concat()
}
