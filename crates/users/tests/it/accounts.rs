use futures::future::join_all;
use serde_json::{Value, json};
use testkit::{TestDb, both_databases, clock::Clock, redis::Server};

use crate::shop::{PASSWORD, Shop};

both_databases!(
    the_tutorials_call_needs_no_password,
    an_address_has_one_account,
    of_twenty_sign_ups_with_one_address_one_is_made,
    a_key_makes_one_account,
    of_many_who_sign_up_at_once_each_has_his_own_answer,
    others_accounts_do_not_exist,
    staff_see_everybody_and_change_customers,
    of_two_changes_of_one_version_one_is_refused,
    a_repeated_change_with_its_key_is_answered_as_before,
    an_address_that_others_have_is_refused,
    of_two_who_take_one_address_at_once_one_gets_it,
    a_password_is_changed_by_who_knows_it,
    staff_set_a_password_where_there_is_none,
    staff_list_accounts_page_by_page,
    a_change_shows_at_once_though_reads_are_remembered,
    processes_that_share_a_redis_see_a_change_at_once,
    sample_customers_are_made_in_few_transactions,
    the_audit_sees_what_is_broken,
);

async fn the_tutorials_call_needs_no_password(db: TestDb) {
    let shop = Shop::start(&db).await;

    let reply =
        shop.ask("POST", "/users", json!({"name": "Ann", "email": "Ann@Example.com"})).await.expect(201);

    assert!(reply.text("id").starts_with("usr_"));
    assert_eq!(reply.text("email"), "ann@example.com");
    assert_eq!((reply.text("role"), reply.body["version"].as_i64()), ("customer".into(), Some(1)));
    assert_eq!(reply.headers["location"], format!("/users/{}", reply.text("id")));
    assert!(reply.body.get("password_hash").is_none());
    let login = json!({"email": "ann@example.com", "password": ""});
    shop.ask("POST", "/login", login).await.refused(401, "wrong_credentials");
    shop.ask("POST", "/users", json!({"name": "", "email": "bob@example.com"}))
        .await
        .refused(400, "invalid_request");
    shop.ask("POST", "/users", json!({"name": "Bob", "email": "bob"})).await.refused(400, "invalid_request");
    let short = json!({"name": "Bob", "email": "bob@example.com", "password": "short"});
    shop.ask("POST", "/users", short).await.refused(400, "invalid_request");
    let cunning = json!({"name": "Bob", "email": "bob@example.com", "role": "admin"});
    shop.ask("POST", "/users", cunning).await.refused(400, "invalid_request");
    shop.audit().await;
}

async fn an_address_has_one_account(db: TestDb) {
    let shop = Shop::start(&db).await;
    shop.customer("ann@example.com").await;

    let reply = shop.ask("POST", "/users", json!({"name": "Eve", "email": "ANN@example.com"})).await;

    reply.refused(409, "email_taken");
    shop.audit().await;
}

async fn of_twenty_sign_ups_with_one_address_one_is_made(db: TestDb) {
    let shop = Shop::start(&db).await;

    let body = json!({"name": "Ann", "email": "ann@example.com"});
    let replies = join_all((0..20).map(|_| shop.ask("POST", "/users", body.clone()))).await;

    let made: Vec<_> = replies.iter().filter(|reply| reply.status == 201).collect();
    assert_eq!(made.len(), 1);
    assert_eq!(replies.iter().filter(|reply| reply.code() == "email_taken").count(), 19);
    shop.audit().await;
}

async fn a_key_makes_one_account(db: TestDb) {
    let shop = Shop::start(&db).await;
    let body = json!({"name": "Ann", "email": "ann@example.com", "password": PASSWORD});
    let key = [("idempotency-key", "k1")];

    let replies = join_all((0..8).map(|_| shop.send("POST", "/users", &key, body.clone()))).await;

    let ids: Vec<String> = replies.into_iter().map(|reply| reply.expect(201).text("id")).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    let again = shop.send("POST", "/users", &key, body.clone()).await.expect(201);
    assert_eq!(again.headers["idempotent-replayed"], "true");
    // Nothing that is made of a password is kept beside the key, so another one is not noticed.
    let mut other_password = body;
    other_password["password"] = json!("another one altogether");
    let again = shop.send("POST", "/users", &key, other_password).await.expect(201);
    assert_eq!(again.headers["idempotent-replayed"], "true");
    let other = json!({"name": "Bob", "email": "bob@example.com"});
    shop.send("POST", "/users", &key, other).await.refused(422, "idempotency_key_reused");
    shop.audit().await;
}

