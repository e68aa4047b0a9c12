//! The key that a caller sends with a request that he may have to repeat.

use std::hash::{Hash, Hasher};

use axum::extract::{FromRequestParts, OriginalUri};
use http::{HeaderMap, request::Parts};
use kernel::Error;
use sha2::{Digest, Sha256};

use crate::{Caller, Failure};

/// The header, as in draft-ietf-httpapi-idempotency-key-header.
pub(crate) const HEADER: &str = "idempotency-key";

/// `Idempotency-Key`, with what it is good for: this caller, this route, this
/// body. Asked for as an argument it must be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey {
    pub(super) scope: String,
    pub(super) route: String,
    pub(super) key: String,
    pub(super) body_hash: [u8; 32],
}

/// The same where it may be missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MaybeIdempotencyKey(pub Option<IdempotencyKey>);

/// The SHA-256 of the body, left with the request by [`crate::service_layers`].
#[derive(Clone, Copy)]
pub(crate) struct BodyHash(pub [u8; 32]);

/// Of two requests with one key it is the same, whatever their bodies.
impl Hash for IdempotencyKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.scope, &self.route, &self.key).hash(state);
    }
}

impl IdempotencyKey {
    /// A key that came by another way than a request's header.
    pub fn new(
        scope: impl Into<String>,
        route: impl Into<String>,
        key: impl Into<String>,
        body: &[u8],
    ) -> IdempotencyKey {
        let body_hash = Sha256::digest(body).into();
        IdempotencyKey { scope: scope.into(), route: route.into(), key: key.into(), body_hash }
    }

    /// Recognises a repeat by `rest` in the place of the whole body: for a body
    /// with a password in it, of which no fast hash may be kept.
    #[must_use]
    pub fn recognised_by(self, rest: &[u8]) -> IdempotencyKey {
        IdempotencyKey { body_hash: Sha256::digest(rest).into(), ..self }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<IdempotencyKey, Failure> {
        let missing = || {
            Error::invalid(
                "idempotency_key_missing",
                "this needs an Idempotency-Key: send a new UUID with each new request",
            )
        };
        Ok(read(parts)?.ok_or_else(missing)?)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for MaybeIdempotencyKey {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<MaybeIdempotencyKey, Failure> {
        Ok(MaybeIdempotencyKey(read(parts)?))
    }
}

fn read(parts: &Parts) -> Result<Option<IdempotencyKey>, Error> {
    let Some(key) = header(&parts.headers)? else {
        return Ok(None);
    };
    let Some(BodyHash(body_hash)) = parts.extensions.get().copied() else {
        return Err(Error::internal("the routes of this service are not inside web::service_layers"));
    };
    let scope = parts
        .extensions
        .get::<Caller>()
        .map_or_else(|| "anonymous".to_owned(), |caller| caller.id.to_string());
    // The address itself, not its pattern: cancelling one order is not cancelling another.
    let uri = parts.extensions.get::<OriginalUri>().map_or(&parts.uri, |OriginalUri(uri)| uri);
    let address = uri.path_and_query().map_or("/", |address| address.as_str());
    Ok(Some(IdempotencyKey { scope, route: format!("{} {address}", parts.method), key, body_hash }))
}

/// 1 to 255 visible characters; quotes around them (RFC 9651 strings) fall away.
fn header(headers: &HeaderMap) -> Result<Option<String>, Error> {
    let mut values = headers.get_all(HEADER).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let text = value.to_str().unwrap_or_default().trim();
    let text = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    let fits = (1..=255).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic() && b != b'"');
    if fits && values.next().is_none() {
        Ok(Some(text.to_owned()))
    } else {
        Err(Error::invalid(
            "invalid_idempotency_key",
            "an Idempotency-Key is one text of 1 to 255 visible characters",
        ))
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_key_is_one_visible_text() {
        let long = "k".repeat(256);
        for (values, expected) in [
            (&[][..], Ok(None)),
            (&["8e03978e-40d5-43dd-bc93-6894a57f9324"], Ok(Some("8e03978e-40d5-43dd-bc93-6894a57f9324"))),
            (&["\"quoted\""], Ok(Some("quoted"))),
            (&[""], Err("invalid_idempotency_key")),
            (&["\"\""], Err("invalid_idempotency_key")),
            (&["a b"], Err("invalid_idempotency_key")),
            (&["ä"], Err("invalid_idempotency_key")),
            (&[&long], Err("invalid_idempotency_key")),
            (&["a", "b"], Err("invalid_idempotency_key")),
        ] {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(HEADER, HeaderValue::from_bytes(value.as_bytes()).unwrap());
            }
            let read = header(&headers);
            assert_eq!(
                read.as_ref().map(Option::as_deref).map_err(|error| &*error.code),
                expected,
                "{headers:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_header_is_a_visible_key_or_refused(bytes in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..300),
            prop::collection::vec(b'!'..=b'~', 0..300),
        ]) {
            let Ok(value) = HeaderValue::from_bytes(&bytes) else { return Ok(()) };
            match header(&HeaderMap::from_iter([(http::HeaderName::from_static(HEADER), value)])) {
                Ok(key) => {
                    let key = key.unwrap();
                    prop_assert!((1..=255).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic()));
                    prop_assert!(std::str::from_utf8(&bytes).unwrap().contains(&key));
                }
                Err(refused) => prop_assert_eq!(&*refused.code, "invalid_idempotency_key"),
            }
        }
    }
}
