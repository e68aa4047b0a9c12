//! Making, changing and listing categories.

use kernel::{CategoryId, Result};
use web::{Answer, Cursor, IdempotencyKey, IfMatch, List, Page, idempotency};

use super::Catalog;
use crate::{
    model::{Category, CategoryChange, CategoryError, NewCategory, Slug},
    store,
};

/// Which change of which category.
pub struct ChangeCategory {
    /// Which category.
    pub id: CategoryId,
    /// The version that the caller looked at.
    pub if_match: IfMatch,
    /// What to change.
    pub change: CategoryChange,
}

impl Catalog {
    /// Makes a category.
    pub async fn create_category(
        &self,
        new: NewCategory,
        key: Option<&IdempotencyKey>,
    ) -> Result<Answer<Category>, CategoryError> {
        let category = Category {
            id: CategoryId::new(self.db.world()),
            parent_id: new.parent,
            slug: new.slug.unwrap_or_else(|| Slug::of(&new.name, "category")),
            name: new.name,
            version: 1,
        };
        web::once!(self.db, key, async |tx| {
            if let Some(parent) = category.parent_id {
                store::find_category(tx, parent).await?.ok_or(CategoryError::NoSuchParent(parent))?;
            }
            if !store::insert_category(tx, &category).await? {
                return Err(CategoryError::SlugTaken(category.slug.clone()));
            }
            Ok(category.clone())
        })
    }

    /// Changes a category, or moves it with everything below it.
    pub async fn change_category(
        &self,
        ask: ChangeCategory,
        key: Option<&IdempotencyKey>,
    ) -> Result<Answer<Category>, CategoryError> {
        if let Some(key) = key
            && let Some(before) = idempotency::find(&self.db, key).await?
        {
            return Ok(before); // The version it was asked for is not the current one any more.
        }
        let ChangeCategory { id, if_match, change } = &ask;
        let outcome: Result<Answer<Category>, CategoryError> = web::once!(self.db, key, async |tx| {
            store::lock_tree(tx).await?;
            let now = store::find_category(tx, *id).await?.ok_or(CategoryError::NoSuchCategory(*id))?;
            if_match.check(now.version)?;
            let above = match change.parent.flatten() {
                Some(parent) => match store::above(tx, parent).await? {
                    above if above.is_empty() => return Err(CategoryError::NoSuchParent(parent)),
                    above => above,
                },
                None => Vec::new(),
            };
            let category = change.apply(now, &above)?;
            if !store::update_category(tx, &category).await? {
                return Err(CategoryError::SlugTaken(category.slug));
            }
            Ok(category)
        });
        outcome
    }

    /// Categories by their slugs: the tree is in their parents.
    pub async fn list_categories(&self, page: &Page) -> Result<List<Category>> {
        let after: Option<Slug> = page.after.as_ref().map(|cursor| cursor.key(0)).transpose()?;
        let rows: Result<Vec<Category>> = db::read_near!(self.db, async |tx| {
            store::list_categories(tx, after.as_ref(), page.limit + 1).await
        });
        Ok(List::page(rows?, page, |category| Cursor::of(&[category.slug.as_str()])))
    }
}