async fn of_many_who_sign_up_at_once_each_has_his_own_answer(db: TestDb) {
    let shop = Shop::start(&db).await;
    shop.customer("taken@example.com").await;
    let signing_up = (0..60).map(|at| {
        let (shop, key) = (&shop, format!("key-{at}"));
        async move {
            let email =
                if at % 3 == 0 { "taken@example.com".into() } else { format!("new-{at}@example.com") };
            let body = json!({"name": "Ann", "email": email});
            let headers = [("idempotency-key", key.as_str())];
            // Some have a key, some have none.
            shop.send("POST", "/users", if at % 2 == 0 { &headers } else { &[] }, body).await
        }
    });
    for (at, reply) in join_all(signing_up).await.into_iter().enumerate() {
        match at % 3 {
            0 => reply.refused(409, "email_taken"),
            _ => assert_eq!(reply.expect(201).text("email"), format!("new-{at}@example.com")),
        }
    }
    // Nor does it matter how often one request is sent at once.
    let again = [("idempotency-key", "again")];
    let taken = json!({"name": "Ann", "email": "taken@example.com"});
    for reply in join_all((0..20).map(|_| shop.send("POST", "/users", &again, taken.clone()))).await {
        reply.refused(409, "email_taken");
    }
    // Whoever was refused left nothing behind: his key is good for another request.
    let other = json!({"name": "Bob", "email": "bob@example.com"});
    shop.send("POST", "/users", &[("idempotency-key", "key-0")], other).await.expect(201);
    shop.audit().await;
}

async fn others_accounts_do_not_exist(db: TestDb) {
    let shop = Shop::start(&db).await;
    let (ann, bob) = (shop.customer("ann@example.com").await, shop.customer("bob@example.com").await);
    let token = shop.token("ann@example.com").await;

    let own = shop.ask_as(&token, "GET", &format!("/users/{ann}"), Value::Null).await.expect(200);

    assert_eq!(own.headers["etag"], "\"v1\"");
    let theirs = format!("/users/{bob}");
    shop.ask_as(&token, "GET", &theirs, Value::Null).await.refused(404, "no_such_user");
    shop.ask_as(&token, "PATCH", &theirs, json!({"name": "Eve"})).await.refused(404, "no_such_user");
    shop.ask("GET", &theirs, Value::Null).await.refused(401, "unauthenticated");
    shop.ask_as(&token, "GET", "/users", Value::Null).await.refused(403, "forbidden");
    shop.ask_as(&token, "POST", &format!("{theirs}/password"), json!({"password": PASSWORD}))
        .await
        .refused(403, "forbidden");
    shop.ask_as(&token, "PATCH", &format!("/users/{ann}"), json!({"role": "admin"}))
        .await
        .refused(403, "role_by_admin");
    let guess = json!({"password": "battery staple", "current_password": "a guess"});
    shop.ask_as(&token, "PATCH", &theirs, guess).await.refused(404, "no_such_user");
    let nobody = "/users/usr_00000000000070008000000000000000";
    shop.ask_as(&token, "GET", nobody, Value::Null).await.refused(404, "no_such_user");
    shop.audit().await;
}

