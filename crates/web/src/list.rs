//! One page of a list.

use axum::{
    body::Bytes,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, header};
use kernel::Error;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Cursor, Failure, Page, json, keep, telemetry};

/// `{"items": […], "next": cursor or null}`, with `Link: <…>; rel="next"`
/// (RFC 8288) while there is more, and an `ETag` of its bytes: 304 leaves in
/// its place when the caller has just these (`If-None-Match`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct List<T> {
    /// At most as many as were asked for.
    pub items: Vec<T>,
    /// Where to go on; nothing at the end.
    pub next: Option<Cursor>,
}

impl<T> List<T> {
    /// From rows that were asked for with `LIMIT page.limit + 1`: whether the
    /// one too many is there tells whether there is more.
    pub fn page(mut rows: Vec<T>, page: &Page, key: impl Fn(&T) -> Cursor) -> List<T> {
        let limit = usize::try_from(page.limit).unwrap_or_default();
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = if more { rows.last().map(key) } else { None };
        List { items: rows, next }
    }

    /// The same list of other things.
    pub fn map<U>(self, f: impl FnMut(T) -> U) -> List<U> {
        List { items: self.items.into_iter().map(f).collect(), next: self.next }
    }
}

impl<T: Serialize> List<T> {
    /// The answer that it is, once for all who are to have it.
    pub fn written(self) -> kernel::Result<WrittenList> {
        let body = Bytes::from(serde_json::to_vec(&self).map_err(Error::internal)?);
        Ok(WrittenList { tag: keep::tag_of(&body), body, next: self.next })
    }
}

/// A list as it is answered. Cheap to clone.
#[derive(Clone, Debug)]
pub struct WrittenList {
    body: Bytes,
    tag: HeaderValue,
    next: Option<Cursor>,
}

impl<T: Serialize> IntoResponse for List<T> {
    fn into_response(self) -> Response {
        match self.written() {
            Ok(written) => written.into_response(),
            Err(error) => Failure::from(error).into_response(),
        }
    }
}

impl IntoResponse for WrittenList {
    fn into_response(self) -> Response {
        let link = self.next.as_ref().map(|next| format!("<{}>; rel=\"next\"", next_page(next)));
        let mut response = json::written(self.body);
        response.headers_mut().insert(header::ETAG, self.tag);
        if let Some(Ok(link)) = link.map(HeaderValue::try_from) {
            response.headers_mut().insert(header::LINK, link);
        }
        response
    }
}

/// The address of the request, with this cursor in the place of its own.
fn next_page(cursor: &Cursor) -> String {
    let uri = telemetry::uri();
    let (path, query) = uri.as_ref().map_or(("", ""), |uri| (uri.path(), uri.query().unwrap_or_default()));
    let mut address = format!("{path}?");
    for pair in query.split('&').filter(|pair| !pair.is_empty() && pair.split('=').next() != Some("cursor")) {
        address.push_str(pair);
        address.push('&');
    }
    address.push_str(&format!("cursor={cursor}"));
    address
}
