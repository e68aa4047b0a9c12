//! Payments with a sandbox, asked here or over HTTP.

use std::{sync::Arc, time::Duration};

use axum::Router;
use contracts::payments::{
    Authorise, Authorised, Capture, Captured, GetPayment, Payment, PaymentsClient, Refund, Screen, Screened,
    Void, payments_routes,
};
use db::Db;
use kernel::{Currency, Error, Money, OrderId, Result, UserId, World};
use payments::{
    Needs, Payments, Settings,
    provider::HttpProvider,
    sandbox::{ChargeState, Sandbox},
};
use testkit::{TestDb, clock::Clock};

use crate::moody::Moody;

/// Where payments and its provider run, as the one who asks sees it.
#[derive(Clone, Copy, Debug)]
pub enum Way {
    Here,
    OverHttp,
}

pub const WAYS: [Way; 2] = [Way::Here, Way::OverHttp];

#[derive(Clone)]
pub struct Shop {
    pub db: Db,
    pub clock: Clock,
    pub payments: Payments,
    pub sandbox: Sandbox,
    /// The mood of the provider; over HTTP there is none.
    pub moody: Moody,
    asked: Arc<dyn contracts::payments::Payments>,
}

pub const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

pub fn euros(amount: i64) -> Money {
    Money::new(amount * 100, Currency::EUR)
}

pub async fn serve(routes: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
    address
}

impl Shop {
    pub async fn start(tests: &TestDb, way: Way) -> Shop {
        Shop::with(tests, way, Settings { provider_timeout: Duration::from_secs(5), ..Settings::default() })
            .await
    }

    pub async fn with(tests: &TestDb, way: Way, settings: Settings) -> Shop {
        let clock = Clock::new();
        let name = format!("payments_{way:?}").to_lowercase();
        let db = tests.open_in(&clock.world(), &name, &payments::migrations()).await;
        let sandbox = Sandbox::new(db.clone(), settings.sandbox.clone());
        let moody = Moody::new(sandbox.clone());
        let provider: Arc<dyn payments::provider::Provider> = match way {
            Way::Here => Arc::new(moody.clone()),
            Way::OverHttp => {
                Arc::new(HttpProvider::new(&serve(payments::sandbox::http::routes(sandbox.clone())).await))
            }
        };
        let payments = Payments::new(Needs { db: db.clone(), settings, provider: Some(provider) }).unwrap();
        let asked: Arc<dyn contracts::payments::Payments> = match way {
            Way::Here => Arc::new(payments.clone()),
            Way::OverHttp => {
                let address = serve(payments_routes(Arc::new(payments.clone()))).await;
                Arc::new(PaymentsClient(rpc::Channel::new(&World::real(), "payments", &[address]).unwrap()))
            }
        };
        Shop { db, clock, payments, sandbox, moody, asked }
    }

    pub fn order(&self) -> OrderId {
        OrderId::new(self.db.world())
    }

    pub fn customer(&self) -> UserId {
        UserId::new(self.db.world())
    }

    pub async fn authorise(&self, order: OrderId, token: &str) -> Result<Authorised> {
        self.authorise_for(order, token, euros(12)).await
    }

    pub async fn authorise_for(&self, order: OrderId, token: &str, total: Money) -> Result<Authorised> {
        let customer = UserId::from_uuid(order.uuid());
        self.asked.authorise(Authorise { order, customer, total, token: token.into() }).await
    }

    pub async fn capture(&self, order: OrderId) -> Result<Captured> {
        self.asked.capture(Capture { order }).await
    }

    pub async fn void(&self, order: OrderId) -> Result<()> {
        self.asked.void(Void { order }).await
    }

    pub async fn refund(&self, order: OrderId) -> Result<Option<Money>> {
        self.asked.refund(Refund { order }).await.map(|refunded| refunded.amount)
    }

    pub async fn payment(&self, order: OrderId) -> Result<Payment> {
        self.asked.payment(GetPayment { order }).await
    }

    pub async fn state(&self, order: OrderId) -> String {
        self.payment(order).await.unwrap().state.to_string()
    }

    pub async fn screen(&self, order: OrderId, customer: UserId, total: Money, token: &str) -> Screened {
        self.asked.screen(Screen { order, customer, total, token: token.into() }).await.unwrap()
    }

    /// How the provider's charges of an order stand.
    pub async fn charges(&self, order: OrderId) -> Vec<ChargeState> {
        self.sandbox.charges_of(order).await.unwrap().iter().map(|charge| charge.state).collect()
    }

    /// Every invariant, and that nothing is left over.
    pub async fn audit(&self) {
        assert_eq!(payments::audit(&self.db).await.unwrap(), Vec::<String>::new());
        let bus = bus::Bus::memory();
        while bus.relay_once("payments", &self.db).await.unwrap() > 0 {}
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