async fn staff_see_everybody_and_change_customers(db: TestDb) {
    let shop = Shop::start(&db).await;
    let ann = shop.customer("ann@example.com").await;
    let staff = shop.with_role("staff@example.com", "staff").await;
    let admin = shop.sign_in("admin@example.com").await;
    let admin_id = admin.body["user"]["id"].as_str().unwrap();

    let changed =
        shop.ask_as(&staff, "PATCH", &format!("/users/{ann}"), json!({"name": "Anne"})).await.expect(200);

    assert_eq!((changed.text("name"), changed.body["version"].as_i64()), ("Anne".into(), Some(2)));
    shop.ask_as(&staff, "GET", &format!("/users/{admin_id}"), Value::Null).await.expect(200);
    let theirs = format!("/users/{admin_id}");
    shop.ask_as(&staff, "PATCH", &theirs, json!({"email": "eve@example.com"}))
        .await
        .refused(403, "not_a_customer");
    shop.ask_as(&staff, "POST", &format!("{theirs}/password"), json!({"password": PASSWORD}))
        .await
        .refused(403, "not_a_customer");
    shop.ask_as(&staff, "PATCH", &format!("/users/{ann}"), json!({"role": "staff"}))
        .await
        .refused(403, "role_by_admin");
    let token = admin.text("access_token");
    shop.ask_as(&token, "PATCH", &theirs, json!({"role": "customer"})).await.refused(409, "own_role");
    shop.audit().await;
}

async fn of_two_changes_of_one_version_one_is_refused(db: TestDb) {
    let shop = Shop::start(&db).await;
    let ann = shop.customer("ann@example.com").await;
    let (path, bearer) = (format!("/users/{ann}"), format!("Bearer {}", shop.token("ann@example.com").await));
    let headers = [("authorization", bearer.as_str()), ("if-match", "\"v1\"")];

    let (first, second) = tokio::join!(
        shop.send("PATCH", &path, &headers, json!({"name": "One"})),
        shop.send("PATCH", &path, &headers, json!({"name": "Two"})),
    );

    let mut statuses = [first.status.as_u16(), second.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 412]);
    let (won, lost) = if first.status == 200 { (first, second) } else { (second, first) };
    lost.refused(412, "stale");
    let now = shop.send("GET", &path, &headers[..1], Value::Null).await.expect(200);
    assert_eq!(now.body, won.body);
    assert_eq!(now.headers["etag"], "\"v2\"");
    let spared = shop.send("GET", &path, &[headers[0], ("if-none-match", "\"v2\"")], Value::Null).await;
    assert_eq!(spared.status, 304);
    shop.audit().await;
}

async fn a_repeated_change_with_its_key_is_answered_as_before(db: TestDb) {
    let shop = Shop::start(&db).await;
    let ann = shop.customer("ann@example.com").await;
    let (path, bearer) = (format!("/users/{ann}"), format!("Bearer {}", shop.token("ann@example.com").await));
    let headers = [("authorization", bearer.as_str()), ("if-match", "\"v1\""), ("idempotency-key", "k1")];

    let first = shop.send("PATCH", &path, &headers, json!({"name": "Anne"})).await.expect(200);
    let second = shop.send("PATCH", &path, &headers, json!({"name": "Anne"})).await.expect(200);

    assert_eq!(second.body, first.body);
    assert_eq!(second.headers["idempotent-replayed"], "true");
    shop.audit().await;
}

async fn an_address_that_others_have_is_refused(db: TestDb) {
    let shop = Shop::start(&db).await;
    let ann = shop.customer("ann@example.com").await;
    shop.customer("bob@example.com").await;
    let (path, token) = (format!("/users/{ann}"), shop.token("ann@example.com").await);

    let taken = shop.ask_as(&token, "PATCH", &path, json!({"email": "bob@example.com"})).await;

    taken.refused(409, "email_taken");
    let moved = shop.ask_as(&token, "PATCH", &path, json!({"email": "anne@example.com"})).await.expect(200);
    assert_eq!((moved.text("email"), moved.body["version"].as_i64()), ("anne@example.com".into(), Some(2)));
    shop.sign_in("anne@example.com").await;
    shop.customer("ann@example.com").await; // free again
    shop.ask_as(&token, "PATCH", &path, json!({})).await.refused(400, "nothing_to_change");
    shop.audit().await;
}

