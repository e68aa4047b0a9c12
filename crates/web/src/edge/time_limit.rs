//! How long an answer may take.

use std::time::Duration;

use axum::{
    extract::Request,
    response::{IntoResponse, Response},
};
use kernel::{Error, Kind, World};

use super::around::{Answer, Around, layer};
use crate::Failure;

/// Ends requests that take longer: 504 `request_timed_out`. What they had
/// begun is rolled back or goes on in the background, so whether it was done
/// is unknown: repeat with the same `Idempotency-Key`.
pub fn time_limit(world: World, limit: Duration) -> TimeLimit {
    TimeLimit { world, limit, at: |_| None }
}

/// See [`time_limit`].
#[derive(Clone)]
pub struct TimeLimit {
    world: World,
    limit: Duration,
    at: fn(&str) -> Option<Duration>,
}

impl TimeLimit {
    /// The same, but for paths that have a limit of their own.
    #[must_use]
    pub fn unless(self, at: fn(&str) -> Option<Duration>) -> TimeLimit {
        TimeLimit { at, ..self }
    }
}

layer!(TimeLimit);

impl Around for TimeLimit {
    type Kept = (World, Duration);

    fn before(&self, request: &mut Request) -> Result<Self::Kept, Failure> {
        let limit = (self.at)(request.uri().path()).unwrap_or(self.limit);
        Ok((self.world.clone(), limit))
    }

    async fn around((world, limit): Self::Kept, answer: Answer<'_>) -> Response {
        world.timeout(limit, answer).await.unwrap_or_else(|| {
            let error =
                Error::new(Kind::TimedOut, "request_timed_out", "this took longer than a request may take");
            Failure::from(error).into_response()
        })
    }
}
