//! JSON in and out.

use axum::{
    extract::{FromRequest, Request},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use kernel::{Error, FieldError, Kind};
use serde::{Serialize, de::DeserializeOwned};
use serde_path_to_error::{Path, Segment};

use crate::{Failure, body};

/// A JSON body: asked for as an argument, answered as a reply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Json<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, _: &S) -> Result<Json<T>, Failure> {
        if !is_json(request.headers()) {
            let error = Error::invalid("not_json", "the body must be sent as application/json");
            return Err(Failure::with_status(StatusCode::UNSUPPORTED_MEDIA_TYPE, error));
        }
        let body = body::read(request.into_body()).await?;
        Ok(Json(parse(&body)?))
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(body) => written(body),
            Err(error) => Failure::from(Error::internal(error)).into_response(),
        }
    }
}

/// An answer with this JSON as its body.
pub(crate) fn written(body: impl IntoResponse) -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response()
}

/// `application/json` or `application/…+json`, with any parameters.
fn is_json(headers: &HeaderMap) -> bool {
    let Some(Ok(media)) = headers.get(header::CONTENT_TYPE).map(HeaderValue::to_str) else {
        return false;
    };
    let media = media.split(';').next().unwrap_or_default().trim();
    let Some((kind, subtype)) = media.split_once('/') else {
        return false;
    };
    let suffix = subtype.len().checked_sub(5).and_then(|at| subtype.get(at..));
    kind.eq_ignore_ascii_case("application")
        && (subtype.eq_ignore_ascii_case("json")
            || suffix.is_some_and(|suffix| suffix.eq_ignore_ascii_case("+json")))
}

/// Reads JSON. What is no JSON is `invalid_json` with line and column; what
/// does not fit is `invalid_request` with a JSON Pointer to the part at fault.
pub(crate) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Error> {
    let mut reader = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let pointer = pointer(error.path());
        refusal(pointer, error.inner())
    })?;
    reader.end().map_err(|error| refusal(String::new(), &error))?;
    Ok(value)
}

fn refusal(pointer: String, error: &serde_json::Error) -> Error {
    let place = format!(" at line {} column {}", error.line(), error.column());
    let text = error.to_string();
    let what = text.strip_suffix(&place).unwrap_or(&text);
    let (code, message) = if error.is_data() {
        let named = if pointer.is_empty() { "the body".to_owned() } else { pointer.clone() };
        ("invalid_request", format!("{named} does not fit: {what}"))
    } else {
        ("invalid_json", format!("the body is not JSON{place}: {what}"))
    };
    let fields = vec![FieldError { pointer, message: format!("{what}{place}") }];
    Error { fields, ..Error::new(Kind::Invalid, code, message) }
}

/// The JSON Pointer (RFC 6901) of a path.
fn pointer(path: &Path) -> String {
    let mut pointer = String::new();
    for segment in path.iter() {
        match segment {
            Segment::Seq { index } => pointer.push_str(&format!("/{index}")),
            Segment::Map { key } => {
                pointer.push_str(&format!("/{}", key.replace('~', "~0").replace('/', "~1")))
            }
            // A variant is how Rust sees it; what was sent has no such step.
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    pointer
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)] // Read only by the reader.
    struct Order {
        lines: Vec<Line>,
    }

    #[derive(Debug, Deserialize)]
    #[allow(dead_code)]
    struct Line {
        #[serde(rename = "a/b~c")]
        sku: String,
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        for (body, code, pointer, said) in [
            ("{", "invalid_json", "", "line 1 column 1"),
            ("", "invalid_json", "", "line 1 column 0"),
            ("{\"lines\":[]} x", "invalid_json", "", "line 1 column 14"),
            ("{\"lines\":[\n{\"a/b~c\":1}]}", "invalid_request", "/lines/0/a~1b~0c", "line 2 column 10"),
            ("{\"lines\":[],\"line\":1}", "invalid_request", "/line", "unknown field `line`"),
            ("{}", "invalid_request", "", "missing field `lines`"),
            ("[]", "invalid_request", "", "line 1 column 2"),
        ] {
            let error = parse::<Order>(body.as_bytes()).unwrap_err();
            assert_eq!((error.kind, &*error.code), (Kind::Invalid, code), "{body}");
            assert_eq!(error.fields[0].pointer, pointer, "{body}");
            assert!(error.fields[0].message.contains(said), "{body}: {}", error.fields[0].message);
        }
    }

    #[test]
    fn only_json_is_json() {
        for (media, fits) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("application/merge-patch+json", true),
            ("text/json", false),
            ("application/jsonp", false),
            ("application/x-www-form-urlencoded", false),
            ("text/plain", false),
            ("json", false),
            ("", false),
        ] {
            let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, media.parse().unwrap())]);
            assert_eq!(is_json(&headers), fits, "{media}");
        }
        assert!(!is_json(&HeaderMap::new()));
    }
}