async fn of_two_who_take_one_address_at_once_one_gets_it(db: TestDb) {
    let shop = Shop::start(&db).await;
    let admin = shop.admin().await;
    let mut ids = Vec::new();
    for n in 0..6 {
        ids.push(shop.customer(&format!("c{n}@example.com")).await);
    }

    let paths: Vec<String> = ids.iter().map(|id| format!("/users/{id}")).collect();
    for round in 0..10 {
        let body = json!({"email": format!("wanted{round}@example.com")});
        let replies =
            join_all(paths.iter().map(|path| shop.ask_as(&admin, "PATCH", path, body.clone()))).await;

        assert_eq!(replies.iter().filter(|reply| reply.status == 200).count(), 1);
        let taken = replies.iter().filter(|reply| reply.code() == "email_taken");
        assert_eq!(taken.count(), 5);
    }
    shop.audit().await;
}

async fn a_password_is_changed_by_who_knows_it(db: TestDb) {
    let shop = Shop::start(&db).await;
    let ann = shop.customer("ann@example.com").await;
    let (here, there) = (shop.sign_in("ann@example.com").await, shop.sign_in("ann@example.com").await);
    let (path, token) = (format!("/users/{ann}"), here.text("access_token"));

    let wrong = json!({"password": "battery staple", "current_password": "not this"});
    shop.ask_as(&token, "PATCH", &path, wrong).await.refused(403, "wrong_password");
    shop.ask_as(&token, "PATCH", &path, json!({"password": "battery staple"}))
        .await
        .refused(403, "wrong_password");
    let right = json!({"password": "battery staple", "current_password": PASSWORD});
    shop.ask_as(&token, "PATCH", &path, right).await.expect(200);

    let login = |password: &str| json!({"email": "ann@example.com", "password": password});
    shop.ask("POST", "/login", login(PASSWORD)).await.refused(401, "wrong_credentials");
    shop.ask("POST", "/login", login("battery staple")).await.expect(200);
    let refresh = |reply: &crate::shop::Reply| json!({"refresh_token": reply.text("refresh_token")});
    shop.ask("POST", "/token/refresh", refresh(&there)).await.refused(401, "session_ended");
    shop.ask("POST", "/token/refresh", refresh(&here)).await.expect(200);
    shop.audit().await;
}

async fn staff_set_a_password_where_there_is_none(db: TestDb) {
    let shop = Shop::start(&db).await;
    let ann = shop
        .ask("POST", "/users", json!({"name": "Ann", "email": "ann@example.com"}))
        .await
        .expect(201)
        .text("id");
    let staff = shop.with_role("staff@example.com", "staff").await;

    let path = format!("/users/{ann}/password");
    shop.ask_as(&staff, "POST", &path, json!({"password": PASSWORD})).await.expect(204);

    let token = shop.token("ann@example.com").await;
    let account = shop.ask_as(&token, "GET", &format!("/users/{ann}"), Value::Null).await.expect(200);
    assert_eq!(account.body["version"], 2);
    shop.audit().await;
}

async fn staff_list_accounts_page_by_page(db: TestDb) {
    let shop = Shop::start(&db).await;
    for n in 0..5 {
        shop.ask("POST", "/users", json!({"name": "Ann", "email": format!("c{n}@example.com")}))
            .await
            .expect(201);
    }
    let admin = shop.admin().await;

    let mut emails = Vec::new();
    let mut path = "/users?limit=4".to_owned();
    loop {
        let page = shop.ask_as(&admin, "GET", &path, Value::Null).await.expect(200);
        let items = page.body["items"].as_array().unwrap().clone();
        emails.extend(items.iter().map(|item| item["email"].as_str().unwrap().to_owned()));
        match page.body["next"].as_str() {
            Some(next) => path = format!("/users?limit=4&cursor={next}"),
            None => break,
        }
    }

    let wanted = ["admin", "c4", "c3", "c2", "c1", "c0"].map(|name| format!("{name}@example.com"));
    assert_eq!(emails, wanted);
    let one = shop.ask_as(&admin, "GET", "/users?email=c3@example.com", Value::Null).await.expect(200);
    assert_eq!(one.body["items"].as_array().unwrap().len(), 1);
    shop.audit().await;
}

