//! Who somebody is, and what only he may see.

use serde_json::json;
use testkit::{
    TestDb, both_databases,
    client::{PASSWORD, fresh},
};

use crate::harness::{Shop, all, id};

in_a_fleet!(
    through nginx:
    of_two_refreshes_at_once_one_wins,
    the_tutorials_account_cannot_sign_in_until_it_has_a_password,
    an_account_is_changed_with_care;
    full:
    a_refresh_token_that_comes_again_ends_its_family,
    nobody_learns_what_belongs_to_somebody_else,
    somebody_who_signs_out_cannot_refresh,
);
both_databases!(
    a_refresh_token_that_comes_again_ends_its_family,
    of_two_refreshes_at_once_one_wins,
    nobody_learns_what_belongs_to_somebody_else,
    somebody_who_signs_out_cannot_refresh,
    a_token_that_was_tampered_with_or_is_too_old_is_refused,
    the_tutorials_account_cannot_sign_in_until_it_has_a_password,
    an_account_is_changed_with_care,
);

async fn a_refresh_token_that_comes_again_ends_its_family(db: TestDb) {
    let shop = Shop::start(db).await;
    let ann = shop.customer().await;
    let visitor = shop.front.visitor();
    let first = visitor.post("/login", json!({ "email": ann.email, "password": PASSWORD })).await.expect(200);
    let refresh = async |token: &serde_json::Value| {
        visitor.post("/token/refresh", json!({ "refresh_token": token })).await
    };

    let second = refresh(&first["refresh_token"]).await.expect(200);
    assert_ne!(first["refresh_token"], second["refresh_token"]);
    shop.front
        .bearer(second["access_token"].as_str().unwrap())
        .get(&format!("/users/{}", ann.id))
        .await
        .expect(200);
    let stolen = refresh(&first["refresh_token"]).await;
    let honest = refresh(&second["refresh_token"]).await;
    let never = refresh(&json!("not-a-token")).await;

    assert_eq!((stolen.status, stolen.code()), (401, "refresh_token_reused"));
    assert_eq!((honest.status, honest.code()), (401, "session_ended"));
    assert_eq!((never.status, never.code()), (401, "refresh_token_unknown"));
    shop.front.sign_in(&ann.email, PASSWORD).await;
    shop.audit().await;
}

async fn of_two_refreshes_at_once_one_wins(db: TestDb) {
    let shop = Shop::start(db).await;
    let ann = shop.customer().await;
    let visitor = shop.front.visitor();
    let signed_in =
        visitor.post("/login", json!({ "email": ann.email, "password": PASSWORD })).await.expect(200);
    let body = json!({ "refresh_token": signed_in["refresh_token"] });

    let answers = all((0..4).map(|_| visitor.post("/token/refresh", body.clone()))).await;

    let won = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!(won, 1, "{answers:#?}");
    for answer in answers.iter().filter(|answer| answer.status != 200) {
        assert!(
            ["refresh_token_raced", "refresh_token_reused", "session_ended"].contains(&answer.code()),
            "{answer:?}"
        );
    }
    shop.audit().await;
}

async fn nobody_learns_what_belongs_to_somebody_else(db: TestDb) {
    let shop = Shop::start(db).await;
    shop.stock("mug", 1200, 5).await;
    let (ann, bob) = (shop.customer().await, shop.customer().await);
    let order = ann.order(&[("mug", 1)]).await;
    let path = format!("/orders/{}", id(&order));

    let seen = bob.get(&path).await;
    assert_eq!((seen.status, seen.code()), (404, "no_such_order"));
    let cancelled = bob.post(&format!("{path}/cancel"), json!({})).await;
    assert_eq!((cancelled.status, cancelled.code()), (404, "no_such_order"));
    let user = bob.get(&format!("/users/{}", ann.id)).await;
    assert_eq!((user.status, user.code()), (404, "no_such_user"));
    let renamed = bob.patch(&format!("/users/{}", ann.id), json!({ "name": "Bob's" })).await;
    assert_eq!((renamed.status, renamed.code()), (404, "no_such_user"));
    let listed = bob.get(&format!("/orders?customer={}", ann.id)).await;
    assert_eq!((listed.status, listed.code()), (403, "forbidden"));
    assert_eq!(bob.get("/orders").await.expect(200)["items"], json!([]));

    // What is not there at all is said in the same words.
    let nowhere = format!("/orders/ord_{}", "0".repeat(32));
    let missing = bob.get(&nowhere).await;
    assert_eq!((missing.status, missing.code()), (404, "no_such_order"));
    assert_eq!(shop.admin.get(&path).await.expect(200)["customer"], ann.id.as_str());
    assert_eq!(ann.get(&format!("/users/{}", ann.id)).await.expect(200)["name"], "Ann");
    shop.audit().await;
}

