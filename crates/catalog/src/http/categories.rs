//! `/categories`

use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use kernel::CategoryId;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;
use web::{
    IfMatch, Json, List, MaybeCaller, MaybeIdempotencyKey, Page, Path, Result, Staff, Versioned, keep,
    openapi::Problems,
};

use crate::{
    Catalog,
    model::{Category, CategoryChange, Label, NewCategory, Slug},
    service::ChangeCategory,
};

/// A category.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct CategoryReply {
    /// Which.
    #[schema(inline)]
    pub id: CategoryId,
    /// The one it is part of; null at the top.
    #[schema(value_type = Option<String>)]
    pub parent: Option<CategoryId>,
    /// Its name in addresses.
    #[schema(value_type = String, examples("mugs"))]
    pub slug: Slug,
    /// What it is called.
    #[schema(value_type = String, examples("Mugs"))]
    pub name: Label,
    /// Counts its changes, from 1.
    pub version: i64,
}

impl From<Category> for CategoryReply {
    fn from(category: Category) -> CategoryReply {
        let Category { id, parent_id, slug, name, version } = category;
        CategoryReply { id, parent: parent_id, slug, name, version }
    }
}

fn versioned(category: Category) -> Versioned<CategoryReply> {
    Versioned::new(category.version, category.into())
}

/// What `POST /categories` takes.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewCategoryBody {
    /// What it is called: 1 to 200 characters.
    #[schema(value_type = String, min_length = 1, max_length = 200, examples("Mugs"))]
    pub name: Label,
    /// Its name in addresses; made from its name when left out.
    #[schema(value_type = Option<String>, examples("mugs"))]
    pub slug: Option<Slug>,
    /// The one it is part of; at the top when left out.
    #[schema(value_type = Option<String>)]
    pub parent: Option<CategoryId>,
}

/// Makes a category. For staff.
#[utoipa::path(post, path = "/categories", tag = "catalog", security(("bearer" = [])), request_body = NewCategoryBody, responses(
    (status = 201, body = CategoryReply, headers(("etag", description = "its version"))),
    (status = 400, description = "`no_such_parent`"),
    (status = 409, description = "`slug_taken`"), Problems))]
pub async fn create(
    State(catalog): State<Catalog>,
    _: Staff,
    key: MaybeIdempotencyKey,
    Json(body): Json<NewCategoryBody>,
) -> Result<Response> {
    let NewCategoryBody { name, slug, parent } = body;
    let answer = catalog.create_category(NewCategory { name, slug, parent }, key.0.as_ref()).await?;
    Ok(answer.map(versioned).reply_as(StatusCode::CREATED).into_response())
}

/// Lists categories by their slugs; the tree is in their parents.
#[utoipa::path(get, path = "/categories", tag = "catalog", params(Page), security((), ("bearer" = [])),
    responses((status = 200, body = List<CategoryReply>, headers(("etag", description = "of what is listed"))), (status = 304, description = "the caller has just this page"), Problems))]
pub async fn list(
    State(catalog): State<Catalog>,
    caller: MaybeCaller,
    page: Page,
) -> Result<impl IntoResponse> {
    let list = catalog.list_categories(&page).await?.map(CategoryReply::from);
    Ok((keep::public(&caller, catalog.settings.shared), list))
}

/// What `PATCH /categories/{id}` takes; what is left out stays.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeCategoryBody {
    /// What it is called.
    #[schema(value_type = Option<String>, min_length = 1, max_length = 200)]
    pub name: Option<Label>,
    /// Its name in addresses.
    #[schema(value_type = Option<String>)]
    pub slug: Option<Slug>,
    /// The one it is part of; null puts it at the top.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    pub parent: Option<Option<CategoryId>>,
}

/// Tells null from nothing: what is there is `Some`, whatever it is.
fn given<'de, D: Deserializer<'de>>(d: D) -> std::result::Result<Option<Option<CategoryId>>, D::Error> {
    Option::deserialize(d).map(Some)
}

/// Changes a category, or moves it with everything below it. For staff.
#[utoipa::path(patch, path = "/categories/{id}", tag = "catalog", security(("bearer" = [])), params(("id" = inline(CategoryId), Path)),
    request_body = ChangeCategoryBody, responses(
        (status = 200, body = CategoryReply, headers(("etag", description = "its version"))),
        (status = 400, description = "`nothing_to_change`, `no_such_parent`"),
        (status = 404, description = "`no_such_category`"),
        (status = 409, description = "`slug_taken`, `category_cycle`"),
        (status = 412, description = "`stale`: it has another version than `If-Match` says"), Problems))]
pub async fn change(
    State(catalog): State<Catalog>,
    _: Staff,
    Path(id): Path<CategoryId>,
    if_match: IfMatch,
    key: MaybeIdempotencyKey,
    Json(body): Json<ChangeCategoryBody>,
) -> Result<Response> {
    let ChangeCategoryBody { name, slug, parent } = body;
    let change = CategoryChange { name, slug, parent };
    let answer = catalog.change_category(ChangeCategory { id, if_match, change }, key.0.as_ref()).await?;
    Ok(answer.map(versioned).reply_as(StatusCode::OK))
}
