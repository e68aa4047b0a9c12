//! What is done when something was announced.

use std::sync::Arc;

use bus::{Consumer, Envelope};
use contracts::users::UserEvent;
use db::{Db, Tx};
use kernel::Result;

use crate::Users;

/// Who hears what for this service.
pub fn consumers(service: &Users) -> Vec<Arc<dyn Consumer>> {
    vec![Arc::new(Forget(service.clone()))]
}

/// Forgets accounts that were changed, for all processes. Who changed them has
/// done that before he answered; this is for one who was gone by then.
struct Forget(Users);

#[bus::async_trait]
impl Consumer for Forget {
    fn name(&self) -> &'static str {
        "users.forget"
    }

    fn topics(&self) -> &'static [&'static str] {
        &["users.changed"]
    }

    fn db(&self) -> &Db {
        &self.0.db
    }

    async fn hear(&self, _: &mut Tx, event: &Envelope) -> Result<()> {
        let event: UserEvent = event.payload()?;
        self.0.remembered.forget(&event.user);
        Ok(())
    }
}
