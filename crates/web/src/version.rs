//! Versions of one thing: `ETag`, `If-Match` and `If-None-Match` (RFC 9110),
//! strong ones only.

use axum::{
    extract::FromRequestParts,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, request::Parts};
use kernel::{Error, Kind};
use serde::Serialize;

use crate::{Failure, Json};

/// A reply that says which version it is: `ETag: "v7"`. When the caller has
/// that version already (`If-None-Match`), 304 leaves in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versioned<T> {
    /// Grows with every change.
    pub version: i64,
    /// What it is.
    pub value: T,
}

impl<T> Versioned<T> {
    /// This value is this version.
    pub fn new(version: i64, value: T) -> Versioned<T> {
        Versioned { version, value }
    }
}

impl<T: Serialize> IntoResponse for Versioned<T> {
    fn into_response(self) -> Response {
        let mut response = Json(self.value).into_response();
        if let Ok(tag) = HeaderValue::try_from(format!("\"v{}\"", self.version)) {
            response.headers_mut().insert(header::ETAG, tag);
        }
        response
    }
}

/// The version that the caller looked at before he changes it: `If-Match: "v7"`.
/// Nothing when he does not care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IfMatch(pub Option<i64>);

impl IfMatch {
    /// Fails as `stale` (412) unless this is the version he looked at.
    pub fn check(self, current: i64) -> Result<(), Error> {
        match self.0 {
            Some(seen) if seen != current => Err(stale()),
            _ => Ok(()),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<IfMatch, Failure> {
        Ok(if_match(&parts.headers)?)
    }
}

fn if_match(headers: &HeaderMap) -> Result<IfMatch, Error> {
    let mut values = headers.get_all(header::IF_MATCH).iter();
    let Some(value) = values.next() else {
        return Ok(IfMatch(None));
    };
    let text = value.to_str().unwrap_or_default().trim();
    if values.next().is_some() || text.contains(',') || text.is_empty() {
        return Err(Error::invalid("invalid_if_match", "If-Match is one ETag as it was given out, or *"));
    }
    match text {
        "*" => Ok(IfMatch(None)),
        // A weak tag, or one that was never given out, matches nothing.
        text => version_of(text).map(|version| IfMatch(Some(version))).ok_or_else(stale),
    }
}

fn stale() -> Error {
    Error::new(Kind::Stale, "stale", "this was changed since you looked at it; look again")
}

fn version_of(tag: &str) -> Option<i64> {
    let digits = tag.strip_prefix("\"v")?.strip_suffix('"')?;
    let plain = digits == "0" || !digits.starts_with('0');
    if plain && digits.bytes().all(|b| b.is_ascii_digit()) { digits.parse().ok() } else { None }
}

/// The tags that the caller has, if he asks to be spared what he has.
pub(crate) fn if_none_match(method: &Method, headers: &HeaderMap) -> Option<HeaderValue> {
    let asks = *method == Method::GET || *method == Method::HEAD;
    headers.get(header::IF_NONE_MATCH).filter(|_| asks).cloned()
}

/// 304 in the place of what the caller has already (RFC 9110, 13.1.2 and 15.4.5).
pub(crate) fn spare(had: &HeaderValue, response: Response) -> Response {
    let same = match (response.status(), response.headers().get(header::ETAG)) {
        (StatusCode::OK, Some(tag)) => had_already(had, tag),
        _ => false,
    };
    if !same {
        return response;
    }
    const KEPT: [HeaderName; 6] = [
        header::ETAG,
        header::CACHE_CONTROL,
        header::VARY,
        header::EXPIRES,
        header::CONTENT_LOCATION,
        header::DATE,
    ];
    let mut spared = StatusCode::NOT_MODIFIED.into_response();
    for (name, value) in response.headers() {
        if KEPT.contains(name) {
            spared.headers_mut().append(name, value.clone());
        }
    }
    spared
}

/// Whether one of the tags is this one; a weak one counts here, as RFC 9110 says.
fn had_already(had: &HeaderValue, tag: &HeaderValue) -> bool {
    let (Ok(had), Ok(tag)) = (had.to_str(), tag.to_str()) else {
        return false;
    };
    had.trim() == "*"
        || had.split(',').any(|one| {
            let one = one.trim();
            one.strip_prefix("W/").unwrap_or(one) == tag
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: HeaderName, values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name.clone(), value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn if_match_names_one_version() {
        for (values, expected) in [
            (&[][..], Ok(None)),
            (&["*"], Ok(None)),
            (&["\"v7\""], Ok(Some(7))),
            (&[" \"v0\" "], Ok(Some(0))),
            (&["W/\"v7\""], Err("stale")),
            (&["\"7\""], Err("stale")),
            (&["\"v07\""], Err("stale")),
            (&["\"v-7\""], Err("stale")),
            (&["v7"], Err("stale")),
            (&["\"v99999999999999999999\""], Err("stale")),
            (&[""], Err("invalid_if_match")),
            (&["\"v1\", \"v2\""], Err("invalid_if_match")),
            (&["\"v1\"", "\"v2\""], Err("invalid_if_match")),
        ] {
            let read = if_match(&with(header::IF_MATCH, values));
            assert_eq!(
                read.as_ref().map(|read| read.0).map_err(|error| &*error.code),
                expected,
                "{values:?}"
            );
        }
    }

    #[test]
    fn a_change_needs_the_version_that_was_seen() {
        assert_eq!(IfMatch(None).check(3), Ok(()));
        assert_eq!(IfMatch(Some(3)).check(3), Ok(()));
        assert_eq!(IfMatch(Some(2)).check(3).unwrap_err().kind, Kind::Stale);
    }

    #[test]
    fn what_the_caller_has_is_found_in_his_list() {
        let tag = HeaderValue::from_static("\"v7\"");
        for (had, spared) in [
            ("\"v7\"", true),
            ("W/\"v7\"", true),
            ("\"v6\" , \"v7\"", true),
            ("*", true),
            ("\"v70\"", false),
            ("v7", false),
            ("", false),
        ] {
            assert_eq!(had_already(&had.parse().unwrap(), &tag), spared, "{had}");
        }
    }
}
