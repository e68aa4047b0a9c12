//! A handler that panics.

use std::{any::Any, panic::AssertUnwindSafe};

use axum::{
    extract::Request,
    response::{IntoResponse, Response},
};
use futures::FutureExt;
use kernel::Error;

use super::around::{Answer, Around, layer};
use crate::Failure;

/// Answers 500 in the place of a handler that panicked, and says so in the log.
pub fn panics() -> Panics {
    Panics
}

/// See [`panics`].
#[derive(Clone, Copy, Debug)]
pub struct Panics;

layer!(Panics);

impl Around for Panics {
    type Kept = ();

    fn before(&self, _: &mut Request) -> Result<(), Failure> {
        Ok(())
    }

    async fn around((): (), answer: Answer<'_>) -> Response {
        // What the handler was holding is dropped with it: nothing half done can be seen.
        let answered = AssertUnwindSafe(answer).catch_unwind().await;
        answered.unwrap_or_else(|panic| Failure::from(Error::internal(text_of(&*panic))).into_response())
    }
}

fn text_of(panic: &(dyn Any + Send)) -> String {
    let text =
        panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("a handler panicked: {}", text.unwrap_or("without a text"))
}
