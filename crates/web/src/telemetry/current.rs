//! What is being worked on here, for whoever tells somebody else about it.

use std::{future::Future, sync::Arc};

use http::{HeaderValue, Uri};

use super::Trace;

tokio::task_local! {
    static CURRENT: Arc<Current>;
}

/// A request (or a job, or an event) under way.
pub(crate) struct Current {
    pub trace: Trace,
    pub request: Option<(HeaderValue, Uri)>,
}

impl Current {
    /// Works on it: all that is asked here meanwhile is about it.
    pub async fn scope<T>(self, work: impl Future<Output = T>) -> T {
        CURRENT.scope(Arc::new(self), work).await
    }
}

/// Works as a step of a trace: what a job or a consumer does with the trace
/// that its row carries.
pub async fn within<T>(trace: Trace, work: impl Future<Output = T>) -> T {
    Current { trace, request: None }.scope(work).await
}

/// The trace of what is being worked on here.
pub fn current() -> Option<Trace> {
    CURRENT.try_with(|current| current.trace).ok()
}

/// The same as a `traceparent`, to be sent along or saved.
pub fn traceparent() -> Option<String> {
    current().map(|trace| trace.to_string())
}

/// The id of the request under way.
pub(crate) fn request_id() -> Option<String> {
    let id = CURRENT.try_with(|current| current.request.as_ref().map(|(id, _)| id.clone())).ok()??;
    id.to_str().ok().map(str::to_owned)
}

/// The address of the request under way, as it came in.
pub(crate) fn uri() -> Option<Uri> {
    CURRENT.try_with(|current| current.request.as_ref().map(|(_, uri)| uri.clone())).ok()?
}
