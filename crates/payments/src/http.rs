//! The routes of payments.

use axum::extract::State;
use http::{HeaderMap, StatusCode};
use kernel::{AttemptId, Money, OrderId, PaymentId, RefundId, Time};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use web::{Json, Path, Raw, Result, Staff, openapi::Problems};

use crate::{
    Payments,
    model::{Account, Attempt, AttemptKind, AttemptState},
    service::Books,
    store::{Entry, RefundRow},
};

/// The public API of payments.
pub fn routes(service: Payments) -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(payment)).routes(routes!(hear)).with_state(service)
}

/// The payment of an order, and everything behind it.
#[derive(Debug, Serialize, ToSchema)]
struct PaymentView {
    #[schema(inline)]
    id: PaymentId,
    #[schema(inline)]
    order: OrderId,
    /// `pending`, `authorised`, `captured`, `voided`, `refunded` or `declined`.
    #[schema(inline)]
    state: contracts::payments::PaymentState,
    /// How much was to be paid.
    #[schema(inline)]
    amount: Money,
    /// How much was taken.
    #[schema(inline)]
    captured: Money,
    /// How much of it was paid back.
    #[schema(inline)]
    refunded: Money,
    /// What the provider was asked, in order.
    attempts: Vec<AttemptView>,
    /// Double entry: the amounts of one key add up to nothing.
    ledger: Vec<LedgerEntryView>,
    /// What was paid back.
    refunds: Vec<RefundView>,
}

/// What the provider was asked.
#[derive(Debug, Serialize, ToSchema)]
struct AttemptView {
    /// The provider's idempotency key.
    #[schema(inline)]
    key: AttemptId,
    #[schema(inline)]
    kind: AttemptKind,
    #[schema(inline)]
    state: AttemptState,
    #[schema(inline)]
    amount: Money,
    /// What the provider calls the charge.
    reference: Option<String>,
    /// Why it was declined.
    code: Option<String>,
    #[schema(inline)]
    started_at: Time,
    #[schema(inline)]
    ended_at: Option<Time>,
}

/// One entry of the ledger.
#[derive(Debug, Serialize, ToSchema)]
struct LedgerEntryView {
    /// The attempt that it follows from.
    #[schema(inline)]
    key: AttemptId,
    #[schema(inline)]
    account: Account,
    #[schema(inline)]
    amount: Money,
    #[schema(inline)]
    booked_at: Time,
}

/// One refund.
#[derive(Debug, Serialize, ToSchema)]
struct RefundView {
    #[schema(inline)]
    id: RefundId,
    #[schema(inline)]
    amount: Money,
    #[schema(inline)]
    refunded_at: Time,
}

/// `GET /payments/{order_id}` shows the payment of an order to staff.
#[utoipa::path(
    get, path = "/payments/{order_id}", tag = "payments",
    params(("order_id" = String, Path, description = "the order that was paid")),
    responses(
        (status = 200, body = PaymentView),
        (status = 403, description = "`forbidden`"),
        (status = 404, description = "`no_payment`"),
        Problems,
    ),
)]
async fn payment(
    State(payments): State<Payments>,
    _: Staff,
    Path(order): Path<OrderId>,
) -> Result<Json<PaymentView>> {
    Ok(Json(payments.books(order).await?.into()))
}

/// `POST /payments/webhooks/sandbox` hears what the sandbox announces, signed
/// as Standard Webhooks 1.0 says.
#[utoipa::path(
    post, path = "/payments/webhooks/sandbox", tag = "payments",
    params(
        ("webhook-id" = String, Header, description = "the same when it is sent again"),
        ("webhook-timestamp" = String, Header, description = "seconds since 1970"),
        ("webhook-signature" = String, Header, description = "`v1,` and HMAC-SHA256 in base64"),
    ),
    request_body(content = String, content_type = "application/json"),
    responses(
        (status = 204, description = "heard"),
        (status = 400, description = "`invalid_webhook`, `webhook_mismatch`"),
        (status = 401, description = "`webhook_not_verified`"),
        Problems,
    ),
)]
async fn hear(State(payments): State<Payments>, headers: HeaderMap, Raw(body): Raw) -> Result<StatusCode> {
    payments.hear(&headers, &body).await?;
    Ok(StatusCode::NO_CONTENT)
}

impl From<Books> for PaymentView {
    fn from(Books { payment, attempts, ledger, refunds }: Books) -> PaymentView {
        PaymentView {
            id: payment.id,
            order: payment.order_id,
            state: payment.state,
            amount: payment.money(payment.amount),
            captured: payment.money(payment.captured),
            refunded: payment.money(payment.refunded),
            attempts: attempts.into_iter().map(AttemptView::from).collect(),
            ledger: ledger.into_iter().map(LedgerEntryView::from).collect(),
            refunds: refunds.into_iter().map(RefundView::from).collect(),
        }
    }
}

impl From<Attempt> for AttemptView {
    fn from(attempt: Attempt) -> AttemptView {
        let amount = attempt.money();
        let Attempt { key, kind, state, reference, code, started_at, ended_at, .. } = attempt;
        AttemptView { key, kind, state, amount, reference, code, started_at, ended_at }
    }
}

impl From<Entry> for LedgerEntryView {
    fn from(entry: Entry) -> LedgerEntryView {
        let Entry { attempt_key: key, account, amount, currency, booked_at } = entry;
        LedgerEntryView { key, account, amount: Money::new(amount, currency), booked_at }
    }
}

impl From<RefundRow> for RefundView {
    fn from(RefundRow { id, amount, currency, refunded_at }: RefundRow) -> RefundView {
        RefundView { id, amount: Money::new(amount, currency), refunded_at }
    }
}
