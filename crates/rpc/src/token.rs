//! What keeps strangers from calling.

use std::fmt;

use axum::{
    Router,
    extract::{Request, State},
    middleware::{self, Next},
    response::Response,
};
use http::{HeaderValue, header};
use kernel::{Error, Kind, Result};
use subtle::ConstantTimeEq;

use crate::serve;

/// The secret that the services share. It is sent with every call; the one
/// before it or after it can be accepted beside it, so that it can be changed
/// while everything runs: first accept the new one everywhere, then send it
/// everywhere, then drop the old one. Never shown by `Debug`.
#[derive(Clone)]
pub struct ServiceToken {
    sent: HeaderValue,
    accepted_too: Option<HeaderValue>,
}

/// The code of the refusal.
pub const REFUSED: &str = "service_token_refused";

const SHORTEST: usize = 16;

impl ServiceToken {
    /// One that is sent and accepted, and another that is accepted, too. Each
    /// has at least 16 visible ASCII characters.
    pub fn new(sent: &str, accepted_too: Option<&str>) -> Result<ServiceToken> {
        Ok(ServiceToken { sent: bearer(sent)?, accepted_too: accepted_too.map(bearer).transpose()? })
    }

    /// For the header `Authorization` (RFC 6750); marked as sensitive.
    pub(crate) fn header(&self) -> HeaderValue {
        self.sent.clone()
    }

    /// Whether the header bears one that is accepted. How long the comparison
    /// takes does not tell how much of it was right.
    fn accepts(&self, given: Option<&HeaderValue>) -> bool {
        let Some(given) = given else { return false };
        let same = |token: &HeaderValue| token.as_bytes().ct_eq(given.as_bytes());
        let other = self.accepted_too.as_ref().map_or(0.into(), same);
        (same(&self.sent) | other).into()
    }
}

impl fmt::Debug for ServiceToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServiceToken(…)")
    }
}

/// These routes, for those only who bear the token. Everybody else is refused
/// (unauthenticated `service_token_refused`) before anything is read.
pub fn guard(routes: Router, token: &ServiceToken) -> Router {
    routes.route_layer(middleware::from_fn_with_state(token.clone(), check))
}

async fn check(State(token): State<ServiceToken>, request: Request, next: Next) -> Response {
    if token.accepts(request.headers().get(header::AUTHORIZATION)) {
        return next.run(request).await;
    }
    metrics::counter!("rpc_strangers_total").increment(1);
    tracing::warn!(path = request.uri().path(), "a call without a service token was refused");
    let message = "calls between services need the service token";
    serve::refuse(Error::new(Kind::Unauthenticated, REFUSED, message))
}

fn bearer(token: &str) -> Result<HeaderValue> {
    let wrong = || {
        let message = format!("a service token has at least {SHORTEST} visible ASCII characters");
        Error::invalid("bad_service_token", message)
    };
    if token.len() < SHORTEST || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(wrong());
    }
    let mut header = HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| wrong())?;
    header.set_sensitive(true);
    Ok(header)
}
