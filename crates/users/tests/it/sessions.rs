use futures::future::join_all;
use serde_json::{Value, json};
use testkit::{TestDb, both_databases};

use crate::shop::{DAY, PASSWORD, Shop};

both_databases!(
    who_signs_in_gets_tokens,
    wrong_credentials_are_one_answer,
    refresh_tokens_rotate,
    a_reused_refresh_token_ends_its_session,
    of_many_refreshes_at_once_at_most_one_wins,
    who_signs_out_cannot_refresh,
    a_session_that_is_not_refreshed_expires,
    an_access_token_expires,
    what_is_over_is_removed,
);

async fn who_signs_in_gets_tokens(db: TestDb) {
    let shop = Shop::start(&db).await;
    let ann = shop.customer("ann@example.com").await;

    let reply = shop.sign_in("Ann@example.com").await;

    assert_eq!((reply.text("token_type"), reply.body["expires_in"].as_i64()), ("Bearer".into(), Some(900)));
    assert_eq!(reply.body["user"]["id"], ann);
    assert_eq!(reply.headers["cache-control"], "no-store");
    let path = format!("/users/{ann}");
    shop.ask_as(&reply.text("access_token"), "GET", &path, Value::Null).await.expect(200);
    shop.ask_as("not.a.token", "GET", &path, Value::Null).await.refused(401, "invalid_token");
    shop.audit().await;
}

async fn wrong_credentials_are_one_answer(db: TestDb) {
    let shop = Shop::start(&db).await;
    shop.customer("ann@example.com").await;
    shop.ask("POST", "/users", json!({"name": "Bob", "email": "bob@example.com"})).await.expect(201);

    for (email, password) in [
        ("ann@example.com", "wrong horse"),
        ("ann@example.com", ""),
        ("bob@example.com", PASSWORD),
        ("nobody@example.com", PASSWORD),
    ] {
        let reply = shop.ask("POST", "/login", json!({"email": email, "password": password})).await;
        assert_eq!(reply.body["detail"], "the e-mail address or the password is wrong");
        reply.refused(401, "wrong_credentials");
    }
    shop.audit().await;
}

async fn refresh_tokens_rotate(db: TestDb) {
    let shop = Shop::start(&db).await;
    let ann = shop.customer("ann@example.com").await;
    let mut tokens = shop.sign_in("ann@example.com").await;

    for _ in 0..3 {
        let next = refresh(&shop, &tokens.text("refresh_token")).await.expect(200);
        assert_ne!(next.text("refresh_token"), tokens.text("refresh_token"));
        tokens = next;
    }

    let path = format!("/users/{ann}");
    shop.ask_as(&tokens.text("access_token"), "GET", &path, Value::Null).await.expect(200);
    refresh(&shop, "never given out").await.refused(401, "refresh_token_unknown");
    shop.audit().await;
}

async fn a_reused_refresh_token_ends_its_session(db: TestDb) {
    let shop = Shop::start(&db).await;
    shop.customer("ann@example.com").await;
    let (stolen, elsewhere) = (shop.sign_in("ann@example.com").await, shop.sign_in("ann@example.com").await);
    let next = refresh(&shop, &stolen.text("refresh_token")).await.expect(200);

    refresh(&shop, &stolen.text("refresh_token")).await.refused(401, "refresh_token_reused");

    refresh(&shop, &next.text("refresh_token")).await.refused(401, "session_ended");
    refresh(&shop, &elsewhere.text("refresh_token")).await.expect(200); // another family
    refresh(&shop, &stolen.text("refresh_token")).await.refused(401, "refresh_token_reused");
    shop.audit().await;
}

