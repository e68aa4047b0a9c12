//! Who may keep an answer: `Cache-Control` and `Vary` (RFC 9111), and the
//! validators of what has no version.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use sha2::{Digest, Sha256};

use crate::MaybeCaller;

/// The caller alone may keep it, and asks each time whether it still holds:
/// what an answer says of itself unless it is told otherwise.
const PRIVATE: HeaderValue = HeaderValue::from_static("private, no-cache");
/// Anybody may keep it, and asks each time whether it still holds.
const PUBLIC: HeaderValue = HeaderValue::from_static("public, no-cache");

/// Of what all visitors are shown alike. What stands between them and the shop
/// may answer with it for so long without asking, and asks then; who has signed
/// in is shown his own.
pub fn public(caller: &MaybeCaller, shared: Duration) -> [(HeaderName, HeaderValue); 2] {
    let keep = match caller.0 {
        Some(_) => PRIVATE,
        None if shared.is_zero() => PUBLIC,
        None => HeaderValue::try_from(format!("public, max-age=0, s-maxage={}", shared.as_secs()))
            .expect("a number is visible ASCII"),
    };
    [(header::CACHE_CONTROL, keep), (header::VARY, HeaderValue::from_static("authorization"))]
}

/// Says so of an answer that says nothing about it.
pub(crate) fn unless_said(method: &Method, status: StatusCode, headers: &mut HeaderMap) {
    if (*method == Method::GET || *method == Method::HEAD) && status == StatusCode::OK {
        headers.entry(header::CACHE_CONTROL).or_insert(PRIVATE);
    }
}

/// A strong validator of these bytes (RFC 9110, 8.8.3).
pub(crate) fn tag_of(body: &[u8]) -> HeaderValue {
    let hash: [u8; 32] = Sha256::digest(body).into();
    let half = u128::from_be_bytes(*hash.first_chunk().expect("sixteen of thirty-two"));
    HeaderValue::try_from(format!("\"{half:032x}\"")).expect("digits are visible ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Caller, Role};

    #[test]
    fn only_what_visitors_see_is_kept_between() {
        let visitor = MaybeCaller(None);
        let world = kernel::World::real();
        let caller = MaybeCaller(Some(Caller {
            id: kernel::UserId::new(&world),
            role: Role::Customer,
            session: kernel::SessionId::new(&world),
        }));
        let said = |caller: &MaybeCaller, seconds| public(caller, Duration::from_secs(seconds))[0].1.clone();
        assert_eq!(said(&visitor, 0), "public, no-cache");
        assert_eq!(said(&visitor, 60), "public, max-age=0, s-maxage=60");
        assert_eq!(said(&caller, 60), "private, no-cache");
    }
}
