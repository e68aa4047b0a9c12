//! A shop: the services of this process, wired to one another and to those
//! that run elsewhere. The one place that decides where a service runs.

mod background;
mod elsewhere;
mod events;

use std::{sync::Arc, time::Duration};

use axum::Router;
use bus::Bus;
use contracts::{
    catalog::catalog_routes,
    inventory::inventory_routes,
    notifications::notifications_routes,
    orders::orders_routes,
    payments::payments_routes,
    users::{Keys, Users as AskUsers, users_routes},
};
use db::Db;
use kernel::{Result, World};
use rpc::{Shed, ShedOptions};
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use web::{auth::Verifier, edge::Maintenance, health::Health};

use self::elsewhere::Elsewhere;
pub use self::{background::Workers, events::must_reach_others};
use crate::{
    config::Config,
    databases,
    part::{Part, Parts},
};

/// The services of a shop that run in this process.
pub struct Shop {
    users: Option<users::Users>,
    catalog: Option<catalog::Catalog>,
    inventory: Option<inventory::Inventory>,
    orders: Option<orders::Orders>,
    payments: Option<payments::Payments>,
    notifications: Option<notifications::Notifications>,
    /// The database of each service that runs here, by its name.
    pub databases: Vec<(&'static str, Db)>,
    parts: Parts,
    keys: Arc<dyn AskUsers>,
    /// Where those services are that run elsewhere.
    pools: Vec<(Part, rpc::Pool)>,
    /// What proves that a call comes from one of the services.
    token: Option<rpc::ServiceToken>,
    bus: Bus,
    maintenance: Maintenance,
    shared: Option<cache::Shared>,
    config: Config,
    world: World,
    health: Health,
}

/// What a command or a test relies on that asks for a service itself.
const WHOLE: &str = "whoever asks for a service itself has opened the whole shop";

impl Shop {
    /// Opens the whole shop: the databases of every service, their tables
    /// brought up to date, and the services wired to one another.
    pub async fn open(config: &Config, world: &World) -> Result<Shop> {
        Shop::open_parts(config, world, &Parts::all()).await
    }

    /// Opens the services among these parts; the others run elsewhere, where
    /// the settings say.
    pub async fn open_parts(config: &Config, world: &World, parts: &Parts) -> Result<Shop> {
        config.check_redis(world).await?;
        let mut databases = Vec::new();
        for service in parts.services() {
            databases.push((service.as_str(), databases::open(config, world, service).await?));
        }
        Shop::of(config, world, parts, databases).await
    }

    /// The whole shop, to be looked at: what it finds it leaves as it is. Fails
    /// when its tables are not as this program knows them.
    pub async fn look(config: &Config, world: &World) -> Result<Shop> {
        let (parts, mut databases) = (Parts::all(), Vec::new());
        for service in parts.services() {
            databases.push((service.as_str(), databases::look(config, world, service).await?));
        }
        Shop::over(None, config, world, &parts, databases).await
    }

