//! The outbox.
use db::{Migration, Tx};
use kernel::{EventId, Result};

use crate::Event;
pub(crate) const MIGRATION: Migration = Migration { name: "bus_1_outbox", sql: "" };
/// Announces it.
pub async fn add<E: Event>(tx: &mut Tx, event: &E) -> Result<EventId> { add_traced(tx, event, None).await }
/// Announces it as part of a trace.
pub async fn add_traced<E: Event>(tx: &mut Tx, event: &E, traceparent: Option<String>) -> Result<EventId> { let _ = (tx, event, traceparent); todo!() }
/// How many are not sent yet.
pub async fn pending(tx: &mut Tx) -> Result<i64> { let _ = tx; todo!() }