async fn somebody_who_signs_out_cannot_refresh(db: TestDb) {
    let shop = Shop::start(db).await;
    let ann = shop.customer().await;
    let visitor = shop.front.visitor();
    let signed_in =
        visitor.post("/login", json!({ "email": ann.email, "password": PASSWORD })).await.expect(200);

    shop.front
        .bearer(signed_in["access_token"].as_str().unwrap())
        .post("/logout", json!({}))
        .await
        .expect(204);

    let refreshed =
        visitor.post("/token/refresh", json!({ "refresh_token": signed_in["refresh_token"] })).await;
    assert_eq!((refreshed.status, refreshed.code()), (401, "session_ended"));
    ann.get(&format!("/users/{}", ann.id)).await.expect(200);
    shop.audit().await;
}

async fn a_token_that_was_tampered_with_or_is_too_old_is_refused(db: TestDb) {
    let shop = Shop::start(db).await;
    let ann = shop.customer().await;
    let visitor = shop.front.visitor();
    let signed_in =
        visitor.post("/login", json!({ "email": ann.email, "password": PASSWORD })).await.expect(200);
    let token = signed_in["access_token"].as_str().unwrap();
    let parts: Vec<&str> = token.split('.').collect();
    let (head, rest) = parts[2].split_at(4);
    let other = if head == "AAAA" { "BBBB" } else { "AAAA" };
    let forged = format!("{}.{}.{other}{rest}", parts[0], parts[1]);
    let unsigned = format!("eyJhbGciOiJub25lIn0.{}.", parts[1]);
    let me = format!("/users/{}", ann.id);

    for bad in [&*forged, &unsigned, "rubbish"] {
        let refused = shop.front.bearer(bad).get(&me).await;
        assert_eq!((refused.status, refused.code()), (401, "invalid_token"), "{bad}");
        // A bad token is refused even where none is needed.
        assert_eq!(shop.front.bearer(bad).get("/products").await.status, 401);
    }
    shop.front.bearer(token).get(&me).await.expect(200);
    shop.clock.forward(std::time::Duration::from_secs(16 * 60));
    let old = shop.front.bearer(token).get(&me).await;
    assert_eq!((old.status, old.code()), (401, "invalid_token"));
    let jwks = visitor.get("/.well-known/jwks.json").await.expect(200);
    assert_eq!((&jwks["keys"][0]["crv"], &jwks["keys"][0]["alg"]), (&json!("Ed25519"), &json!("EdDSA")));
    shop.audit().await;
}

async fn the_tutorials_account_cannot_sign_in_until_it_has_a_password(db: TestDb) {
    let shop = Shop::start(db).await;
    let visitor = shop.front.visitor();
    let email = format!("{}@example.com", fresh("tutorial"));

    let made = visitor.post("/users", json!({ "name": "Tutorial", "email": email })).await;
    assert!(made.header("location").unwrap().starts_with("/users/usr_"));
    let user = made.expect(201);
    for password in ["", "x", PASSWORD] {
        let refused = visitor.post("/login", json!({ "email": email, "password": password })).await;
        assert_eq!((refused.status, refused.code()), (401, "wrong_credentials"));
    }
    let twice = visitor.post("/users", json!({ "name": "Tutorial", "email": email.to_uppercase() })).await;
    assert_eq!((twice.status, twice.code()), (409, "email_taken"));

    shop.admin
        .post(&format!("/users/{}/password", id(&user)), json!({ "password": PASSWORD }))
        .await
        .expect(204);
    let tutorial = shop.front.sign_in(&email, PASSWORD).await;
    assert_eq!(tutorial.id, id(&user));
    shop.audit().await;
}

async fn an_account_is_changed_with_care(db: TestDb) {
    let shop = Shop::start(db).await;
    let ann = shop.customer().await;
    let me = format!("/users/{}", ann.id);
    let new = "a much better password";

    ann.patch(&me, json!({ "name": "Ann Other" })).await.expect(200);
    assert_eq!(ann.get(&me).await.expect(200)["name"], "Ann Other");
    let promoted = ann.patch(&me, json!({ "role": "admin" })).await;
    let guessed = ann.patch(&me, json!({ "password": new, "current_password": "a guess" })).await;
    ann.patch(&me, json!({ "password": new, "current_password": PASSWORD })).await.expect(200);

    assert_eq!((promoted.status, promoted.code()), (403, "role_by_admin"));
    assert_eq!((guessed.status, guessed.code()), (403, "wrong_password"));
    let old = shop.front.visitor().post("/login", json!({ "email": ann.email, "password": PASSWORD })).await;
    assert_eq!((old.status, old.code()), (401, "wrong_credentials"));
    shop.front.sign_in(&ann.email, new).await;
    let own = shop.admin.patch(&format!("/users/{}", shop.admin.id), json!({ "role": "customer" })).await;
    assert_eq!((own.status, own.code()), (409, "own_role"));
    shop.audit().await;
}
