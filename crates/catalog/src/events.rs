//! What is done when something was announced.

use std::sync::Arc;

use bus::{Consumer, Envelope};
use contracts::catalog::ProductEvent;
use db::{Db, Tx};
use kernel::Result;

use crate::Catalog;

/// Who hears what for this service.
pub fn consumers(service: &Catalog) -> Vec<Arc<dyn Consumer>> {
    vec![Arc::new(Forget(service.clone()))]
}

/// Forgets products that were changed, for all processes. Who changed them has
/// done that before he answered; this is for one who was gone by then.
struct Forget(Catalog);

#[bus::async_trait]
impl Consumer for Forget {
    fn name(&self) -> &'static str {
        "catalog.forget"
    }

    fn topics(&self) -> &'static [&'static str] {
        &["catalog.product_changed"]
    }

    fn db(&self) -> &Db {
        &self.0.db
    }

    async fn hear(&self, _: &mut Tx, event: &Envelope) -> Result<()> {
        let event: ProductEvent = event.payload()?;
        self.0.forget(event.product, &event.skus);
        Ok(())
    }
}
