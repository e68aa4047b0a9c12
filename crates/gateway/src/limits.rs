//! How often somebody may ask.

use std::{net::IpAddr, time::Duration};

use axum::{
    extract::Request,
    response::{IntoResponse, Response},
};
use cache::{Budget, Limits, Quota};
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use kernel::{Error, Kind};
use web::{
    Failure,
    auth::Verifier,
    edge::{Answer, Around, Forwarded},
};

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LEFT: HeaderName = HeaderName::from_static("ratelimit");
const WITHIN: Duration = Duration::from_secs(60);

/// How many requests of each class one account, or one address without an
/// account, may make in a minute; zero: as many as he likes.
#[derive(Clone, Copy, Debug, Default)]
pub struct PerMinute {
    /// Sign-in, sign-up and new tokens: by address, whoever he says he is.
    pub sign_in: u32,
    /// What changes something.
    pub change: u32,
    /// Whatever else is asked.
    pub read: u32,
}

/// A layer that refuses what is too much: 429 `too_many_requests` with
/// `Retry-After`. Every answer says what is left, in the headers of
/// draft-ietf-httpapi-ratelimit-headers-10.
#[derive(Clone)]
pub struct RateLimits {
    limits: Limits,
    per_minute: PerMinute,
    verifier: Option<Verifier>,
}

impl RateLimits {
    /// The layer, if there is a limit. Who has no verifier knows no accounts
    /// and counts by address.
    pub fn new(limits: Limits, per_minute: PerMinute, verifier: Option<Verifier>) -> Option<RateLimits> {
        let PerMinute { sign_in, change, read } = per_minute;
        (sign_in.max(change).max(read) > 0).then_some(RateLimits { limits, per_minute, verifier })
    }

    fn quota(&self, class: Class) -> Option<Quota> {
        let most = match class {
            Class::SignIn => self.per_minute.sign_in,
            Class::Change => self.per_minute.change,
            Class::Read => self.per_minute.read,
        };
        (most > 0).then_some(Quota { most, within: WITHIN })
    }
}

/// What must be known of a request to count it.
pub struct Counted {
    limits: RateLimits,
    class: Class,
    quota: Quota,
    authorization: Option<HeaderValue>,
    client: Option<IpAddr>,
}

impl Around for RateLimits {
    /// Nothing where nothing is counted.
    type Kept = Option<Box<Counted>>;

    fn before(&self, request: &mut Request) -> Result<Option<Box<Counted>>, Failure> {
        let Some(class) = class(request.method(), request.uri().path()) else { return Ok(None) };
        let Some(quota) = self.quota(class) else { return Ok(None) };
        let authorization = request.headers().get(header::AUTHORIZATION).cloned();
        let client = request.extensions().get::<Forwarded>().and_then(Forwarded::client);
        let limits = self.clone();
        Ok(Some(Box::new(Counted { limits, class, quota, authorization, client })))
    }

    async fn around(counted: Option<Box<Counted>>, answer: Answer<'_>) -> Response {
        let Some(counted) = counted else { return answer.await };
        // Boxed, because it is large, and every request carries the place for it.
        let Some(budget) = Box::pin(counted.take()).await else { return answer.await };
        let mut response = if budget.is_granted { answer.await } else { refuse(budget) };
        tell(response.headers_mut(), counted.class, counted.quota, budget);
        response
    }
}

impl Counted {
    /// Takes one from the budget, if it is anybody's.
    async fn take(&self) -> Option<Budget> {
        let who = self.who().await?;
        Some(self.limits.limits.take(self.class.name(), &who, self.quota).await)
    }

    /// Whose budget it is. A token that does not hold makes nobody: strangers
    /// make up as many as they like.
    async fn who(&self) -> Option<String> {
        if let Some(verifier) = self.limits.verifier.as_ref().filter(|_| self.class != Class::SignIn)
            && let Ok(Some(caller)) = verifier.caller(self.authorization.as_ref()).await
        {
            return Some(caller.id.to_string());
        }
        self.client.map(|address| network(address).to_string())
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Class {
    SignIn,
    Change,
    Read,
}

impl Class {
    fn name(self) -> &'static str {
        match self {
            Class::SignIn => "sign-in",
            Class::Change => "change",
            Class::Read => "read",
        }
    }
}

/// The class of a request; none for those who look after the process, and for
/// payment providers, whose news would only come later.
fn class(method: &Method, path: &str) -> Option<Class> {
    match path {
        "/livez" | "/readyz" | "/metrics" => None,
        _ if path.starts_with("/payments/webhooks/") => None,
        "/login" | "/token" => Some(Class::SignIn),
        "/users" if method == Method::POST => Some(Class::SignIn),
        _ if method.is_safe() => Some(Class::Read),
        _ => Some(Class::Change),
    }
}

/// Of IPv6 a household has 2⁶⁴ addresses: all of them are one.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() & !u128::from(u64::MAX)).into()),
    }
}

fn refuse(budget: Budget) -> Response {
    let seconds = seconds(budget.more_after);
    let message = format!("too many requests: try again in {seconds} s");
    let failure = Failure::from(Error::new(Kind::TooMany, "too_many_requests", message));
    failure.header(header::RETRY_AFTER, seconds.into()).into_response()
}

fn tell(headers: &mut HeaderMap, class: Class, quota: Quota, budget: Budget) {
    let name = class.name();
    let policy = format!("\"{name}\";q={};w={}", quota.most, quota.within.as_secs());
    let left = format!("\"{name}\";r={};t={}", budget.left, seconds(budget.more_after));
    for (header, text) in [(POLICY, policy), (LEFT, left)] {
        if let Ok(value) = HeaderValue::from_str(&text) {
            headers.insert(header, value);
        }
    }
}

/// Whole seconds, rounded up: who waits that long has waited long enough.
fn seconds(span: Duration) -> u64 {
    u64::try_from(span.as_micros().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_belongs_to_a_class() {
        for (method, path, wanted) in [
            (Method::POST, "/login", Some(Class::SignIn)),
            (Method::POST, "/users", Some(Class::SignIn)),
            (Method::GET, "/users", Some(Class::Read)),
            (Method::POST, "/orders", Some(Class::Change)),
            (Method::DELETE, "/users/usr_1", Some(Class::Change)),
            (Method::HEAD, "/products", Some(Class::Read)),
            (Method::POST, "/payments/webhooks/sandbox", None),
            (Method::GET, "/readyz", None),
        ] {
            assert_eq!(class(&method, path), wanted, "{method} {path}");
        }
    }

    #[test]
    fn a_household_has_one_budget() {
        for (address, wanted) in
            [("192.0.2.1", "192.0.2.1"), ("2001:db8:1:2:3::4", "2001:db8:1:2::"), ("::1", "::")]
        {
            assert_eq!(network(address.parse().unwrap()).to_string(), wanted);
        }
    }
}
