//! Products, variants and categories, and the rules about them.

mod error;
mod text;

use contracts::catalog::{ProductChange as Became, ProductEvent};
use kernel::{CategoryId, Money, ProductId, Sku, Time, VariantId, words};
use serde::{Deserialize, Serialize};

pub use error::{CategoryError, ProductError};
pub use text::{Description, Label, Slug, Sought};

words! {
    /// Whether a product is for sale.
    pub enum ProductState {
        /// Being prepared: staff see it.
        Draft = "draft",
        /// For sale: everybody sees it.
        Active = "active",
        /// Not for sale any more: staff see it.
        Archived = "archived",
    }
}

impl ProductState {
    /// Whether a product may go from this state to that one. What was once for
    /// sale is not a draft again: it has been seen and ordered.
    pub fn may_become(self, next: ProductState) -> bool {
        use ProductState::{Active, Archived, Draft};
        self == next
            || matches!((self, next), (Draft, Active | Archived) | (Active, Archived) | (Archived, Active))
    }
}

/// A product.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Product {
    /// Which.
    pub id: ProductId,
    /// Its name in addresses; no other has it.
    pub slug: Slug,
    /// What it is called.
    pub name: Label,
    /// What there is to say about it.
    pub description: Description,
    /// Whether it is for sale.
    pub state: ProductState,
    /// Counts the changes of it, its variants, its prices and its categories, from 1.
    pub version: i64,
    /// When it was made.
    pub created_at: Time,
    /// When it, or anything of it, was last changed.
    pub updated_at: Time,
}

db::from_row!(Product { id, slug, name, description, state, version, created_at, updated_at });

/// What can be bought of a product: one colour, one size.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Variant {
    /// Which.
    pub id: VariantId,
    /// Of which product.
    pub product_id: ProductId,
    /// What it is ordered by; no other has it.
    pub sku: Sku,
    /// What sets it apart: `blue, large`. Empty for the only one.
    pub name: Option<Label>,
    /// What one piece costs now.
    pub price: Money,
    /// Whether it is for sale, as far as its product is.
    pub for_sale: bool,
    /// Counts its changes, from 1.
    pub version: i64,
}

impl db::FromRow for Variant {
    fn from_row(row: &db::Row<'_>) -> kernel::Result<Variant> {
        Ok(Variant {
            id: row.get("id")?,
            product_id: row.get("product_id")?,
            sku: row.get("sku")?,
            name: row.get("name")?,
            price: Money::new(row.get("price")?, row.get("currency")?),
            for_sale: row.get("for_sale")?,
            version: row.get("version")?,
        })
    }
}

/// A product with everything that belongs to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Full {
    /// The product.
    pub product: Product,
    /// In the order they were added; at most [`Full::MOST_VARIANTS`].
    pub variants: Vec<Variant>,
    /// Where it is found; at most [`Full::MOST_CATEGORIES`].
    pub categories: Vec<CategoryId>,
}

impl Full {
    /// A product has at most so many variants.
    pub const MOST_VARIANTS: usize = 100;
    /// A product is in at most so many categories.
    pub const MOST_CATEGORIES: usize = 20;

    /// What is announced of it.
    pub fn event(&self, change: Became) -> ProductEvent {
        let skus = self.variants.iter().map(|variant| variant.sku.clone()).collect();
        ProductEvent { change, product: self.product.id, skus, version: self.product.version }
    }

    /// As customers see it: nothing of what is not for sale.
    pub fn for_customers(mut self) -> Option<Full> {
        self.variants.retain(|variant| variant.for_sale);
        (self.product.state == ProductState::Active).then_some(self)
    }
}

/// What becomes a product.
#[derive(Clone, Debug)]
pub struct NewProduct {
    /// What it is called.
    pub name: Label,
    /// Its name in addresses; made from its name when not given.
    pub slug: Option<Slug>,
    /// What there is to say about it.
    pub description: Description,
    /// Whether it is for sale.
    pub state: ProductState,
    /// Where it is found.
    pub categories: Vec<CategoryId>,
    /// What can be bought of it.
    pub variants: Vec<NewVariant>,
}

impl NewProduct {
    /// Fails unless it keeps the limits.
    pub fn check(&self) -> Result<(), ProductError> {
        check_categories(&self.categories)?;
        if self.variants.len() > Full::MOST_VARIANTS {
            return Err(ProductError::TooManyVariants);
        }
        let twice = |at: usize, sku: &Sku| self.variants[..at].iter().any(|variant| variant.sku == *sku);
        if let Some((_, variant)) =
            self.variants.iter().enumerate().find(|(at, variant)| twice(*at, &variant.sku))
        {
            return Err(ProductError::SkuTaken(variant.sku.clone()));
        }
        self.variants.iter().try_for_each(NewVariant::check)
    }
}

/// What becomes a variant.
#[derive(Clone, Debug)]
pub struct NewVariant {
    /// What it is ordered by.
    pub sku: Sku,
    /// What sets it apart.
    pub name: Option<Label>,
    /// What one piece costs.
    pub price: Money,
}

