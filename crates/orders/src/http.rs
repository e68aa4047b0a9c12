//! Routes: read the request, call the service, answer.

mod change;
mod view;

use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use contracts::{inventory::Line, orders::OrderState};
use kernel::{Error, OrderId, UserId};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};
use web::{
    Answer, Caller, Cursor, Customer, IdempotencyKey, Json, List, Page, Path, PreferWait, Query, Result,
    Role, Versioned, openapi::Problems,
};

use crate::{
    Orders,
    model::{Address, Basket, is_settled},
    service::{Actor, Purchase},
    store::Wanted,
};
use view::{OrderSummary, OrderView};

/// The public API of orders.
pub fn routes(service: Orders) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(place, list))
        .routes(routes!(get))
        .routes(routes!(change::cancel))
        .routes(routes!(change::review))
        .routes(routes!(change::ship))
        .routes(routes!(change::deliver))
        .routes(routes!(change::refund))
        .routes(routes!(change::resume))
        .with_state(service)
}

/// What somebody wants to buy.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PlaceOrder {
    /// What: 1 to 100 lines; those of one SKU become one.
    #[schema(min_items = 1, max_items = 100)]
    lines: Vec<Line>,
    /// How it is paid.
    payment: PayWith,
    /// Where it goes to.
    address: Address,
}

/// How an order is paid.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PayWith {
    /// The provider's token of the card.
    #[schema(min_length = 1, max_length = 200, example = "tok_success")]
    token: String,
}

impl PlaceOrder {
    fn checked(self) -> Result<Purchase> {
        let token = self.payment.token;
        if !(1..=200).contains(&token.len()) || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            let error = Error::invalid_field("/payment/token", "a token is 1 to 200 visible characters");
            return Err(error.into());
        }
        self.address.check()?;
        Ok(Purchase { basket: Basket::new(self.lines)?, token, address: self.address })
    }
}

/// `POST /orders` places an order for the signed-in customer.
///
/// Answers at once with the order as it was placed, or, asked with
/// `Prefer: wait=N`, waits until it is settled: confirmed, cancelled or in
/// review.
#[utoipa::path(
    post, path = "/orders", tag = "orders", request_body = PlaceOrder,
    params(
        ("Idempotency-Key" = String, Header, description = "new for each new order; the same for each repetition"),
        ("Prefer" = Option<String>, Header, description = "`wait=N`: wait up to N seconds until the order is settled"),
    ),
    responses(
        (status = 200, body = OrderView, description = "settled within the wait"),
        (status = 202, body = OrderView, description = "accepted; `Location` says where to look"),
        (status = 409, description = "`not_sold`, `mixed_currencies`"),
        Problems,
    ),
    security(("bearer" = [])),
)]
async fn place(
    State(orders): State<Orders>,
    customer: Customer,
    key: IdempotencyKey,
    wait: PreferWait,
    Json(body): Json<PlaceOrder>,
) -> Result<Response> {
    let placed = orders.place(customer.id, &key, body.checked()?).await?;
    let id = placed.value.order.id;
    let Some(patience) = wait.0 else {
        return Ok(located(id, accepted(placed.map(OrderView::for_customer))));
    };
    let replayed = placed.replayed;
    let details = orders.settled(id, patience).await?;
    let settled = is_settled(details.order.state);
    let answer = Answer { value: OrderView::for_customer(details), replayed };
    if !settled {
        return Ok(located(id, accepted(answer)));
    }
    let mut response = answer.map(OrderView::versioned).reply_as(StatusCode::OK);
    response.headers_mut().extend(wait.applied());
    Ok(located(id, response))
}

fn accepted(answer: Answer<OrderView>) -> Response {
    answer.map(OrderView::versioned).reply_as(StatusCode::ACCEPTED)
}

fn located(id: OrderId, response: Response) -> Response {
    ([(header::LOCATION, format!("/orders/{id}"))], response).into_response()
}

/// `GET /orders/{id}` shows an order: the customer's own, or any to staff.
#[utoipa::path(
    get, path = "/orders/{id}", tag = "orders", params(("id" = inline(OrderId), Path)),
    responses(
        (status = 200, body = OrderView),
        (status = 304, description = "the version that `If-None-Match` names is the current one"),
        (status = 404, description = "`no_such_order`"),
        Problems,
    ),
    security(("bearer" = [])),
)]
async fn get(
    State(orders): State<Orders>,
    caller: Caller,
    Path(id): Path<OrderId>,
) -> Result<Versioned<OrderView>> {
    let view = match actor(caller) {
        Actor::Customer(customer) => OrderView::for_customer(orders.details(id, Some(customer)).await?),
        Actor::Staff(_) => OrderView::for_staff(orders.details(id, None).await?),
    };
    Ok(view.versioned())
}

/// Which orders to list.
#[derive(Clone, Copy, Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Which {
    /// Only this customer's; everybody else's are for staff.
    #[param(inline)]
    customer: Option<UserId>,
    /// Only those that stand there.
    #[param(inline)]
    state: Option<OrderState>,
}

/// `GET /orders` lists orders, the newest first: a customer's own, and all to
/// staff.
#[utoipa::path(
    get, path = "/orders", tag = "orders", params(Page, Which),
    responses((status = 200, body = List<OrderSummary>, headers(("etag", description = "of what is listed"))), (status = 304, description = "the caller has just this page"), Problems),
    security(("bearer" = [])),
)]
async fn list(
    State(orders): State<Orders>,
    caller: Caller,
    Query(Which { customer, state }): Query<Which>,
    page: Page,
) -> Result<List<OrderSummary>> {
    let before = page.after.as_ref().map(|cursor| cursor.key::<OrderId>(0)).transpose()?;
    let customer = match actor(caller) {
        Actor::Staff(_) => customer,
        Actor::Customer(own) if customer.is_none_or(|asked| asked == own) => Some(own),
        Actor::Customer(_) => {
            let message = "only staff may list the orders of others";
            return Err(Error::new(kernel::Kind::Forbidden, "forbidden", message).into());
        }
    };
    let rows = orders.list(Wanted { customer, state, before, limit: page.limit + 1 }).await?;
    Ok(List::page(rows, &page, |order| Cursor::of(&[order.id])).map(OrderSummary::from))
}

/// What somebody who is signed in may do with orders.
fn actor(caller: Caller) -> Actor {
    match caller.role {
        Role::Customer => Actor::Customer(caller.id),
        Role::Staff | Role::Admin => Actor::Staff(caller.id),
    }
}
