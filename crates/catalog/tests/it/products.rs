use std::sync::atomic::Ordering;

use futures::future::join_all;
use serde_json::{Value, json};
use testkit::{TestDb, both_databases};

use crate::shop::{By, Shop};

both_databases!(
    a_product_is_made_and_found_by_id_and_slug,
    only_staff_change_the_catalogue,
    customers_see_what_is_for_sale,
    a_slug_and_a_sku_are_had_once,
    of_twenty_products_with_one_sku_one_is_made,
    a_state_moves_only_along_its_arrows,
    of_two_changes_of_one_version_one_is_refused,
    a_key_makes_one_product,
    stock_is_shown_where_it_is_known,
    products_are_listed_page_by_page_and_found_by_name,
    of_many_who_look_at_one_page_each_sees_what_he_may,
    many_products_are_made_in_few_transactions,
    every_handler_is_described,
);

async fn a_product_is_made_and_found_by_id_and_slug(db: TestDb) {
    let shop = Shop::start(&db).await;
    let mugs = shop.category("mugs", None).await;

    let body = json!({
        "name": "Blauer Becher, 0,3 l", "description": "for tea", "categories": [mugs],
        "variants": [
            {"sku": "mug-blue", "name": "blue", "price": {"amount": 1200, "currency": "EUR"}},
            {"sku": "mug-red", "name": "red", "price": {"amount": 1300, "currency": "EUR"}},
        ],
    });
    let made = shop.ask(By::Staff, "POST", "/products", body).await.expect(201);

    assert_eq!((made.text("slug"), made.text("state")), ("blauer-becher-0-3-l".into(), "active".into()));
    let (path, id) = (format!("/products/{}", made.text("id")), made.text("id"));
    assert_eq!(
        (&made.headers["location"], &made.headers["etag"]),
        (&path.parse().unwrap(), &"\"v1\"".parse().unwrap())
    );
    for path in [path.as_str(), "/products/blauer-becher-0-3-l"] {
        let found = shop.get(By::Nobody, path).await.expect(200);
        assert_eq!((found.text("id"), found.text("description")), (id.clone(), "for tea".into()));
        assert_eq!(found.body["categories"], json!([mugs]));
        assert_eq!(found.body["variants"][1]["price"], json!({"amount": 1300, "currency": "EUR"}));
        assert_eq!(found.body["variants"][0]["sku"], "mug-blue");
    }
    // The same name again gets another slug.
    let again =
        shop.ask(By::Staff, "POST", "/products", json!({"name": "Blauer Becher, 0,3 l"})).await.expect(201);
    assert!(again.text("slug").starts_with("blauer-becher-0-3-l-"), "{}", again.body);
    shop.get(By::Nobody, "/products/nothing").await.refused(404, "no_such_product");
    shop.get(By::Nobody, "/products/NOT%20A%20SLUG").await.refused(404, "no_such_product");
    let lost = json!({"name": "Lost", "categories": ["cat_00000000000070008000000000000000"]});
    shop.ask(By::Staff, "POST", "/products", lost).await.refused(400, "no_such_category");
    shop.audit().await;
}

async fn only_staff_change_the_catalogue(db: TestDb) {
    let shop = Shop::start(&db).await;
    let product = shop.product("mug", 1200).await;
    let category = shop.category("mugs", None).await;
    let (id, variant) = (product.text("id"), product.body["variants"][0]["id"].as_str().unwrap().to_owned());
    let price = json!({"sku": "cup", "price": {"amount": 1, "currency": "EUR"}});

    for (method, path, body) in [
        ("POST", "/products".to_owned(), json!({"name": "Cup"})),
        ("PATCH", format!("/products/{id}"), json!({"name": "Cup"})),
        ("POST", format!("/products/{id}/variants"), price),
        ("PATCH", format!("/variants/{variant}"), json!({"for_sale": false})),
        ("GET", format!("/variants/{variant}/prices"), Value::Null),
        ("POST", "/categories".to_owned(), json!({"name": "Cups"})),
        ("PATCH", format!("/categories/{category}"), json!({"name": "Cups"})),
    ] {
        shop.ask(By::Nobody, method, &path, body.clone()).await.refused(401, "unauthenticated");
        shop.ask(By::Customer, method, &path, body.clone()).await.refused(403, "forbidden");
    }
    shop.audit().await;
}

