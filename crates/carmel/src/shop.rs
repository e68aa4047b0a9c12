//! A shop: every service, wired to the others. The one place that decides
//! where a service runs; today all of them run here.

use std::{sync::Arc, time::Duration};

use axum::Router;
use bus::Bus;
use contracts::users::{Keys, Users as _};
use db::Db;
use kernel::{BoxFuture, Result, Task, World};
use tokio_util::sync::CancellationToken;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use web::{
    auth::Verifier,
    health::Health,
    telemetry::{Trace, within},
};

use crate::{
    config::Config,
    databases::{self, open},
};

/// Every service of a shop in this process.
pub struct Shop {
    /// Accounts and sign-in.
    pub users: users::Users,
    /// What is for sale.
    pub catalog: catalog::Catalog,
    /// What is there.
    pub inventory: inventory::Inventory,
    /// What was bought.
    pub orders: orders::Orders,
    /// What was paid.
    pub payments: payments::Payments,
    /// What people are told.
    pub notifications: notifications::Notifications,
    /// The database of each service, by its name.
    pub databases: Vec<(&'static str, Db)>,
    bus: Bus,
    config: Config,
    world: World,
    health: Health,
}

impl Shop {
    /// Opens the databases, brings their tables up to date and wires the
    /// services to one another.
    pub async fn open(config: &Config, world: &World) -> Result<Shop> {
        let mut databases = Vec::new();
        for service in databases::SERVICES {
            databases.push((*service, open(config, world, service, &databases::migrations(service)).await?));
        }
        Shop::of(config, world, databases).await
    }

