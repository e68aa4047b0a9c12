//! What a proxy takes away from a message and what it adds.

use http::{HeaderMap, HeaderName, HeaderValue, Version, header, request::Parts};
use web::edge::Forwarded;

/// About one connection, and so not for the next (RFC 9110 §7.6.1).
static OF_THE_CONNECTION: [HeaderName; 8] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Makes the head of a request what the service is to see.
pub fn outgoing(head: &mut Parts) {
    let headers = &mut head.headers;
    let trailers = headers.get(header::TE).is_some_and(|te| te.as_bytes().eq_ignore_ascii_case(b"trailers"));
    remove_of_the_connection(headers);
    // Told by us, when somebody reads the body: whoever waits for it is our client.
    headers.remove(header::EXPECT);
    if trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
        headers.insert(header::CONNECTION, HeaderValue::from_static("te"));
    }
    // HTTP/2 has the host in the address.
    if let Some(Ok(host)) = head.uri.authority().map(|authority| HeaderValue::from_str(authority.as_str())) {
        headers.insert(header::HOST, host);
    }
    if let Some(forwarded) = head.extensions.get::<Forwarded>() {
        forwarded.write(headers);
    }
    if let Some(Ok(trace)) = web::telemetry::traceparent().map(HeaderValue::try_from) {
        headers.insert(TRACEPARENT, trace);
    }
    let via = if head.version == Version::HTTP_2 { "2.0 carmel" } else { "1.1 carmel" };
    headers.append(header::VIA, HeaderValue::from_static(via));
}

/// Makes the head of an answer what the client is to see.
pub fn incoming(headers: &mut HeaderMap) {
    remove_of_the_connection(headers);
    headers.append(header::VIA, HeaderValue::from_static("1.1 carmel"));
}

fn remove_of_the_connection(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|names| names.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in OF_THE_CONNECTION.iter().chain(&named) {
        headers.remove(name);
    }
}