async fn customers_see_what_is_for_sale(db: TestDb) {
    let shop = Shop::start(&db).await;
    let made =
        shop.ask(By::Staff, "POST", "/products", json!({"name": "Mug", "state": "draft"})).await.expect(201);
    let path = format!("/products/{}", made.text("id"));
    let seen = async |by: By| {
        let listed = shop.get(by, "/products").await.expect(200).all("name").len();
        (shop.get(by, &path).await.status.as_u16(), listed)
    };

    assert_eq!(
        (seen(By::Nobody).await, seen(By::Customer).await, seen(By::Staff).await),
        ((404, 0), (404, 0), (200, 1))
    );
    shop.ask(By::Staff, "PATCH", &path, json!({"state": "active"})).await.expect(200);
    assert_eq!(
        (seen(By::Nobody).await, seen(By::Customer).await, seen(By::Staff).await),
        ((200, 1), (200, 1), (200, 1))
    );
    shop.ask(By::Staff, "PATCH", &path, json!({"state": "archived"})).await.expect(200);
    assert_eq!((seen(By::Nobody).await, seen(By::Staff).await), ((404, 0), (200, 1)));

    assert_eq!(shop.get(By::Customer, "/products?state=archived").await.all("name").len(), 0);
    assert_eq!(shop.get(By::Staff, "/products?state=archived").await.all("name").len(), 1);
    assert_eq!(shop.get(By::Staff, "/products?state=draft").await.all("name").len(), 0);
    shop.audit().await;
}

async fn a_slug_and_a_sku_are_had_once(db: TestDb) {
    let shop = Shop::start(&db).await;
    shop.product("mug", 1200).await;
    let cup = shop.product("cup", 800).await.text("id");
    let variant = |sku: &str| json!({"sku": sku, "price": {"amount": 1, "currency": "EUR"}});

    let twice = json!({"name": "Mug", "slug": "mug"});
    shop.ask(By::Staff, "POST", "/products", twice).await.refused(409, "slug_taken");
    let path = format!("/products/{cup}");
    shop.ask(By::Staff, "PATCH", &path, json!({"slug": "mug"})).await.refused(409, "slug_taken");
    shop.ask(By::Staff, "POST", &format!("{path}/variants"), variant("mug")).await.refused(409, "sku_taken");
    let with_sku = json!({"name": "Other", "variants": [variant("other"), variant("cup")]});
    shop.ask(By::Staff, "POST", "/products", with_sku).await.refused(409, "sku_taken");

    assert_eq!(shop.get(By::Staff, "/products").await.all("slug"), ["cup", "mug"]); // nothing half made
    shop.ask(By::Staff, "PATCH", &path, json!({"slug": "cup", "name": "Cup"})).await.expect(200);
    shop.ask(By::Staff, "PATCH", &path, json!({})).await.refused(400, "nothing_to_change");
    shop.audit().await;
}

async fn of_twenty_products_with_one_sku_one_is_made(db: TestDb) {
    let shop = Shop::start(&db).await;

    let body =
        json!({"name": "Mug", "variants": [{"sku": "mug", "price": {"amount": 1, "currency": "EUR"}}]});
    let replies = join_all((0..20).map(|_| shop.ask(By::Staff, "POST", "/products", body.clone()))).await;

    assert_eq!(replies.iter().filter(|reply| reply.status == 201).count(), 1);
    assert_eq!(replies.iter().filter(|reply| reply.code() == "sku_taken").count(), 19);
    shop.audit().await;
}

async fn a_state_moves_only_along_its_arrows(db: TestDb) {
    let shop = Shop::start(&db).await;
    let path = format!("/products/{}", shop.product("mug", 1200).await.text("id"));

    let back = shop.ask(By::Staff, "PATCH", &path, json!({"state": "draft"})).await;

    back.refused(409, "not_from_here");
    assert_eq!(shop.get(By::Staff, &path).await.body["version"], 1);
    shop.audit().await;
}