    /// The same on databases that are open.
    pub async fn of(config: &Config, world: &World, databases: Vec<(&'static str, Db)>) -> Result<Shop> {
        let of = |name: &str| {
            let found = databases.iter().find(|(service, _)| *service == name);
            found.map(|(_, db)| db.clone()).expect("every name here is one of SERVICES")
        };
        let users = users::Users::new(users::Needs { db: of("users"), settings: config.users() });
        users.start().await?;
        let inventory =
            inventory::Inventory::new(inventory::Needs { db: of("inventory"), settings: config.inventory() });
        let catalog = catalog::Catalog::new(catalog::Needs {
            db: of("catalog"),
            inventory: Some(Arc::new(inventory.clone())),
            settings: catalog::Settings::default(),
        });
        let payments = payments::Payments::new(payments::Needs {
            db: of("payments"),
            settings: config.payments(),
            provider: None,
        })?;
        let orders = orders::Orders::new(orders::Needs {
            db: of("orders"),
            catalog: Arc::new(catalog.clone()),
            inventory: Arc::new(inventory.clone()),
            payments: Arc::new(payments.clone()),
            settings: config.orders(),
        });
        let notifications = notifications::Notifications::new(notifications::Needs {
            db: of("notifications"),
            orders: Arc::new(orders.clone()),
            users: Arc::new(users.clone()),
            settings: config.notifications(),
        })?;

        let bus = Bus::memory_keeping(days(config.events.keep_days));
        let consumers = [
            users::consumers(&users),
            catalog::consumers(&catalog),
            inventory::consumers(&inventory),
            orders::consumers(&orders),
            payments::consumers(&payments),
            notifications::consumers(&notifications),
        ];
        consumers.into_iter().flatten().for_each(|consumer| bus.subscribe(consumer));
        let health = databases
            .iter()
            .fold(Health::new(world.clone()), |health, (name, db)| health.database(name, db.clone()));
        let (config, world) = (config.clone(), world.clone());
        Ok(Shop {
            users,
            catalog,
            inventory,
            orders,
            payments,
            notifications,
            databases,
            bus,
            config,
            world,
            health,
        })
    }

    /// Everything that can be asked over HTTP, behind the layers of the edge.
    pub fn router(&self) -> Result<Router> {
        Ok(self.edge()?.0)
    }

    /// The description of the API (OpenAPI 3.1), made from the routes.
    pub fn api(&self) -> Result<OpenApi> {
        Ok(self.edge()?.1)
    }

    fn edge(&self) -> Result<(Router, OpenApi)> {
        let keys = Arc::new(KeysOfUsers(self.users.clone()));
        let verifier = Verifier::of_issuer(self.world.clone(), keys, &self.config.tokens.issuer);
        let (routes, api) = self.routes().split_for_parts();
        let routes = web::service_layers(routes, &verifier);
        let front = gateway::Front {
            health: self.health.clone(),
            metrics: web::metrics::install(&self.world)?,
            database: self.database("orders"),
            api: described(api),
        };
        gateway::edge(routes, front, &self.config.edge(), &self.world)
    }

    /// Starts what runs in the background: relays of events and workers of
    /// jobs. They end when `stop` is cancelled and running work is finished.
    pub fn start(&self, stop: &CancellationToken) -> Result<Workers> {
        let mut tasks = Vec::new();
        let (orders, world) = (self.orders.clone(), self.world.clone());
        tasks.push(world.spawn(async move {
            // What stood still while nobody was here goes on at once, not at the next sweep.
            if let Err(error) = orders.sweep().await {
                tracing::warn!(
                    error = error.chain(),
                    "orders that stand still were not looked for; the next sweep does"
                );
            }
        }));
        for (service, db) in &self.databases {
            let (bus, service, db, stop) = (self.bus.clone(), *service, db.clone(), stop.clone());
            tasks.push(self.world.spawn(async move { bus.relay(service, db, stop).await }));
        }
        for runner in self.runners()? {
            let stop = stop.clone();
            tasks.push(self.world.spawn(async move { runner.run(stop).await }));
        }
        let (health, orders, draining) = (self.health.clone(), self.orders.clone(), stop.clone());
        tasks.push(self.world.spawn(async move {
            draining.cancelled().await;
            health.drain();
            orders.drain();
        }));
        Ok(Workers(tasks))
    }

    /// Does all background work that is due now, and what that makes due, until
    /// nothing is left: for tests and for commands that end.
    pub async fn settle(&self) -> Result<()> {
        let runners = self.runners()?;
        loop {
            let mut done = 0;
            for (service, db) in &self.databases {
                done += self.bus.relay_once(service, db).await?;
            }
            for runner in &runners {
                done += runner.run_due().await?;
            }
            if done == 0 {
                return Ok(());
            }
        }
    }

    /// The clock, chance and tasks it was given.
    pub fn world(&self) -> &World {
        &self.world
    }

    /// The database of a service.
    pub fn database(&self, service: &str) -> Db {
        let found = self.databases.iter().find(|(name, _)| *name == service);
        found.map(|(_, db)| db.clone()).expect("every name here is one of SERVICES")
    }

    /// Closes the databases, once nothing runs any more.
    pub async fn close(&self) {
        for (_, db) in &self.databases {
            db.close().await;
        }
    }

    fn runners(&self) -> Result<Vec<jobs::Runner>> {
        let keep = days(self.config.jobs.keep_days);
        let runners = vec![
            users::runner(&self.users),
            catalog::runner(&self.catalog),
            inventory::runner(&self.inventory)?,
            orders::runner(&self.orders)?,
            payments::runner(&self.payments)?,
            notifications::runner(&self.notifications),
        ];
        let most = self.config.jobs.concurrency as usize;
        let world = self.world.clone();
        // A job belongs to the trace of the request that caused it.
        let traced =
            move |traceparent: Option<&str>, work: BoxFuture<'static, ()>| -> BoxFuture<'static, ()> {
                match traceparent.and_then(Trace::parse) {
                    Some(cause) => Box::pin(within(cause.next(&world), work)),
                    None => work,
                }
            };
        Ok(runners
            .into_iter()
            .map(|runner| runner.keep(keep).usual_concurrency(most).around(traced.clone()))
            .collect())
    }

    fn routes(&self) -> OpenApiRouter {
        OpenApiRouter::new()
            .merge(users::routes(self.users.clone()))
            .merge(catalog::routes(self.catalog.clone()))
            .merge(inventory::routes(self.inventory.clone()))
            .merge(orders::routes(self.orders.clone()))
            .merge(payments::routes(self.payments.clone()))
            .merge(notifications::routes(self.notifications.clone()))
    }
}

/// What runs in the background.
pub struct Workers(Vec<Task>);

impl Workers {
    /// Waits until all of it has ended.
    pub async fn join(self) {
        for task in self.0 {
            task.join().await;
        }
    }
}

fn days(count: u32) -> Duration {
    Duration::from_secs(u64::from(count) * 86_400)
}

fn described(api: OpenApi) -> OpenApi {
    let mut frame = web::openapi::frame(
        "Carmel",
        env!("CARGO_PKG_VERSION"),
        "A commerce backend: users, catalogue, stock, orders, payments, mails.",
    );
    frame.merge(api);
    frame
}

/// The public keys that tokens are checked against, asked of `users`.
struct KeysOfUsers(users::Users);

#[rpc::async_trait]
impl web::auth::Keys for KeysOfUsers {
    async fn key(&self, kid: &str) -> Result<Option<Vec<u8>>> {
        let keys = self.0.keys(Keys {}).await?;
        keys.iter().find(|key| key.kid == kid).map(|key| web::auth::key_bytes(&key.x)).transpose()
    }
}
