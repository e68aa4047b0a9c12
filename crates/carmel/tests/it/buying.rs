//! Somebody buys something.

use serde_json::json;
use testkit::{
    TestDb, both_databases,
    client::{Basket, PASSWORD, fresh},
};

use crate::harness::{Shop, all, id, states, steps, walk};

in_a_fleet!(
    a_purchase_from_sign_up_to_the_mail,
    an_order_keeps_the_price_it_was_placed_at,
    a_line_that_is_not_for_sale_sells_nothing,
    lists_show_everything_exactly_once,
    what_was_seen_is_not_sent_again,
);
both_databases!(
    a_purchase_from_sign_up_to_the_mail,
    an_order_keeps_the_price_it_was_placed_at,
    a_line_that_is_not_for_sale_sells_nothing,
    lists_show_everything_exactly_once,
    what_was_seen_is_not_sent_again,
    a_cache_on_the_way_keeps_what_all_visitors_see,
);

async fn a_purchase_from_sign_up_to_the_mail(db: TestDb) {
    let shop = Shop::start(db).await;
    shop.stock("mug-blue", 1250, 5).await;
    let email = format!("{}@example.com", fresh("ann"));
    let visitor = shop.front.visitor();

    let body = json!({ "name": "Ann", "email": email, "password": PASSWORD });
    visitor.post("/users", body).await.expect(201);
    let ann = shop.front.sign_in(&email, PASSWORD).await;
    let shelf = visitor.get("/products?q=mug").await.expect(200);
    let sku = shelf["items"][0]["variants"][0]["sku"].as_str().unwrap();
    let bought = ann.place(&Basket::of(&[(sku, 2)]).waiting(20)).await;

    assert_eq!(bought.header("preference-applied"), Some("wait=20"));
    let order = bought.expect(200);
    assert_eq!(order["state"], "confirmed");
    assert_eq!(order["total"], json!({ "amount": 2500, "currency": "EUR" }));
    assert_eq!(order["customer"], ann.id.as_str());
    assert_eq!(states(&order), ["placed", "held", "authorised", "committed", "confirmed"]);
    let done = ["hold", "screen", "authorise", "commit", "capture"].map(|step| (step, "done"));
    assert_eq!(steps(&order), done);
    assert_eq!(shop.stock_of("mug-blue").await, 3);
    let payment = shop.payment(&order).await;
    assert_eq!((&payment["state"], &payment["captured"]["amount"]), (&json!("captured"), &json!(2500)));

    shop.settle().await;
    let mails = mails(&shop, &email);
    assert_eq!(mails.len(), 1, "{mails:#?}");
    let number = order["number"].as_str().unwrap();
    for part in [number, "25.00", "text/plain", "text/html", "Ann"] {
        assert!(mails[0].contains(part), "{part} is missing in {}", mails[0]);
    }
    shop.audit().await;
}

async fn an_order_keeps_the_price_it_was_placed_at(db: TestDb) {
    // Slow enough for the price to change while the order is on its way.
    let shop = Shop::start_with(db, |config| config.payments.sandbox_latency_ms = 400).await;
    let mug = shop.stock("mug", 1000, 10).await;
    let ann = shop.customer().await;

    let placed = ann.place(&Basket::of(&[("mug", 2)])).await.expect(202);
    let variant = format!("/variants/{}", id(&mug["variants"][0]));
    let dearer = json!({ "price": { "amount": 1700, "currency": "EUR" } });
    shop.admin.patch(&variant, dearer).await.expect(200);
    let order = ann.settled(id(&placed)).await;
    let next = ann.order(&[("mug", 1)]).await;

    assert_eq!((&order["state"], &order["total"]["amount"]), (&json!("confirmed"), &json!(2000)));
    assert_eq!(order["lines"][0]["price"]["amount"], 1000);
    assert_eq!(shop.kept(&order).await, 2000);
    assert_eq!(next["total"]["amount"], 1700);
    shop.audit().await;
}

async fn a_line_that_is_not_for_sale_sells_nothing(db: TestDb) {
    let shop = Shop::start(db).await;
    let cup = shop.stock("cup", 300, 5).await;
    shop.stock("mug", 1000, 5).await;
    let ann = shop.customer().await;
    let variant = format!("/variants/{}", id(&cup["variants"][0]));
    shop.admin.patch(&variant, json!({ "for_sale": false })).await.expect(200);

    for sku in ["cup", "never-seen"] {
        let refused = ann.place(&Basket::of(&[("mug", 1), (sku, 1)])).await;
        assert_eq!((refused.status, refused.code()), (409, "not_sold"), "{sku}");
        assert!(refused.body["detail"].as_str().unwrap().contains(sku));
    }

    assert_eq!(shop.stock_of("mug").await, 5);
    assert_eq!(ann.get("/orders").await.expect(200)["items"], json!([]));
    shop.audit().await;
}