async fn of_two_changes_of_one_version_one_is_refused(db: TestDb) {
    let shop = Shop::start(&db).await;
    let made = shop.product("mug", 1200).await;
    let path = format!("/products/{}", made.text("id"));
    let headers = [("if-match", "\"v1\"")];

    let (first, second) = tokio::join!(
        shop.send(By::Staff, "PATCH", &path, &headers, json!({"name": "One"})),
        shop.send(By::Staff, "PATCH", &path, &headers, json!({"name": "Two"})),
    );

    let (won, lost) = if first.status == 200 { (first, second) } else { (second, first) };
    won.expect(200);
    lost.refused(412, "stale");
    // A variant has a version of its own; its change is one of the product too.
    let variant = format!("/variants/{}", made.body["variants"][0]["id"].as_str().unwrap());
    let change = json!({"name": "blue"});
    let changed = shop.send(By::Staff, "PATCH", &variant, &headers, change.clone()).await.expect(200);
    assert_eq!(changed.headers["etag"], "\"v2\"");
    shop.send(By::Staff, "PATCH", &variant, &headers, change).await.refused(412, "stale");
    assert_eq!(shop.get(By::Staff, &path).await.headers["etag"], "\"v3\"");
    shop.audit().await;
}

async fn a_key_makes_one_product(db: TestDb) {
    let shop = Shop::start(&db).await;
    let key = [("idempotency-key", "k1"), ("if-match", "\"v1\"")];
    let body =
        json!({"name": "Mug", "variants": [{"sku": "mug", "price": {"amount": 1, "currency": "EUR"}}]});

    let replies =
        join_all((0..8).map(|_| shop.send(By::Staff, "POST", "/products", &key, body.clone()))).await;

    let ids: Vec<String> = replies.into_iter().map(|reply| reply.expect(201).text("id")).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    let path = format!("/products/{}", ids[0]);
    for _ in 0..2 {
        let changed = shop.send(By::Staff, "PATCH", &path, &key, json!({"name": "Cup"})).await.expect(200);
        assert_eq!((changed.text("name"), &changed.body["version"]), ("Cup".into(), &json!(2)));
    }
    let variant = shop.get(By::Staff, &path).await.body["variants"][0]["id"].as_str().unwrap().to_owned();
    for _ in 0..2 {
        let path = format!("/variants/{variant}");
        let changed =
            shop.send(By::Staff, "PATCH", &path, &key, json!({"for_sale": false})).await.expect(200);
        assert_eq!(changed.body["version"], 2);
    }
    shop.audit().await;
}

async fn stock_is_shown_where_it_is_known(db: TestDb) {
    let shop = Shop::start(&db).await;
    shop.product("mug", 1200).await;
    shop.product("mug-new", 1200).await;
    let available = async |path: &str| {
        shop.get(By::Nobody, path).await.expect(200).body["variants"][0]["available"].clone()
    };

    assert_eq!(available("/products/mug").await, 7);
    assert_eq!(available("/products/mug-new").await, 0);
    assert_eq!(
        shop.get(By::Nobody, "/products").await.body["items"][0]["variants"][0].get("available"),
        None
    );
    let tag = shop.get(By::Nobody, "/products/mug").await.headers["etag"].to_str().unwrap().to_owned();
    let again = shop.send(By::Nobody, "GET", "/products/mug", &[("if-none-match", &tag)], Value::Null).await;
    assert_eq!((tag.as_str(), again.status.as_u16()), ("\"v1.7\"", 304));
    assert_eq!(shop.get(By::Staff, "/products/mug").await.headers["etag"], "\"v1\"");

    shop.stock.is_away.store(true, Ordering::SeqCst);
    assert_eq!(available("/products/mug").await, Value::Null);
    let other = shop.send(By::Nobody, "GET", "/products/mug", &[("if-none-match", &tag)], Value::Null).await;
    assert_eq!(other.status, 200);
    shop.audit().await;
}

