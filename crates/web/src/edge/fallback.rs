//! What nobody answers.

use axum::Router;
use http::StatusCode;
use kernel::Error;

use crate::Failure;

/// Answers with problem details where no route is (404 `no_such_route`) and
/// where a route has no such method (405 `method_not_allowed`, with `Allow`).
/// Applied last: it knows the routes that are there already.
pub fn with_fallbacks(routes: Router) -> Router {
    routes.fallback(no_such_route).method_not_allowed_fallback(method_not_allowed)
}

/// 404: there is no such route.
pub async fn no_such_route() -> Failure {
    Error::not_found("no_such_route", "there is nothing at this address; /openapi.json lists what there is")
        .into()
}

/// 405: the route is there, the method is not. The router adds `Allow`.
pub async fn method_not_allowed() -> Failure {
    let error = Error::invalid(
        "method_not_allowed",
        "this address does not know this method; Allow lists those that it knows",
    );
    Failure::with_status(StatusCode::METHOD_NOT_ALLOWED, error)
}
