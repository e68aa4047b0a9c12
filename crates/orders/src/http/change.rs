//! What people do to an order.

use axum::{extract::State, http::StatusCode, response::Response};
use kernel::{Error, OrderId};
use serde::Deserialize;
use utoipa::ToSchema;
use web::{Caller, IfMatch, Json, MaybeIdempotencyKey, Path, Result, Staff, openapi::Problems};

use super::{actor, view::OrderView};
use crate::{
    Orders,
    service::{Actor, Decision},
};

/// `POST /orders/{id}/cancel` cancels an order until it is confirmed: a
/// customer his own, staff any. What was done for it is undone step by step.
#[utoipa::path(
    post, path = "/orders/{id}/cancel", tag = "orders", params(("id" = inline(OrderId), Path)),
    responses(
        (status = 202, body = OrderView, description = "it is being cancelled, or is already; asked again, it goes on if it stood still"),
        (status = 404, description = "`no_such_order`"),
        (status = 409, description = "`order_confirmed`: staff can refund it"),
        (status = 412, description = "`stale`"),
        Problems,
    ),
    security(("bearer" = [])),
)]
pub async fn cancel(
    State(orders): State<Orders>,
    caller: Caller,
    Path(id): Path<OrderId>,
    key: MaybeIdempotencyKey,
    if_match: IfMatch,
) -> Result<Response> {
    let actor = actor(caller);
    let answer = orders.change(id, actor, Decision::Cancel, (key.0, if_match)).await?;
    let view = |details| match actor {
        Actor::Customer(_) => OrderView::for_customer(details),
        Actor::Staff(_) => OrderView::for_staff(details),
    };
    Ok(answer.map(|details| view(details).versioned()).reply_as(StatusCode::ACCEPTED))
}

/// What somebody found who looked at an order.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum ReviewDecision {
    /// Sell it.
    Approve,
    /// Do not.
    Deny,
}

/// Decides about an order in review.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Review {
    /// What was found.
    #[schema(inline)]
    decision: ReviewDecision,
}

/// `POST /orders/{id}/review` decides about an order in review, by staff. An
/// approved one is held again and goes on; a denied one is cancelled.
#[utoipa::path(
    post, path = "/orders/{id}/review", tag = "orders", params(("id" = inline(OrderId), Path)), request_body = Review,
    responses(
        (status = 202, body = OrderView),
        (status = 404, description = "`no_such_order`"),
        (status = 409, description = "`order_not_in_review`"),
        (status = 412, description = "`stale`"),
        Problems,
    ),
    security(("bearer" = [])),
)]
pub async fn review(
    State(orders): State<Orders>,
    staff: Staff,
    Path(id): Path<OrderId>,
    key: MaybeIdempotencyKey,
    if_match: IfMatch,
    Json(body): Json<Review>,
) -> Result<Response> {
    let decision = match body.decision {
        ReviewDecision::Approve => Decision::Approve,
        ReviewDecision::Deny => Decision::Deny,
    };
    by_staff(orders, (id, staff), decision, (key, if_match), StatusCode::ACCEPTED).await
}

/// How an order travels.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Ship {
    /// With whom.
    #[schema(max_length = 200)]
    carrier: Option<String>,
    /// By what name the carrier knows it.
    #[schema(max_length = 200)]
    tracking: Option<String>,
}

/// `POST /orders/{id}/ship` notes that a confirmed order left the house, by
/// staff.
#[utoipa::path(
    post, path = "/orders/{id}/ship", tag = "orders", params(("id" = inline(OrderId), Path)), request_body = Ship,
    responses(
        (status = 200, body = OrderView),
        (status = 404, description = "`no_such_order`"),
        (status = 409, description = "`order_not_confirmed`"),
        (status = 412, description = "`stale`"),
        Problems,
    ),
    security(("bearer" = [])),
)]
pub async fn ship(
    State(orders): State<Orders>,
    staff: Staff,
    Path(id): Path<OrderId>,
    key: MaybeIdempotencyKey,
    if_match: IfMatch,
    Json(Ship { carrier, tracking }): Json<Ship>,
) -> Result<Response> {
    for (pointer, text) in [("/carrier", &carrier), ("/tracking", &tracking)] {
        if text.as_ref().is_some_and(|text| text.chars().count() > 200 || text.chars().any(char::is_control))
        {
            return Err(Error::invalid_field(pointer, "this is at most 200 characters on one line").into());
        }
    }
    let decision = Decision::Ship { carrier, tracking };
    by_staff(orders, (id, staff), decision, (key, if_match), StatusCode::OK).await
}

/// `POST /orders/{id}/deliver` notes that a shipped order arrived, by staff.
#[utoipa::path(
    post, path = "/orders/{id}/deliver", tag = "orders", params(("id" = inline(OrderId), Path)),
    responses(
        (status = 200, body = OrderView),
        (status = 404, description = "`no_such_order`"),
        (status = 409, description = "`order_not_shipped`"),
        (status = 412, description = "`stale`"),
        Problems,
    ),
    security(("bearer" = [])),
)]
pub async fn deliver(
    State(orders): State<Orders>,
    staff: Staff,
    Path(id): Path<OrderId>,
    key: MaybeIdempotencyKey,
    if_match: IfMatch,
) -> Result<Response> {
    by_staff(orders, (id, staff), Decision::Deliver, (key, if_match), StatusCode::OK).await
}

/// `POST /orders/{id}/refund` gives the whole money of a confirmed, shipped or
/// delivered order back, by staff. What has not left the house goes back into
/// stock.
#[utoipa::path(
    post, path = "/orders/{id}/refund", tag = "orders", params(("id" = inline(OrderId), Path)),
    responses(
        (status = 202, body = OrderView),
        (status = 404, description = "`no_such_order`"),
        (status = 409, description = "`order_not_refundable`"),
        (status = 412, description = "`stale`"),
        Problems,
    ),
    security(("bearer" = [])),
)]
pub async fn refund(
    State(orders): State<Orders>,
    staff: Staff,
    Path(id): Path<OrderId>,
    key: MaybeIdempotencyKey,
    if_match: IfMatch,
) -> Result<Response> {
    by_staff(orders, (id, staff), Decision::Refund, (key, if_match), StatusCode::ACCEPTED).await
}

/// `POST /orders/{id}/resume` lets an order go on that stands still because its
/// work was given up, by staff. An order that is worked on, or waits to be, is
/// left to that.
#[utoipa::path(
    post, path = "/orders/{id}/resume", tag = "orders", params(("id" = inline(OrderId), Path)),
    responses(
        (status = 202, body = OrderView),
        (status = 404, description = "`no_such_order`"),
        (status = 409, description = "`order_at_rest`: there is nothing left to do for it"),
        (status = 412, description = "`stale`"),
        Problems,
    ),
    security(("bearer" = [])),
)]
pub async fn resume(
    State(orders): State<Orders>,
    staff: Staff,
    Path(id): Path<OrderId>,
    key: MaybeIdempotencyKey,
    if_match: IfMatch,
) -> Result<Response> {
    by_staff(orders, (id, staff), Decision::Resume, (key, if_match), StatusCode::ACCEPTED).await
}

async fn by_staff(
    orders: Orders,
    (id, staff): (OrderId, Staff),
    decision: Decision,
    (key, if_match): (MaybeIdempotencyKey, IfMatch),
    status: StatusCode,
) -> Result<Response> {
    let answer = orders.change(id, Actor::Staff(staff.id), decision, (key.0, if_match)).await?;
    Ok(answer.map(|details| OrderView::for_staff(details).versioned()).reply_as(status))
}
