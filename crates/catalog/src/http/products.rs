//! `/products`

use axum::{
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use contracts::inventory::Level;
use kernel::{CategoryId, ProductId, Time};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use web::{
    Caller, IfMatch, Json, List, MaybeCaller, MaybeIdempotencyKey, Page, Path, Query, Result, Role, Staff,
    Versioned, keep, openapi::Problems,
};

use super::variants::{NewVariantBody, VariantReply};
use crate::{
    Catalog,
    model::{Description, Full, Label, NewProduct, ProductChange, ProductError, ProductState, Slug, Sought},
    service::{ChangeProduct, Eyes, Search},
};

/// A product with its variants.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ProductReply {
    /// Which.
    #[schema(inline)]
    pub id: ProductId,
    /// Its name in addresses.
    #[schema(value_type = String, examples("blue-mug"))]
    pub slug: Slug,
    /// What it is called.
    #[schema(value_type = String, examples("Blue mug"))]
    pub name: Label,
    /// What there is to say about it.
    #[schema(value_type = String)]
    pub description: Description,
    /// Whether it is for sale.
    #[schema(inline)]
    pub state: ProductState,
    /// Where it is found.
    #[schema(value_type = Vec<String>)]
    pub categories: Vec<CategoryId>,
    /// What can be bought of it.
    pub variants: Vec<VariantReply>,
    /// Counts the changes of it and of anything of it, from 1.
    pub version: i64,
    /// When it was made.
    #[schema(inline)]
    pub created_at: Time,
    /// When it, or anything of it, was last changed.
    #[schema(inline)]
    pub updated_at: Time,
}

impl From<Full> for ProductReply {
    fn from(full: Full) -> ProductReply {
        let Full { product, variants, categories } = full;
        ProductReply {
            id: product.id,
            slug: product.slug,
            name: product.name,
            description: product.description,
            state: product.state,
            categories,
            variants: variants.into_iter().map(VariantReply::from).collect(),
            version: product.version,
            created_at: product.created_at,
            updated_at: product.updated_at,
        }
    }
}

impl ProductReply {
    /// With how much there is of each variant; what was never in stock has none.
    fn with_stock(mut self, levels: &[Level]) -> ProductReply {
        for variant in &mut self.variants {
            let level = levels.iter().find(|level| level.sku == variant.sku);
            variant.available = Some(level.map_or(0, |level| level.available));
        }
        self
    }
}

fn versioned(full: Full) -> Versioned<ProductReply> {
    Versioned::new(full.product.version, full.into())
}

/// Whether the caller works here.
fn is_staff(caller: &MaybeCaller) -> bool {
    matches!(caller.0, Some(Caller { role: Role::Staff | Role::Admin, .. }))
}

/// What `POST /products` takes.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewProductBody {
    /// What it is called: 1 to 200 characters.
    #[schema(value_type = String, min_length = 1, max_length = 200, examples("Blue mug"))]
    pub name: Label,
    /// Its name in addresses; made from its name when left out.
    #[schema(value_type = Option<String>, examples("blue-mug"))]
    pub slug: Option<Slug>,
    /// What there is to say about it.
    #[schema(value_type = Option<String>, max_length = 10000)]
    pub description: Option<Description>,
    /// `active` when left out.
    #[schema(inline)]
    pub state: Option<ProductState>,
    /// Where it is found: at most 20.
    #[schema(value_type = Option<Vec<String>>)]
    pub categories: Option<Vec<CategoryId>>,
    /// What can be bought of it: at most 100.
    pub variants: Option<Vec<NewVariantBody>>,
}

impl From<NewProductBody> for NewProduct {
    fn from(body: NewProductBody) -> NewProduct {
        NewProduct {
            name: body.name,
            slug: body.slug,
            description: body.description.unwrap_or_default(),
            state: body.state.unwrap_or(ProductState::Active),
            categories: body.categories.unwrap_or_default(),
            variants: body.variants.unwrap_or_default().into_iter().map(Into::into).collect(),
        }
    }
}

/// Makes a product. For staff.
#[utoipa::path(post, path = "/products", tag = "catalog", security(("bearer" = [])), request_body = NewProductBody, responses(
    (status = 201, body = ProductReply, headers(("location", description = "where the product is"))),
    (status = 400, description = "`no_such_category`, `no_price`, `too_many_variants`, `too_many_categories`"),
    (status = 409, description = "`slug_taken`, `sku_taken`"), Problems))]
pub async fn create(
    State(catalog): State<Catalog>,
    _: Staff,
    key: MaybeIdempotencyKey,
    Json(body): Json<NewProductBody>,
) -> Result<Response> {
    let answer = catalog.create(body.into(), key.0.as_ref()).await?;
    let location = format!("/products/{}", answer.value.product.id);
    Ok(([(header::LOCATION, location)], answer.map(versioned).reply_as(StatusCode::CREATED)).into_response())
}

/// Which products are asked for.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Which {
    /// Those in this category or one below it: its id or its slug.
    category: Option<String>,
    /// Those with this in their name.
    #[param(value_type = Option<String>, max_length = 200)]
    q: Option<Sought>,
    /// Those in this state; only staff see others than active ones.
    #[param(inline)]
    state: Option<ProductState>,
}

/// Lists products, the newest first. Customers see those for sale, staff all.
#[utoipa::path(get, path = "/products", tag = "catalog", params(Which, Page), security((), ("bearer" = [])),
    responses((status = 200, body = List<ProductReply>, headers(("etag", description = "of what is listed"))), (status = 304, description = "the caller has just this page"), Problems))]
