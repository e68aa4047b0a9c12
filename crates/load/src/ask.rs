use std::fmt;

use bytes::Bytes;
use http::{Request, header};
use http_body_util::Full;

/// One request, ready to be sent again and again.
#[derive(Clone, Debug)]
pub struct Ask {
    pub(crate) request: Request<Full<Bytes>>,
}

impl Ask {
    /// `GET`, by nobody in particular.
    pub fn get(path: &str) -> Ask {
        let request = Request::get(path).header(header::HOST, "localhost").body(Full::default());
        Ask { request: request.expect("a path of ours") }
    }

    /// `POST` of JSON.
    pub fn post(path: &str, body: String) -> Ask {
        let request = Request::post(path)
            .header(header::HOST, "localhost")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::from(body));
        Ask { request: request.expect("a path of ours") }
    }

    /// Signed in with this token, if it is any.
    pub fn signed(self, token: &str) -> Ask {
        if token.is_empty() { self } else { self.with("authorization", &format!("Bearer {token}")) }
    }

    /// With an idempotency key.
    pub fn keyed(self, key: &str) -> Ask {
        self.with("idempotency-key", key)
    }

    /// From somebody who takes compressed answers.
    pub fn compressed(self) -> Ask {
        self.with("accept-encoding", "gzip")
    }

    /// With this header.
    pub fn with(mut self, name: &'static str, value: &str) -> Ask {
        self.request.headers_mut().insert(name, value.parse().expect("a header of ours"));
        self
    }
}

impl fmt::Display for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.request.method(), self.request.uri())
    }
}
