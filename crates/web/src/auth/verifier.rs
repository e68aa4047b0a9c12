//! Checking a token, once: verifying costs tens of microseconds, so what was
//! verified is remembered by its hash until it expires or is revoked.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use http::{HeaderValue, header};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use kernel::{Error, Kind, Result, SessionId, Time, World};
use moka::future::Cache;
use sha2::{Digest, Sha256};

use super::{Caller, Claims, ISSUER};
use crate::Failure;

/// Where the public keys are.
#[async_trait]
pub trait Keys: Send + Sync + 'static {
    /// The Ed25519 public key (32 bytes) of this name; nothing if there is none.
    async fn key(&self, kid: &str) -> Result<Option<Vec<u8>>>;
}

/// Checks tokens and remembers those that hold. Cheap to clone; the clones
/// remember together.
#[derive(Clone)]
pub struct Verifier(Arc<Inner>);

struct Inner {
    world: World,
    keys: Arc<dyn Keys>,
    validation: Validation,
    /// By the SHA-256 of the token: a copy of the memory opens nothing.
    verified: Cache<[u8; 32], Remembered>,
    /// The keys that there are, each to be asked for again at its time.
    known_keys: Mutex<HashMap<String, (DecodingKey, Time)>>,
    strangers: tokio::sync::Mutex<Strangers>,
    revoked: Mutex<Revoked>,
}

#[derive(Clone, Copy)]
struct Remembered {
    caller: Caller,
    expires_at: Time,
}

/// What is known of the names that are not known: nothing is kept by name, since
/// strangers make up as many as they like.
#[derive(Default)]
struct Strangers {
    /// When one of them may next be asked for.
    next_at: Time,
    /// Why the last one could not be: then nobody knows that there is no such key.
    failed: Option<Error>,
}

/// The sessions that were ended, until their tokens have expired. A map that
/// keeps what it is given: a cache may refuse an entry.
#[derive(Default)]
struct Revoked {
    until: HashMap<SessionId, Time>,
    sweep_at: Time,
}

/// How long a key is used before it is asked for again.
const KEY_KEPT: Duration = Duration::from_secs(300);
/// How often a name that turns out to be none is asked for, whichever it is:
/// seldom enough that a flood of made-up names is not passed on, often enough for a
/// new key.
const STRANGERS: Duration = Duration::from_secs(1);
/// How long an ended session is remembered: longer than any of its tokens lives.
const REVOKED_KEPT: Duration = Duration::from_secs(24 * 3600);
/// How often those that need not be remembered any more are dropped.
const SWEEP: Duration = Duration::from_secs(60);

impl Verifier {
    /// Tokens of [`ISSUER`], signed with one of these keys.
    pub fn new(world: World, keys: Arc<dyn Keys>) -> Verifier {
        Verifier::of_issuer(world, keys, ISSUER)
    }

    /// Tokens of another issuer.
    pub fn of_issuer(world: World, keys: Arc<dyn Keys>, issuer: &str) -> Verifier {
        // One algorithm: the token has no say in how it is checked.
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_issuer(&[issuer]);
        validation.set_required_spec_claims(&["exp", "iss", "sub"]);
        validation.validate_aud = false;
        validation.validate_exp = false; // Checked here, by the clock that was handed in.
        Verifier(Arc::new(Inner {
            world,
            keys,
            validation,
            verified: Cache::new(10_000),
            known_keys: Mutex::default(),
            strangers: tokio::sync::Mutex::default(),
            revoked: Mutex::default(),
        }))
    }

    /// Who is calling, by his `Authorization`: nothing without a token, 401 `invalid_token` with one
    /// that does not hold.
    pub async fn caller(
        &self,
        authorization: Option<&HeaderValue>,
    ) -> std::result::Result<Option<Caller>, Failure> {
        let Some(authorization) = authorization else {
            return Ok(None);
        };
        match self.verify(bearer(authorization)?).await {
            Ok(caller) => Ok(Some(caller)),
            Err(error) if error.kind == Kind::Unauthenticated => Err(refuse(error)),
            Err(error) => Err(error.into()),
        }
    }

