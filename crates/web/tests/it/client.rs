//! Asking a router and looking at what it answers; and the tokens for it.

use std::sync::Arc;

use axum::{Router, body::Body};
use ed25519_dalek::{SigningKey, pkcs8::EncodePrivateKey};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use kernel::{SessionId, UserId, World};
use serde_json::Value;
use tower::ServiceExt;
use web::{
    Role,
    auth::{Claims, ISSUER, Keys, Verifier, sign},
};

/// What came back.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: String,
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Status and code of a problem, after a look at the rest of it.
    pub fn problem(&self) -> (u16, String) {
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        let body = self.json();
        let code = body["code"].as_str().unwrap().to_owned();
        assert_eq!(body["status"], self.status.as_u16());
        assert_eq!(body["type"], format!("/docs/errors#{code}"));
        assert!(body["title"].is_string() && body["detail"].is_string());
        (self.status.as_u16(), code)
    }
}

/// Asks: `ask(&router, "POST /orders", &[("prefer", "wait=1")], "{}")`.
pub async fn ask(router: &Router, line: &str, headers: &[(&str, &str)], body: &str) -> Reply {
    let (method, uri) = line.split_once(' ').unwrap();
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    if !body.is_empty() && !headers.iter().any(|(name, _)| *name == "content-type") {
        request = request.header("content-type", "application/json");
    }
    send(router, request.body(Body::from(body.to_owned())).unwrap()).await
}

pub async fn send(router: &Router, request: Request<Body>) -> Reply {
    let response = router.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Reply { status: parts.status, headers: parts.headers, body: String::from_utf8_lossy(&body).into_owned() }
}

/// Somebody who signs tokens, and the place where his public key is found.
pub struct Signer {
    pub key: SigningKey,
    world: World,
}

impl Signer {
    pub fn new(world: &World) -> Arc<Signer> {
        Arc::new(Signer { key: SigningKey::from_bytes(&world.random()), world: world.clone() })
    }

    pub fn verifier(self: &Arc<Signer>) -> Verifier {
        Verifier::new(self.world.clone(), self.clone())
    }

    pub fn private_key(&self) -> Vec<u8> {
        self.key.to_pkcs8_der().unwrap().as_bytes().to_vec()
    }

    pub fn claims(&self, role: Role) -> Claims {
        let now = self.world.now().micros() / 1_000_000;
        Claims {
            sub: UserId::new(&self.world),
            role,
            sid: SessionId::new(&self.world),
            iat: now,
            exp: now + 900,
            iss: ISSUER.to_owned(),
        }
    }

    pub fn sign(&self, claims: &Claims) -> String {
        sign(claims, "key-1", &self.private_key()).unwrap()
    }

    /// `Bearer …` of somebody with this role.
    pub fn bearer(&self, role: Role) -> String {
        format!("Bearer {}", self.sign(&self.claims(role)))
    }
}

#[async_trait::async_trait]
impl Keys for Signer {
    async fn key(&self, kid: &str) -> kernel::Result<Option<Vec<u8>>> {
        Ok((kid == "key-1").then(|| self.key.verifying_key().to_bytes().to_vec()))
    }
}
