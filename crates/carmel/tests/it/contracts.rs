//! What services ask of one another, answered alike here and over HTTP. (Stock
//! and payments have their own such tests, with every undo.)

use std::sync::Arc;

use axum::Router;
use contracts::{
    catalog::{Catalog, CatalogClient, Prices, catalog_routes},
    notifications::{Notifications, NotificationsClient, SendMail, notifications_routes},
    orders::{GetOrder, OrderState, Orders, OrdersClient, orders_routes},
    users::{GetUser, Keys, Users, UsersClient, users_routes},
};
use kernel::{Error, Kind, OrderId, Result, Sku, UserId, World};
use serde_json::json;
use testkit::{TestDb, both_databases};

use crate::harness::{Shop, id};

both_databases!(
    users_answer_alike_here_and_over_http,
    the_catalogue_answers_alike_here_and_over_http,
    orders_answer_alike_here_and_over_http,
    notifications_answer_alike_here_and_over_http,
    a_service_that_is_away_is_unavailable,
);

/// A way over HTTP to what these routes answer.
async fn over_http(service: &'static str, routes: Router) -> rpc::Channel {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
    rpc::Channel::new(&World::real(), service, &[address]).unwrap()
}

/// Kind, code and message: all that a caller may branch on or show.
fn refusal<T: std::fmt::Debug>(outcome: Result<T>) -> (Kind, String, String) {
    let Error { kind, code, message, .. } = outcome.unwrap_err();
    (kind, code.into_owned(), message)
}

async fn users_answer_alike_here_and_over_http(db: TestDb) {
    let shop = Shop::start(db).await;
    let ann = shop.customer().await;
    let here: Arc<dyn Users> = Arc::new(shop.inside.users().clone());
    let there = UsersClient(over_http("users", users_routes(here.clone())).await);
    let (known, unknown) = (ann.id.parse::<UserId>().unwrap(), UserId::new(&World::real()));

    for users in [&here, &(Arc::new(there.clone()) as Arc<dyn Users>)] {
        let user = users.user(GetUser { id: known }).await.unwrap();
        assert_eq!((user.id, &*user.name, user.email.as_str()), (known, "Ann", &*ann.email));
        let (kind, code, message) = refusal(users.user(GetUser { id: unknown }).await);
        assert_eq!((kind, &*code), (Kind::NotFound, "no_such_user"));
        assert!(message.contains(&unknown.to_string()), "{message}");
    }
    let keys = here.keys(Keys {}).await.unwrap();
    assert_eq!(keys, there.keys(Keys {}).await.unwrap());
    assert!(!keys.is_empty());
    shop.audit().await;
}

async fn the_catalogue_answers_alike_here_and_over_http(db: TestDb) {
    let shop = Shop::start(db).await;
    let mug = shop.stock("mug", 1200, 1).await;
    shop.stock("cup", 300, 1).await;
    let here: Arc<dyn Catalog> = Arc::new(shop.inside.catalog().clone());
    let there: Arc<dyn Catalog> =
        Arc::new(CatalogClient(over_http("catalog", catalog_routes(here.clone())).await));
    let skus = |names: &[&str]| names.iter().map(|name| name.parse().unwrap()).collect::<Vec<Sku>>();
    let many: Vec<Sku> = (0..101).map(|at| format!("sku-{at}").parse().unwrap()).collect();
    let variant = format!("/variants/{}", id(&mug["variants"][0]));

    let mut refusals = Vec::new();
    for (at, catalog) in [&here, &there].into_iter().enumerate() {
        let mut prices = catalog.prices(Prices { skus: skus(&["mug", "never-seen", "cup"]) }).await.unwrap();
        prices.sort_by(|a, b| a.sku.cmp(&b.sku));
        let found: Vec<(&str, i64)> = prices.iter().map(|one| (one.sku.as_str(), one.price.amount)).collect();
        // A change that was answered shows at once, wherever it is asked for.
        assert_eq!(found, [("cup", 300), ("mug", 1200 + 100 * at as i64)]);
        let dearer = json!({ "price": { "amount": 1300 + 100 * at, "currency": "EUR" } });
        shop.admin.patch(&variant, dearer).await.expect(200);
        assert!(catalog.prices(Prices { skus: Vec::new() }).await.unwrap().is_empty());
        refusals.push(refusal(catalog.prices(Prices { skus: many.clone() }).await));
    }
    assert_eq!(refusals[0], refusals[1]);
    assert_eq!(refusals[0].0, Kind::Invalid);
    shop.audit().await;
}