async fn products_are_listed_page_by_page_and_found_by_name(db: TestDb) {
    let shop = Shop::start(&db).await;
    for sku in ["mug-1", "mug-2", "cup-1", "mug-3", "mug-4"] {
        shop.product(sku, 100).await;
    }
    shop.ask(By::Staff, "POST", "/products", json!({"name": "100% GRÖSSE_X"})).await.expect(201);

    let first = shop.get(By::Nobody, "/products?q=MUG&limit=3").await.expect(200);
    let next = format!("/products?q=MUG&limit=3&cursor={}", first.text("next"));
    let second = shop.get(By::Nobody, &next).await.expect(200);

    assert_eq!(first.all("slug"), ["mug-4", "mug-3", "mug-2"]);
    assert_eq!((second.all("slug"), &second.body["next"]), (vec!["mug-1".to_owned()], &Value::Null));
    assert_eq!(first.body["items"][0]["variants"][0]["sku"], "mug-4");
    for (q, found) in [("100%25", 1), ("%25", 1), ("_", 1), ("gr%C3%B6sse", 1), ("cup", 1), ("nothing", 0)] {
        let listed = shop.get(By::Nobody, &format!("/products?q={q}")).await.expect(200);
        assert_eq!(listed.all("slug").len(), found, "{q}");
    }
    let long = format!("/products?q={}", "x".repeat(60_000));
    shop.get(By::Nobody, &long).await.refused(400, "invalid_query");
    shop.get(By::Nobody, "/products?cursor=x").await.refused(400, "invalid_cursor");
    shop.get(By::Nobody, "/products?limit=101").await.refused(400, "invalid_limit");
    shop.audit().await;
}

async fn of_many_who_look_at_one_page_each_sees_what_he_may(db: TestDb) {
    let shop = Shop::start(&db).await;
    shop.product("mug", 100).await;
    shop.ask(By::Staff, "POST", "/products", json!({"name": "Not yet", "state": "draft"})).await.expect(201);

    let looks = (0..60).map(|number| {
        let by = [By::Nobody, By::Staff, By::Customer][number % 3];
        let path = ["/products", "/products?limit=1"][number / 3 % 2];
        let shop = &shop;
        async move { (by, path, shop.get(by, path).await.expect(200)) }
    });
    let looks = join_all(looks).await;

    for (by, path, page) in looks {
        let expected: &[&str] = match (by, path) {
            (By::Staff, "/products") => &["not-yet", "mug"],
            (By::Staff, _) => &["not-yet"],
            _ => &["mug"],
        };
        let slugs = page.all("slug");
        assert_eq!(slugs.len(), expected.len(), "{path}: {slugs:?}");
        assert!(slugs.iter().zip(expected).all(|(slug, expected)| slug.starts_with(expected)), "{slugs:?}");
        assert_eq!(page.headers.contains_key("link"), page.body["next"] != Value::Null, "{path}");
    }
    shop.audit().await;
}

async fn many_products_are_made_in_few_transactions(db: TestDb) {
    let shop = Shop::start(&db).await;
    let product = |n: usize| catalog::NewProduct {
        name: "Mug".parse().unwrap(),
        slug: None,
        description: "for tea".parse().unwrap(),
        state: catalog::ProductState::Active,
        categories: Vec::new(),
        variants: ["s", "l"]
            .map(|size| catalog::NewVariant {
                sku: format!("mug-{n}-{size}").parse().unwrap(),
                name: Some(size.parse().unwrap()),
                price: kernel::Money::new(100 + n as i64, kernel::Currency::EUR),
            })
            .into(),
    };

    let made = shop.catalog.insert_many(&(0..120).map(product).collect::<Vec<_>>()).await.unwrap();

    assert_eq!(made.len(), 120);
    let slugs: std::collections::HashSet<_> = made.iter().map(|full| full.product.slug.clone()).collect();
    assert_eq!(slugs.len(), 120);
    shop.audit().await;
}

async fn every_handler_is_described(db: TestDb) {
    let shop = Shop::start(&db).await;

    let (_, api) = catalog::routes(shop.catalog.clone()).split_for_parts();

    let paths: Vec<&String> = api.paths.paths.keys().collect();
    let wanted = [
        "/categories",
        "/categories/{id}",
        "/products",
        "/products/{id}",
        "/products/{id}/variants",
        "/variants/{id}",
        "/variants/{id}/prices",
    ];
    assert_eq!(paths, wanted);
}
