//! Webhooks of a payment provider.

use http::{HeaderMap, HeaderName, HeaderValue};
use kernel::Time;
use payments::webhook::{Notice, Secret};

/// When it is heard, in seconds since 1970.
const NOW: i64 = 1_790_000_000;

/// The input is the id, the time, the signatures and the body, a line each. It
/// is taken for what the provider sent if it is what the provider signs, and
/// only then; a body is read or refused.
pub fn webhook(input: &[u8]) {
    let secret = Secret::new([7; 32]);
    let now = Time::from_micros(NOW * 1_000_000);
    let mut lines = input.splitn(4, |byte| *byte == b'\n');
    let mut headers = HeaderMap::new();
    for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
        if let Ok(value) = HeaderValue::from_bytes(lines.next().unwrap_or_default()) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    let body = lines.next().unwrap_or_default();

    if let Ok(id) = secret.verify(&headers, body, now) {
        assert!(std::str::from_utf8(body).is_ok_and(|body| is_signed(&secret, id, &headers, body)), "forged");
    }
    if let Ok(text) = std::str::from_utf8(body) {
        let ours = secret.sign("msg_1", now, text).unwrap();
        assert_eq!(secret.verify(&ours, body, now).unwrap(), "msg_1");
    }
    if let Ok(notice) = serde_json::from_slice::<Notice>(body) {
        let again = serde_json::to_vec(&notice).unwrap();
        assert_eq!(serde_json::from_slice::<Notice>(&again).unwrap(), notice);
    }
}

/// Whether one of the signatures is that of the provider, at that time.
fn is_signed(secret: &Secret, id: &str, headers: &HeaderMap, body: &str) -> bool {
    let text = |name| headers[name].to_str().unwrap();
    let seconds: i64 = text("webhook-timestamp").parse().unwrap();
    let signed = secret.sign(id, Time::from_micros(seconds * 1_000_000), body).unwrap();
    // As text, so that a second way of writing the same bytes is found.
    let signature = signed["webhook-signature"].to_str().unwrap();
    (seconds - NOW).abs() <= 300
        && text("webhook-timestamp") == signed["webhook-timestamp"]
        && text("webhook-signature").split(' ').any(|one| one == signature)
}
