//! The service on a real database, with an order and a customer to tell of.

use std::sync::Arc;

use axum::{Extension, Router, body::Body};
use bus::Envelope;
use contracts::{
    notifications::SendMail,
    orders::{GetOrder, OrderEvent, OrderInShort, OrderLine, OrderState, Orders},
    users::{GetUser, Keys, PublicKey, User, Users},
};
use db::Db;
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use kernel::{Currency, EventId, JobId, MessageId, Money, OrderId, Result, SessionId, UserId, World};
use notifications::{Deliver, Needs, Notifications, Settings};
use testkit::{TestDb, clock::Clock, smtp};
use tower::ServiceExt;
use web::{Caller, Role};

pub struct Desk {
    pub service: Notifications,
    pub db: Db,
    pub clock: Clock,
    world: World,
    shop: Arc<Shop>,
    folder: std::path::PathBuf,
}

/// The services that notifications asks.
struct Shop {
    order: OrderId,
    customer: UserId,
}

#[rpc::async_trait]
impl Orders for Shop {
    async fn order(&self, ask: GetOrder) -> Result<OrderInShort> {
        assert_eq!(ask.id, self.order);
        Ok(OrderInShort {
            id: self.order,
            number: "C-7F3K9Q2M".into(),
            customer: self.customer,
            state: OrderState::Confirmed,
            lines: vec![OrderLine {
                sku: "mug".parse().unwrap(),
                name: "<Blue> mug & co".into(),
                quantity: 2,
                price: Money::new(1200, Currency::EUR),
            }],
            total: Money::new(2400, Currency::EUR),
        })
    }
}

#[rpc::async_trait]
impl Users for Shop {
    async fn keys(&self, _: Keys) -> Result<Vec<PublicKey>> {
        Ok(Vec::new())
    }

    async fn user(&self, ask: GetUser) -> Result<User> {
        Ok(User { id: ask.id, name: "Ann".into(), email: "ann@example.com".parse().unwrap() })
    }
}

struct NoKeys;

#[rpc::async_trait]
impl web::auth::Keys for NoKeys {
    async fn key(&self, _: &str) -> Result<Option<Vec<u8>>> {
        Ok(None)
    }
}

pub struct Reply {
    pub status: StatusCode,
    pub replayed: bool,
    pub body: serde_json::Value,
}

impl Desk {
    pub async fn open(db: &TestDb, server: Option<&smtp::Server>) -> Desk {
        let clock = Clock::new();
        let world = clock.world();
        let folder = db.folder().join("mail");
        let db = db.open_in(&world, "notifications", &notifications::migrations()).await;
        let shop = Arc::new(Shop { order: OrderId::new(&world), customer: UserId::new(&world) });
        let settings = Settings {
            smtp_url: server.map(smtp::Server::url),
            folder: folder.clone(),
            ..Settings::default()
        };
        let needs = Needs { db: db.clone(), orders: shop.clone(), users: shop.clone(), settings };
        Desk { service: Notifications::new(needs).unwrap(), db, clock, world, shop, folder }
    }

    pub fn event(&self, state: OrderState) -> Envelope {
        let event = OrderEvent {
            order: self.shop.order,
            number: "C-7F3K9Q2M".into(),
            customer: self.shop.customer,
            state,
            reason: (state == OrderState::Cancelled).then(|| "out_of_stock".into()),
            total: Money::new(2400, Currency::EUR),
            version: 7,
        };
        Envelope {
            id: EventId::new(&self.world),
            source: "orders".into(),
            topic: format!("orders.{state}"),
            subject: self.shop.order.to_string(),
            version: 7,
            time: self.world.now(),
            traceparent: None,
            data: serde_json::to_value(&event).unwrap(),
        }
    }

    /// As orders does it: news saved in its outbox, then relayed.
    pub async fn announce_and_relay(&self, test: &TestDb) -> usize {
        let orders = test.open_in(&self.world, "orders", bus::MIGRATIONS).await;
        let event: OrderEvent = self.event(OrderState::Refunded).payload().unwrap();
        let saved: Result<EventId> = db::write!(orders, async |tx| { bus::outbox::add(tx, &event).await });
        saved.unwrap();
        let bus = bus::Bus::memory();
        notifications::consumers(&self.service).into_iter().for_each(|consumer| bus.subscribe(consumer));
        bus.relay_once("orders", &orders).await.unwrap()
    }

