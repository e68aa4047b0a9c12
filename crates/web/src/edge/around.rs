//! What the layers here have in common: something before a request, something
//! around the answer.
//!
//! `tower` would have each of them put its answer into a box of its own, and
//! `axum` copy all of them for each request. Those that stand [`together`] are
//! one layer: one box, one copy.

use std::{
    convert::Infallible,
    future::Future,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
};

use axum::{
    extract::Request,
    response::{IntoResponse, Response},
};
use futures::FutureExt;
use kernel::BoxFuture;
use tower::{Layer, Service};

use crate::Failure;

/// What a layer does.
pub trait Around: Send + Sync + 'static {
    /// What it keeps of the request until the answer is there.
    type Kept: Send + 'static;

    /// Looks at the request, changes it, or refuses it in the place of whoever is inside.
    fn before(&self, request: &mut Request) -> Result<Self::Kept, Failure>;

    /// Awaits the answer. Nothing is done for it before it is awaited; it need not be.
    fn around(kept: Self::Kept, answer: Answer<'_>) -> impl Future<Output = Response> + Send;
}

/// The answer to come. Pinned where it is: layers hand a pointer on, where
/// moving one future into the next would double it at every step.
pub type Answer<'a> = Pin<&'a mut (dyn Future<Output = Response> + Send + 'a)>;

/// One inside the other, the first outermost.
impl<A: Around, B: Around> Around for (A, B) {
    /// A refusal is kept, too: it passes whoever is outside, like an answer.
    /// Boxed, because it is seldom, and its place is in every request.
    type Kept = (A::Kept, Result<B::Kept, Box<Failure>>);

    fn before(&self, request: &mut Request) -> Result<Self::Kept, Failure> {
        let outside = self.0.before(request)?;
        Ok((outside, self.1.before(request).map_err(Box::new)))
    }

    async fn around((outside, inside): Self::Kept, answer: Answer<'_>) -> Response {
        let answer = pin!(within::<B>(inside, answer));
        A::around(outside, answer).await
    }
}

/// One that may be left out.
impl<L: Around> Around for Option<L> {
    type Kept = Option<L::Kept>;

    fn before(&self, request: &mut Request) -> Result<Self::Kept, Failure> {
        self.as_ref().map(|layer| layer.before(request)).transpose()
    }

    async fn around(kept: Self::Kept, answer: Answer<'_>) -> Response {
        match kept {
            Some(kept) => L::around(kept, answer).await,
            None => answer.await,
        }
    }
}

/// The answer, or the refusal: made where it is awaited, because by then the
/// layers outside have said what it is about.
async fn within<L: Around>(kept: Result<L::Kept, Box<Failure>>, answer: Answer<'_>) -> Response {
    match kept {
        Ok(kept) => L::around(kept, answer).await,
        Err(failure) => failure.into_response(),
    }
}

/// Several layers as one, the outermost first.
#[macro_export]
macro_rules! together {
    ($($layer:expr),+ $(,)?) => { $crate::edge::Together::new($crate::together!(@ $($layer),+)) };
    (@ $last:expr) => { $last };
    (@ $first:expr, $($rest:expr),+) => { ($first, $crate::together!(@ $($rest),+)) };
}

/// A layer made of what it does: see [`together!`].
pub struct Together<L>(Arc<L>);

impl<L: Around> Together<L> {
    /// Puts this around whatever is inside.
    pub fn new(layer: L) -> Together<L> {
        Together(Arc::new(layer))
    }
}

impl<L> Clone for Together<L> {
    fn clone(&self) -> Together<L> {
        Together(self.0.clone())
    }
}

impl<L, S> Layer<S> for Together<L> {
    type Service = Layered<L, S>;

    fn layer(&self, inner: S) -> Layered<L, S> {
        Layered { layer: self.0.clone(), inner }
    }
}

/// A service with a layer around it. It does nothing before its answer is awaited.
pub struct Layered<L, S> {
    layer: Arc<L>,
    inner: S,
}

impl<L, S: Clone> Clone for Layered<L, S> {
    fn clone(&self) -> Layered<L, S> {
        Layered { layer: self.layer.clone(), inner: self.inner.clone() }
    }
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

    fn call(&mut self, mut request: Request) -> Self::Future {
        let kept = self.layer.before(&mut request).map_err(Box::new);
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer =
                pin!(answer.map(|answer| answer.unwrap_or_else(|never| match never {}).into_response()));
            Ok(within::<L>(kept, answer).await)
        })
    }
}

/// Makes a struct a layer of its own, too.
macro_rules! layer {
    ($Layer:ident) => {
        impl<S> tower::Layer<S> for $Layer {
            type Service = $crate::edge::around::Layered<$Layer, S>;
            fn layer(&self, inner: S) -> Self::Service {
                $crate::edge::Together::new(self.clone()).layer(inner)
            }
        }
    };
}

pub(super) use layer;
