//! How long an answer may take.

use std::{future::Future, time::Duration};

use axum::{
    extract::Request,
    response::{IntoResponse, Response},
};
use kernel::{Error, Kind, World};

use super::around::{Around, layer};
use crate::Failure;

/// Ends requests that take longer: 504 `request_timed_out`. What they had
/// begun is rolled back or goes on in the background, so whether it was done
/// is unknown: repeat with the same `Idempotency-Key`.
pub fn time_limit(world: World, limit: Duration) -> TimeLimit {
    TimeLimit { world, limit }
}

/// See [`time_limit`].
#[derive(Clone)]
pub struct TimeLimit {
    world: World,
    limit: Duration,
}

layer!(TimeLimit);

impl Around for TimeLimit {
    type Kept = TimeLimit;

    fn before(&self, request: Request) -> Result<(Request, TimeLimit), Failure> {
        Ok((request, self.clone()))
    }

    async fn around(
        TimeLimit { world, limit }: TimeLimit,
        answer: impl Future<Output = Response> + Send,
    ) -> Response {
        world.timeout(limit, answer).await.unwrap_or_else(|| {
            let error =
                Error::new(Kind::TimedOut, "request_timed_out", "this took longer than a request may take");
            Failure::from(error).into_response()
        })
    }
}