pub async fn list(
    State(catalog): State<Catalog>,
    caller: MaybeCaller,
    Query(Which { category, q, state }): Query<Which>,
    page: Page,
) -> Result<impl IntoResponse> {
    let (eyes, state) = match is_staff(&caller) {
        true => (Eyes::Staff, state),
        false => (Eyes::Customers, Some(ProductState::Active)),
    };
    let search = Search { category, q, state };
    let key = (search.clone(), page.clone(), eyes);
    let list = catalog.pages.get(key, written(&catalog, &search, &page, eyes)).await?;
    Ok((keep::public(&caller, catalog.settings.shared), list))
}

async fn written(
    catalog: &Catalog,
    search: &Search,
    page: &Page,
    eyes: Eyes,
) -> kernel::Result<web::WrittenList> {
    let List { items, next } = catalog.list(search, page).await?;
    // The list holds what is for sale already; here the variants that are not fall away.
    let shown = |full: Full| if eyes == Eyes::Staff { Some(full) } else { full.for_customers() };
    let items: Vec<ProductReply> = items.into_iter().filter_map(shown).map(ProductReply::from).collect();
    List { items, next }.written()
}

/// Shows a product by its id or its slug, with what is in stock. Customers see
/// those for sale, staff all.
///
/// It may be remembered for five minutes; a change that was answered shows at
/// once. What is in stock is never remembered here. Visitors may be answered by a
/// cache on the way, as `Cache-Control` says.
#[utoipa::path(get, path = "/products/{id}", tag = "catalog", security((), ("bearer" = [])),
    params(("id" = String, Path, description = "its id or its slug")), responses(
        (status = 200, body = ProductReply, headers(("etag", description = "its version, and to customers its stock"))),
        (status = 304, description = "the caller has it as it is"),
        (status = 404, description = "`no_such_product`"), Problems))]
pub async fn get(
    State(catalog): State<Catalog>,
    caller: MaybeCaller,
    Path(text): Path<String>,
) -> Result<Response> {
    let found = match (text.parse(), text.parse()) {
        (Ok(id), _) => catalog.find(id).await?,
        (_, Ok(slug)) => catalog.find_by_slug(&slug).await?,
        _ => None,
    };
    let staff = is_staff(&caller);
    let found = found.map(|full| Full::clone(&full));
    let full = found.and_then(|full| if staff { Some(full) } else { full.for_customers() });
    let full = full.ok_or(ProductError::NoSuchProduct(text))?;
    let levels = catalog.levels(&full).await;
    let version = full.product.version;
    let reply = ProductReply::from(full);
    let kept = keep::public(&caller, catalog.settings.shared);
    let Some(levels) = levels else {
        return Ok((kept, Versioned::new(version, reply)).into_response());
    };
    let reply = reply.with_stock(&levels);
    let tag = stock_tag(&reply);
    let mut response = (kept, Versioned::new(version, reply)).into_response();
    // Stock changes without the version, so to customers it is part of the tag.
    // Staff send the tag back to change the product: it stays the version.
    if !staff && let Ok(tag) = HeaderValue::try_from(tag) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    Ok(response)
}

/// The version and the stock.
fn stock_tag(reply: &ProductReply) -> String {
    let stock: Vec<String> =
        reply.variants.iter().map(|one| one.available.unwrap_or_default().to_string()).collect();
    format!("\"v{}.{}\"", reply.version, stock.join("."))
}

/// What `PATCH /products/{id}` takes; what is left out stays.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeProductBody {
    /// What it is called.
    #[schema(value_type = Option<String>, min_length = 1, max_length = 200)]
    pub name: Option<Label>,
    /// Its name in addresses.
    #[schema(value_type = Option<String>)]
    pub slug: Option<Slug>,
    /// What there is to say about it.
    #[schema(value_type = Option<String>, max_length = 10000)]
    pub description: Option<Description>,
    /// Whether it is for sale. What was is never a draft again.
    #[schema(inline)]
    pub state: Option<ProductState>,
    /// Where it is found, all of it.
    #[schema(value_type = Option<Vec<String>>)]
    pub categories: Option<Vec<CategoryId>>,
}

/// Changes a product. For staff.
#[utoipa::path(patch, path = "/products/{id}", tag = "catalog", security(("bearer" = [])), params(("id" = inline(ProductId), Path)),
    request_body = ChangeProductBody, responses(
        (status = 200, body = ProductReply, headers(("etag", description = "its version"))),
        (status = 400, description = "`nothing_to_change`, `no_such_category`, `too_many_categories`"),
        (status = 404, description = "`no_such_product`"),
        (status = 409, description = "`slug_taken`, `not_from_here`"),
        (status = 412, description = "`stale`: it has another version than `If-Match` says"), Problems))]
pub async fn change(
    State(catalog): State<Catalog>,
    _: Staff,
    Path(id): Path<ProductId>,
    if_match: IfMatch,
    key: MaybeIdempotencyKey,
    Json(body): Json<ChangeProductBody>,
) -> Result<Response> {
    let ChangeProductBody { name, slug, description, state, categories } = body;
    let change = ProductChange { name, slug, description, state, categories };
    let answer = catalog.change(ChangeProduct { id, if_match, change }, key.0.as_ref()).await?;
    Ok(answer.map(versioned).reply_as(StatusCode::OK))
}
