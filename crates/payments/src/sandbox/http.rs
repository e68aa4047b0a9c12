//! The sandbox behind HTTP, where it runs on its own.

use std::time::Duration;

use axum::{
    Json, Router,
    extract::{Path, State},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use http::StatusCode;
use kernel::AttemptId;

use super::Sandbox;
use crate::provider::{Change, Charge, Outcome, Provider};

/// How long an answer that is kept back hangs: longer than anybody waits.
const SILENCE: Duration = Duration::from_secs(60);

/// What a provider is asked over HTTP.
pub fn routes(sandbox: Sandbox) -> Router {
    let authorise = async |State(sandbox): State<Sandbox>, Json(charge): Json<Charge>| {
        reply(&sandbox, sandbox.authorise(&charge).await).await
    };
    let capture = async |State(sandbox): State<Sandbox>, Json(change): Json<Change>| {
        reply(&sandbox, sandbox.capture(&change).await).await
    };
    let void = async |State(sandbox): State<Sandbox>, Json(change): Json<Change>| {
        reply(&sandbox, sandbox.void(&change).await).await
    };
    let refund = async |State(sandbox): State<Sandbox>, Json(change): Json<Change>| {
        reply(&sandbox, sandbox.refund(&change).await).await
    };
    Router::new()
        .route("/sandbox/authorise", post(authorise))
        .route("/sandbox/capture", post(capture))
        .route("/sandbox/void", post(void))
        .route("/sandbox/refund", post(refund))
        .route("/sandbox/calls/{key}", get(find))
        .with_state(sandbox)
}

async fn find(State(sandbox): State<Sandbox>, Path(key): Path<AttemptId>) -> Response {
    match sandbox.find(key).await {
        Ok(Some(outcome)) => Json(outcome).into_response(),
        Ok(None) => StatusCode::NOT_FOUND.into_response(),
        Err(_) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

async fn reply(sandbox: &Sandbox, outcome: Outcome) -> Response {
    match outcome {
        Outcome::Unknown { .. } => {
            sandbox.db().world().sleep(SILENCE).await;
            StatusCode::GATEWAY_TIMEOUT.into_response()
        }
        clear => Json(clear).into_response(),
    }
}