    /// Whom this token belongs to.
    pub async fn verify(&self, token: &str) -> Result<Caller> {
        let inner = &*self.0;
        let hash: [u8; 32] = Sha256::digest(token).into();
        let remembered = match inner.verified.get(&hash).await {
            Some(remembered) => remembered,
            None => {
                let fresh = self.check(token).await?;
                inner.verified.insert(hash, fresh).await;
                fresh
            }
        };
        if remembered.expires_at <= inner.world.now() {
            inner.verified.invalidate(&hash).await;
            return Err(invalid("the token has expired"));
        }
        if lock(&inner.revoked).until.contains_key(&remembered.caller.session) {
            return Err(invalid("the session of this token was ended"));
        }
        Ok(remembered.caller)
    }

    /// Refuses every token of this session from now on, in this process.
    pub async fn revoke(&self, session: SessionId) {
        let now = self.0.world.steady();
        let mut revoked = lock(&self.0.revoked);
        if now >= revoked.sweep_at {
            revoked.until.retain(|_, until| *until > now);
            revoked.sweep_at = now + SWEEP;
        }
        revoked.until.insert(session, now + REVOKED_KEPT);
    }

    async fn check(&self, token: &str) -> Result<Remembered> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| invalid("the token cannot be read"))?;
        if header.alg != Algorithm::EdDSA {
            return Err(invalid("the token is not signed with EdDSA"));
        }
        let kid = header.kid.filter(|kid| is_name(kid)).ok_or_else(|| invalid("the token names no key"))?;
        let key = self.key(kid).await?.ok_or_else(|| invalid("the token names a key that is not known"))?;
        let claims = jsonwebtoken::decode::<Claims>(token, &key, &self.0.validation);
        let Claims { sub, role, sid, exp, .. } =
            claims.map_err(|_| invalid("the token does not hold"))?.claims;
        let expires_at = Time::from_micros(exp.saturating_mul(1_000_000));
        Ok(Remembered { caller: Caller { id: sub, role, session: sid }, expires_at })
    }

    async fn key(&self, kid: String) -> Result<Option<DecodingKey>> {
        let inner = &*self.0;
        match self.known(&kid) {
            Some((key, until)) if inner.world.now() < until => return Ok(Some(key)),
            Some(_) => return self.ask(kid).await,
            None => {}
        }
        // Who comes with the same new key meanwhile waits for the answer.
        let mut strangers = inner.strangers.lock().await;
        if let Some((key, _)) = self.known(&kid) {
            return Ok(Some(key));
        }
        let now = inner.world.now();
        // A clock that was set back does not keep new keys out.
        if now < strangers.next_at && strangers.next_at <= now + STRANGERS {
            return strangers.failed.clone().map_or(Ok(None), Err);
        }
        let outcome = self.ask(kid).await;
        // A name that proved to be a key costs nobody else his turn.
        if !matches!(outcome, Ok(Some(_))) {
            strangers.failed = outcome.as_ref().err().cloned();
            strangers.next_at = inner.world.now() + STRANGERS;
        }
        outcome
    }

    fn known(&self, kid: &str) -> Option<(DecodingKey, Time)> {
        lock(&self.0.known_keys).get(kid).cloned()
    }

    async fn ask(&self, kid: String) -> Result<Option<DecodingKey>> {
        let inner = &*self.0;
        let until = inner.world.now() + KEY_KEPT;
        let key = inner.keys.key(&kid).await?.map(|bytes| DecodingKey::from_ed_der(&bytes));
        let mut known = lock(&inner.known_keys);
        match &key {
            Some(key) => drop(known.insert(kid, (key.clone(), until))),
            None => drop(known.remove(&kid)),
        }
        Ok(key)
    }
}

/// Nothing in here panics half way, so what a panic left behind is whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The token of `Authorization: Bearer …` (RFC 6750).
fn bearer(value: &HeaderValue) -> std::result::Result<&str, Failure> {
    let text = value.to_str().unwrap_or_default();
    let (scheme, token) = text.split_once(' ').unwrap_or((text, ""));
    if scheme.eq_ignore_ascii_case("bearer") && !token.trim().is_empty() {
        Ok(token.trim())
    } else {
        Err(refuse(invalid("authorization is Bearer and a token")))
    }
}

fn is_name(kid: &str) -> bool {
    (1..=64).contains(&kid.len())
        && kid.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

fn invalid(message: &str) -> Error {
    Error::new(Kind::Unauthenticated, "invalid_token", message)
}

fn refuse(error: Error) -> Failure {
    let challenge = HeaderValue::from_static("Bearer error=\"invalid_token\"");
    Failure::from(error).header(header::WWW_AUTHENTICATE, challenge)
}