async fn of_many_refreshes_at_once_at_most_one_wins(db: TestDb) {
    let shop = Shop::start(&db).await;
    let elsewhere = shop.another(&db).await;
    shop.customer("ann@example.com").await;
    let token = shop.sign_in("ann@example.com").await.text("refresh_token");

    let both = |n: usize| if n.is_multiple_of(2) { &shop } else { &elsewhere };
    let replies = join_all((0..10).map(|n| refresh(both(n), &token))).await;

    // One wins. Who looked before it was used is told so, who looked after it
    // has used it again; the winner's session lives unless somebody did that.
    let count = |code: &str| replies.iter().filter(|reply| reply.code() == code).count();
    let won: Vec<_> = replies.iter().filter(|reply| reply.status == 200).collect();
    assert_eq!(won.len(), 1);
    let (raced, reused, ended) =
        (count("refresh_token_raced"), count("refresh_token_reused"), count("session_ended"));
    assert_eq!(raced + reused + ended, 9);
    let after = refresh(&shop, &won[0].text("refresh_token")).await;
    assert_eq!(after.status == 200, reused == 0, "{raced} raced, {reused} reused: {}", after.body);
    shop.audit().await;
}

async fn who_signs_out_cannot_refresh(db: TestDb) {
    let shop = Shop::start(&db).await;
    shop.customer("ann@example.com").await;
    let (here, there) = (shop.sign_in("ann@example.com").await, shop.sign_in("ann@example.com").await);

    shop.ask_as(&here.text("access_token"), "POST", "/logout", Value::Null).await.expect(204);
    shop.ask_as(&here.text("access_token"), "POST", "/logout", Value::Null).await.expect(204);

    refresh(&shop, &here.text("refresh_token")).await.refused(401, "session_ended");
    refresh(&shop, &there.text("refresh_token")).await.expect(200);
    shop.ask("POST", "/logout", Value::Null).await.refused(401, "unauthenticated");
    shop.audit().await;
}

async fn a_session_that_is_not_refreshed_expires(db: TestDb) {
    let shop = Shop::start(&db).await;
    shop.customer("ann@example.com").await;
    let tokens = shop.sign_in("ann@example.com").await;

    shop.clock.forward(DAY * 29);
    let next = refresh(&shop, &tokens.text("refresh_token")).await.expect(200);
    shop.clock.forward(DAY * 29);
    let last = refresh(&shop, &next.text("refresh_token")).await.expect(200);
    shop.clock.forward(DAY * 30);

    refresh(&shop, &last.text("refresh_token")).await.refused(401, "session_ended");
}

async fn an_access_token_expires(db: TestDb) {
    let shop = Shop::start(&db).await;
    let ann = shop.customer("ann@example.com").await;
    let (path, token) = (format!("/users/{ann}"), shop.token("ann@example.com").await);

    // A minute on either side: the machine's own time goes on as well.
    shop.clock.forward(std::time::Duration::from_secs(840));
    shop.ask_as(&token, "GET", &path, Value::Null).await.expect(200);
    shop.clock.forward(std::time::Duration::from_secs(61));

    shop.ask_as(&token, "GET", &path, Value::Null).await.refused(401, "invalid_token");
}

async fn what_is_over_is_removed(db: TestDb) {
    let shop = Shop::start(&db).await;
    shop.customer("ann@example.com").await;
    let old = shop.sign_in("ann@example.com").await;
    shop.users.rotate_keys().await.unwrap();
    let runner = users::runner(&shop.users);
    runner.run_due().await.unwrap();

    shop.clock.forward(DAY * 61);
    let young = shop.sign_in("ann@example.com").await;
    runner.run_due().await.unwrap();
    runner.run_due().await.unwrap(); // twice is as good as once

    refresh(&shop, &old.text("refresh_token")).await.refused(401, "refresh_token_unknown");
    refresh(&shop, &young.text("refresh_token")).await.expect(200);
    let keys: kernel::Result<(i64,)> =
        db::read!(shop.db, async |tx| { db::query("SELECT COUNT(*) FROM signing_keys").fetch_one(tx).await });
    assert_eq!(keys.unwrap(), (1,));
}

async fn refresh(shop: &Shop, token: &str) -> crate::shop::Reply {
    shop.ask("POST", "/token/refresh", json!({"refresh_token": token})).await
}
