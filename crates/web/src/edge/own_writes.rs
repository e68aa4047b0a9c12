//! Whoever changed something sees it, although lists may come from a replica.

use axum::{extract::Request, response::Response};
use db::Caller;
use http::{HeaderMap, HeaderValue, Method, header};
use kernel::{Time, World};

use super::around::{Answer, Around, layer};
use crate::Failure;

/// The cookie that carries the time of the last change: no secret, and no
/// harm when somebody makes it up, who then sees what may be a moment old.
const COOKIE: &str = "carmel_wrote";
/// For how long it is kept: longer than any replica that is used may be behind.
const KEPT_SECONDS: u32 = 700;

/// Serves each request for a [`Caller`], who brings the time of his last change
/// along in a cookie: what he sees is never older than that. Who brings none is
/// answered by the primary, and has one from then on.
pub fn own_writes(world: World) -> OwnWrites {
    OwnWrites { world }
}

/// See [`own_writes`].
#[derive(Clone)]
pub struct OwnWrites {
    world: World,
}

/// What is known of a request until its answer is there.
pub struct Kept {
    world: World,
    /// Nobody, when he brought nothing along.
    caller: Option<Caller>,
    reads: bool,
}

layer!(OwnWrites);

impl Around for OwnWrites {
    type Kept = Kept;

    fn before(&self, request: &mut Request) -> Result<Kept, Failure> {
        let reads = [Method::GET, Method::HEAD, Method::OPTIONS].contains(request.method());
        let caller = wrote_at(request.headers()).map(|at| Caller::new(Some(at)));
        Ok(Kept { world: self.world.clone(), caller, reads })
    }

    async fn around(kept: Kept, answer: Answer<'_>) -> Response {
        let Kept { world, caller, reads } = kept;
        let is_known = caller.is_some();
        let mut response = match caller {
            Some(caller) => caller.serve(answer).await,
            None => answer.await,
        };
        if !reads || !is_known {
            let cookie = format!(
                "{COOKIE}={}; Path=/; Max-Age={KEPT_SECONDS}; HttpOnly; SameSite=Lax",
                world.now().micros()
            );
            if let Ok(cookie) = HeaderValue::try_from(cookie) {
                response.headers_mut().append(header::SET_COOKIE, cookie);
            }
        }
        response
    }
}

fn wrote_at(headers: &HeaderMap) -> Option<Time> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|cookies| cookies.to_str().ok());
    let mut pairs =
        cookies.flat_map(|cookies| cookies.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let (_, micros) = pairs.find(|(name, _)| *name == COOKIE)?;
    micros.parse().ok().map(Time::from_micros)
}

#[cfg(test)]
mod tests {
    use axum::{Router, body::Body, routing::get};
    use tower::ServiceExt;

    use super::*;

    async fn ask(method: &str, cookie: Option<&str>) -> (Option<Time>, Option<String>) {
        let seen = std::sync::Arc::new(std::sync::Mutex::new(None));
        let note = seen.clone();
        let handler = move || async move {
            *note.lock().unwrap() = Caller::current().and_then(|caller| caller.wrote_at());
        };
        let routes =
            Router::new().route("/", get(handler.clone()).post(handler)).layer(own_writes(World::real()));
        let mut request = Request::builder().method(method).uri("/");
        if let Some(cookie) = cookie {
            request = request.header("cookie", cookie);
        }
        let answer = routes.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let set = answer.headers().get("set-cookie").map(|set| set.to_str().unwrap().to_owned());
        let seen = *seen.lock().unwrap();
        (seen, set)
    }

    #[tokio::test]
    async fn a_change_and_a_first_visit_set_the_time_and_a_look_keeps_it() {
        let (nobody, first) = ask("GET", None).await;
        let (known, again) = ask("GET", Some("a=b; carmel_wrote=1700000000000000")).await;
        let (_, changed) = ask("POST", Some("carmel_wrote=1700000000000000")).await;
        let (forged, _) = ask("GET", Some("carmel_wrote=yesterday")).await;

        assert!(nobody.is_none() && forged.is_none(), "the primary answers");
        assert_eq!(known, Some(Time::from_micros(1_700_000_000_000_000)));
        assert_eq!(again, None);
        for set in [first, changed] {
            let set = set.unwrap();
            assert!(set.starts_with("carmel_wrote=") && set.contains("HttpOnly"), "{set}");
            assert!(!set.contains("1700000000000000"), "{set}");
        }
    }
}