async fn a_change_shows_at_once_though_reads_are_remembered(db: TestDb) {
    let shop = Shop::start(&db).await;
    let elsewhere = shop.another(&db).await;
    let ann = shop.customer("ann@example.com").await;
    let (path, token) = (format!("/users/{ann}"), shop.token("ann@example.com").await);
    let name =
        async |shop: &Shop| shop.ask_as(&token, "GET", &path, Value::Null).await.expect(200).text("name");
    assert_eq!((name(&shop).await, name(&elsewhere).await), ("Ann".into(), "Ann".into()));

    for n in 0..10 {
        let wanted = format!("Ann {n}");
        shop.ask_as(&token, "PATCH", &path, json!({"name": wanted})).await.expect(200);
        assert_eq!(name(&shop).await, wanted);
    }

    assert_eq!(name(&elsewhere).await, "Ann"); // another process learns of it by the event, or after five minutes
    elsewhere.hear().await;
    assert_eq!(name(&elsewhere).await, "Ann 9");
    shop.ask_as(&token, "PATCH", &path, json!({"name": "Anne"})).await.expect(200);
    assert_eq!(name(&elsewhere).await, "Ann 9");
    shop.clock.forward(std::time::Duration::from_secs(301));
    let token = shop.token("ann@example.com").await;
    let late = elsewhere.ask_as(&token, "GET", &path, Value::Null).await.expect(200);
    assert_eq!(late.text("name"), "Anne");
    shop.audit().await;
}

async fn processes_that_share_a_redis_see_a_change_at_once(db: TestDb) {
    let (redis, clock) = (Server::start(), Clock::new());
    let shop = Shop::sharing(&db, &clock, &redis.url()).await;
    let elsewhere = Shop::sharing(&db, &clock, &redis.url()).await;
    let ann = shop.customer("ann@example.com").await;
    let (path, token) = (format!("/users/{ann}"), shop.token("ann@example.com").await);
    let name =
        async |shop: &Shop| shop.ask_as(&token, "GET", &path, Value::Null).await.expect(200).text("name");
    let shared_key = format!("*:users:{ann}");

    for n in 0..10 {
        let mut tries = 0..10_000;
        while redis.ask(&["keys", &shared_key]).trim().is_empty() {
            tries.next().expect("it is remembered in Redis");
            name(&elsewhere).await;
        }
        let wanted = format!("Ann {n}");
        shop.ask_as(&token, "PATCH", &path, json!({"name": wanted})).await.expect(200);
        assert_eq!(name(&shop).await, wanted);
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        assert_eq!(name(&elsewhere).await, wanted);
    }
    shop.audit().await;
}

async fn the_audit_sees_what_is_broken(db: TestDb) {
    let shop = Shop::start(&db).await;
    let ann = shop.customer("ann@example.com").await;
    shop.sign_in("ann@example.com").await;
    shop.audit().await;

    let broken: kernel::Result<()> = db::write!(shop.db, async |tx| {
        db::query("UPDATE users SET version = 7, password_hash = NULL").execute(tx).await?;
        db::query("DELETE FROM refresh_tokens").execute(tx).await?;
        db::query("DELETE FROM signing_keys").execute(tx).await?;
        Ok(())
    });
    broken.unwrap();

    let found = users::audit(&shop.db).await.unwrap();
    assert_eq!(found.len(), 4, "{found:?}");
    assert!(found.contains(&format!("{ann} has version 7, and the last one it announced is 1")), "{found:?}");
}

async fn sample_customers_are_made_in_few_transactions(db: TestDb) {
    let shop = Shop::start(&db).await;
    let hash = shop.users.hash_password(&PASSWORD.parse().unwrap()).await.unwrap();
    let people: Vec<_> = (0..450)
        .map(|n| (format!("Customer {n}").parse().unwrap(), format!("c{n}@example.com").parse().unwrap()))
        .collect();

    let made = shop.users.insert_many(&people, Some(&hash)).await.unwrap();
    let again = shop.users.insert_many(&people, Some(&hash)).await.unwrap();

    assert_eq!((made.len(), again.len()), (450, 0));
    shop.sign_in("c449@example.com").await;
    shop.audit().await;
}
