//! A small service, and a server for it.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use kernel::{Error, FieldError, Kind, OrderId, Sku, World};
use rpc::{Channel, Options, Pool, PoolOptions};
use serde::{Deserialize, Serialize};

rpc::service! {
    /// What others may ask of a shelf.
    pub trait Shelf, ShelfClient, shelf_routes = "shelf" {
        /// Takes from it.
        async fn take(Take) -> Taken;
        /// Puts everything of an order back.
        async fn put_back(OrderId) -> ();
        /// How often each kind of error is met.
        async fn fail(Kind) -> ();
        /// Answers after a while.
        #[read]
        async fn wait(u64) -> Option<u64>;
        /// The milliseconds that are left for an answer, here.
        #[read]
        async fn left(()) -> Option<u64>;
        /// Gives it another coat of paint; answers how many it has.
        #[once]
        async fn paint(()) -> u32;
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Take {
    pub order: OrderId,
    pub sku: Sku,
    pub quantity: u32,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Taken {
    pub order: OrderId,
    pub left: HashMap<Sku, u32>,
}

pub struct Wooden {
    pub world: World,
    pub finished: AtomicU32,
    pub taken: Mutex<u32>,
}

impl Wooden {
    pub fn new() -> Arc<Wooden> {
        Wooden::in_world(World::real())
    }

    pub fn in_world(world: World) -> Arc<Wooden> {
        Arc::new(Wooden { world, finished: AtomicU32::new(0), taken: Mutex::new(0) })
    }
}

#[rpc::async_trait]
impl Shelf for Wooden {
    async fn take(&self, ask: Take) -> kernel::Result<Taken> {
        let mut taken = self.taken.lock().unwrap();
        if *taken + ask.quantity > 10 {
            return Err(Error::conflict("out_of_stock", format!("{} is out of stock", ask.sku))
                .because("only ten fit"));
        }
        *taken += ask.quantity;
        Ok(Taken { order: ask.order, left: HashMap::from([(ask.sku, 10 - *taken)]) })
    }

    async fn put_back(&self, _: OrderId) -> kernel::Result<()> {
        *self.taken.lock().unwrap() = 0;
        Ok(())
    }

    async fn fail(&self, kind: Kind) -> kernel::Result<()> {
        let fields = vec![FieldError { pointer: "/lines/0".into(), message: "is too long".into() }];
        Err(Error { fields, ..Error::new(kind, "as_asked", format!("{kind:?} was asked for")) })
    }

    async fn wait(&self, millis: u64) -> kernel::Result<Option<u64>> {
        self.world.sleep(Duration::from_millis(millis)).await;
        self.finished.fetch_add(1, Ordering::SeqCst);
        Ok(Some(millis))
    }

    async fn left(&self, (): ()) -> kernel::Result<Option<u64>> {
        Ok(rpc::deadline().map(|until| until.since(self.world.now()).as_millis() as u64))
    }

    async fn paint(&self, (): ()) -> kernel::Result<u32> {
        Ok(self.finished.fetch_add(1, Ordering::SeqCst) + 1)
    }
}

/// Serves routes on a free port until the runtime of the test ends.
pub async fn serve(routes: axum::Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    drop(World::real().spawn(async move { axum::serve(listener, routes).await.unwrap() }));
    address
}

/// The shelf at these addresses.
pub fn at(addresses: &[String], options: Options) -> ShelfClient {
    in_world(&World::real(), addresses, options)
}

/// The same, by another clock.
pub fn in_world(world: &World, addresses: &[String], options: Options) -> ShelfClient {
    let pool = Pool::new(world, "shelf", addresses, patient()).unwrap();
    ShelfClient(Channel::with(world, pool, options))
}

/// Ejects for a minute, then two, then four: longer than a busy machine may
/// stand still in the middle of a story.
pub fn patient() -> PoolOptions {
    let (minute, hour) = (Duration::from_secs(60), Duration::from_secs(3600));
    PoolOptions { ejected_first: minute, ejected_longest: hour, ..PoolOptions::default() }
}

/// The same service in three ways.
pub async fn each_way(service: &Arc<Wooden>) -> Vec<(&'static str, Arc<dyn Shelf>)> {
    let address = [serve(shelf_routes(service.clone())).await];
    let http1 = Options { http2: false, ..Options::default() };
    vec![
        ("here", service.clone()),
        ("over HTTP/1.1", Arc::new(at(&address, http1))),
        ("over HTTP/2", Arc::new(at(&address, Options::default()))),
    ]
}
