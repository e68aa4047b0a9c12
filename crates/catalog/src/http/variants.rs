//! `/products/{id}/variants` and `/variants`

use axum::{extract::State, http::StatusCode, response::Response};
use kernel::{Money, ProductId, Sku, Time, VariantId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use web::{
    IfMatch, Json, List, MaybeIdempotencyKey, Page, Path, Result, Staff, Versioned, openapi::Problems,
};

use crate::{
    Catalog,
    model::{Label, NewVariant, Variant, VariantChange},
    service::ChangeVariant,
    store::PriceEntry,
};

/// What can be bought of a product.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct VariantReply {
    /// Which.
    #[schema(inline)]
    pub id: VariantId,
    /// What it is ordered by.
    #[schema(inline)]
    pub sku: Sku,
    /// What sets it apart from the others of its product.
    #[schema(value_type = Option<String>, examples("blue, large"))]
    pub name: Option<Label>,
    /// What one piece costs.
    #[schema(inline)]
    pub price: Money,
    /// Whether it is for sale, as far as its product is.
    pub for_sale: bool,
    /// Counts its changes, from 1.
    pub version: i64,
    /// How many can be bought now, where one product is shown and that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub available: Option<i64>,
}

impl From<Variant> for VariantReply {
    fn from(variant: Variant) -> VariantReply {
        let Variant { id, sku, name, price, for_sale, version, .. } = variant;
        VariantReply { id, sku, name, price, for_sale, version, available: None }
    }
}

fn versioned(variant: Variant) -> Versioned<VariantReply> {
    Versioned::new(variant.version, variant.into())
}

/// What `POST /products/{id}/variants` takes.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewVariantBody {
    /// What it is ordered by; one variant each.
    #[schema(inline)]
    pub sku: Sku,
    /// What sets it apart from the others of its product.
    #[schema(value_type = Option<String>, min_length = 1, max_length = 200, examples("blue, large"))]
    pub name: Option<Label>,
    /// What one piece costs.
    #[schema(inline)]
    pub price: Money,
}

impl From<NewVariantBody> for NewVariant {
    fn from(body: NewVariantBody) -> NewVariant {
        let NewVariantBody { sku, name, price } = body;
        NewVariant { sku, name, price }
    }
}

/// Adds a variant to a product. For staff.
#[utoipa::path(post, path = "/products/{id}/variants", tag = "catalog", security(("bearer" = [])), params(("id" = inline(ProductId), Path)),
    request_body = NewVariantBody, responses(
        (status = 201, body = VariantReply, headers(("etag", description = "its version"))),
        (status = 400, description = "`no_price`, `too_many_variants`"),
        (status = 404, description = "`no_such_product`"),
        (status = 409, description = "`sku_taken`"), Problems))]
pub async fn add(
    State(catalog): State<Catalog>,
    _: Staff,
    Path(id): Path<ProductId>,
    key: MaybeIdempotencyKey,
    Json(body): Json<NewVariantBody>,
) -> Result<Response> {
    let answer = catalog.add_variant(id, body.into(), key.0.as_ref()).await?;
    Ok(answer.map(versioned).reply_as(StatusCode::CREATED))
}

/// What `PATCH /variants/{id}` takes; what is left out stays.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeVariantBody {
    /// What sets it apart from the others of its product.
    #[schema(value_type = Option<String>, min_length = 1, max_length = 200)]
    pub name: Option<Label>,
    /// What one piece costs from now on. Orders that were placed keep theirs.
    #[schema(inline)]
    pub price: Option<Money>,
    /// Whether it is for sale.
    pub for_sale: Option<bool>,
}

/// Changes a variant; what it cost before stays in its history. For staff.
#[utoipa::path(patch, path = "/variants/{id}", tag = "catalog", security(("bearer" = [])), params(("id" = inline(VariantId), Path)),
    request_body = ChangeVariantBody, responses(
        (status = 200, body = VariantReply, headers(("etag", description = "its version"))),
        (status = 400, description = "`nothing_to_change`, `no_price`"),
        (status = 404, description = "`no_such_variant`"),
        (status = 412, description = "`stale`: it has another version than `If-Match` says"), Problems))]
pub async fn change(
    State(catalog): State<Catalog>,
    _: Staff,
    Path(id): Path<VariantId>,
    if_match: IfMatch,
    key: MaybeIdempotencyKey,
    Json(body): Json<ChangeVariantBody>,
) -> Result<Response> {
    let ChangeVariantBody { name, price, for_sale } = body;
    let change = VariantChange { name, price, for_sale };
    let answer = catalog.change_variant(ChangeVariant { id, if_match, change }, key.0.as_ref()).await?;
    Ok(answer.map(versioned).reply_as(StatusCode::OK))
}

/// What a variant cost, and from when on.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct PriceReply {
    /// The version of the variant that brought it.
    version: i64,
    /// Per piece.
    #[schema(inline)]
    price: Money,
    /// From then on.
    #[schema(inline)]
    since_at: Time,
}

impl From<PriceEntry> for PriceReply {
    fn from(entry: PriceEntry) -> PriceReply {
        let PriceEntry { version, price, since_at } = entry;
        PriceReply { version, price, since_at }
    }
}

/// Lists what a variant cost, the newest first. For staff.
#[utoipa::path(get, path = "/variants/{id}/prices", tag = "catalog", security(("bearer" = [])), params(("id" = inline(VariantId), Path), Page), responses(
    (status = 200, body = List<PriceReply>, headers(("etag", description = "of what is listed"))),
    (status = 304, description = "the caller has just this page"),
    (status = 404, description = "`no_such_variant`"), Problems))]
pub async fn price_history(
    State(catalog): State<Catalog>,
    _: Staff,
    Path(id): Path<VariantId>,
    page: Page,
) -> Result<List<PriceReply>> {
    Ok(catalog.price_history(id, &page).await?.map(PriceReply::from))
}