    /// Takes effect without the inbox, which would spare the second time.
    pub async fn hear(&self, event: &Envelope) {
        let consumers = notifications::consumers(&self.service);
        let consumer = consumers.iter().find(|consumer| consumer.topics().contains(&event.topic.as_str()));
        let consumer = consumer.expect("somebody hears it");
        let heard: Result<()> = db::write!(self.db, async |tx| { consumer.hear(tx, event).await });
        heard.unwrap();
    }

    pub async fn run_due(&self) {
        notifications::runner(&self.service).run_due().await.unwrap();
    }

    pub async fn pending(&self) -> i64 {
        let pending: Result<i64> = db::read!(self.db, async |tx| { jobs::pending(tx).await });
        pending.unwrap()
    }

    pub async fn nothing_is_left_over(&self) {
        assert_eq!(self.pending().await, 0);
        assert_eq!(notifications::audit(&self.db).await.unwrap(), Vec::<String>::new());
        assert_eq!(jobs::audit(&self.db).await.unwrap(), Vec::<String>::new());
    }

    pub async fn shipped_is_another_mail(&self, server: &smtp::Server) {
        let before = server.mails().len();
        self.hear(&self.event(OrderState::Shipped)).await;
        self.run_due().await;
        assert_eq!(server.mails().len(), before + 1);
        assert_eq!(server.mails()[before].subject, "Your order C-7F3K9Q2M is on its way");
    }

    /// As if the process had died between the sending and the noting of it.
    pub async fn forget_that_it_was_sent(&self) {
        let forgot: Result<u64> = db::write!(self.db, async |tx| {
            db::query("UPDATE messages SET state = 'queued', sent_at = NULL WHERE state = 'sent'")
                .execute(tx)
                .await
        });
        assert_eq!(forgot.unwrap(), 1);
    }

    /// The job that would have been found unfinished, again.
    pub async fn deliver_again(&self) {
        let again: Result<()> = db::write!(self.db, async |tx| {
            let (message,): (MessageId,) =
                db::query("SELECT id FROM messages WHERE state = 'queued' LIMIT 1").fetch_one(tx).await?;
            let job: JobId = jobs::add(tx, &Deliver { message }).await?;
            db::query("UPDATE messages SET job_id = $2 WHERE id = $1")
                .bind(message)
                .bind(job)
                .execute(tx)
                .await?;
            Ok(())
        });
        again.unwrap();
    }

    pub fn folder_mails(&self) -> Vec<(String, String)> {
        let files = std::fs::read_dir(&self.folder).into_iter().flatten().map(|file| file.unwrap());
        files
            .map(|file| {
                (file.file_name().into_string().unwrap(), std::fs::read_to_string(file.path()).unwrap())
            })
            .collect()
    }

    pub async fn post(&self, path: &str, role: Role, key: Option<&str>, body: &str) -> Reply {
        let mut request = Request::post(path).header("content-type", "application/json");
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        self.send(request.body(Body::from(body.to_owned())).unwrap(), role).await
    }

    pub async fn get(&self, path: &str, role: Role) -> Reply {
        self.send(Request::get(path).body(Body::empty()).unwrap(), role).await
    }

    async fn send(&self, request: Request<Body>, role: Role) -> Reply {
        // Staff is the same person each time, a customer always another one.
        let id = if role == Role::Customer { UserId::new(&self.world) } else { self.shop.customer };
        let caller = Caller { id, role, session: SessionId::from_uuid(id.uuid()) };
        let verifier = web::auth::Verifier::new(self.world.clone(), Arc::new(NoKeys));
        let routes = Router::from(notifications::routes(self.service.clone()));
        let routes = web::service_layers(routes, &verifier).layer(Extension(caller));
        let response = routes.oneshot(request).await.unwrap();
        let status = response.status();
        let replayed = response.headers().contains_key("idempotent-replayed");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        Reply { status, replayed, body: serde_json::from_slice(&body).unwrap_or_default() }
    }
}

pub fn mail(key: &str) -> SendMail {
    SendMail {
        key: key.into(),
        to: "ann@example.com".parse().unwrap(),
        subject: "Your new password".into(),
        text: "Here it is".into(),
        html: None,
    }
}