async fn orders_answer_alike_here_and_over_http(db: TestDb) {
    let shop = Shop::start(db).await;
    shop.stock("mug", 1200, 5).await;
    let ann = shop.customer().await;
    let order = ann.order(&[("mug", 2)]).await;
    let here: Arc<dyn Orders> = Arc::new(shop.inside.orders().clone());
    let there: Arc<dyn Orders> =
        Arc::new(OrdersClient(over_http("orders", orders_routes(here.clone())).await));
    let known: OrderId = id(&order).parse().unwrap();
    let unknown = OrderId::new(&World::real());

    let (mut answers, mut refusals) = (Vec::new(), Vec::new());
    for orders in [&here, &there] {
        answers.push(orders.order(GetOrder { id: known }).await.unwrap());
        refusals.push(refusal(orders.order(GetOrder { id: unknown }).await));
    }

    assert_eq!(answers[0], answers[1]);
    assert_eq!((answers[0].state, answers[0].total.amount), (OrderState::Confirmed, 2400));
    assert_eq!((answers[0].customer.to_string(), answers[0].lines[0].quantity), (ann.id.clone(), 2));
    assert_eq!(refusals[0], refusals[1]);
    assert_eq!((refusals[0].0, &*refusals[0].1), (Kind::NotFound, "no_such_order"));
    shop.audit().await;
}

async fn notifications_answer_alike_here_and_over_http(db: TestDb) {
    let shop = Shop::start(db).await;
    let here: Arc<dyn Notifications> = Arc::new(shop.inside.notifications().clone());
    let there: Arc<dyn Notifications> =
        Arc::new(NotificationsClient(over_http("notifications", notifications_routes(here.clone())).await));
    let mail = |key: &str, subject: &str| SendMail {
        key: key.into(),
        to: "bob@example.com".parse().unwrap(),
        subject: subject.into(),
        text: "There it is.".into(),
        html: None,
    };

    let (mut jobs, mut refusals) = (Vec::new(), Vec::new());
    for notifications in [&here, &there] {
        jobs.push(notifications.send(mail("once", "Hello")).await.unwrap());
        refusals.push(refusal(notifications.send(mail("never", "two\nlines")).await));
        refusals.push(refusal(
            notifications.send(SendMail { text: "x".repeat(300 * 1024), ..mail("long", "Hello") }).await,
        ));
    }
    shop.settle().await;

    assert_eq!(jobs[0], jobs[1], "one key, one mail, wherever it was asked");
    assert_eq!(refusals[..2], refusals[2..]);
    assert!(refusals.iter().all(|refusal| refusal.0 == Kind::Invalid), "{refusals:?}");
    assert_eq!(std::fs::read_dir(shop.db.folder().join("mail")).unwrap().count(), 1);
    shop.audit().await;
}

async fn a_service_that_is_away_is_unavailable(db: TestDb) {
    let shop = Shop::start(db).await;
    let address = format!("http://127.0.0.1:{}", testkit::free_port());
    let nobody = rpc::Channel::new(&World::real(), "orders", &[address]).unwrap();

    let (kind, code, _) =
        refusal(OrdersClient(nobody).order(GetOrder { id: OrderId::new(&World::real()) }).await);

    assert_eq!((kind, &*code), (Kind::Unavailable, "service_unreachable"));
    shop.audit().await;
}
