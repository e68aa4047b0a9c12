//! The end that answers.

use std::future::Future;

use axum::{
    body::Body,
    extract::Request,
    response::{IntoResponse, Response},
};
use http::{StatusCode, header};
use http_body_util::{BodyExt, Limited};
use kernel::{Error, World};
use serde::{Serialize, de::DeserializeOwned};

use crate::{wire, within};

/// Reads the ask, has it answered and writes the answer or the error. Past the
/// deadline that the caller sent the work is refused or dropped.
pub async fn answer<Q, A, F>(request: Request, work: impl FnOnce(Q) -> F) -> Response
where
    Q: DeserializeOwned,
    A: Serialize,
    F: Future<Output = kernel::Result<A>>,
{
    let path = request.uri().path().to_owned();
    let Some(left) = wire::read_left(request.headers()) else {
        return reply(read_and_work(request, work).await);
    };
    let (service, call) = named(&path);
    if left.is_zero() {
        return reply::<A>(Err(wire::too_late(service, call)));
    }
    // A test hands its own clock in as an extension of the request.
    let world = request.extensions().get::<World>().cloned().unwrap_or_else(World::real);
    let work = within(world.steady() + left, read_and_work(request, work));
    match world.timeout(left, work).await {
        Some(outcome) => reply(outcome),
        None => reply::<A>(Err(wire::too_late(service, call))),
    }
}

async fn read_and_work<Q, A, F>(request: Request, work: impl FnOnce(Q) -> F) -> kernel::Result<A>
where
    Q: DeserializeOwned,
    F: Future<Output = kernel::Result<A>>,
{
    let body = Limited::new(request.into_body(), wire::LARGEST_BYTES).collect().await;
    let body =
        body.map_err(|error| Error::invalid("unreadable_ask", format!("the ask cannot be read: {error}")))?;
    let ask = serde_json::from_slice(&body.to_bytes()).map_err(|error| {
        Error::invalid("unreadable_ask", format!("the ask is not what this call takes: {error}"))
    })?;
    work(ask).await
}

/// Answers with an error, as a call that the service itself refuses.
pub fn refuse(error: kernel::Error) -> Response {
    reply::<()>(Err(error))
}

fn reply<A: Serialize>(outcome: kernel::Result<A>) -> Response {
    let (status, body) = match &outcome {
        Ok(answer) => (StatusCode::OK, serde_json::to_vec(answer)),
        Err(error) => {
            if error.cause.is_some() {
                // The cause does not travel, so this is the last place that can tell it.
                tracing::error!(code = %error.code, error = error.chain(), "a call failed here");
            }
            (wire::REFUSED, serde_json::to_vec(error))
        }
    };
    match body {
        Ok(body) => (status, [(header::CONTENT_TYPE, "application/json")], Body::from(body)).into_response(),
        Err(error) => {
            tracing::error!(%error, "an answer cannot be written as JSON");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// The service and the call of `/rpc/inventory/hold`.
fn named(path: &str) -> (&str, &str) {
    let mut parts = path.rsplit('/');
    let call = parts.next().unwrap_or_default();
    (parts.next().unwrap_or_default(), call)
}