    /// The same on databases that are open.
    pub async fn of(
        config: &Config,
        world: &World,
        parts: &Parts,
        databases: Vec<(&'static str, Db)>,
    ) -> Result<Shop> {
        let shop = Shop::over(None, config, world, parts, databases).await?;
        if let Some(users) = &shop.users {
            users.start().await?;
        }
        Ok(shop)
    }

    /// The same as it is found: nothing is written, not even the first key that
    /// tokens are signed with. Its services ask one another over the network of
    /// a simulation, if there is one, those of this process as well.
    pub async fn over(
        network: Option<Arc<dyn rpc::Network>>,
        config: &Config,
        world: &World,
        parts: &Parts,
        databases: Vec<(&'static str, Db)>,
    ) -> Result<Shop> {
        let db = |part: Part| {
            let found = databases.iter().find(|(service, _)| *service == part.as_str());
            found.map(|(_, db)| db.clone()).filter(|_| parts.has(part))
        };
        let elsewhere = Elsewhere::new(config, world, parts, network)?;
        let shared = config.shared_cache(world)?;
        // Others change what this process would remember, and could not say so.
        let remembers = shared.is_some() || parts.has_all_services();
        let users = db(Part::Users).map(|db| {
            let mut settings = config.users();
            if !remembers {
                settings.remember = Duration::ZERO;
            }
            users::Users::new(users::Needs { db, shared: shared.clone(), settings })
        });
        let keys = elsewhere.users(users.as_ref())?;
        let inventory = db(Part::Inventory)
            .map(|db| inventory::Inventory::new(inventory::Needs { db, settings: config.inventory() }));
        let catalog = match db(Part::Catalog) {
            None => None,
            Some(db) => Some(catalog::Catalog::new(catalog::Needs {
                db,
                inventory: Some(elsewhere.inventory(inventory.as_ref())?),
                shared: shared.clone(),
                settings: config.catalog(remembers),
            })),
        };
        let payments = match db(Part::Payments) {
            None => None,
            Some(db) => Some(payments::Payments::new(payments::Needs {
                db,
                settings: config.payments(),
                provider: None,
            })?),
        };
        let orders = match db(Part::Orders) {
            None => None,
            Some(db) => Some(orders::Orders::new(orders::Needs {
                db,
                catalog: elsewhere.catalog(catalog.as_ref())?,
                inventory: elsewhere.inventory(inventory.as_ref())?,
                payments: elsewhere.payments(payments.as_ref())?,
                settings: config.orders(),
            })),
        };
        let notifications = match db(Part::Notifications) {
            None => None,
            Some(db) => Some(notifications::Notifications::new(notifications::Needs {
                db,
                orders: elsewhere.orders(orders.as_ref())?,
                users: keys.clone(),
                settings: config.notifications(),
            })?),
        };
        let health = databases
            .iter()
            .fold(Health::new(world.clone()), |health, (name, db)| health.database(name, db.clone()));
        let shop = Shop {
            users,
            catalog,
            inventory,
            orders,
            payments,
            notifications,
            databases,
            parts: parts.clone(),
            keys,
            pools: elsewhere.pools().iter().filter(|(part, _)| !parts.has(*part)).cloned().collect(),
            token: elsewhere.token().cloned(),
            bus: events::bus(config, world, parts)?,
            maintenance: Maintenance::default(),
            shared,
            config: config.clone(),
            world: world.clone(),
            health,
        };
        shop.consumers().into_iter().for_each(|consumer| shop.bus.subscribe(consumer));
        Ok(shop)
    }

    /// Accounts and sign-in.
    pub fn users(&self) -> &users::Users {
        self.users.as_ref().expect(WHOLE)
    }

    /// What is for sale.
    pub fn catalog(&self) -> &catalog::Catalog {
        self.catalog.as_ref().expect(WHOLE)
    }

    /// What is there.
    pub fn inventory(&self) -> &inventory::Inventory {
        self.inventory.as_ref().expect(WHOLE)
    }

    /// What was bought.
    pub fn orders(&self) -> &orders::Orders {
        self.orders.as_ref().expect(WHOLE)
    }

    /// What people are told.
    pub fn notifications(&self) -> &notifications::Notifications {
        self.notifications.as_ref().expect(WHOLE)
    }

    /// Everything that can be asked over HTTP: by customers, behind the layers
    /// of the edge, and by other services.
    pub fn router(&self) -> Result<Router> {
        let (routes, api) = self.routes().split_for_parts();
        let keys = Arc::new(KeysOfUsers(self.keys.clone()));
        let verifier = Verifier::of_issuer(self.world.clone(), keys, &self.config.tokens.issuer);
        let front = gateway::Front {
            health: self.health.clone(),
            metrics: web::metrics::install(&self.world)?,
            // One that knows no more than a part of the API shows the whole all the same.
            api: if self.parts.has_all_services() { described(api)? } else { gateway::described()? },
            maintenance: self.maintenance.clone(),
            limits: self.limits(&verifier),
            own_writes: self.own_writes(),
        };
        let here = gateway::Backend::Here(web::service_layers(routes, &verifier));
        let mut services = vec![("here", here)];
        if self.parts.has(Part::Gateway) {
            let there =
                |(part, pool): &(Part, rpc::Pool)| (part.as_str(), gateway::Backend::There(pool.clone()));
            services.extend(self.pools.iter().map(there));
        }
        let edge = gateway::edge(services, front, &self.config.edge(), &self.world)?;
        Ok(edge.merge(self.calls()))
    }

    /// What the services here answer, to customers and to one another, without
    /// the edge and its documentation: what a simulation asks.
    pub fn services(&self) -> Router {
        let keys = Arc::new(KeysOfUsers(self.keys.clone()));
        let verifier = Verifier::of_issuer(self.world.clone(), keys, &self.config.tokens.issuer);
        web::service_layers(self.routes().split_for_parts().0, &verifier).merge(self.calls())
    }

    /// The description of the API (OpenAPI 3.1), made from the routes.
    pub fn api(&self) -> Result<OpenApi> {
        described(self.routes().split_for_parts().1)
    }

    /// What a process that answers no customers answers: how it is, and its numbers.
    pub fn status(&self) -> Result<Router> {
        Ok(self.health.clone().routes().merge(web::metrics::install(&self.world)?.routes()))
    }

    /// With replicas, each caller carries along when he last changed something.
    fn own_writes(&self) -> Option<web::edge::OwnWrites> {
        let replicas = !self.config.database.replica_urls.is_empty();
        replicas.then(|| web::edge::own_writes(self.world.clone()))
    }

    /// How often one may ask, counted where people come in.
    fn limits(&self, verifier: &Verifier) -> Option<gateway::RateLimits> {
        if !self.parts.has(Part::Gateway) {
            return None;
        }
        let counted = cache::Limits::new(&self.world, self.shared.as_ref());
        gateway::RateLimits::new(counted, self.config.limits(), Some(verifier.clone()))
    }

    /// What other services may ask of those here, if they know the token.
    fn calls(&self) -> Router {
        let Some(token) = &self.token else { return Router::new() };
        let routes = [
            self.users.clone().map(|users| users_routes(Arc::new(users))),
            self.catalog.clone().map(|catalog| catalog_routes(Arc::new(catalog))),
            self.inventory.clone().map(|inventory| inventory_routes(Arc::new(inventory))),
            self.orders.clone().map(|orders| orders_routes(Arc::new(orders))),
            self.payments.clone().map(|payments| payments_routes(Arc::new(payments))),
            self.notifications.clone().map(|mails| notifications_routes(Arc::new(mails))),
        ];
        let Some(routes) = routes.into_iter().flatten().reduce(Router::merge) else { return Router::new() };
        let at_once = self.config.server.work_at_once as usize;
        let line = Shed::new(&self.world, "rpc", ShedOptions { at_once, ..ShedOptions::default() });
        let routes = routes.method_not_allowed_fallback(web::edge::method_not_allowed);
        // From the inside out: a stranger is turned away before he stands in line.
        rpc::guard(rpc::shed(routes, &line, rpc::refuse), token)
            .layer(web::edge::panics())
            .layer(web::edge::requests(self.world.clone()))
    }

    /// The clock, chance and tasks it was given.
    pub fn world(&self) -> &World {
        &self.world
    }

    /// The database of a service that runs here.
    pub fn database(&self, service: &str) -> Db {
        let found = self.databases.iter().find(|(name, _)| *name == service);
        found.map(|(_, db)| db.clone()).expect(WHOLE)
    }

    /// Closes the databases, once nothing runs any more.
    pub async fn close(&self) {
        for (_, db) in &self.databases {
            db.close().await;
        }
    }

    fn routes(&self) -> OpenApiRouter {
        let routes = [
            self.users.clone().map(users::routes),
            self.catalog.clone().map(catalog::routes),
            self.inventory.clone().map(inventory::routes),
            self.orders.clone().map(orders::routes),
            self.payments.clone().map(payments::routes),
            self.notifications.clone().map(notifications::routes),
        ];
        let greeting =
            self.users.as_ref().map(|_| gateway::greeting(self.database("users"), &self.config.shop.name));
        routes.into_iter().flatten().chain(greeting).fold(OpenApiRouter::new(), OpenApiRouter::merge)
    }
}

pub(crate) fn minutes(count: u32) -> Duration {
    Duration::from_secs(u64::from(count) * 60)
}

fn described(api: OpenApi) -> Result<OpenApi> {
    let mut frame = web::openapi::frame(
        "Carmel",
        env!("CARGO_PKG_VERSION"),
        "A commerce backend: users, catalogue, stock, orders, payments, mails.",
    );
    frame.merge(api);
    web::openapi::in_own_words(&frame)
}

/// The public keys that tokens are checked against, asked of `users`.
struct KeysOfUsers(Arc<dyn AskUsers>);

#[rpc::async_trait]
impl web::auth::Keys for KeysOfUsers {
    async fn key(&self, kid: &str) -> Result<Option<Vec<u8>>> {
        let keys = self.0.keys(Keys {}).await?;
        keys.iter().find(|key| key.kid == kid).map(|key| web::auth::key_bytes(&key.x)).transpose()
    }
}
