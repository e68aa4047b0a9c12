//! Which tokens open the door.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use axum::{Router, routing::get};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::json;
use web::{
    Customer, Role,
    auth::{Claims, Keys, Verifier, sign},
};

use crate::{
    client::{Reply, Signer, ask},
    worlds::Clock,
};

fn app(verifier: &web::auth::Verifier) -> Router {
    web::service_layers(Router::new().route("/", get(async |who: Customer| who.id.to_string())), verifier)
}

async fn with_token(app: &Router, token: &str) -> Reply {
    ask(app, "GET /", &[("authorization", &format!("Bearer {token}"))], "").await
}

fn refused(reply: &Reply, what: &str) {
    assert_eq!(reply.problem(), (401, "invalid_token".to_owned()), "{what}");
    assert_eq!(reply.header("www-authenticate"), "Bearer error=\"invalid_token\"", "{what}");
}

#[tokio::test]
async fn a_good_token_says_who_is_calling() {
    let (_, world) = Clock::new();
    let signer = Signer::new(&world);
    let app = app(&signer.verifier());
    let claims = signer.claims(Role::Customer);

    for _ in 0..2 {
        assert_eq!(with_token(&app, &signer.sign(&claims)).await.body, claims.sub.to_string());
    }
}

#[tokio::test]
async fn a_token_that_does_not_hold_is_refused() {
    let (_, world) = Clock::new();
    let signer = Signer::new(&world);
    let app = app(&signer.verifier());
    let claims = signer.claims(Role::Customer);
    let good = signer.sign(&claims);
    let (head, signature) = good.rsplit_once('.').unwrap();
    let (header, _) = head.split_once('.').unwrap();
    let encode = |value: serde_json::Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let raised = Claims { role: Role::Admin, ..claims.clone() };
    let payload = encode(serde_json::to_value(&raised).unwrap());
    let none = format!("{}.{payload}.", encode(json!({"alg": "none", "typ": "JWT", "kid": "key-1"})));
    let none_signed = format!("{}.{payload}.{signature}", encode(json!({"alg": "none", "kid": "key-1"})));
    let other = |change: &dyn Fn(&mut Claims)| {
        let mut claims = claims.clone();
        change(&mut claims);
        signer.sign(&claims)
    };
    let stranger = Signer::new(&world);

    let tokens = [
        ("nothing is signed", none),
        ("nothing is signed, with a signature", none_signed),
        ("HS256 with the public key as the secret", hs256(&raised, signer.key.verifying_key().as_bytes())),
        ("another payload", format!("{header}.{payload}.{signature}")),
        ("no signature", format!("{head}.")),
        ("another signature", format!("{head}.{}", BASE64_URL_SAFE_NO_PAD.encode([7; 64]))),
        ("expired", other(&|claims| claims.exp = claims.iat)),
        ("another issuer", other(&|claims| claims.iss = "somebody".to_owned())),
        ("an unknown key", sign(&claims, "key-2", &signer.private_key()).unwrap()),
        ("a key that is no name", sign(&claims, "../key-1", &signer.private_key()).unwrap()),
        ("a stranger's signature", stranger.sign(&claims)),
        ("no key named", encode_without_kid(&claims, &signer.private_key())),
        ("no token at all", "abc".to_owned()),
    ];
    for (what, token) in tokens {
        refused(&with_token(&app, &token).await, what);
    }
    for value in ["Basic YTpi", "Bearer", "Bearer ", ""] {
        refused(&ask(&app, "GET /", &[("authorization", value)], "").await, value);
    }
    assert_eq!(with_token(&app, &good).await.status, 200);
}

#[tokio::test]
async fn a_remembered_token_still_expires() {
    let (clock, world) = Clock::new();
    let signer = Signer::new(&world);
    let app = app(&signer.verifier());
    let token = signer.sign(&signer.claims(Role::Customer));

    assert_eq!(with_token(&app, &token).await.status, 200);
    clock.forward(Duration::from_secs(890));
    assert_eq!(with_token(&app, &token).await.status, 200);
    clock.forward(Duration::from_secs(10));
    refused(&with_token(&app, &token).await, "expired");
}

