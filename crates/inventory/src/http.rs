//! The routes of stock.

use axum::{extract::State, response::Response};
use http::StatusCode;
use kernel::{Error, Sku, Time};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use web::{Json, List, MaybeCaller, MaybeIdempotencyKey, Page, Path, Result, Role, Staff, openapi::Problems};

use crate::{Inventory, Movement, Reason, Stock, model::MOST_MOVED};

/// The public API of inventory.
pub fn routes(service: Inventory) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(stock))
        .routes(routes!(list))
        .routes(routes!(move_stock, movements))
        .with_state(service)
}

/// How much there is of a SKU.
#[derive(Debug, Serialize, ToSchema)]
struct StockView {
    #[schema(inline)]
    sku: Sku,
    /// How many are for sale.
    available: i64,
    /// In the shop's hands; for staff.
    #[serde(skip_serializing_if = "Option::is_none")]
    on_hand: Option<i64>,
    /// Of these, held for orders; for staff.
    #[serde(skip_serializing_if = "Option::is_none")]
    held: Option<i64>,
    /// Counts the changes; for staff.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<i64>,
}

impl StockView {
    fn for_all(stock: Stock) -> StockView {
        StockView { available: stock.available(), sku: stock.sku, on_hand: None, held: None, version: None }
    }

    fn for_staff(stock: Stock) -> StockView {
        let (on_hand, held, version) = (Some(stock.on_hand), Some(stock.held), Some(stock.version));
        StockView { on_hand, held, version, ..StockView::for_all(stock) }
    }
}

/// `GET /stock/{sku}` says how many are for sale, and staff everything.
#[utoipa::path(
    get, path = "/stock/{sku}", tag = "inventory",
    params(("sku" = String, Path, description = "a stock keeping unit")),
    responses((status = 200, body = StockView), (status = 404, description = "`no_such_stock`"), Problems),
)]
async fn stock(
    State(inventory): State<Inventory>,
    MaybeCaller(caller): MaybeCaller,
    Path(sku): Path<Sku>,
) -> Result<Json<StockView>> {
    let stock = inventory.stock(&sku).await?;
    let staff = caller.is_some_and(|caller| caller.role != Role::Customer);
    Ok(Json(if staff { StockView::for_staff(stock) } else { StockView::for_all(stock) }))
}

/// `GET /stock` lists all stock, for staff.
#[utoipa::path(
    get, path = "/stock", tag = "inventory", params(Page),
    responses((status = 200, body = List<StockView>, headers(("etag", description = "of what is listed"))), (status = 304, description = "the caller has just this page"), (status = 403, description = "`forbidden`"), Problems),
)]
async fn list(State(inventory): State<Inventory>, _: Staff, page: Page) -> Result<List<StockView>> {
    Ok(inventory.list(&page).await?.map(StockView::for_staff))
}

/// Asks to move stock in or out of the shop's hands.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct MoveStock {
    /// So many more, or, below zero, fewer.
    #[schema(minimum = -1_000_000_000, maximum = 1_000_000_000)]
    quantity: i64,
    /// Why: `received`, `counted`, `damaged`, `lost` or `returned`.
    #[schema(inline)]
    reason: Reason,
    /// What there is to say about it.
    #[serde(default)]
    #[schema(max_length = 500)]
    note: String,
}

/// One change of what is in the shop's hands.
#[derive(Debug, Serialize, ToSchema)]
struct MovementView {
    #[schema(inline)]
    sku: Sku,
    /// The stock's version after it.
    version: i64,
    /// So many more, or fewer.
    quantity: i64,
    #[schema(inline)]
    reason: Reason,
    note: String,
    #[schema(inline)]
    moved_at: Time,
}

impl From<Movement> for MovementView {
    fn from(movement: Movement) -> MovementView {
        let Movement { sku, version, quantity, reason, note, moved_at } = movement;
        MovementView { sku, version, quantity, reason, note, moved_at }
    }
}

/// `POST /stock/{sku}/movements` moves stock, by staff.
#[utoipa::path(
    post, path = "/stock/{sku}/movements", tag = "inventory",
    params(
        ("sku" = String, Path, description = "a stock keeping unit"),
        ("idempotency-key" = Option<String>, Header, description = "makes a repetition harmless"),
    ),
    request_body = MoveStock,
    responses(
        (status = 201, body = MovementView),
        (status = 400, description = "`invalid_request`"),
        (status = 403, description = "`forbidden`"),
        (status = 404, description = "`no_such_stock`"),
        (status = 409, description = "`stock_held`: that many are not free"),
        Problems,
    ),
)]
async fn move_stock(
    State(inventory): State<Inventory>,
    _: Staff,
    Path(sku): Path<Sku>,
    MaybeIdempotencyKey(key): MaybeIdempotencyKey,
    Json(body): Json<MoveStock>,
) -> Result<Response> {
    let body = body.checked()?;
    let moved = inventory.move_stock(key.as_ref(), &sku, body.quantity, body.reason, &body.note).await?;
    Ok(moved.map(MovementView::from).reply(StatusCode::CREATED))
}

impl MoveStock {
    fn checked(self) -> kernel::Result<MoveStock> {
        if self.quantity == 0 || !(-MOST_MOVED..=MOST_MOVED).contains(&self.quantity) {
            let message = format!("a movement is 1 to {MOST_MOVED} more or fewer, not {}", self.quantity);
            return Err(Error::invalid_field("/quantity", message));
        }
        if !self.reason.is_by_hand() {
            let message = format!(
                "{} follows from orders alone: say received, counted, damaged, lost or returned",
                self.reason
            );
            return Err(Error::invalid_field("/reason", message));
        }
        if self.note.chars().count() > 500 {
            return Err(Error::invalid_field("/note", "a note has at most 500 characters"));
        }
        Ok(self)
    }
}

/// `GET /stock/{sku}/movements` lists what happened to a SKU, latest first, for staff.
#[utoipa::path(
    get, path = "/stock/{sku}/movements", tag = "inventory",
    params(("sku" = String, Path, description = "a stock keeping unit"), Page),
    responses((status = 200, body = List<MovementView>, headers(("etag", description = "of what is listed"))), (status = 304, description = "the caller has just this page"), (status = 403, description = "`forbidden`"), Problems),
)]
async fn movements(
    State(inventory): State<Inventory>,
    _: Staff,
    Path(sku): Path<Sku>,
    page: Page,
) -> Result<List<MovementView>> {
    Ok(inventory.movements(&sku, &page).await?.map(MovementView::from))
}
