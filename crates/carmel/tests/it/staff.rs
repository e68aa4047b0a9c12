//! What those do who work in the shop.

use serde_json::json;
use testkit::{TestDb, both_databases, client::Basket};

use crate::harness::{Shop, all, id, states};

in_a_fleet!(
    through nginx:
    an_order_is_shipped_delivered_and_paid_back,
    two_refunds_at_once_are_one,
    a_mail_of_staff_is_sent_by_a_job_that_can_be_watched;
    full:
    what_was_shipped_does_not_come_back_into_stock,
    stock_changes_by_movements_alone,
    only_staff_do_what_staff_does,
);
both_databases!(
    an_order_is_shipped_delivered_and_paid_back,
    two_refunds_at_once_are_one,
    what_was_shipped_does_not_come_back_into_stock,
    a_mail_of_staff_is_sent_by_a_job_that_can_be_watched,
    stock_changes_by_movements_alone,
    only_staff_do_what_staff_does,
);

async fn an_order_is_shipped_delivered_and_paid_back(db: TestDb) {
    let shop = Shop::start(db).await;
    shop.stock("mug", 1200, 5).await;
    let (ann, staff) = (shop.customer().await, shop.staff().await);
    let order = ann.order(&[("mug", 2)]).await;
    let of = |what: &str| format!("/orders/{}/{what}", id(&order));

    let early = staff.post(&of("deliver"), json!({})).await;
    assert_eq!((early.status, early.code()), (409, "order_not_shipped"));
    let parcel = json!({ "carrier": "DHL", "tracking": "00340434" });
    let shipped = staff.post(&of("ship"), parcel).await.expect(200);
    assert_eq!(
        (&shipped["state"], &shipped["shipment"]["tracking"]),
        (&json!("shipped"), &json!("00340434"))
    );
    staff.post(&of("deliver"), json!({})).await.expect(200);
    staff.post(&of("refund"), json!({})).await.expect(202);

    let order = ann.until(id(&order), &["refunded"]).await;
    let went = ["confirmed", "shipped", "delivered", "refunding", "refunded"];
    assert!(states(&order).ends_with(&went), "{:?}", states(&order));
    let payment = shop.payment(&order).await;
    assert_eq!((&payment["state"], &payment["refunded"]["amount"]), (&json!("refunded"), &json!(2400)));
    let again = staff.post(&of("refund"), json!({})).await;
    assert_eq!((again.status, again.code()), (409, "order_not_refundable"));
    shop.audit().await;
}

async fn two_refunds_at_once_are_one(db: TestDb) {
    let shop = Shop::start(db).await;
    shop.stock("mug", 1200, 5).await;
    let (ann, one, other) = (shop.customer().await, shop.staff().await, shop.staff().await);
    let order = ann.order(&[("mug", 2)]).await;
    let refund = format!("/orders/{}/refund", id(&order));

    let answers = all([&one, &other, &one, &other].map(|staff| staff.post(&refund, json!({})))).await;

    let mut statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [202, 409, 409, 409]);
    let order = ann.until(id(&order), &["refunded"]).await;
    let payment = shop.payment(&order).await;
    assert_eq!(payment["refunds"].as_array().unwrap().len(), 1);
    assert_eq!((shop.kept(&order).await, shop.stock_of("mug").await), (0, 5), "it never left the house");
    shop.audit().await;
}

async fn what_was_shipped_does_not_come_back_into_stock(db: TestDb) {
    let shop = Shop::start(db).await;
    shop.stock("mug", 1200, 5).await;
    let ann = shop.customer().await;
    let order = ann.order(&[("mug", 2)]).await;

    shop.admin.post(&format!("/orders/{}/ship", id(&order)), json!({})).await.expect(200);
    shop.admin.post(&format!("/orders/{}/refund", id(&order)), json!({})).await.expect(202);

    let order = ann.until(id(&order), &["refunded"]).await;
    assert_eq!((shop.kept(&order).await, shop.stock_of("mug").await), (0, 3));
    shop.audit().await;
}