#[tokio::test]
async fn a_revoked_session_is_out_at_once() {
    let (_, world) = Clock::new();
    let signer = Signer::new(&world);
    let verifier = signer.verifier();
    let app = app(&verifier);
    let (claims, other) = (signer.claims(Role::Customer), signer.claims(Role::Customer));
    assert_eq!(with_token(&app, &signer.sign(&claims)).await.status, 200);

    verifier.revoke(claims.sid).await;

    refused(&with_token(&app, &signer.sign(&claims)).await, "the session was ended");
    assert_eq!(with_token(&app, &signer.sign(&other)).await.status, 200);
}

#[tokio::test]
async fn a_revocation_is_kept_among_however_many_until_its_tokens_have_expired() {
    let (clock, world) = Clock::new();
    let signer = Signer::new(&world);
    let verifier = signer.verifier();
    let app = app(&verifier);
    let claims = signer.claims(Role::Customer);
    let token = signer.sign(&claims);
    verifier.revoke(claims.sid).await;

    for _ in 0..120_000 {
        verifier.revoke(kernel::SessionId::new(&world)).await;
    }
    refused(&with_token(&app, &token).await, "the session was ended");
    clock.forward(Duration::from_secs(890));
    verifier.revoke(kernel::SessionId::new(&world)).await; // sweeps

    refused(&with_token(&app, &token).await, "the session was ended");
}

/// Knows two keys, and counts how often it was asked for any.
struct Counting {
    signer: Arc<Signer>,
    asked: AtomicU32,
}

#[async_trait::async_trait]
impl Keys for Counting {
    async fn key(&self, kid: &str) -> kernel::Result<Option<Vec<u8>>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        tokio::task::yield_now().await;
        let kid = if kid == "key-2" { "key-1" } else { kid };
        self.signer.key(kid).await
    }
}

#[tokio::test]
async fn made_up_key_names_are_asked_for_once_a_second_and_harm_no_known_key() {
    let (clock, world) = Clock::new();
    let signer = Signer::new(&world);
    let keys = Arc::new(Counting { signer: signer.clone(), asked: AtomicU32::new(0) });
    let app = app(&Verifier::new(world, keys.clone()));
    let claims = signer.claims(Role::Customer);
    let of_key = |kid: &str| sign(&claims, kid, &signer.private_key()).unwrap();
    assert_eq!(with_token(&app, &of_key("key-1")).await.status, 200);
    clock.forward(Duration::from_secs(2));

    for n in 0..200 {
        refused(&with_token(&app, &of_key(&format!("made-up-{n}"))).await, "no such key");
        let fresh = signer.bearer(Role::Customer);
        assert_eq!(with_token(&app, fresh.trim_start_matches("Bearer ")).await.status, 200);
    }
    let asked = keys.asked.load(Ordering::SeqCst);
    clock.forward(Duration::from_secs(2));

    assert!((2..=4).contains(&asked), "{asked} asks");
    assert_eq!(with_token(&app, &of_key("key-2")).await.status, 200, "a new key is found");
}

#[tokio::test]
async fn all_who_come_with_a_new_key_at_once_are_let_in() {
    let (_, world) = Clock::new();
    let signer = Signer::new(&world);
    let keys = Arc::new(Counting { signer: signer.clone(), asked: AtomicU32::new(0) });
    let verifier = Verifier::new(world, keys.clone());
    let tokens: Vec<String> = (0..10).map(|_| signer.sign(&signer.claims(Role::Customer))).collect();

    let callers = futures::future::join_all(tokens.iter().map(|token| verifier.verify(token))).await;

    assert!(callers.iter().all(Result::is_ok), "{callers:?}");
    assert_eq!(keys.asked.load(Ordering::SeqCst), 1);
}

fn hs256(claims: &Claims, secret: &[u8]) -> String {
    let header = Header { kid: Some("key-1".to_owned()), ..Header::new(Algorithm::HS256) };
    jsonwebtoken::encode(&header, claims, &EncodingKey::from_secret(secret)).unwrap()
}

fn encode_without_kid(claims: &Claims, key: &[u8]) -> String {
    jsonwebtoken::encode(&Header::new(Algorithm::EdDSA), claims, &EncodingKey::from_ed_der(key)).unwrap()
}
