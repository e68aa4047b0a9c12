//! Webhooks of a provider, signed as Standard Webhooks 1.0 says: HMAC-SHA256
//! over `id.timestamp.body`.

use std::time::Duration;

use base64::{Engine, prelude::BASE64_STANDARD};
use hmac::{Hmac, Mac};
use http::{HeaderMap, HeaderName, HeaderValue};
use kernel::{AttemptId, Error, Kind, Money, Result, Time};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::{model::AttemptKind, provider::Outcome};

/// How far the clocks of sender and receiver may differ, and how old a webhook may be.
const TOLERANCE_SECONDS: i64 = 5 * 60;

/// How long it is remembered which webhooks were heard: longer than their signatures hold.
pub(crate) const KEPT: Duration = Duration::from_secs(3600);

const ID: HeaderName = HeaderName::from_static("webhook-id");
const TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// What a provider announces: what became of an attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// What was asked.
    #[serde(rename = "type")]
    pub kind: AttemptKind,
    /// With which key.
    pub key: AttemptId,
    /// How much it was about.
    pub amount: Money,
    /// What became of it.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// The secret that both ends share. Never shown.
#[derive(Clone)]
pub struct Secret(Vec<u8>);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("whsec_…")
    }
}

impl Secret {
    /// From its text: `whsec_` and base64, 24 to 64 bytes.
    pub fn parse(text: &str) -> Result<Secret, String> {
        let bytes = text.strip_prefix("whsec_").and_then(|rest| BASE64_STANDARD.decode(rest).ok());
        bytes
            .filter(|bytes| (24..=64).contains(&bytes.len()))
            .map(Secret)
            .ok_or_else(|| "a webhook secret is whsec_ and 24 to 64 bytes in base64".to_owned())
    }

    /// As [`Secret::parse`] reads it.
    pub fn text(&self) -> String {
        format!("whsec_{}", BASE64_STANDARD.encode(&self.0))
    }

    /// From these bytes.
    pub fn new(bytes: [u8; 32]) -> Secret {
        Secret(bytes.to_vec())
    }

    /// The headers that prove a body.
    pub fn sign(&self, id: &str, at: Time, body: &str) -> Result<HeaderMap> {
        let seconds = (at.micros() / 1_000_000).to_string();
        let signature =
            BASE64_STANDARD.encode(self.mac(id, &seconds, body.as_bytes()).finalize().into_bytes());
        let mut headers = HeaderMap::new();
        for (name, value) in
            [(ID, id.to_owned()), (TIMESTAMP, seconds), (SIGNATURE, format!("v1,{signature}"))]
        {
            headers.insert(name, HeaderValue::try_from(value).map_err(Error::internal)?);
        }
        Ok(headers)
    }

    /// The id of a webhook whose signature holds and is fresh. Compares in
    /// constant time.
    pub fn verify<'a>(&self, headers: &'a HeaderMap, body: &[u8], now: Time) -> Result<&'a str> {
        let text = |name: &HeaderName| {
            let value = headers.get(name).and_then(|value| value.to_str().ok());
            value.ok_or_else(|| refused(format!("{name} is missing")))
        };
        let (id, seconds, signatures) = (text(&ID)?, text(&TIMESTAMP)?, text(&SIGNATURE)?);
        let sent: i64 = seconds.parse().map_err(|_| refused("webhook-timestamp is no number".into()))?;
        if (now.micros() / 1_000_000).abs_diff(sent) > TOLERANCE_SECONDS.unsigned_abs() {
            return Err(refused("webhook-timestamp is too old or too new".into()));
        }
        // Several signatures stand side by side while a secret is changed.
        let holds = signatures.split(' ').filter_map(|part| part.strip_prefix("v1,")).any(|signature| {
            let bytes = BASE64_STANDARD.decode(signature).unwrap_or_default();
            self.mac(id, seconds, body).verify_slice(&bytes).is_ok()
        });
        if holds { Ok(id) } else { Err(refused("webhook-signature does not hold".into())) }
    }

    fn mac(&self, id: &str, seconds: &str, body: &[u8]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes a key of any length");
        for part in [id.as_bytes(), b".", seconds.as_bytes(), b".", body] {
            mac.update(part);
        }
        mac
    }
}

fn refused(why: String) -> Error {
    Error::new(Kind::Unauthenticated, "webhook_not_verified", why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_specification_holds() {
        // From the reference implementations of Standard Webhooks.
        let secret = Secret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let at = Time::from_micros(1_614_265_330_000_000);

        let headers = secret.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", at, r#"{"test": 2432232314}"#).unwrap();

        assert_eq!(headers["webhook-signature"], "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_webhook_holds_only_unchanged_and_fresh() {
        let (secret, now) = (Secret::new([7; 32]), Time::from_micros(1_795_771_800_000_000));
        let headers = secret.sign("msg_1", now, "body").unwrap();
        let mut other_id = headers.clone();
        other_id.insert("webhook-id", HeaderValue::from_static("msg_2"));
        let mut rotated = headers.clone();
        let both = format!("v1,AAAA {}", headers["webhook-signature"].to_str().unwrap());
        rotated.insert("webhook-signature", both.parse().unwrap());
        let (later, much_later) = (now + Duration::from_secs(299), now + Duration::from_secs(301));

        assert_eq!(secret.verify(&headers, b"body", later).unwrap(), "msg_1");
        assert_eq!(secret.verify(&rotated, b"body", now).unwrap(), "msg_1");
        for (headers, body, at, secret) in [
            (&headers, &b"Body"[..], now, &secret),
            (&headers, b"body", much_later, &secret),
            (&headers, b"body", now - Duration::from_secs(301), &secret),
            (&other_id, b"body", now, &secret),
            (&HeaderMap::new(), b"body", now, &secret),
            (&headers, b"body", now, &Secret::new([8; 32])),
        ] {
            assert_eq!(secret.verify(headers, body, at).unwrap_err().code, "webhook_not_verified");
        }
    }
}
