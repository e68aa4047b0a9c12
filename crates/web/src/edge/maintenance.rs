//! The sign on the door.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::{extract::Request, response::Response};
use http::{HeaderValue, header};
use kernel::Error;

use super::around::{Answer, Around, layer};
use crate::Failure;

/// Whether the shop is closed for maintenance: a layer, and the switch of it.
/// While it is, everybody gets 503 `maintenance` except those who look after
/// the process itself (`/livez`, `/readyz`, `/metrics`): it is well.
#[derive(Clone, Debug, Default)]
pub struct Maintenance {
    on: Arc<AtomicBool>,
}

impl Maintenance {
    /// Closes the shop, or opens it again. Says whether that was a change.
    pub fn set(&self, on: bool) -> bool {
        self.on.swap(on, Ordering::Relaxed) != on
    }
}

layer!(Maintenance);

impl Around for Maintenance {
    type Kept = ();

    fn before(&self, request: &mut Request) -> Result<(), Failure> {
        let open = !self.on.load(Ordering::Relaxed);
        if open || matches!(request.uri().path(), "/livez" | "/readyz" | "/metrics") {
            return Ok(());
        }
        let error = Error::unavailable("maintenance", "the shop is closed for maintenance; come back soon");
        Err(Failure::from(error).header(header::RETRY_AFTER, HeaderValue::from_static("60")))
    }

    fn around((): (), answer: Answer<'_>) -> impl Future<Output = Response> + Send {
        answer
    }
}
