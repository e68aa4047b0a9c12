//! `Prefer: wait=5`: how long the caller likes to wait for a settled answer
//! (RFC 7240).

use std::{convert::Infallible, time::Duration};

use axum::extract::FromRequestParts;
use http::{HeaderMap, HeaderName, HeaderValue, request::Parts};

/// The longest wait that is granted.
pub const LONGEST: Duration = Duration::from_secs(30);

/// How long the caller prefers to wait, at most 30 seconds; nothing if he
/// does not say. A preference that cannot be read is none (RFC 7240, 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PreferWait(pub Option<Duration>);

impl PreferWait {
    /// `Preference-Applied: wait=5`, for an answer that was waited for.
    pub fn applied(self) -> Option<(HeaderName, HeaderValue)> {
        let text = format!("wait={}", self.0?.as_secs());
        let value = HeaderValue::try_from(text).ok()?;
        Some((HeaderName::from_static("preference-applied"), value))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for PreferWait {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<PreferWait, Infallible> {
        Ok(PreferWait(wait(&parts.headers)))
    }
}

fn wait(headers: &HeaderMap) -> Option<Duration> {
    let values = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
    let mut preferences = values.flat_map(|value| value.split(','));
    // The first of two counts.
    let text = preferences.find_map(|preference| {
        let (name, value) = preference.split(';').next()?.split_once('=')?;
        name.trim().eq_ignore_ascii_case("wait").then(|| value.trim().trim_matches('"'))
    })?;
    let seconds: u64 = text.parse().ok()?;
    Some(Duration::from_secs(seconds).min(LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preference_is_read_as_rfc_7240_writes_it() {
        for (values, seconds) in [
            (&[][..], None),
            (&["wait=5"], Some(5)),
            (&["respond-async, WAIT = \"10\""], Some(10)),
            (&["return=minimal; foo=\"wait=9\"", "wait=3"], Some(3)),
            (&["wait=3", "wait=4"], Some(3)),
            (&["wait=31"], Some(30)),
            (&["wait=99999999999"], Some(30)),
            (&["wait=0"], Some(0)),
            (&["wait"], None),
            (&["wait=-1"], None),
            (&["wait=soon"], None),
            (&["waiting=5"], None),
        ] {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append("prefer", value.parse().unwrap());
            }
            assert_eq!(wait(&headers), seconds.map(Duration::from_secs), "{values:?}");
        }
    }
}
