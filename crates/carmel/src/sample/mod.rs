//! Sample data: an empty shop becomes one that something can be bought in.

mod data;

use std::collections::HashMap;

use catalog::{NewCategory, NewProduct, NewVariant, ProductState};
use kernel::{CategoryId, Email, Error, Money, Result, Sku};
use users::{Name, Password};
use web::Page;

use crate::{config::Config, shop::Shop};

/// What every sample customer signs in with.
pub const CUSTOMER_PASSWORD: &str = "sample customer";
/// The sample administrator.
const ADMIN: &str = "admin@example.com";

/// What was put into the shop.
pub struct Filled {
    /// So many products.
    pub products: usize,
    /// So many customers.
    pub customers: usize,
    /// The administrator's address.
    pub admin: String,
    /// The administrator's password: shown once, kept nowhere.
    pub password: String,
}

/// Fills the shop, unless there is something in it: then nothing is touched
/// and nothing is returned.
pub async fn fill(shop: &Shop, config: &Config) -> Result<Option<Filled>> {
    let one = Page { limit: 1, after: None };
    if !shop.catalog().list_categories(&one).await?.items.is_empty() {
        return Ok(None);
    }
    let categories = categories(shop).await?;
    let products = data::products();
    let new: Vec<NewProduct> =
        products.iter().map(|product| new_product(product, &categories, config)).collect::<Result<_>>()?;
    shop.catalog().insert_many(&new).await.map_err(Error::from)?;
    let delivery: Vec<(Sku, i64)> = products
        .iter()
        .flat_map(|product| &product.variants)
        .map(|variant| Ok((parsed(&variant.sku)?, variant.stock)))
        .collect::<Result<_>>()?;
    shop.inventory().receive(&delivery, "sample data").await?;

    let people: Vec<(Name, Email)> = data::customers()
        .iter()
        .map(|(name, email)| Ok((parsed(name)?, parsed(email)?)))
        .collect::<Result<_>>()?;
    let hash = shop.users().hash_password(&parsed(CUSTOMER_PASSWORD)?).await?;
    let customers = shop.users().insert_many(&people, Some(&hash)).await?.len();
    let password = new_password(shop.world());
    make_admin(shop, ADMIN, "Administrator", &password).await?;
    // What all of this announced is heard before the first customer comes.
    shop.settle().await?;
    Ok(Some(Filled { products: products.len(), customers, admin: ADMIN.to_owned(), password }))
}

/// Makes an administrator, or makes an account one and gives it the password.
/// Returns whether the account is new.
pub async fn make_admin(shop: &Shop, email: &str, name: &str, password: &str) -> Result<bool> {
    let (email, name, password): (Email, Name, Password) = (parsed(email)?, parsed(name)?, parsed(password)?);
    let (_, is_new) = shop.users().ensure_admin(&email, &name, &password).await.map_err(Error::from)?;
    Ok(is_new)
}

/// A password that nobody can guess: 100 bits, in letters that are not mistaken
/// for one another.
pub fn new_password(world: &kernel::World) -> String {
    const LETTERS: &[u8; 32] = b"abcdefghjkmnpqrstuvwxyz23456789-";
    world.random::<20>().iter().map(|byte| char::from(LETTERS[usize::from(byte & 31)])).collect()
}

async fn categories(shop: &Shop) -> Result<HashMap<&'static str, CategoryId>> {
    let mut ids = HashMap::new();
    for category in data::CATEGORIES {
        let parent = category.parent.and_then(|slug| ids.get(slug).copied());
        let new = NewCategory { name: parsed(category.name)?, slug: Some(parsed(category.slug)?), parent };
        let made = shop.catalog().create_category(new, None).await.map_err(Error::from)?;
        ids.insert(category.slug, made.value.id);
    }
    Ok(ids)
}

fn new_product(
    product: &data::Product,
    categories: &HashMap<&'static str, CategoryId>,
    config: &Config,
) -> Result<NewProduct> {
    let variant = |variant: &data::Variant| {
        Ok(NewVariant {
            sku: parsed(&variant.sku)?,
            name: Some(parsed(&variant.name)?),
            price: Money::new(variant.price, config.shop.currency),
        })
    };
    Ok(NewProduct {
        name: parsed(&product.name)?,
        slug: Some(parsed(&product.slug)?),
        description: parsed(&product.description)?,
        state: ProductState::Active,
        categories: vec![categories[product.category]],
        variants: product.variants.iter().map(variant).collect::<Result<_>>()?,
    })
}

fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T> {
    text.parse().map_err(|error: T::Err| Error::invalid("invalid_text", error.to_string()))
}
