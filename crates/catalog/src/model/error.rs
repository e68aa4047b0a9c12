//! Why something was not done.

use kernel::{CategoryId, Error, Money, ProductId, Sku, VariantId};

use super::{Full, ProductState, Slug};

/// Why a product or a variant was not made or changed.
#[derive(Debug, thiserror::Error)]
pub enum ProductError {
    /// There is none, or the caller may not see it.
    #[error("there is no product {0}")]
    NoSuchProduct(String),
    /// There is none.
    #[error("there is no variant {0}")]
    NoSuchVariant(VariantId),
    /// A product can only be put into a category that there is.
    #[error("there is no category {0}")]
    NoSuchCategory(CategoryId),
    /// Another product has it.
    #[error("another product has the slug {0}")]
    SlugTaken(Slug),
    /// Another variant has it.
    #[error("another variant has the SKU {0}")]
    SkuTaken(Sku),
    /// That arrow is not drawn.
    #[error("{id} is {from} and cannot become {to}")]
    NotFromHere {
        /// Which product.
        id: ProductId,
        /// Where it stands.
        from: ProductState,
        /// Where it was to go.
        to: ProductState,
    },
    /// Below nothing, or too dear.
    #[error("{0} is no price")]
    NoPrice(Money),
    /// More than a product has.
    #[error("a product has at most {} variants", Full::MOST_VARIANTS)]
    TooManyVariants,
    /// More than a product is in.
    #[error("a product is in at most {} categories", Full::MOST_CATEGORIES)]
    TooManyCategories,
    /// Nothing was asked for.
    #[error("there is nothing to change: the body names no field")]
    Nothing,
    /// Anything else.
    #[error(transparent)]
    Other(#[from] Error),
}

impl From<ProductError> for Error {
    fn from(error: ProductError) -> Error {
        let message = error.to_string();
        match error {
            ProductError::NoSuchProduct(_) => Error::not_found("no_such_product", message),
            ProductError::NoSuchVariant(_) => Error::not_found("no_such_variant", message),
            ProductError::NoSuchCategory(_) => Error::invalid("no_such_category", message),
            ProductError::SlugTaken(_) => Error::conflict("slug_taken", message),
            ProductError::SkuTaken(_) => Error::conflict("sku_taken", message),
            ProductError::NotFromHere { .. } => Error::conflict("not_from_here", message),
            ProductError::NoPrice(_) => Error::invalid("no_price", message),
            ProductError::TooManyVariants => Error::invalid("too_many_variants", message),
            ProductError::TooManyCategories => Error::invalid("too_many_categories", message),
            ProductError::Nothing => Error::invalid("nothing_to_change", message),
            ProductError::Other(error) => error,
        }
    }
}

/// Why a category was not made or changed.
#[derive(Debug, thiserror::Error)]
pub enum CategoryError {
    /// There is none.
    #[error("there is no category {0}")]
    NoSuchCategory(CategoryId),
    /// A category can only be part of one that there is.
    #[error("there is no category {0} to be part of")]
    NoSuchParent(CategoryId),
    /// Another category has it.
    #[error("another category has the slug {0}")]
    SlugTaken(Slug),
    /// It would be part of itself.
    #[error("{0} would be part of itself")]
    Cycle(CategoryId),
    /// Nothing was asked for.
    #[error("there is nothing to change: the body names no field")]
    Nothing,
    /// Anything else.
    #[error(transparent)]
    Other(#[from] Error),
}

impl From<CategoryError> for Error {
    fn from(error: CategoryError) -> Error {
        let message = error.to_string();
        match error {
            CategoryError::NoSuchCategory(_) => Error::not_found("no_such_category", message),
            CategoryError::NoSuchParent(_) => Error::invalid("no_such_parent", message),
            CategoryError::SlugTaken(_) => Error::conflict("slug_taken", message),
            CategoryError::Cycle(_) => Error::conflict("category_cycle", message),
            CategoryError::Nothing => Error::invalid("nothing_to_change", message),
            CategoryError::Other(error) => error,
        }
    }
}
