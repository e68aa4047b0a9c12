//! Reading orders, many at once, as they stand at one moment.

use std::collections::BTreeSet;

use db::{Db, Gather};
use kernel::{OrderId, Result};

use crate::store::{self, OnTheWay};

/// Gathers looks at orders. Cheap to clone.
#[derive(Clone)]
pub struct Looks(Gather<OrderId, Option<OnTheWay>>);

impl Looks {
    /// At most `most` at once.
    pub fn new(db: &Db, most: usize) -> Looks {
        let world = db.world().clone();
        let db = db.clone();
        Looks(Gather::new(&world, most, move |ids: Vec<OrderId>| {
            let db = db.clone();
            Box::pin(async move {
                // Two who work on one order may look at it at once.
                let each: BTreeSet<OrderId> = ids.iter().copied().collect();
                let found = db::snapshot!(db, async |tx| { store::on_the_way(tx, &each).await })?;
                Ok(ids.iter().map(|id| Ok(found.get(id).cloned())).collect())
            })
        }))
    }

    /// An order with what was bought and tried, or nothing if there is none.
    pub async fn look(&self, id: OrderId) -> Result<Option<OnTheWay>> {
        self.0.call(id).await
    }
}