async fn a_mail_of_staff_is_sent_by_a_job_that_can_be_watched(db: TestDb) {
    let shop = Shop::start(db).await;
    let (ann, staff) = (shop.customer().await, shop.staff().await);
    let mail = json!({ "to": "bob@example.com", "subject": "Your parcel", "body": "It is on its way." });

    let refused = ann.post("/send-email", mail.clone()).await;
    let headers = [("idempotency-key", "parcel-1")];
    let send = || staff.send(reqwest::Method::POST, "/send-email", &headers, Some(mail.clone()));
    let (first, second) = (send().await.expect(202), send().await.expect(202));
    shop.settle().await;

    assert_eq!((refused.status, refused.code()), (403, "forbidden"));
    assert_eq!(first, second);
    let path = format!("/jobs/{}", first["jobId"].as_str().unwrap());
    let job = staff.get(&path).await.expect(200);
    assert_eq!((&job["state"], &job["attempt"]), (&json!("done"), &json!(1)));
    assert_eq!(ann.get(&path).await.code(), "no_such_job", "it is none of hers");
    let mails: Vec<String> = std::fs::read_dir(shop.db.folder().join("mail"))
        .unwrap()
        .map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap())
        .filter(|mail| mail.contains("bob@example.com"))
        .collect();
    assert_eq!(mails.len(), 1, "one key, one mail");
    assert!(
        mails[0].contains("Subject: Your parcel") && mails[0].contains("It is on its way."),
        "{}",
        mails[0]
    );
    shop.audit().await;
}

async fn stock_changes_by_movements_alone(db: TestDb) {
    let shop = Shop::start_with(db, |config| config.payments.sandbox_latency_ms = 0).await;
    shop.stock("mug", 1200, 5).await;
    let ann = shop.customer().await;
    let order = ann.order(&[("mug", 2)]).await;
    let review = ann.place(&Basket::of(&[("mug", 1)]).paid_with("tok_review").waiting(20)).await.expect(200);
    let movements = "/stock/mug/movements";

    let held = shop.admin.post(movements, json!({ "quantity": -3, "reason": "lost" })).await;
    shop.admin.post(movements, json!({ "quantity": -1, "reason": "damaged" })).await.expect(201);
    shop.admin.post(&format!("/orders/{}/refund", id(&order)), json!({})).await.expect(202);
    ann.until(id(&order), &["refunded"]).await;

    assert_eq!((held.status, held.code()), (409, "stock_held"));
    let stock = shop.admin.get("/stock/mug").await.expect(200);
    assert_eq!(
        (&stock["on_hand"], &stock["held"], &stock["available"]),
        (&json!(4), &json!(1), &json!(3)),
        "{stock}"
    );
    let list = shop.admin.get(movements).await.expect(200);
    let moved: Vec<(i64, &str)> = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|movement| (movement["quantity"].as_i64().unwrap(), movement["reason"].as_str().unwrap()))
        .collect();
    assert_eq!(moved, [(2, "restocked"), (-1, "damaged"), (-2, "sold"), (5, "received")]);
    shop.admin.post(&format!("/orders/{}/cancel", id(&review)), json!({})).await.expect(202);
    ann.until(id(&review), &["cancelled"]).await;
    shop.audit().await;
}

async fn only_staff_do_what_staff_does(db: TestDb) {
    let shop = Shop::start(db).await;
    let mug = shop.stock("mug", 1200, 5).await;
    let ann = shop.customer().await;
    let order = ann.order(&[("mug", 1)]).await;
    let (product, variant) =
        (format!("/products/{}", id(&mug)), format!("/variants/{}", id(&mug["variants"][0])));
    let of = |what: &str| format!("/orders/{}/{what}", id(&order));
    let asks = [
        ("POST", "/products".to_owned(), json!({ "name": "Mine" })),
        ("PATCH", product, json!({ "name": "Mine" })),
        ("PATCH", variant, json!({ "price": { "amount": 1, "currency": "EUR" } })),
        ("POST", "/categories".to_owned(), json!({ "name": "Mine" })),
        ("POST", "/stock/mug/movements".to_owned(), json!({ "quantity": 1, "reason": "received" })),
        ("GET", "/stock".to_owned(), json!(null)),
        ("GET", "/users".to_owned(), json!(null)),
        ("GET", format!("/payments/{}", id(&order)), json!(null)),
        ("POST", of("ship"), json!({})),
        ("POST", of("deliver"), json!({})),
        ("POST", of("refund"), json!({})),
        ("POST", of("review"), json!({ "decision": "approve" })),
        ("POST", format!("/users/{}/password", ann.id), json!({ "password": "something else" })),
    ];

    for (method, path, body) in asks {
        let method: reqwest::Method = method.parse().unwrap();
        let body = Some(body).filter(|body| !body.is_null());
        let refused = ann.send(method.clone(), &path, &[], body.clone()).await;
        let unknown = shop.front.visitor().send(method, &path, &[], body).await;
        assert_eq!((refused.status, refused.code()), (403, "forbidden"), "{path}");
        assert_eq!((unknown.status, unknown.code()), (401, "unauthenticated"), "{path}");
        assert_eq!(unknown.header("www-authenticate"), Some("Bearer"));
    }

    assert_eq!(ann.get(&of("")[..of("").len() - 1]).await.expect(200)["state"], "confirmed");
    shop.audit().await;
}
