//! What orders do when others announce something: nothing. The saga asks and
//! is answered; that an order stands still is found by the sweep.

use std::sync::Arc;

use crate::Orders;

/// Those who listen for this service.
pub fn consumers(_: &Orders) -> Vec<Arc<dyn bus::Consumer>> {
    Vec::new()
}