async fn lists_show_everything_exactly_once(db: TestDb) {
    let shop = Shop::start_with(db, |config| config.screening.orders_per_hour = 1000).await;
    let mut skus: Vec<String> = (0..23).map(|at| format!("thing-{at:02}")).collect();
    for sku in &skus {
        shop.stock(sku, 100, 50).await;
    }
    let ann = shop.customer().await;
    let mut placed: Vec<String> = all(skus.iter().take(13).map(async |sku| {
        let placed = ann.place(&Basket::of(&[(sku, 1)])).await.expect(202);
        id(&placed).to_owned()
    }))
    .await;

    let orders = walk(&ann, "/orders?limit=5", "id").await;
    let of_staff = walk(&shop.admin, &format!("/orders?customer={}&limit=4", ann.id), "id").await;
    let products = walk(&ann, "/products?limit=7", "name").await;
    let mut stock = walk(&shop.admin, "/stock?limit=10", "sku").await;

    let newest_first = |ids: &[String]| ids.is_sorted_by(|a, b| a > b);
    assert!(newest_first(&orders), "{orders:?}");
    assert_eq!(orders, of_staff);
    for list in [&mut placed, &mut skus, &mut stock] {
        list.sort();
    }
    let sorted = |mut list: Vec<String>| {
        list.sort();
        list
    };
    assert_eq!(sorted(orders), placed);
    assert_eq!(sorted(products), skus);
    assert_eq!(stock, skus);
    shop.audit().await;
}

async fn a_cache_on_the_way_keeps_what_all_visitors_see(db: TestDb) {
    let shop = Shop::start_with(db, |config| config.catalog.shared_cache_s = 60).await;
    let mug = format!("/products/{}", id(&shop.stock("mug", 1000, 5).await));
    let (visitor, ann) = (shop.front.visitor(), shop.customer().await);
    let account = format!("/users/{}", ann.id);

    let visitors = "public, max-age=0, s-maxage=60";
    for (who, path, kept) in [
        (&visitor, &*mug, visitors),
        (&visitor, "/products", visitors),
        (&visitor, "/categories", visitors),
        (&ann, &*mug, "private, no-cache"),
        (&ann, "/products", "private, no-cache"),
        (&shop.admin, "/products", "private, no-cache"),
        (&ann, &*account, "private, no-cache"),
        (&ann, "/orders", "private, no-cache"),
        (&visitor, "/products/nothing", "no-store"),
    ] {
        let seen = who.get(path).await;
        assert_eq!(seen.header("cache-control"), Some(kept), "{path}");
        if path.starts_with("/products") && seen.status == 200 {
            assert!(seen.header("vary").unwrap().contains("authorization"), "{path}");
        }
        let Some(tag) = seen.header("etag") else { continue };
        let again = who.send(reqwest::Method::GET, path, &[("if-none-match", tag)], None).await;
        assert_eq!((again.status, again.header("cache-control")), (304, Some(kept)), "{path}");
    }

    // What was kept is told from what has changed.
    let before = visitor.get("/products").await;
    shop.admin.patch(&mug, json!({ "name": "Better mug" })).await.expect(200);
    let headers = [("if-none-match", before.header("etag").unwrap())];
    let after = visitor.send(reqwest::Method::GET, "/products", &headers, None).await;
    assert_eq!(after.expect(200)["items"][0]["name"], "Better mug");
    shop.audit().await;
}

async fn what_was_seen_is_not_sent_again(db: TestDb) {
    let shop = Shop::start(db).await;
    let mug = shop.stock("mug", 1000, 5).await;
    let ann = shop.customer().await;
    let order = ann.order(&[("mug", 1)]).await;
    let (order, product) = (format!("/orders/{}", id(&order)), format!("/products/{}", id(&mug)));
    shop.settle().await;

    for (who, path) in [
        (&ann, &order),
        (&ann, &product),
        (&shop.admin, &product),
        (&ann, &format!("/users/{}", ann.id)),
        (&ann, &"/orders?limit=5".to_owned()),
        (&ann, &"/products".to_owned()),
    ] {
        let first = who.get(path).await;
        let tag = first.header("etag").unwrap().to_owned();
        let again = who.send(reqwest::Method::GET, path, &[("if-none-match", &tag)], None).await;
        assert_eq!((again.status, again.header("etag")), (304, Some(&*tag)), "{path}");
        assert_eq!(again.body, json!(""));
        let other = who.send(reqwest::Method::GET, path, &[("if-none-match", "\"v999\"")], None).await;
        assert_eq!(other.expect(200), first.body);
    }
    let change = json!({ "name": "Better mug" });
    let patch = async |tag: &str| {
        let headers = [("if-match", tag)];
        shop.admin.send(reqwest::Method::PATCH, &product, &headers, Some(change.clone())).await
    };
    let tag = shop.admin.get(&product).await.header("etag").unwrap().to_owned();
    patch(&tag).await.expect(200);
    let stale = patch(&tag).await;
    assert_eq!((stale.status, stale.code()), (412, "stale"));
    let ship = shop
        .admin
        .send(reqwest::Method::POST, &format!("{order}/ship"), &[("if-match", "\"v1\"")], Some(json!({})))
        .await;
    assert_eq!((ship.status, ship.code()), (412, "stale"));
    assert_eq!(ann.get(&order).await.expect(200)["state"], "confirmed");
    shop.audit().await;
}

/// The mails to somebody that lie in the shop's folder.
fn mails(shop: &Shop, to: &str) -> Vec<String> {
    let folder = shop.db.folder().join("mail");
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    files.map(|file| std::fs::read_to_string(file).unwrap()).filter(|mail| mail.contains(to)).collect()
}
