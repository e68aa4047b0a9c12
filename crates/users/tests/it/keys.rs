use std::time::Duration;

use contracts::users::{GetUser, Keys, Users as _};
use serde_json::{Value, json};
use testkit::{TestDb, both_databases};

use crate::shop::Shop;

both_databases!(
    two_processes_that_start_at_once_sign_with_one_key,
    after_a_rotation_old_tokens_hold_until_they_expire,
    other_services_ask_through_the_contract,
    an_administrator_is_made_once,
    every_handler_is_described,
);

async fn two_processes_that_start_at_once_sign_with_one_key(db: TestDb) {
    let (first, second) = tokio::join!(Shop::start(&db), Shop::start(&db));

    let (first, second) = tokio::join!(first.users.keys(Keys {}), second.users.keys(Keys {}));

    assert_eq!(first.as_ref().unwrap().len(), 1);
    assert_eq!(first.unwrap(), second.unwrap());
}

async fn after_a_rotation_old_tokens_hold_until_they_expire(db: TestDb) {
    let shop = Shop::start(&db).await;
    let elsewhere = shop.another(&db).await;
    let ann = shop.customer("ann@example.com").await;
    let (path, old) = (format!("/users/{ann}"), shop.token("ann@example.com").await);

    let kid = shop.users.rotate_keys().await.unwrap();

    let jwks = shop.ask("GET", "/.well-known/jwks.json", Value::Null).await.expect(200);
    let keys = jwks.body["keys"].as_array().unwrap();
    assert_eq!((keys.len(), keys[0]["kid"].as_str()), (2, Some(kid.as_str())));
    assert_eq!(
        (&keys[0]["kty"], &keys[0]["crv"], &keys[0]["alg"]),
        (&json!("OKP"), &json!("Ed25519"), &json!("EdDSA"))
    );
    let new = shop.token("ann@example.com").await;
    for token in [&old, &new] {
        shop.ask_as(token, "GET", &path, Value::Null).await.expect(200);
        elsewhere.ask_as(token, "GET", &path, Value::Null).await.expect(200);
    }
    // The other process may sign with the old one for a minute; its token holds too.
    let late = elsewhere.token("ann@example.com").await;
    shop.clock.forward(Duration::from_secs(60 + 15 * 60 - 10));
    let fresh = elsewhere.token("ann@example.com").await;
    shop.clock.forward(Duration::from_secs(5));
    shop.ask_as(&fresh, "GET", &path, Value::Null).await.expect(200);
    shop.ask_as(&late, "GET", &path, Value::Null).await.refused(401, "invalid_token");
    shop.clock.forward(Duration::from_secs(3600));
    let keys = shop.users.keys(Keys {}).await.unwrap();
    assert_eq!(keys.iter().map(|key| &key.kid).collect::<Vec<_>>(), [&kid]);
    shop.audit().await;
}

async fn other_services_ask_through_the_contract(db: TestDb) {
    let shop = Shop::start(&db).await;
    let ann = shop.customer("ann@example.com").await;

    let user = shop.users.user(GetUser { id: ann.parse().unwrap() }).await.unwrap();

    assert_eq!((user.name.as_str(), user.email.as_str()), ("Ann", "ann@example.com"));
    let nobody = "usr_00000000000070008000000000000000".parse().unwrap();
    assert_eq!(shop.users.user(GetUser { id: nobody }).await.unwrap_err().code, "no_such_user");
}

async fn an_administrator_is_made_once(db: TestDb) {
    let shop = Shop::start(&db).await;
    let ann = shop.customer("ann@example.com").await;
    let (email, name) = ("ann@example.com".parse().unwrap(), "Root".parse().unwrap());
    let old = shop.sign_in("ann@example.com").await;

    let (account, new) =
        shop.users.ensure_admin(&email, &name, &"battery staple".parse().unwrap()).await.unwrap();
    let (again, _) =
        shop.users.ensure_admin(&email, &name, &crate::shop::PASSWORD.parse().unwrap()).await.unwrap();

    assert_eq!((account.id.to_string(), new, again.version), (ann, false, 3));
    let reply = shop.sign_in("ann@example.com").await;
    assert_eq!(reply.body["user"]["role"], "admin");
    let refresh = json!({"refresh_token": old.text("refresh_token")});
    shop.ask("POST", "/token/refresh", refresh).await.refused(401, "session_ended");
    shop.audit().await;
}

async fn every_handler_is_described(db: TestDb) {
    let shop = Shop::start(&db).await;

    let (_, api) = users::routes(shop.users.clone()).split_for_parts();

    let paths: Vec<&String> = api.paths.paths.keys().collect();
    assert_eq!(
        paths,
        [
            "/.well-known/jwks.json",
            "/login",
            "/logout",
            "/token/refresh",
            "/users",
            "/users/{id}",
            "/users/{id}/password"
        ]
    );
}
