//! What every service's routes are inside of.

use std::{
    convert::Infallible,
    task::{Context, Poll},
};

use axum::{
    Router,
    body::Body,
    extract::Request,
    response::{IntoResponse, Response},
};
use http::header;
use kernel::BoxFuture;
use sha2::{Digest, Sha256};
use tower::{Layer, Service};

use crate::{
    Failure,
    auth::Verifier,
    body,
    idempotency::{self, BodyHash},
    keep, version,
};

/// Puts a service's routes inside what their extractors rely on: who is
/// calling (`Customer` and its siblings), the hash of the body
/// ([`crate::IdempotencyKey`]), 304 for what the caller has
/// ([`crate::Versioned`], [`crate::List`]) and who may keep an answer
/// ([`keep`]). One layer, so that a request pays for one.
pub fn service_layers(routes: Router, verifier: &Verifier) -> Router {
    routes.layer(ServiceLayer { verifier: verifier.clone() })
}

#[derive(Clone)]
struct ServiceLayer {
    verifier: Verifier,
}

impl<S> Layer<S> for ServiceLayer {
    type Service = Inside<S>;

    fn layer(&self, inner: S) -> Inside<S> {
        Inside { verifier: self.verifier.clone(), inner }
    }
}

#[derive(Clone)]
struct Inside<S> {
    verifier: Verifier,
    inner: S,
}

impl<S> Service<Request> for Inside<S>
where
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        // The one that was ready is used; its copy is left for the next request.
        let copy = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, copy);
        let verifier = self.verifier.clone();
        Box::pin(async move {
            let method = request.method().clone();
            let had = version::if_none_match(&method, request.headers());
            let request = match prepare(&verifier, request).await {
                Ok(request) => request,
                Err(failure) => return Ok(failure.into_response()),
            };
            let mut response = inner.call(request).await?;
            keep::unless_said(&method, response.status(), response.headers_mut());
            Ok(match had {
                Some(had) => version::spare(&had, response),
                None => response,
            })
        })
    }
}

async fn prepare(verifier: &Verifier, mut request: Request) -> Result<Request, Failure> {
    if let Some(caller) = verifier.caller(request.headers().get(header::AUTHORIZATION)).await? {
        request.extensions_mut().insert(caller);
    }
    if !request.headers().contains_key(idempotency::HEADER) {
        return Ok(request);
    }
    let (mut parts, body) = request.into_parts();
    let body = body::read(body).await?;
    parts.extensions.insert(BodyHash(Sha256::digest(&body).into()));
    Ok(Request::from_parts(parts, Body::from(body)))
}
