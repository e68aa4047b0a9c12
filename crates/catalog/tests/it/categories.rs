use serde_json::{Value, json};
use testkit::{TestDb, both_databases};

use crate::shop::{By, Shop};

both_databases!(
    products_are_found_in_a_category_and_below_it,
    a_category_is_changed_and_moved,
    of_two_moves_that_would_make_a_circle_one_is_refused,
    categories_are_listed_page_by_page,
);

async fn products_are_found_in_a_category_and_below_it(db: TestDb) {
    let shop = Shop::start(&db).await;
    let kitchen = shop.category("kitchen", None).await;
    let mugs = shop.category("mugs", Some(&kitchen)).await;
    let garden = shop.category("garden", None).await;
    let mug = shop.product("mug", 1200).await.text("id");
    shop.product("rake", 900).await;
    let path = format!("/products/{mug}");

    let put = json!({"categories": [mugs, mugs]});
    assert_eq!(shop.ask(By::Staff, "PATCH", &path, put).await.expect(200).body["categories"], json!([mugs]));

    let found = async |category: &str| {
        shop.get(By::Nobody, &format!("/products?category={category}")).await.expect(200).all("slug")
    };
    for (category, slugs) in [
        (kitchen.as_str(), vec!["mug"]),
        ("kitchen", vec!["mug"]),
        ("mugs", vec!["mug"]),
        (garden.as_str(), vec![]),
        ("nothing", vec![]),
    ] {
        assert_eq!(found(category).await, slugs, "{category}");
    }
    shop.ask(By::Staff, "PATCH", &path, json!({"categories": []})).await.expect(200);
    assert_eq!(found("mugs").await, [""; 0]);
    let lost = json!({"categories": ["cat_00000000000070008000000000000000"]});
    shop.ask(By::Staff, "PATCH", &path, lost).await.refused(400, "no_such_category");
    shop.audit().await;
}

async fn a_category_is_changed_and_moved(db: TestDb) {
    let shop = Shop::start(&db).await;
    let kitchen = shop.category("kitchen", None).await;
    let mugs = shop.category("mugs", Some(&kitchen)).await;
    let path = format!("/categories/{mugs}");

    let named = shop
        .send(By::Staff, "PATCH", &path, &[("if-match", "\"v1\"")], json!({"name": "Mugs"}))
        .await
        .expect(200);

    assert_eq!(
        (named.text("name"), named.text("parent"), &named.body["version"]),
        ("Mugs".into(), kitchen.clone(), &json!(2))
    );
    shop.send(By::Staff, "PATCH", &path, &[("if-match", "\"v1\"")], json!({"name": "Cups"}))
        .await
        .refused(412, "stale");
    let moved = shop.ask(By::Staff, "PATCH", &path, json!({"parent": null})).await.expect(200);
    assert_eq!((&moved.body["parent"], moved.text("name")), (&Value::Null, "Mugs".into()));
    let lost = json!({"parent": "cat_00000000000070008000000000000000"});
    shop.ask(By::Staff, "PATCH", &path, lost.clone()).await.refused(400, "no_such_parent");
    shop.ask(By::Staff, "PATCH", &path, json!({"parent": mugs})).await.refused(409, "category_cycle");
    shop.ask(By::Staff, "PATCH", &path, json!({"slug": "kitchen"})).await.refused(409, "slug_taken");
    shop.ask(By::Staff, "PATCH", &path, json!({})).await.refused(400, "nothing_to_change");
    let orphan = json!({"name": "Orphan", "parent": "cat_00000000000070008000000000000000"});
    shop.ask(By::Staff, "POST", "/categories", orphan).await.refused(400, "no_such_parent");
    shop.ask(By::Staff, "POST", "/categories", json!({"name": "Kitchen"})).await.refused(409, "slug_taken");
    shop.audit().await;
}

async fn of_two_moves_that_would_make_a_circle_one_is_refused(db: TestDb) {
    let shop = Shop::start(&db).await;
    let (a, b) = (shop.category("a", None).await, shop.category("b", None).await);

    let (path_a, path_b) = (format!("/categories/{a}"), format!("/categories/{b}"));
    for _ in 0..5 {
        let (first, second) = tokio::join!(
            shop.ask(By::Staff, "PATCH", &path_a, json!({"parent": b})),
            shop.ask(By::Staff, "PATCH", &path_b, json!({"parent": a})),
        );

        let (won, lost) = if first.status == 200 { (first, second) } else { (second, first) };
        won.expect(200);
        lost.refused(409, "category_cycle");
        for path in [&path_a, &path_b] {
            shop.ask(By::Staff, "PATCH", path, json!({"parent": null})).await.expect(200);
        }
    }
    shop.audit().await;
}

async fn categories_are_listed_page_by_page(db: TestDb) {
    let shop = Shop::start(&db).await;
    for slug in ["d", "a", "c", "b", "e"] {
        shop.category(slug, None).await;
    }

    let first = shop.get(By::Nobody, "/categories?limit=3").await.expect(200);
    let second =
        shop.get(By::Nobody, &format!("/categories?limit=3&cursor={}", first.text("next"))).await.expect(200);

    assert_eq!(
        (first.all("slug"), second.all("slug")),
        (vec!["a".into(), "b".into(), "c".into()], vec!["d".to_owned(), "e".into()])
    );
    shop.audit().await;
}
