//! What the shop promises of every answer: what its API's description says, a
//! problem (RFC 9457) with a stable code for everything that went wrong, and
//! never that something went wrong on its side.

use bytes::Bytes;
use http::{Method, Response, StatusCode, header};
use serde_json::Value;

use crate::schema::mismatch;

/// What is wrong with an answer, if anything is.
pub fn broken(api: &Value, method: &Method, path: &str, answer: &Response<Bytes>) -> Option<String> {
    let status = answer.status();
    if status.is_server_error() {
        return Some("a fault of the shop".into());
    }
    if path.starts_with("/rpc/") && [StatusCode::OK, StatusCode::BAD_REQUEST].contains(&status) {
        return broken_between_services(answer);
    }
    let media = answer.headers().get(header::CONTENT_TYPE).map(|value| value.as_bytes());
    let has_body =
        method != Method::HEAD && ![StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&status);
    if !has_body {
        return (!answer.body().is_empty()).then(|| "a body where there is none".into());
    }
    if answer.headers().contains_key(header::CONTENT_ENCODING) {
        return None; // what is inside was made by the same code as without
    }
    if status.is_client_error() {
        let body: Value = match media {
            Some(b"application/problem+json") => serde_json::from_slice(answer.body()).unwrap_or_default(),
            _ => return Some("no problem+json".into()),
        };
        if body["status"] != status.as_u16()
            || body["code"] == ""
            || body["code"] == "internal"
            || body["detail"] == ""
        {
            return Some("a problem that says nothing".into());
        }
        let documented = operation(api, method, path).is_none_or(|described| is_described(described, status));
        return match mismatch(api, &api["components"]["schemas"]["Problem"], &body) {
            None if documented => None,
            None => Some("a status that is not described".into()),
            wrong => wrong,
        };
    }
    let described = &operation(api, method, path)?["responses"];
    let schema = &described[status.as_str()]["content"]["application/json"]["schema"];
    if schema.is_null() {
        return Some("an answer that is not described".into());
    }
    match serde_json::from_slice(answer.body()) {
        Ok(body) if media == Some(b"application/json") => mismatch(api, schema, &body),
        _ => Some("no JSON".into()),
    }
}

/// What a service tells another is its answer, or an error of the caller.
fn broken_between_services(answer: &Response<Bytes>) -> Option<String> {
    if answer.status() == StatusCode::OK {
        return serde_json::from_slice::<Value>(answer.body()).err().map(|_| "no JSON".into());
    }
    match serde_json::from_slice::<kernel::Error>(answer.body()) {
        Ok(error) if error.kind == kernel::Kind::Internal => Some("a fault of the service".into()),
        Ok(_) => None,
        Err(_) => Some("no error".into()),
    }
}

fn is_described(operation: &Value, status: StatusCode) -> bool {
    let responses = &operation["responses"];
    !responses["default"].is_null() || !responses[status.as_str()].is_null()
}

/// The operation that a request is, if the API has it.
fn operation<'a>(api: &'a Value, method: &Method, path: &str) -> Option<&'a Value> {
    let fits = |template: &str| {
        let (mut wanted, mut given) = (template.split('/'), path.split('/'));
        loop {
            match (wanted.next(), given.next()) {
                (None, None) => return true,
                (Some(wanted), Some(given)) if wanted == given || wanted.starts_with('{') => {}
                _ => return false,
            }
        }
    };
    let (_, item) = api["paths"].as_object()?.iter().find(|(template, _)| fits(template))?;
    item.get(method.as_str().to_lowercase())
}
