//! What a peer answers a call between services.

use std::{fmt::Debug, sync::Arc};

use bytes::Bytes;
use contracts::{
    catalog::{Catalog, CatalogClient, Prices},
    inventory::{Hold, Inventory, InventoryClient, Levels},
    orders::{GetOrder, Orders, OrdersClient},
    payments::{Capture, GetPayment, Payments, PaymentsClient, Refund, Screen},
    users::{GetUser, Keys, Users, UsersClient},
};
use http::{Request, Response, StatusCode};
use kernel::{BoxFuture, Currency, Error, Kind, Money, OrderId, Result, UserId, World};
use rpc::{Channel, Cut, Network, Options, Pool, PoolOptions};
use serde::{Serialize, de::DeserializeOwned};
use sim::Machine;
use tokio::{runtime::Runtime, time::Instant};

/// The input is a status, as a line, and a body. Whoever called has an answer
/// only if that is one; else he has the error that the service told, or one
/// that says that its answer is not understood or that it cannot be reached.
pub fn answer(input: &[u8]) {
    thread_local!(static RUNTIME: Runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap());
    let mut parts = input.splitn(2, |byte| *byte == b'\n');
    let status = StatusCode::from_bytes(parts.next().unwrap_or_default()).unwrap_or_default();
    let body = Bytes::copy_from_slice(parts.next().unwrap_or_default());
    RUNTIME.with(|runtime| runtime.block_on(calls(Peer { status, body })));
}

async fn calls(peer: Peer) {
    let world = Machine::new(Instant::now(), 1, None).world();
    let to = |service| peer.channel(&world, service);
    let (order, id) = (OrderId::new(&world), UserId::new(&world));
    let catalog = CatalogClient(to("catalog"));
    peer.holds(catalog.prices(Prices { skus: Vec::new() }).await);
    let inventory = InventoryClient(to("inventory"));
    peer.holds(inventory.hold(Hold { order, lines: Vec::new() }).await);
    peer.holds(inventory.levels(Levels { skus: Vec::new() }).await);
    peer.holds(OrdersClient(to("orders")).order(GetOrder { id: order }).await);
    let payments = PaymentsClient(to("payments"));
    let total = Money::zero(Currency::EUR);
    peer.holds(payments.screen(Screen { order, customer: id, total, token: String::new() }).await);
    peer.holds(payments.capture(Capture { order }).await);
    peer.holds(payments.refund(Refund { order }).await);
    peer.holds(payments.payment(GetPayment { order }).await);
    let users = UsersClient(to("users"));
    peer.holds(users.user(GetUser { id }).await);
    peer.holds(users.keys(Keys {}).await);
}

/// One that answers everything with the same.
#[derive(Clone, Debug)]
struct Peer {
    status: StatusCode,
    body: Bytes,
}

impl Peer {
    fn channel(&self, world: &World, service: &'static str) -> Channel {
        let pool = Pool::new(world, service, &["http://127.0.0.1:1".to_owned()], PoolOptions::default());
        let options = Options { network: Some(Arc::new(self.clone())), ..Options::default() };
        Channel::with(world, pool.unwrap(), options)
    }

    fn holds<A: Serialize + DeserializeOwned + PartialEq + Debug>(&self, outcome: Result<A>) {
        let error = match outcome {
            Ok(answer) => {
                assert_eq!(self.status, StatusCode::OK);
                let again = serde_json::to_vec(&answer).unwrap();
                assert_eq!(serde_json::from_slice::<A>(&again).unwrap(), answer);
                return;
            }
            Err(error) => error,
        };
        let told = serde_json::from_slice::<Error>(&self.body)
            .ok()
            .filter(|_| self.status == StatusCode::BAD_REQUEST);
        let ours = match (error.kind, &*error.code) {
            (Kind::Internal, "answer_not_understood") => told.is_none(),
            (Kind::Unavailable, "service_unreachable") => true,
            _ => false,
        };
        assert!(ours || told.as_ref() == Some(&error), "{error:?}");
    }
}

impl Network for Peer {
    fn ask(&self, _: Request<Bytes>) -> BoxFuture<'_, std::result::Result<Response<Bytes>, Cut>> {
        let mut answer = Response::new(self.body.clone());
        *answer.status_mut() = self.status;
        Box::pin(async { Ok(answer) })
    }
}
