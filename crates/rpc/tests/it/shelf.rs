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
use rpc::{Channel, Options};
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
        async fn wait(u64) -> Option<u64>;
        /// The milliseconds that are left for an answer, here.
        async fn left(()) -> Option<u64>;
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
        Arc::new(Wooden { world: World::real(), finished: AtomicU32::new(0), taken: Mutex::new(0) })
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
}

/// Serves routes on a free port until the runtime of the test ends.
pub async fn serve(routes: axum::Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    drop(World::real().spawn(async move { axum::serve(listener, routes).await.unwrap() }));
    address
}

/// The same service in three ways.
pub async fn each_way(service: &Arc<Wooden>) -> Vec<(&'static str, Arc<dyn Shelf>)> {
    let address = serve(shelf_routes(service.clone())).await;
    let http1 = Channel::new(World::real(), vec![address.clone()]);
    let http2 = Channel::with(World::real(), vec![address], Options { http2: true, ..Options::default() });
    vec![
        ("here", service.clone()),
        ("over HTTP/1.1", Arc::new(ShelfClient(http1))),
        ("over HTTP/2", Arc::new(ShelfClient(http2))),
    ]
}
