//! What the layers here have in common: something before a request, something
//! around the answer. One allocation each.

use std::{
    convert::Infallible,
    future::Future,
    task::{Context, Poll},
};

use axum::{
    extract::Request,
    response::{IntoResponse, Response},
};
use kernel::BoxFuture;
use tower::Service;

use crate::Failure;

/// What a layer does.
pub trait Around {
    /// What it keeps of the request until the answer is there.
    type Kept: Send + 'static;

    /// Looks at the request, changes it, or refuses it in the place of whoever is inside.
    fn before(&self, request: Request) -> Result<(Request, Self::Kept), Failure>;

    /// Awaits the answer.
    fn around(
        kept: Self::Kept,
        answer: impl Future<Output = Response> + Send,
    ) -> impl Future<Output = Response> + Send;
}

/// A service with a layer around it.
#[derive(Clone)]
pub struct Layered<L, S> {
    pub(super) layer: L,
    pub(super) inner: S,
}

impl<L, S> Service<Request> for Layered<L, S>
where
    L: Around,
    S: Service<Request, Error = Infallible>,
    S::Response: IntoResponse,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        match self.layer.before(request) {
            Ok((request, kept)) => {
                let answer = self.inner.call(request);
                let answer = async move {
                    match answer.await {
                        Ok(response) => response.into_response(),
                        Err(never) => match never {},
                    }
                };
                Box::pin(async move { Ok(L::around(kept, answer).await) })
            }
            // Made when it is awaited: by then the layers outside have said what it is about.
            Err(failure) => Box::pin(async move { Ok(failure.into_response()) }),
        }
    }
}

/// Makes a struct a layer.
macro_rules! layer {
    ($Layer:ident) => {
        impl<S> tower::Layer<S> for $Layer {
            type Service = $crate::edge::around::Layered<$Layer, S>;
            fn layer(&self, inner: S) -> Self::Service {
                $crate::edge::around::Layered { layer: self.clone(), inner }
            }
        }
    };
}

pub(super) use layer;
