//! Routes: read the request, call the service, answer.

mod categories;
mod products;
mod variants;

use utoipa_axum::{router::OpenApiRouter, routes};

use crate::Catalog;

pub use categories::{CategoryReply, ChangeCategoryBody, NewCategoryBody};
pub use products::{ChangeProductBody, NewProductBody, ProductReply};
pub use variants::{ChangeVariantBody, NewVariantBody, VariantReply};

/// The public API.
pub fn routes(service: Catalog) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(products::create, products::list))
        .routes(routes!(products::get, products::change))
        .routes(routes!(variants::add))
        .routes(routes!(variants::change))
        .routes(routes!(variants::price_history))
        .routes(routes!(categories::create, categories::list))
        .routes(routes!(categories::change))
        .with_state(service)
}
