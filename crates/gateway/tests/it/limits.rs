//! Who asks too often is told so.

use std::sync::Arc;

use axum::{Router, routing::any};
use cache::{Address, Limits, Shared};
use gateway::{Backend, PerMinute, RateLimits};
use kernel::{SessionId, UserId, World};
use testkit::redis::Server;
use web::{
    Role,
    auth::{Claims, Keys, Verifier, sign},
};

use crate::{browser::Answer, fleet};

const THREE: PerMinute = PerMinute { sign_in: 1, change: 0, read: 3 };

/// A key of this test, in PKCS #8 (RFC 8410): the frame and the secret; and its public half.
const SECRET: [u8; 32] = [7; 32];
const PKCS8: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
const PUBLIC: &str = "6kpsY-KcUgq-9VB7Ey7F-ZVHdq6-vnuSQh7qaRRG0iw";

struct OneKey;

#[rpc::async_trait]
impl Keys for OneKey {
    async fn key(&self, _: &str) -> kernel::Result<Option<Vec<u8>>> {
        web::auth::key_bytes(PUBLIC).map(Some)
    }
}

async fn gateway(shared: Option<&Shared>) -> fleet::Serving {
    let world = World::real();
    let verifier = Verifier::new(world.clone(), Arc::new(OneKey));
    let limits = RateLimits::new(Limits::new(&world, shared), THREE, Some(verifier));
    let here = Router::new().route("/orders", any(async || "hello"));
    fleet::limited(vec![("shop", Backend::Here(here))], limits).await
}

async fn asked_by(gateway: &fleet::Serving, client: &str, path: &str) -> Answer {
    let made_up = ("authorization", "Bearer e30.e30.e30");
    gateway.browser.send("GET", path, &[("x-forwarded-for", client), made_up], "").await
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_too_often_is_told_when_to_come_back() {
    let gateway = gateway(None).await;
    let (mut left, mut refused) = (vec![], None);
    // A minute's worth comes back while this takes: on a slow machine a few more are served.
    while refused.is_none() && left.len() < 1_000 {
        let answer = asked_by(&gateway, "192.0.2.1", "/orders").await;
        assert_eq!(answer.header("ratelimit-policy"), "\"read\";q=3;w=60");
        left.push(answer.header("ratelimit").to_owned());
        refused = Some(answer).filter(|answer| answer.status == 429);
    }

    let refused = refused.expect("the fourth in a minute is too many");
    assert!(left.len() > 3 && left[0].starts_with("\"read\";r=2;t="), "{left:?}");
    assert_eq!(refused.json()["code"], "too_many_requests");
    let wait: u64 = refused.header("retry-after").parse().unwrap();
    assert!((1..=20).contains(&wait), "{wait}");
    assert_eq!(refused.header("ratelimit"), format!("\"read\";r=0;t={wait}"));
    assert_eq!(refused.header("x-content-type-options"), "nosniff");
    // Others are served, whoever looks after the process always is, and what has no limit has none.
    assert_eq!(asked_by(&gateway, "192.0.2.2", "/orders").await.status, 200);
    for _ in 0..10 {
        assert_eq!(asked_by(&gateway, "192.0.2.1", "/livez").await.status, 200);
        let changed = gateway.browser.send("POST", "/orders", &[("x-forwarded-for", "192.0.2.1")], "").await;
        assert_eq!((changed.status, changed.header("ratelimit")), (200, ""));
    }
}

/// Wherever he asks from, and whoever else asks from there.
#[tokio::test(flavor = "multi_thread")]
async fn who_has_signed_in_has_a_budget_of_his_own() {
    let (gateway, world) = (gateway(None).await, World::real());
    let now = world.now().micros() / 1_000_000;
    let claims = Claims {
        sub: UserId::new(&world),
        role: Role::Customer,
        sid: SessionId::new(&world),
        iat: now,
        exp: now + 900,
        iss: web::auth::ISSUER.to_owned(),
    };
    let token = sign(&claims, "key", &[&PKCS8[..], &SECRET].concat()).unwrap();
    let bearer = format!("Bearer {token}");
    let ask = async |n: usize| {
        let from = format!("192.0.2.{}", n % 250);
        let headers = [("x-forwarded-for", &*from), ("authorization", &bearer)];
        gateway.browser.send("GET", "/orders", &headers, "").await.status
    };

    let mut asked = 0;
    while ask(asked).await == 200 {
        asked += 1;
        assert!(asked < 1_000, "his budget is not his own");
    }

    assert!(asked >= 3);
    assert_eq!(asked_by(&gateway, "192.0.2.0", "/orders").await.header("ratelimit"), "\"read\";r=2;t=20");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_gateways_share_a_budget() {
    let (redis, world) = (Server::start(), World::real());
    let shared = |_| Shared::new(&world, &redis.url().parse::<Address>().unwrap());
    let shared = [0, 1].map(shared);
    let (one, other) = (gateway(Some(&shared[0])).await, gateway(Some(&shared[1])).await);
    let refused_at_the_other = async |client: u32| {
        let client = format!("10.0.{}.{}", client / 256, client % 256);
        for _ in 0..3 {
            asked_by(&one, &client, "/orders").await;
        }
        asked_by(&other, &client, "/orders").await.status == 429
    };

    // Until both are connected each counts for itself.
    let mut client = 0;
    while !refused_at_the_other(client).await {
        client += 1;
        assert!(client < 5_000, "they share no budget");
    }
}
