//! The routes: send a mail, see how a job is doing.

use axum::{extract::State, response::Response};
use http::StatusCode;
use jobs::{JobView, State as JobState};
use kernel::{Email, Error, JobId, Time};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use web::{Caller, Json, MaybeIdempotencyKey, Path, Result, Staff};

use crate::Notifications;

/// The public API of notifications.
pub fn routes(service: Notifications) -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(send)).routes(routes!(job)).with_state(service)
}

/// A mail to send.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SendEmail {
    /// To whom.
    #[schema(value_type = String, format = "email", example = "ann@example.com")]
    to: Email,
    /// One line of 1 to 200 characters.
    #[schema(example = "Your parcel")]
    subject: String,
    /// The text.
    #[serde(default)]
    body: String,
}

/// It will be sent by this job.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct SendReply {
    /// To be looked at with `GET /jobs/{id}`.
    #[schema(inline)]
    job_id: JobId,
}

/// `POST /send-email` sends a mail for staff.
#[utoipa::path(
    post, path = "/send-email", tag = "notifications",
    params(("Idempotency-Key" = Option<String>, Header, description = "the same key sends one mail")),
    request_body = SendEmail,
    responses(
        (status = 202, body = SendReply),
        (status = 403, description = "`forbidden`: this is for staff"),
        web::openapi::Problems,
    ),
    security(("bearer" = [])),
)]
async fn send(
    State(notifications): State<Notifications>,
    staff: Staff,
    MaybeIdempotencyKey(key): MaybeIdempotencyKey,
    Json(mail): Json<SendEmail>,
) -> Result<Response> {
    let subject = mail.subject.parse().map_err(|why: String| Error::invalid_field("/subject", why))?;
    let queued = notifications.send_for(staff.id, key, (mail.to, subject, mail.body)).await?;
    Ok(queued.map(|queued| SendReply { job_id: queued.job }).reply(StatusCode::ACCEPTED))
}

/// How a job is doing.
#[derive(Debug, Serialize, ToSchema)]
struct JobReply {
    #[schema(inline)]
    id: JobId,
    /// What kind of work.
    name: String,
    /// `waiting`, `running`, `done`, or `dead`: given up until somebody repeats it.
    #[schema(value_type = String, example = "done")]
    state: JobState,
    /// How many attempts were begun.
    attempt: u32,
    /// How many there may be.
    attempts: u32,
    /// Not before then.
    #[schema(inline)]
    run_at: Time,
    /// Why the last attempt failed.
    last_error: Option<String>,
    #[schema(inline)]
    added_at: Time,
    /// When it was done or given up.
    #[schema(inline)]
    finished_at: Option<Time>,
}

impl From<JobView> for JobReply {
    fn from(job: JobView) -> JobReply {
        let JobView { id, name, state, attempt, attempts, run_at, last_error, added_at, finished_at, .. } =
            job;
        JobReply { id, name, state, attempt, attempts, run_at, last_error, added_at, finished_at }
    }
}

/// `GET /jobs/{id}` says how a mail is doing, to staff and to who sent it.
#[utoipa::path(
    get, path = "/jobs/{id}", tag = "notifications",
    params(("id" = String, Path, description = "a job: `job_…`")),
    responses(
        (status = 200, body = JobReply),
        (status = 404, description = "`no_such_job`"),
        web::openapi::Problems,
    ),
    security(("bearer" = [])),
)]
async fn job(
    State(notifications): State<Notifications>,
    caller: Caller,
    Path(id): Path<JobId>,
) -> Result<Json<JobReply>> {
    let job = notifications.job(id, caller).await?;
    Ok(Json(job.into()))
}