impl NewVariant {
    /// Fails unless the price is one.
    pub fn check(&self) -> Result<(), ProductError> {
        check_price(self.price)
    }
}

/// What to change of a product; what is `None` stays.
#[derive(Clone, Debug, Default)]
pub struct ProductChange {
    /// What it is called.
    pub name: Option<Label>,
    /// Its name in addresses.
    pub slug: Option<Slug>,
    /// What there is to say about it.
    pub description: Option<Description>,
    /// Whether it is for sale.
    pub state: Option<ProductState>,
    /// Where it is found, all of it.
    pub categories: Option<Vec<CategoryId>>,
}

impl ProductChange {
    /// Fails unless something is to be changed and it keeps the limits.
    pub fn check(&self) -> Result<(), ProductError> {
        let ProductChange { name, slug, description, state, categories } = self;
        if name.is_none()
            && slug.is_none()
            && description.is_none()
            && state.is_none()
            && categories.is_none()
        {
            return Err(ProductError::Nothing);
        }
        check_categories(categories.as_deref().unwrap_or_default())
    }

    /// The product after it.
    pub fn apply(&self, product: Product) -> Result<Product, ProductError> {
        let state = self.state.unwrap_or(product.state);
        if !product.state.may_become(state) {
            return Err(ProductError::NotFromHere { id: product.id, from: product.state, to: state });
        }
        Ok(Product {
            name: self.name.clone().unwrap_or(product.name),
            slug: self.slug.clone().unwrap_or(product.slug),
            description: self.description.clone().unwrap_or(product.description),
            state,
            ..product
        })
    }
}

/// What to change of a variant; what is `None` stays.
#[derive(Clone, Debug, Default)]
pub struct VariantChange {
    /// What sets it apart.
    pub name: Option<Label>,
    /// What one piece costs from now on.
    pub price: Option<Money>,
    /// Whether it is for sale.
    pub for_sale: Option<bool>,
}

impl VariantChange {
    /// Fails unless something is to be changed and the price is one.
    pub fn check(&self) -> Result<(), ProductError> {
        let VariantChange { name, price, for_sale } = self;
        if name.is_none() && price.is_none() && for_sale.is_none() {
            return Err(ProductError::Nothing);
        }
        price.map_or(Ok(()), check_price)
    }

    /// The variant after it, one version on.
    pub fn apply(&self, variant: Variant) -> Variant {
        Variant {
            name: self.name.clone().or(variant.name),
            price: self.price.unwrap_or(variant.price),
            for_sale: self.for_sale.unwrap_or(variant.for_sale),
            version: variant.version + 1,
            ..variant
        }
    }
}

/// A category: a place in the tree in which products are found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Category {
    /// Which.
    pub id: CategoryId,
    /// The one it is part of; none at the top.
    pub parent_id: Option<CategoryId>,
    /// Its name in addresses; no other has it.
    pub slug: Slug,
    /// What it is called.
    pub name: Label,
    /// Counts its changes, from 1.
    pub version: i64,
}

db::from_row!(Category { id, parent_id, slug, name, version });

/// What becomes a category.
#[derive(Clone, Debug)]
pub struct NewCategory {
    /// What it is called.
    pub name: Label,
    /// Its name in addresses; made from its name when not given.
    pub slug: Option<Slug>,
    /// The one it is part of.
    pub parent: Option<CategoryId>,
}

/// What to change of a category; what is `None` stays.
#[derive(Clone, Debug, Default)]
pub struct CategoryChange {
    /// What it is called.
    pub name: Option<Label>,
    /// Its name in addresses.
    pub slug: Option<Slug>,
    /// The one it is part of; `Some(None)` puts it at the top.
    pub parent: Option<Option<CategoryId>>,
}

impl CategoryChange {
    /// The category after it, one version on. `above` are its new parent and
    /// those above that: it is none of them.
    pub fn apply(&self, category: Category, above: &[CategoryId]) -> Result<Category, CategoryError> {
        if self.name.is_none() && self.slug.is_none() && self.parent.is_none() {
            return Err(CategoryError::Nothing);
        }
        if self.parent.is_some() && above.contains(&category.id) {
            return Err(CategoryError::Cycle(category.id));
        }
        Ok(Category {
            name: self.name.clone().unwrap_or(category.name),
            slug: self.slug.clone().unwrap_or(category.slug),
            parent_id: self.parent.unwrap_or(category.parent_id),
            version: category.version + 1,
            ..category
        })
    }
}

fn check_categories(categories: &[CategoryId]) -> Result<(), ProductError> {
    if categories.len() > Full::MOST_CATEGORIES { Err(ProductError::TooManyCategories) } else { Ok(()) }
}

/// The dearest price: a thousand pieces of a thousand lines of it still fit.
const DEAREST: i64 = 1_000_000_000_000;

fn check_price(price: Money) -> Result<(), ProductError> {
    if (0..=DEAREST).contains(&price.amount) { Ok(()) } else { Err(ProductError::NoPrice(price)) }
}

#[cfg(test)]
mod tests;
